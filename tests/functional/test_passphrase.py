"""A key with a passphrase: ssh-keygen asks for it on the real terminal, and it is nowhere else: in no argument, variable,
file, output, and not in our process at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from test_tui_terminal import ALTERNATE_OFF, ROOT, Terminal, terminal
from tui_kit import Targets, grow, incident, world

PHRASE = "correct-horse-17-battery"
REASON = "Go back to what worked"
ASKED = "ssh-keygen asks for the passphrase of"
PATIENCE = 30

ONLY = """\
schema: envtui/runbook@1
id: only
environment: production
title: "Only a write"
owner: team
steps:
  - {id: back, kind: ssh, target: gateway, mode: write, argv: [gatewayctl, revert], repeatable: true}
"""


def lock(folder: Path) -> Path:
    """A world whose signing key has a passphrase; the key."""
    (folder / "runbooks/production/books/only.yaml").write_text(ONLY)
    key = folder / "home/.ssh/asha"
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PHRASE, "-f", str(key)], check=True, capture_output=True)
    return key


def processes() -> dict[int, bytes]:
    """Arguments and variables of every process, as `ps` and /proc show them."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes() + b"\0\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
    return found


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            named = task.read_text()
        except OSError:  # a thread that has ended meanwhile
            continue
        for child in map(int, named.split()):
            found += [child, *children(child)]
    return found


def remembers(pid: int, what: str) -> bool:
    """Whether the memory of a process holds these bytes."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(at, 16) for at in line.split()[0].split("-"))
            if "rw" in line.split()[1] and "[v" not in line:
                try:
                    memory.seek(start)
                    if what.encode() in memory.read(end - start):
                        return True
                except OSError:
                    continue
    return False


def written(folder: Path) -> list[Path]:
    """The files that hold the passphrase."""
    return [path for path in folder.rglob("*") if path.is_file() and PHRASE.encode() in path.read_bytes()]


def asking(pid: int) -> int:
    """The process that asks: ssh-keygen, a child of ours, with nothing in its arguments and variables."""
    found = processes()
    (keygen,) = (child for child in children(pid) if found.get(child, b"").startswith(b"ssh-keygen\0-Y\0sign"))
    assert not [one for one, said in found.items() if PHRASE.encode() in said]
    assert b"SSH_ASKPASS_REQUIRE=never" in found[keygen]
    return keygen


def ends(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"{pid} goes on"
        time.sleep(0.02)


class Line:
    """`envtui request` at a terminal, up to the question."""

    def __init__(self, folder: Path, redirections: str = "", **variables: str) -> None:
        own = grow(folder)
        lock(folder)
        name = incident(world(own, Targets()))
        self.folder = folder
        words = f"request production only --incident {name} --reason '{REASON}' {redirections}"
        self.child = pexpect.spawn(
            "/bin/sh",
            ["-c", f'{sys.executable} -m envtui {words}; echo "ended $?"; stty -a | grep -o " -*echo "; cat'],
            env={**own, "PYTHONPATH": str(ROOT), "TERM": "dumb", "SSH_ASKPASS": "/bin/false", "DISPLAY": ":9", **variables},
            timeout=PATIENCE,
        )  # fmt: skip
        self.child.delaybeforesend = None

    def asked(self) -> int:
        """ssh-keygen's process, once it asks and hides what is typed."""
        self.child.expect_exact(ASKED)
        self.child.expect(r"Enter passphrase[^\r\n]*: ")
        assert self.child.waitnoecho(PATIENCE)
        return asking(self.child.pid)

    def ended(self) -> tuple[int, str]:
        """(exit code, what it said), with the terminal as it was before."""
        self.child.expect(r"ended (\d+)")
        code, said = int(self.child.match[1]), self.child.before.decode()
        self.child.expect(r"(-?)echo ")
        assert self.child.match[1] == b"", "what is typed stays hidden"
        assert PHRASE not in said
        return code, said


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def begin(redirections: str = "", **variables: str) -> Line:
        made.append(Line(tmp_path, redirections, **variables))
        return made[-1]

    yield begin
    for each in made:
        each.child.close(force=True)


@pytest.mark.parametrize("redirections", ["", "> block < /dev/null"], ids=["plain", "into a file"])
def test_the_right_passphrase_signs_and_is_nowhere(
    line: Callable[..., Line], tmp_path: Path, redirections: str
) -> None:
    at = line(redirections.replace("block", str(tmp_path / "block")), ENVTUI_DEBUG="1")
    at.asked()
    at.child.send(PHRASE)
    ours = next(pid for pid in children(at.child.pid) if b"envtui" in processes().get(pid, b""))
    keygen = asking(at.child.pid)
    at.child.send("\n")
    ends(keygen)
    code, said = at.ended()
    assert code == 0, said
    block = said if not redirections else (tmp_path / "block").read_text()
    assert "-----END ENVTUI REQUEST-----" in block
    assert (b"-----BEGIN" in at.child.before) is False
    assert not written(tmp_path)
    ends(ours)


