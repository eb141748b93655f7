from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from envtui.cli.main import main
from envtui.core.act import Value
from envtui.core.errors import UsageError
from envtui.core.events import (
    ActEnded,
    ActIntended,
    Answered,
    Captured,
    Entry,
    Event,
    GrantActivated,
    GrantEnded,
    Noted,
    PermitSpent,
    Requested,
    RunEnded,
    RunStarted,
    SignedOff,
    StepEnded,
)
from envtui.core.text import UNSAFE
from envtui.outside.ledger import SqliteJournal
from envtui.rules.report import code, report, text
from envtui.rules.words import in_words, stamp
from tests.functional.test_ledger import StillClock

ZONE = timezone(timedelta(hours=5, minutes=30))
HOSTILE = "\x1b]52;c;cm0g\x07[x](http://evil) | <script> `a` \u202e"

RUN = "01K8RUN000000001"
EVENTS: Sequence[Event] = (
    RunStarted(
        run=RUN,
        book="revert-policy",
        book_sha256="ab" * 32,
        title="Revert the gateway policy",
        plan_digest="cd" * 32,
        operator="asha",
        inputs={
            "release": Value(type="string", text="v41"),
            "token": Value(type="string", secret=True, reference="env:TOKEN"),
        },
        plan='{"steps":[{"id":"look","kind":"ssh","mode":"read","title":"Look at it","acts":[]},'
        '{"id":"revert","kind":"ssh","mode":"write","title":"Put it back","acts":[]},'
        '{"id":"watch","kind":"wait","mode":"read","title":"Watch it heal","acts":[]}]}',
    ),
    ActIntended(
        run=RUN, step="look", act="look@gw1", act_digest="d", mode="read", target="gw", member="gw1", shows="cat p.xml"
    ),
    ActEnded(
        run=RUN,
        step="look",
        act="look@gw1",
        word="OK",
        exit=0,
        milliseconds=420,
        output_bytes=12,
        output_sha256="ef" * 32,
    ),
    Captured(run=RUN, step="look", name="policy", columns=("id", "name"), rows=(("7", HOSTILE),)),
    StepEnded(run=RUN, step="look", word="OK"),
    Requested(run=RUN, request="Q1", request_sha256="", incident="INC-4213", reason="403 on every call"),
    SignedOff(run=RUN, request="Q1", verdict="approve", person="meera", key="ssh-ed25519 A"),
    GrantActivated(
        run=RUN,
        grant="G1",
        plan_digest="cd",
        incident="INC-4213",
        signed_by=("meera",),
        until_ms=1_763_836_000_000,
        acts=1,
    ),
    PermitSpent(run=RUN, grant="G1", permit="P1", act="revert@gw1", act_digest="d", attempt=1),
    ActIntended(
        run=RUN,
        step="revert",
        act="revert@gw1",
        act_digest="d",
        mode="write",
        target="gw",
        member="gw1",
        shows=f"cp ``` {HOSTILE}",
    ),
    Answered(run=RUN, step="revert", answer="go on", by="asha"),
    Noted(run=RUN, text=f"seen {HOSTILE}\n# not a heading", by="asha"),
    GrantEnded(run=RUN, grant="G1", reason="COMPLETED"),
    RunEnded(run=RUN, word="IN DOUBT", why="the connection was lost"),
)


@pytest.fixture
async def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENVTUI_STATE", str(tmp_path))
    for name, events in (("production", EVENTS), ("dev", (Noted(run="R9", text="quiet", by="tom"),))):
        (tmp_path / name).mkdir(mode=0o700)
        journal = SqliteJournal(tmp_path / name / "ledger.sqlite3", StillClock())
        await journal.append_all(events)
        await journal.close()
    return tmp_path


def entries(events: Sequence[Event] = EVENTS) -> list[Entry]:
    return [
        Entry(number, 1_763_834_400_000 + number * 1000, event, f"{number:064x}")
        for number, event in enumerate(events, 1)
    ]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr().out
    assert UNSAFE.search(out) is None
    return out


