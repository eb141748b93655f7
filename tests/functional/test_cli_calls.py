"""Whatever is typed: a clear sentence, the documented exit code, and nothing half-done."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtui.cli.main import VERBS, main
from envtui.core.events import RunStarted
from tests.functional.cli_kit import ANSWERS, Desk, desk

__all__ = ["desk"]  # a fixture

LONG = "x" * 100_000
GARBAGE = ["", "-", "/", "..", "../dev", "dev/..", "\udcff", "\x1b[2J", "a\nb", "${x}", LONG]


@pytest.fixture
def typed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("ENVTUI_RUNBOOKS", "ENVTUI_STATE", "ENVTUI_CONFIG"):
        monkeypatch.setenv(name, desk.variables[name])
    return desk


@pytest.mark.parametrize(
    ("words", "way_on"),
    [
        (["prodution"], "Did you mean production?"),
        (["chekc"], "Did you mean check?"),
        (["stagingg", "--no-mouse"], "Did you mean staging?"),
        (["incidents", "list"], "Did you mean incident?"),
        (["zzz"], "Environments: envtui list. Verbs: envtui --help."),
    ],
)
def test_a_mistyped_verb_or_environment_is_named_with_the_nearest(
    typed: Desk, capsys: pytest.CaptureFixture[str], words: list[str], way_on: str
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [f"There is no environment and no verb {words[0]!r}.", way_on]


def test_an_environment_without_a_terminal(typed: Desk) -> None:
    assert "This is not a terminal." in typed("staging", code=2)[1]


@pytest.mark.parametrize(
    "words",
    [
        ["--bogus"],
        ["--runbooks"],
        ["--runbooks="],
        ["--runbooks", "", "list"],
        ["--runbooks", "/nowhere", "list"],
        ["list", "--bogus"],
        ["trust", "dev", "--ye"],  # an option is written out: a shortened one might become another
        ["run", "dev"],
        ["run", "dev", "asking", "--json", "--plain"],
        ["schema", "nothing"],
        ["ledger"],
        ["ledger", "shw"],
        ["report"],
        ["report", "a", "b", "c"],
        ["ask", "dev", "gateway"],
        ["incident"],
        ["incident", "list"],
        ["incident", "close", "dev"],
    ],
)
def test_a_wrong_call_ends_with_2_and_says_what_is_missing(
    typed: Desk, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip()
    assert "fault in envtui" not in said.err


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_ends_with_0(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"envtui {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: repr(text[:8]))
def test_garbage_at_every_place(typed: Desk, capsys: pytest.CaptureFixture[str], text: str) -> None:
    calls = [
        ["list", text],
        ["show", text],
        ["show", f"dev/{text}x"],
        ["trust", text, "--yes"],
        ["run", text, "asking"],
        ["run", "dev", text],
        ["run", "dev", "asking", "-p", text],
        ["run", "dev", "asking", "-p", f"{text}=1"],
        ["run", "dev", "asking", "--answer", f"{text}x=1"],
        ["run", "dev", "asking", "--answer", f"cause={text}"],
        ["run", "dev", "asking", "--grant", f"{text}/no"],
        ["ask", "dev", text, "ls"],
        ["request", text, "asking", "--reason", "long enough to be one"],
        ["request", "dev", text, "--reason", "long enough to be one"],
        ["request", "dev", "asking", "--reason", "long enough to be one", "--for", f"{text}d"],
        ["request", "dev", "asking", "--reason", text],
        ["incident", "list", text],
        ["ledger", "show", text],
        ["ledger", "verify", "--head", text],
        ["ledger", "verify", "--file", text],
        ["report", "dev", text],
        ["doctor", text],
        ["check", f"/nowhere/{text}x"],
        ["run", "dev", "asking", "--grant", text],
    ]
    for words in calls:
        code = main([word if word != "-" else "--=" for word in words])
        said = capsys.readouterr()
        assert code in (1, 2), (words[:2], said.err[:500])
        assert "fault in envtui" not in said.err, (words[:2], said.err[:500])
        assert "\x1b" not in said.err + said.out
        assert len(said.err) < 2500, (words[:2], len(said.err))


@pytest.mark.parametrize(
    "stdin", [b"", b"\x00\xff\xfe" * 1000, os.urandom(100_000), b"-----BEGIN ENVTUI REQUEST-----\n"]
)
def test_what_is_no_request(typed: Desk, stdin: bytes) -> None:
    for verb in (["sign", "dev", "--yes"], ["run", "dev", "asking", "--grant", "-"]):
        out, err = typed(*verb, code=None, stdin=stdin)
        assert out == ""
        assert 1 <= len(err.splitlines()) <= 3
    assert not typed.events(RunStarted)


def test_json_is_json_lines_and_begins_with_the_beginning(desk: Desk) -> None:
    out, err = desk("run", "dev", "asking", "--json", *ANSWERS)
    assert err == ""
    rows = [json.loads(line) for line in out.splitlines()]
    assert [rows[0]["event"], rows[-1]["event"]] == ["run-started", "run-ended"]
    assert [row["seq"] for row in rows] == list(range(rows[0]["seq"], rows[0]["seq"] + len(rows)))


@pytest.mark.parametrize(
    "words",
    [
        ["run", "dev", "asking", "--json"],
        ["run", "dev", "no-such-book", "--json"],
        ["run", "dev", "asking", "--json", "--answer", "cause=no"],
        ["check", "/nowhere", "--json"],
        ["list", "nowhere", "--json"],
        ["ledger", "show", "dev", "nope", "--json"],
        ["doctor", "dev", "--json"],
    ],
)
def test_a_failure_leaves_stdout_json(desk: Desk, words: list[str]) -> None:
    out, err = desk(*words, code=None)
    for line in out.splitlines():
        json.loads(line)
    assert err or '"error":' in out


# --- state that cannot be written ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["/proc/nowhere", "/dev/null/x", "/dev/null"])
def test_a_state_folder_that_cannot_be_made(desk: Desk, state: str) -> None:
    desk.more["ENVTUI_STATE"] = state
    for words in (["list"], ["check"], ["show", "dev"]):
        desk(*words)
    for words in (["trust", "dev", "--yes"], ["run", "dev", "asking", *ANSWERS], ["doctor", "dev"]):
        _, err = desk(*words, code=1)
        assert f"{state}" in err
        assert err.endswith("Name a folder that you can write with ENVTUI_STATE.\n")


def test_a_home_that_cannot_be_written(desk: Desk) -> None:
    kept = {name: value for name, value in desk.variables.items() if not name.startswith(("XDG_", "ENVTUI_"))}
    variables = {**kept, "HOME": "/proc/nowhere", "ENVTUI_RUNBOOKS": str(desk.trees)}
    argv = [desk_python(), "-m", "envtui", "run", "dev", "asking", *ANSWERS]
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "/proc/nowhere" in done.stderr
    assert "ENVTUI_STATE" in done.stderr


def desk_python() -> str:
    import sys

    return sys.executable


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("NOT ROOT: a full disk behind ENVTUI_STATE WAS NOT TESTED")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_starts_nothing_breaks_nothing_and_says_so(desk: Desk, tiny: Path) -> None:
    desk.state = tiny / "state"
    desk("trust", "dev", "--yes")
    desk("run", "dev", "asking", *ANSWERS)
    (tiny / "fill").write_bytes(b"")
    with (tiny / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 1024)
        except OSError:
            pass
    desk.put("dev/known_hosts", "# changed\n" + (desk.trees / "dev/known_hosts").read_text())
    _, err = desk("trust", "dev", "--yes", code=1)
    assert "No space left on device" in err
    assert "Nothing was accepted." in err
    assert [path.name for path in (tiny / "state/trust").iterdir()] == ["dev.json"]
    desk("run", "dev", "asking", *ANSWERS, code=7)
    desk.put("dev/known_hosts", (desk.trees / "dev/known_hosts").read_text().removeprefix("# changed\n"))
    out, err = desk("run", "dev", "asking", *ANSWERS, code=6)
    assert out == ""
    assert "Free some space there" in err
    desk("ledger", "verify", "dev")
    (tiny / "fill").unlink()
    desk("run", "dev", "asking", *ANSWERS)
    assert len(desk.events(RunStarted)) == 2
    desk("ledger", "verify", "dev")


def test_an_empty_value_is_not_taken_for_none(typed: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What a script's unset variable leaves: nothing is run, verified or asked for with less than was meant."""
    for words in (
        ["run", "dev", "asking", "--grant", ""],
        ["ledger", "verify", "--head", ""],
        ["ledger", "verify", "--file", ""],
        ["check", ""],
        ["request", "dev", "asking", "--reason", "long enough to be one", "--for", ""],
        ["list", ""],
    ):
        assert main(words) == 2, words
        assert capsys.readouterr().err