def test_a_wrong_passphrase_is_said_so(line: Callable[..., Line], tmp_path: Path) -> None:
    at = line()
    at.asked()
    at.child.send("not it\n")
    code, said = at.ended()
    assert code == 1
    assert "That was not the passphrase of" in said
    assert "BEGIN" not in said


def test_ctrl_c_at_the_question_leaves_the_terminal_as_it_was(line: Callable[..., Line], tmp_path: Path) -> None:
    at = line("")
    keygen = at.asked()
    at.child.send(PHRASE[:9])
    at.child.sendintr()
    ends(keygen)
    at.child.send("\n")
    assert not written(tmp_path)


def test_ctrl_c_ends_the_command(tmp_path: Path) -> None:
    """Without a shell around it, whose own end would hide what became of the terminal."""
    own = grow(tmp_path)
    lock(tmp_path)
    name = incident(world(own, Targets()))
    words = ["-m", "envtui", "request", "production", "only", "--incident", name, "--reason", REASON]
    child = pexpect.spawn(sys.executable, words, env={**own, "PYTHONPATH": str(ROOT), "TERM": "dumb"}, timeout=PATIENCE)
    try:
        child.expect(r"Enter passphrase[^\r\n]*: ")
        assert child.waitnoecho(PATIENCE)
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 130, (child.exitstatus, child.before)
        assert b"Interrupted." in child.before
        assert b"Traceback" not in child.before
        assert child.getecho()
    finally:
        child.close(force=True)


