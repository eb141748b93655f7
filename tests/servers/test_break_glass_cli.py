"""Break-glass as two people live it: real keys, real ledgers, a real sshd, the name typed on a real terminal."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pexpect
import pytest

from envtui.core.events import GrantActivated, PermitSpent, Requested, SignedOff, SignOffRefused, Told
from tests.servers.sshd import Servers
from tests.servers.test_resume_cli import said
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, machines, one

__all__ = ["cluster", "database", "kit", "machines", "one"]  # fixtures

WHY = "The gateway answers 403 to every customer and nobody of the on-call answers"
ACCESS = """\
  incident: {{tracker: file, path: "{register}"}}
  signoff: {{min: 1, roles: [on-call], same_machine: allowed}}
  break_glass: {{people: [asha], max: 10m, review_due: 2h}}
"""


class Pair:
    """asha with `kit`'s home, meera with her own; one tree."""

    def __init__(self, kit: Kit, folder: Path, servers: Servers) -> None:
        self.kit, self.folder = kit, folder
        servers.key("meera")
        people = ("asha", "meera", "tom")
        spaces = f"request.v1.{NAME}@envtui,approve.v1.{NAME}@envtui"
        keys = {"asha": "operator", "meera": "meera", "tom": "tom"}
        servers.key("tom")
        kit.put(
            "access/people.yaml",
            "schema: envtui/people@1\npeople:\n"
            + "".join(f"  {who}: {{name: {who}, principals: [{who}], roles: [on-call]}}\n" for who in people),
        )
        kit.put(
            "access/allowed_signers",
            "".join(f'{who} namespaces="{spaces}" {servers.public(keys[who])}\n' for who in people),
        )
        self.config = {}
        for who in people:
            file = folder / f"{who}.toml"
            file.write_text(f'operator = "{who}"\nsigning_key = "file:{servers.key(keys[who])}"\n')
            file.chmod(0o600)
            self.config[who] = file
        kit.manifest(ACCESS.format(register=folder / "register.jsonl"))
        kit.book(f"  - {{id: first, kind: ssh, mode: write, repeatable: true, sh: 'touch {folder}/first'}}\n")
        for who in people[1:]:
            assert self(who, "trust", NAME, "--yes").returncode == 0
        self.incident = self("asha", "incident", "open", NAME, "--title", "403 for everyone").stdout.strip()

    def calls(self, where: str) -> None:
        """The manifest says who is called; everybody trusts it again."""
        file = self.kit.tree / "environment.yaml"
        file.write_text(f"{file.read_text()}notify: {where}\n")
        for who in self.config:
            assert self(who, "trust", NAME, "--yes").returncode == 0

    def variables(self, who: str) -> dict[str, str]:
        own = {**self.kit.variables, "TERM": "dumb"}
        if who != "asha":
            own |= {"ENVTUI_STATE": str(self.folder / f"{who}-state"), "ENVTUI_CONFIG": str(self.config[who])}
        return own

    def __call__(self, who: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What `who` types, where nobody is at a terminal."""
        return subprocess.run(
            self.kit.argv(*words), env=self.variables(who), input=stdin, capture_output=True, text=True, timeout=120,
            start_new_session=True,
        )  # fmt: skip

    def typed(self, who: str, *words: str, stdin: str = "", name: str = NAME, code: int = 0) -> tuple[str, str]:
        """(stdout, what stood on the terminal) of a command that asks there for the environment's name."""
        given, got = self.folder / "given", self.folder / "got"
        given.write_text(stdin)
        command = f"{shlex.join(self.kit.argv(*words))} < {given} > {got}"
        child = pexpect.spawn("/bin/sh", ["-c", command], env=self.variables(who), encoding="utf-8", timeout=60)
        child.expect(f"Type {NAME} to .*: ")
        before = child.before
        child.sendline(name)
        child.expect(pexpect.EOF)
        child.close()
        shown = f"{before}{child.before}".replace("\r\n", "\n")
        assert child.exitstatus == code, shown
        return got.read_text(), shown

    def ask(self, name: str = NAME, code: int = 0) -> tuple[str, str]:
        words = ("request", NAME, "book", "--break-glass", "--incident", self.incident, "--reason", WHY)
        return self.typed("asha", *words, name=name, code=code)

    def broken(self) -> str:
        """A break-glass that is over; the run's id."""
        block, _ = self.ask()
        (self.folder / "grant").write_text(block)
        done = self("asha", "run", NAME, "book", "--grant", str(self.folder / "grant"))
        assert done.returncode == 0, said(done)
        return self.kit.run().id

    def record(self, run: str) -> str:
        done = self("asha", "review", NAME, run)
        assert done.returncode == 0, said(done)
        return done.stdout

    def answer(self, run: str, block: str) -> subprocess.CompletedProcess[str]:
        return self("asha", "review", NAME, run, "--answer", "-", stdin=block)


class Pager(ThreadingHTTPServer):
    """A chat's webhook on loopback: takes what is posted, or answers with an error."""

    def __init__(self, status: int = 200) -> None:
        self.got: list[dict[str, str]] = []
        pager = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name is http.server's
                pager.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/page"


@contextmanager
def paging(status: int = 200) -> Iterator[Pager]:
    pager = Pager(status)
    thread = threading.Thread(target=pager.serve_forever)
    thread.start()
    try:
        yield pager
    finally:
        pager.shutdown()
        thread.join()
        pager.server_close()


@pytest.fixture
def pair(kit: Kit, tmp_path: Path, machines: Servers) -> Pair:
    return Pair(kit, tmp_path, machines)


def test_the_whole_way_from_the_typed_name_to_the_review(pair: Pair, tmp_path: Path) -> None:
    block, shown = pair.ask()
    assert "nobody else signs this" in shown
    assert "for 10 min" in shown
    assert "within 2h" in shown
    assert block.startswith("-----BEGIN ENVTUI REQUEST-----")
    (tmp_path / "grant").write_text(block)
    done = pair("asha", "run", NAME, "book", "--grant", str(tmp_path / "grant"))
    assert done.returncode == 0, said(done)
    assert f"BREAK-GLASS · {pair.incident} · nobody else signed · 1 act" in done.stdout
    assert (tmp_path / "first").exists()
    began = pair.kit.events(GrantActivated)
    assert [(one.break_glass, one.signed_by) for one in began] == [(True, ("asha",))]
    assert len(pair.kit.events(PermitSpent)) == 1
    run = pair.kit.run().id

    owes = pair("asha", "review", NAME)
    assert owes.returncode == 0
    assert f"TO REVIEW  {began[0].grant}  run {run}" in owes.stdout
    assert "by asha" in owes.stdout
    check = pair("asha", "ledger", "check", NAME)
    assert check.returncode == 6
    assert "sound" in check.stdout
    assert f"envtui review {NAME} {run}" in check.stdout
    listed = pair("asha", "list")
    assert f"envtui review {NAME} {run}" in listed.stdout
    rows = [json.loads(line) for line in pair("asha", "list", "--json").stdout.splitlines()]
    assert {row["environment"]: row["to_review"] for row in rows} == {NAME: 1}

    record = pair.record(run)
    assert record.startswith("-----BEGIN ENVTUI RECORD-----")
    answer, shown = pair.typed("meera", "ratify", NAME, stdin=f"> for you, meera:\n{record}")
    assert "first@web1: WRITE on web/web1: OK" in shown
    assert WHY in shown
    taken = pair.answer(run, answer)
    assert taken.returncode == 0, said(taken)
    assert "meera ratified the break-glass" in taken.stderr
    assert pair("asha", "ledger", "check", NAME).returncode == 0
    assert "TO REVIEW" not in pair("asha", "list").stdout
    story = pair("asha", "ledger", "show", NAME, run).stdout
    for told in ("BREAK-GLASS by asha: WRITE for 1 act", "meera ratified what was done under request"):
        assert told in story, story
    report = pair("asha", "report", NAME, run).stdout
    assert "by asha, ratified by meera" in report.replace("\\", "")
    verified = pair("asha", "ledger", "verify", NAME)
    assert "heads from elsewhere fit" in verified.stdout, said(
        verified
    )  # the reviewer's signature is over the end, too


def test_only_the_typed_name_signs_it(pair: Pair) -> None:
    block, shown = pair.ask(name="yes", code=2)
    assert block == ""
    assert "Nothing was signed" in shown
    words = ("request", NAME, "book", "--break-glass", "--incident", pair.incident, "--reason", WHY)
    alone = pair("asha", *words, stdin=f"{NAME}\n")
    assert alone.returncode == 2, said(alone)
    assert "There is no terminal to ask on" in alone.stderr
    forced = pair("asha", *words, "--yes")
    assert forced.returncode == 2
    assert "--yes" in forced.stderr
    assert not pair.kit.events(Requested)


@pytest.mark.parametrize(
    ("who", "more", "says"),
    [
        ("meera", {}, f"The break-glass of {NAME} is not for meera."),
        ("asha", {"--reason": "it is broken"}, "a reason of at least 30 letters"),
        ("asha", {"--for": "11m"}, "lasts 10 min at most"),
        ("asha", {"--incident": "INC-9999"}, "no incident 'INC-9999'"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_typed(
    pair: Pair, who: str, more: dict[str, str], says: str
) -> None:
    given = {"--incident": pair.incident, "--reason": WHY, **more}
    done = pair(who, "request", NAME, "book", "--break-glass", *(word for pair_ in given.items() for word in pair_))
    assert (done.returncode, done.stdout) == (1, ""), said(done)
    assert says in done.stderr


def test_without_a_review_there_is_no_second_one_and_two_people_sign(pair: Pair, tmp_path: Path) -> None:
    run = pair.broken()
    words = ("request", NAME, "book", "--incident", pair.incident, "--reason", WHY)
    again = pair("asha", *words, "--break-glass")
    assert again.returncode == 1, said(again)
    assert "until then there is no further one" in again.stderr
    assert f"envtui review {NAME}" in again.stderr
    asked = pair("asha", *words)
    assert asked.returncode == 0, said(asked)
    assert "for 2 signatures" in asked.stderr
    one = pair("meera", "sign", NAME, "--yes", stdin=asked.stdout)
    assert "OWES" in one.stderr
    assert "two people sign until then" in one.stderr
    grant = tmp_path / "both"
    grant.write_text(asked.stdout + one.stdout)
    refused = pair("asha", "run", NAME, "book", "--grant", str(grant))
    assert refused.returncode == 3, said(refused)
    assert "1 more sign-off is needed because nobody reviewed the break-glass" in refused.stderr
    two = pair("tom", "sign", NAME, "--yes", stdin=asked.stdout)
    grant.write_text(asked.stdout + one.stdout + two.stdout)
    done = pair("asha", "run", NAME, "book", "--grant", str(grant))
    assert done.returncode == 0, said(done)
    assert pair.kit.run().id != run


def test_a_dispute_pays_and_is_loud(pair: Pair) -> None:
    run = pair.broken()
    record = pair.record(run)
    bare = pair("meera", "dispute", NAME, stdin=record)
    assert bare.returncode == 2
    assert "--reason" in bare.stderr
    why = "the certificate had expired, the policy was right"
    answer, _ = pair.typed("meera", "dispute", NAME, "--reason", why, stdin=record)
    taken = pair.answer(run, answer)
    assert taken.returncode == 0, said(taken)
    assert "meera DISPUTED the break-glass" in taken.stderr
    story = pair("asha", "ledger", "show", NAME, run).stdout
    assert "meera DISPUTES what was done under request" in story
    assert why in story
    assert "DISPUTED by meera" in pair("asha", "report", NAME, run).stdout.replace("\\", "")
    assert pair("asha", "ledger", "check", NAME).returncode == 0


def test_ones_own_review_and_another_runs_review_pay_nothing(pair: Pair) -> None:
    run = pair.broken()
    record = pair.record(run)
    got, shown = pair.typed("asha", "ratify", NAME, stdin=record, code=1)
    assert got == ""
    assert "asha broke the glass and cannot review it" in shown
    assert "Ask meera" in shown
    alone = pair("meera", "ratify", NAME, stdin=record)
    assert (alone.returncode, alone.stdout) == (2, "")
    altered = record.splitlines()
    altered[2] = altered[2][::-1]
    broken = pair("meera", "ratify", NAME, stdin="\n".join(altered))
    assert broken.returncode in (1, 2), said(broken)
    answer, _ = pair.typed("meera", "ratify", NAME, stdin=record)
    for text, code in ((record, 2), ("nothing", 2)):
        assert pair.answer(run, text).returncode == code
    assert not pair.kit.events(SignedOff)
    assert not pair.kit.events(SignOffRefused)
    elsewhere = pair("asha", "review", NAME, "01ARZ3NDEKTSV4RR", "--answer", "-", stdin=answer)
    assert elsewhere.returncode == 2, said(elsewhere)
    assert "has no break-glass" in elsewhere.stderr
    assert pair("asha", "ledger", "check", NAME).returncode == 6


def test_a_review_after_its_time_is_late_and_counts(pair: Pair) -> None:
    pair.kit.manifest(pair.kit.access.replace("review_due: 2h", "review_due: 1ms"))
    for who in ("meera", "tom"):
        assert pair(who, "trust", NAME, "--yes").returncode == 0
    run = pair.broken()
    assert "OVERDUE since" in pair("asha", "review", NAME).stdout
    answer, _ = pair.typed("meera", "ratify", NAME, stdin=pair.record(run))
    taken = pair.answer(run, answer)
    assert taken.returncode == 0, said(taken)
    assert "It came late." in taken.stderr
    assert ", late" in pair("asha", "report", NAME, run).stdout.replace("\\", "")


def test_people_are_called_as_it_begins_and_as_it_ends(pair: Pair) -> None:
    with paging() as pager:
        pair.calls(f"{{http: '{pager.url}'}}")
        block, shown = pair.ask()
        assert "People are called (notify) the moment it begins." in shown
        assert pager.got == []
        (pair.folder / "grant").write_text(block)
        done = pair("asha", "run", NAME, "book", "--grant", str(pair.folder / "grant"))
        assert done.returncode == 0, said(done)
        begun, ended = pager.got
    assert "BREAK-GLASS" in begun["subject"]
    assert "asha" in begun["subject"]
    assert WHY in begun["text"]
    assert pair.incident in begun["text"]
    assert "BREAK-GLASS" in ended["subject"]
    assert "over" in ended["subject"]
    told = [one for one in pair.kit.events(Told) if one.to == "notify"]
    assert [one.delivered for one in told] == [True, True]
    assert "told people: " in done.stderr
    run = pair.kit.run().id
    assert "told people: " in pair("asha", "ledger", "show", NAME, run).stdout
    assert "told people" in pair("asha", "report", NAME, run).stdout
    review = pair("asha", "review", NAME, run)
    assert "told people: " in review.stderr


@pytest.mark.parametrize("down", ["refuses", "is gone", "nobody is named"])
def test_who_cannot_be_reached_hinders_nothing_and_is_not_delivered(pair: Pair, down: str) -> None:
    with paging(503) as pager:
        why = "503"
        if down != "nobody is named":
            pair.calls(f"{{http: '{pager.url}'}}")
        if down == "nobody is named":
            why = "the manifest names nobody"
        if down == "is gone":
            pager.shutdown()
            pager.server_close()
            why = "127.0.0.1"
        block, shown = pair.ask()
        assert ("NOBODY IS CALLED" in shown) is (down == "nobody is named")
        (pair.folder / "grant").write_text(block)
        done = pair("asha", "run", NAME, "book", "--grant", str(pair.folder / "grant"))
    assert done.returncode == 0, said(done)
    assert (pair.folder / "first").exists()
    told = [one for one in pair.kit.events(Told) if one.to == "notify"]
    assert [one.delivered for one in told] == [False, False]
    assert all(why in one.why for one in told)
    assert "NOT DELIVERED to people: " in done.stderr
    run = pair.kit.run().id
    assert "NOT DELIVERED to people" in pair("asha", "ledger", "show", NAME, run).stdout
    assert "NOT DELIVERED to people" in pair("asha", "report", NAME, run).stdout
    assert "NOT DELIVERED to people" in pair("asha", "review", NAME, run).stderr
    check = pair("asha", "check")
    assert ("nobody is called when the glass is broken" in check.stdout) is (down == "nobody is named")
