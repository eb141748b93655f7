"""Two people, two homes, one checkout each: the outage's write access by paste, on the command line. No servers."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from envtui.cli.main import main

MANIFEST = """\
schema: envtui/environment@1
name: production
purpose: "Real customers"
data: production
credentials:
  shell: {kind: ssh, access: read, user: ro, key: "file:~/.ssh/production"}
  shell-write: {kind: ssh, access: write, user: rw, key: "file:~/.ssh/production-write"}
targets:
  gateway: {kind: ssh, hosts: ["gw1=gw1.production.example:22"], read: shell, write: shell-write}
identity:
  ssh: {argv: [hostname], matches: production}
access:
  incident: {tracker: file, path: REGISTER}
  signoff: {min: 1, roles: [on-call], same_machine: allowed}
  write_gate: advisory
"""
BOOK = """\
schema: envtui/runbook@1
id: revert
environment: production
title: "Revert the policy"
owner: team
defaults: {target: gateway}
params:
  window: {type: duration, default: 5m}
steps:
  - id: revert
    kind: ssh
    mode: write
    argv: [gatewayctl, policy, revert]
    repeatable: true
"""
PEOPLE = """\
schema: envtui/people@1
people:
  asha: {name: Asha, principals: [asha], roles: [on-call]}
  meera: {name: Meera, principals: [meera], roles: [on-call]}
"""
REASON = "revert the 09:38 policy"


class Play:
    """Does what a person types, in their own home and checkout."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capture = folder, patch, capture

    def variables(self, who: str) -> dict[str, str]:
        return {
            "ENVTUI_RUNBOOKS": str(self.folder / who / "runbooks"),
            "ENVTUI_STATE": str(self.folder / who / "state"),
            "ENVTUI_CONFIG": str(self.folder / who / "config.toml"),
        }

    def __call__(self, who: str, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        for name, value in self.variables(who).items():
            self._patch.setenv(name, value)
        self._patch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(words)
        said = self._capture.readouterr()
        return code, said.out, said.err


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Play:
    line = '{who} namespaces="request.v1.production@envtui,approve.v1.production@envtui" {key}\n'
    signers = ""
    for who in ("asha", "meera"):
        home = tmp_path / who
        home.mkdir(mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "key")], check=True)
        (home / "config.toml").write_text(f'operator = "{who}"\nsigning_key = "file:{home}/key"\n')
        (home / "config.toml").chmod(0o600)
        signers += line.format(who=who, key=" ".join((home / "key.pub").read_text().split()[:2]))
    tree = tmp_path / "asha" / "runbooks" / "production"
    files = {
        "environment.yaml": MANIFEST.replace("REGISTER", str(tmp_path / "register.jsonl")),
        "books/revert.yaml": BOOK,
        "access/people.yaml": PEOPLE,
        "access/allowed_signers": signers,
        "known_hosts": f"gw1.production.example {(tmp_path / 'asha' / 'key.pub').read_text()}",
    }
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    for folder in (tree.parent, *tree.parent.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o755)
    shutil.copytree(tmp_path / "asha" / "runbooks", tmp_path / "meera" / "runbooks")
    made = Play(tmp_path, monkeypatch, capsys)
    for who in ("asha", "meera"):
        code, _, said = made(who, "trust", "production", "--yes")
        assert code == 0, said
    return made


@pytest.fixture
def incident(play: Play) -> str:
    code, out, said = play("asha", "incident", "open", "production", "--title", "403 for everyone")
    assert code == 0, said
    return out.strip()


@pytest.fixture
def asking(play: Play, incident: str) -> Iterator[Callable[..., str]]:
    def ask(*more: str) -> str:
        words = ("request", "production", "revert", "--incident", incident, "--reason", REASON, *more)
        code, block, said = play("asha", *words)
        assert code == 0, said
        assert "meera" in said
        return block

    return ask


def test_incident_request_sign(play: Play, incident: str, asking: Callable[..., str]) -> None:
    assert incident == "INC-1001"
    block = asking()
    code, answer, said = play("meera", "sign", "production", "--yes", stdin=f"> please:\n{block}")
    assert code == 0, said
    assert answer.startswith("-----BEGIN ENVTUI SIGN-OFF-----")
    for shown in ("asha (SHA256:", "INC-1001 · OPEN · 403 for everyone", REASON, "gatewayctl policy revert", "30 min"):
        assert shown in said
    assert "ssh rw@gw1.production.example:22" in said


def test_what_the_requester_cannot_do_alone(play: Play, asking: Callable[..., str]) -> None:
    code, answer, said = play("asha", "sign", "production", "--yes", stdin=asking())
    assert (code, answer) == (1, "")
    assert "asha asked for this access and cannot approve it." in said
    assert "Ask meera." in said