@pytest.mark.parametrize("how", ["no terminal", "in the background"])
def test_without_a_terminal_it_is_refused_with_the_remedy(tmp_path: Path, how: str) -> None:
    own = grow(tmp_path)
    lock(tmp_path)
    name = incident(world(own, Targets()))
    words = f"{sys.executable} -m envtui request production only --incident {name} --reason '{REASON}'"
    variables = {**own, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    if how == "no terminal":
        done = subprocess.run(
            ["/bin/sh", "-c", words], env=variables, capture_output=True, text=True, start_new_session=True, timeout=120
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1
    else:
        child = pexpect.spawn("/bin/bash", ["-c", f"set -m; {words} & wait"], env=variables, timeout=PATIENCE)
        said = child.read().decode().replace("\r\n", "\n")
        child.close()
    assert "has a passphrase, and there is no terminal here to ask for it." in said
    assert "ssh-add" in said
    assert "BEGIN" not in said


SLOW = """
import sys
from envtui.outside import ssh_keygen
made = ssh_keygen.KeygenSigner.__init__
ssh_keygen.KeygenSigner.__init__ = lambda self, *a, **k: made(self, *a, **{**k, "asking": 0.5})
from envtui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_answer_that_never_comes_ends_and_half_of_it_is_not_the_next_command(tmp_path: Path) -> None:
    own = grow(tmp_path)
    lock(tmp_path)
    name = incident(world(own, Targets()))
    (tmp_path / "slow.py").write_text(SLOW)
    words = f"{sys.executable} {tmp_path}/slow.py request production only --incident {name} --reason '{REASON}'"
    child = pexpect.spawn(
        "/bin/sh", ["-c", f'{words}; echo "ended $?"; stty -a; head -1 | sed s/^/read:/'],
        env={**own, "PYTHONPATH": str(ROOT), "TERM": "dumb"}, timeout=PATIENCE,
    )  # fmt: skip
    try:
        child.expect(r"Enter passphrase[^\r\n]*: ")
        assert child.waitnoecho(PATIENCE)
        child.send(PHRASE[:9])
        child.expect(r"did not answer within 0\.5 s")
        child.expect(r"ended 1\b")
        child.expect(r" -?echo ")
        assert child.match[0] == b" echo "
        child.send("fresh\n")
        child.expect(r"read:([^\r\n]*)")
        assert child.match[1] == b"fresh"
    finally:
        child.close(force=True)


# --- the screens ------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys
from pathlib import Path
import tui_kit
folder = Path(sys.argv[1])
tui_kit.grow = lambda folder: json.loads((folder / "variables").read_text())
ASKING
sys.exit(tui_kit.main(folder, None, "403"))
"""


@contextmanager
def at_the_screens(folder: Path, asking: str = "") -> Iterator[Terminal]:
    """The screens in a process that was never told the passphrase."""
    (folder / "variables").write_text(json.dumps(grow(folder)))
    lock(folder)
    with terminal(folder, program=PROGRAM.replace("ASKING", asking)) as shown:
        yield shown


def to_the_question(shown: Terminal) -> int:
    """The escalate form filled in and sent; ssh-keygen's process, which asks on the plain terminal."""
    shown.until("PRODUCTION")
    shown.keys("2")
    shown.until("/ find")
    shown.keys("/only")
    shown.until("1 of 3")
    shown.keys("\r")
    shown.rest()
    shown.keys("\r")
    shown.until("starts the run")
    shown.keys("\r")
    shown.rest()
    shown.keys("R")
    shown.rest()
    shown.keys("e")
    shown.until("Ask for write access")
    shown.keys("INC-1001\r")
    shown.until("open ·")
    shown.rest()
    shown.keys(REASON)
    shown.rest()
    ask(shown)
    return asking(shown.pid)


def ask(shown: Terminal) -> None:
    before = shown.raw.count(ALTERNATE_OFF)
    shown.keys("\r")
    shown.until("Enter passphrase")
    assert shown.raw.count(ALTERNATE_OFF) == before + 1
    plain = shown.raw[shown.raw.rindex(ALTERNATE_OFF) :]
    assert ASKED.encode() in plain
    deadline = time.monotonic() + PATIENCE
    while echoes(shown):
        assert time.monotonic() < deadline, "it hides nothing"


def echoes(shown: Terminal) -> bool:
    import termios

    return bool(termios.tcgetattr(shown.fd)[3] & termios.ECHO)


def back(shown: Terminal, text: str) -> None:
    """The whole screen is there again, and takes keys."""
    shown.until(text)
    shown.rest()
    assert "Ask for write access" in shown.screen
    assert "PRODUCTION" in shown.screen
    assert shown.raw.rindex(b"\x1b[?1049h") > shown.raw.rindex(ALTERNATE_OFF)
    assert "Enter passphrase" not in shown.screen


def leave(shown: Terminal) -> None:
    shown.keys("\x1b")
    shown.rest()
    shown.keys("q")
    assert shown.end() == 0
    assert PHRASE.encode() not in shown.raw


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[Terminal]:
    with at_the_screens(tmp_path) as shown:
        yield shown


def test_the_screens_step_aside_for_the_question_and_come_back(screens: Terminal, tmp_path: Path) -> None:
    keygen = to_the_question(screens)
    for at, letter in enumerate(PHRASE):  # the clock of the screens goes on meanwhile, and writes nothing
        os.write(screens.fd, letter.encode())
        if at == 8:
            seen = len(screens.raw)
            screens.read(3)
            assert len(screens.raw) == seen
    asking(screens.pid)
    os.write(screens.fd, b"\n")
    ends(keygen)
    back(screens, "answers")
    assert remembers(screens.pid, REASON)
    assert not remembers(screens.pid, PHRASE)
    assert not written(tmp_path)
    leave(screens)


def test_a_wrong_passphrase_and_ctrl_c_bring_the_screens_back_and_nothing_was_asked(
    screens: Terminal, tmp_path: Path
) -> None:
    to_the_question(screens)
    os.write(screens.fd, b"wrong\n")
    back(screens, "That was not the passphrase of")
    ask(screens)
    keygen = asking(screens.pid)
    os.write(screens.fd, PHRASE[:9].encode())
    os.write(screens.fd, b"\x03")
    ends(keygen)
    back(screens, "Nothing was signed")
    assert PHRASE[:9] not in screens.screen  # half a passphrase is no key of the form
    ask(screens)
    os.write(screens.fd, f"{PHRASE}\n".encode())
    back(screens, "answers")
    assert not remembers(screens.pid, PHRASE)
    leave(screens)


def test_time_that_is_over_brings_the_screens_back(tmp_path: Path) -> None:
    slow = SLOW[: SLOW.index("from envtui.cli.main")].replace("0.5", "3.0")
    with at_the_screens(tmp_path, slow) as shown:
        keygen = to_the_question(shown)
        os.write(shown.fd, PHRASE[:9].encode())
        ends(keygen)
        back(shown, "did not answer within 3 s")
        assert PHRASE[:9] not in shown.screen
        assert not echoes(shown)
        leave(shown)
        assert re.search(rb"\x1b\[\?1049l", shown.raw)


def test_a_signal_at_the_question_ends_in_order_with_a_plain_terminal(screens: Terminal) -> None:
    import signal
    import termios

    keygen = to_the_question(screens)
    os.kill(screens.pid, signal.SIGTERM)
    closed = os.dup(screens.fd)
    assert screens.end() == 143
    ends(keygen)
    assert screens.raw.rindex(ALTERNATE_OFF) > screens.raw.rindex(b"\x1b[?1049h")
    assert termios.tcgetattr(closed)[3] & termios.ECHO
    os.close(closed)