def test_verify_is_green_for_every_ledger_and_says_its_head(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify"]) == 0
    dev, production = told(capsys).splitlines()
    assert dev.startswith("dev: sound. 1 entries, head 000102")
    assert f"{len(EVENTS)} entries" in production
    assert production.endswith("1 head from elsewhere fits.")
    head = production.split("head ")[1].split(";")[0]
    assert main(["ledger", "verify", "production", "--head", head]) == 0
    assert main(["ledger", "verify", "production", "--head", head[:-1] + ("0" if head[-1] != "0" else "1")]) == 6


def test_verify_is_red_after_one_flipped_byte_and_the_others_are_still_told(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = state / "production" / "ledger.sqlite3"
    content = bytearray(path.read_bytes())
    at = content.index(b"403 on every call")
    content[at] ^= 1
    path.write_bytes(content)
    assert main(["ledger", "verify"]) == 6
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith("dev: sound.")
    assert captured.out.splitlines()[1] == "production: BROKEN. Entry 6 was changed."
    assert "Keep the file" in captured.err
    assert main(["ledger", "verify", "production", "--json"]) == 6
    assert json.loads(told(capsys))["seq"] == 6
    assert main(["ledger", "verify", "dev"]) == 0


def test_verify_works_on_a_copy(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copied.sqlite3"
    copy.write_bytes((state / "dev" / "ledger.sqlite3").read_bytes())
    assert main(["ledger", "verify", "--file", str(copy)]) == 0
    assert "a missing end would not be seen" in told(capsys)


@pytest.mark.parametrize("name", ["nowhere", "../production", "", "production/../dev"])
def test_an_environment_without_a_ledger_is_a_wrong_call_and_makes_none(state: Path, name: str) -> None:
    before = sorted(state.rglob("*"))
    for words in (["verify", name], ["show", name], ["export", name], ["find", name, "x"]):
        assert main(["ledger", *words]) == 2
    assert sorted(state.rglob("*")) == before


@pytest.mark.parametrize("head", ["x", "00:1:00", f"{'0' * 32}:-1:{'0' * 64}"])
def test_a_head_that_is_none_is_a_wrong_call(state: Path, head: str) -> None:
    assert main(["ledger", "verify", "dev", "--head", head]) == 2


def test_show_tells_each_entry_on_one_line(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "show", "production", RUN]) == 0
    lines = told(capsys).splitlines()
    assert len(lines) == len(EVENTS)
    assert "2025-11-22 18:00:00 UTC" in lines[0]
    assert "asha started revert-policy: Revert the gateway policy, release=v41 token=secret env:TOKEN" in lines[0]
    assert "meera signed off request Q1" in lines[6]
    assert "cm0g" not in lines[3]
    assert main(["ledger", "show", "production", "R0"]) == 2


def test_find_looks_in_every_field_whatever_the_capitals(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "find", "production", "inc-4213"]) == 0
    assert [line.split()[0] for line in told(capsys).splitlines()] == ["6", "8"]
    assert main(["ledger", "find", "production", "GW1"]) == 0
    assert len(told(capsys).splitlines()) == 4
    assert main(["ledger", "find", "production", "no such thing"]) == 1
    assert told(capsys) == ""


def test_export_is_json_lines_and_nothing_in_it_reaches_a_terminal(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", "export", "production"]) == 0
    rows = [json.loads(line) for line in told(capsys).splitlines()]
    assert [row["seq"] for row in rows] == list(range(1, len(EVENTS) + 1))
    assert rows[11]["event"]["text"].startswith("seen \x1b]52")
    assert main(["ledger", "show", "production", RUN, "--json"]) == 0
    assert len(told(capsys).splitlines()) == len(EVENTS)
    assert main(["ledger", "export", "production", "--format", "csv"]) == 2


def test_a_report_is_found_by_its_run_alone(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", RUN]) == 0
    alone = told(capsys)
    assert alone.startswith("# Revert the gateway policy\n")
    assert main(["report", "production", RUN]) == 0
    assert told(capsys) == alone
    assert main(["ledger", "export", "production", "--format", "md"]) == 0
    assert told(capsys) == alone
    assert main(["report", "dev", RUN]) == 2
    assert main(["report", "R0"]) == 2


def test_looking_changes_nothing(state: Path) -> None:
    path = state / "production" / "ledger.sqlite3"
    before = path.read_bytes()
    for words in (["verify"], ["show", "production"], ["export", "production"]):
        main(["ledger", *words])
    assert path.read_bytes() == before


def test_a_broken_database_ends_with_one_sentence_and_exit_6(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = state / "production" / "ledger.sqlite3"
    path.write_bytes(b"x" * 9000)
    assert main(["ledger", "show", "production"]) == 6
    assert "damaged" in capsys.readouterr().err


# -- the report ----------------------------------------------------------------------------------------------------


def test_the_report_says_who_what_when_and_what_is_in_doubt() -> None:
    made = report("production", entries(), RUN, ZONE)
    for part in (
        "**IN DOUBT: check before anything.**",
        "- revert\\@gw1, attempt 1",
        "| Operator | asha |",
        "| Incident | INC-4213 |",
        "| Started | 2025-11-22 18:00:01 UTC (23:30:01 +0530) |",
        "| Outcome | IN DOUBT, the connection was lost |",
        "after 13 s",
        "meera signed off request Q1",
        "WRITE for 1 act until",
        "write access ended: COMPLETED",
        "### Look at it",
        "  cat p.xml",
        "**OK** (0.42 s, exit 0, 12 bytes)",
        "policy is id=7, name=",
        "revert: asha answered go on",
        "### Not reached",
        "- Watch it heal",
        "token=secret env:TOKEN",
    ):
        assert part in made


def test_nothing_in_a_report_is_markup_or_a_control() -> None:
    made = report("production", entries(), RUN)
    assert UNSAFE.search(made) is None
    assert "cm0g" not in made
    assert "\n# not" not in made
    outside_code = "".join(part for index, part in enumerate(made.split("````")) if index % 2 == 0)
    assert re.search(r"(?<!\\)\]\(", outside_code) is None
    assert "<script>" not in outside_code
    assert "  ````\n  cp ```" in made


def test_a_run_that_the_ledger_does_not_have_is_a_wrong_call() -> None:
    with pytest.raises(UsageError, match="has no run"):
        report("production", entries(), "R0")


def test_a_write_with_an_outcome_is_not_in_doubt() -> None:
    done = [*EVENTS[:10], ActEnded(run=RUN, step="revert", act="revert@gw1", word="OK"), *EVENTS[10:]]
    assert "check before anything" not in report("production", entries(done), RUN)
    unknown = [*EVENTS[:10], ActEnded(run=RUN, step="revert", act="revert@gw1", word="IN DOUBT"), *EVENTS[10:]]
    assert "check before anything" in report("production", entries(unknown), RUN)


def test_every_kind_of_event_has_words() -> None:
    kinds = {type(event) for event in EVENTS}
    assert all(in_words(event) for event in EVENTS)
    assert len(kinds) == 13


def test_text_and_code_cannot_leave_their_place() -> None:
    assert text("a\n| b") == "a\u240a\\| b"
    assert text("- 1") == "\\- 1"
    assert text("1. see www.evil.org, http://evil.org") == "1\\. see www\\.evil.org, http\\://evil.org"
    assert list(code("x\n````\ny")) == ["`````", "x", "````", "y", "`````"]


def test_a_moment_is_told_in_utc_and_here() -> None:
    assert stamp(1_763_854_200_000, ZONE) == "2025-11-22 23:30:00 UTC (2025-11-23 05:00:00 +0530)"
    assert stamp(10**30) == f"{10**30} ms"


def test_an_entry_of_a_newer_version_is_said_to_be_that(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = state / "dev" / "ledger.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("INSERT INTO entries VALUES (2, 0, x'', ?, x'')", (b'{"event":"from-the-future"}',))
    connection.close()
    assert main(["ledger", "show", "dev"]) == 6
    assert "newer envtui" in capsys.readouterr().err