def test_another_checkout_is_noticed_by_the_approver(play: Play, asking: Callable[..., str]) -> None:
    block = asking("--full")
    book = play.folder / "meera" / "runbooks" / "production" / "books" / "revert.yaml"
    book.write_text(BOOK.replace("[gatewayctl, policy, revert]", "[gatewayctl, policy, show]"))
    code, answer, said = play("meera", "sign", "production", "--yes", stdin=block)
    assert (code, answer) == (1, "")
    assert "DIFFERS" in said
    assert "book_sha256" in said or '"revert" there, "show" here' in said


def test_a_closed_incident_and_a_denial(play: Play, incident: str, asking: Callable[..., str]) -> None:
    block = asking()
    assert play("meera", "incident", "close", "production", incident)[0] == 0
    code, answer, said = play("meera", "sign", "production", "--yes", stdin=block)
    assert (code, answer) == (1, "")
    assert "INC-1001 is closed" in said
    code, answer, _ = play("meera", "sign", "production", "--deny", "--reason", "it is over", "--yes", stdin=block)
    assert code == 0
    assert "SIGN-OFF" in answer
    code, out, _ = play("asha", "incident", "list", "production")
    assert code == 0
    assert "CLOSED" in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--incident", "INC-1001", "--reason", "."), 1, "not a reason"),
        (("--incident", "INC-9", "--reason", REASON), 1, "no incident"),
        (("--reason", REASON), 2, "Write access to production needs an incident, and none was named."),
        (
            ("--reason", REASON, "--incident="),
            2,
            "Give one with --incident ID. Those there are: envtui incident list production.",
        ),
        (("--incident", "INC-1001", "--reason", REASON, "--for", "30d"), 1, "30 d of write access were asked for"),
        (("--incident", "INC-1001", "--reason", REASON, "--for", "9" * 400 + "d"), 2, "is no duration"),
        (("--incident", "INC-1001", "--reason", REASON, "--for", "2h"), 1, "up to 30m"),
        (("--incident", "INC-1001", "--reason", REASON, "--for", "soon"), 2, "no duration"),
        (("--incident", "INC-1001", "--reason", REASON, "-p", "windy=1"), 2, "windy"),
    ],
)
def test_requests_that_nobody_could_sign(
    play: Play, incident: str, words: tuple[str, ...], code: int, says: str
) -> None:
    ended, out, said = play("asha", "request", "production", "revert", *words)
    assert (ended, out) == (code, "")
    assert says in said


def test_incidents_that_cannot_be_recorded(play: Play, incident: str) -> None:
    for words, code, says in (
        (("open", "production", "--title", "x\x1b[2J"), 2, "a title of one line"),
        (("open", "production", "--title", "x" * 10_000), 2, "a title of one line"),
        (("open", "production", "--title", "x", "--severity", "\udcff"), 2, "A severity is one line"),
        (("open", "production", "--title", "x", "--id", "y" * 10_000), 2, "is not an incident's id here"),
        (("close", "production", "INC-7"), 1, "`envtui incident list ENV` shows those that are"),
        (("close", "production", "x" * 10_000), 1, "There is no incident"),
        (("list",), 2, "the following arguments are required: ENV"),
        (("lst",), 2, "invalid choice"),
    ):
        ended, out, said = play("asha", "incident", *words)
        assert (ended, out) == (code, ""), said
        assert says in said
        assert len(said) < 1500
    assert len(play("asha", "incident", "list", "production")[1].splitlines()) == 1


def test_a_register_without_an_incident_says_so(play: Play) -> None:
    code, out, said = play("asha", "incident", "list", "production")
    assert (code, out) == (0, "")
    assert "envtui incident open production --title TEXT" in said


def test_a_text_without_a_request(play: Play) -> None:
    code, out, said = play("meera", "sign", "production", "--yes", stdin="can you sign this?")
    assert (code, out) == (2, "")
    assert "no request block" in said


def test_nothing_is_signed_or_recorded_in_a_tree_that_changed(play: Play, asking: Callable[..., str]) -> None:
    block = asking()
    signers = play.folder / "meera" / "runbooks" / "production" / "access" / "allowed_signers"
    signers.write_text(signers.read_text() + "# one more\n")
    assert play("meera", "sign", "production", "--yes", stdin=block)[0] == 7
    assert play("meera", "incident", "open", "production", "--title", "x")[0] == 7


def test_the_environment_is_typed_on_the_terminal_while_the_block_comes_by_stdin(
    play: Play, asking: Callable[..., str]
) -> None:
    (play.folder / "ask").write_text(asking())
    variables = {**os.environ, **play.variables("meera"), "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"}
    command = f"{sys.executable} -m envtui sign production < ask > answer"
    for typed, code in (("staging", 2), ("production", 0)):
        child = pexpect.spawn(
            "/bin/sh", ["-c", command], cwd=str(play.folder), env=variables, timeout=60, encoding="utf-8"
        )
        child.expect("Type production to approve: ")
        child.sendline(typed)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code
    assert "SIGN-OFF" in (play.folder / "answer").read_text()
