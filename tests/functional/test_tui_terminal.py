"""The screens on a real pseudo-terminal: what reaches it, and how it is left behind."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest
from tui_kit import grow

KIT = Path(__file__).with_name("tui_kit.py")
ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
RAW = {
    "a title": b"\x1b]0;PWN",
    "the clipboard": b"\x1b]52;",
    "an erased screen": b"\x1b[2J\xc2",
    "8-bit control": "\x9b".encode(),
    "a change of direction": "\u202e".encode(),
    "delete": b"\x7f",
}
ALTERNATE_OFF, MOUSE_OFF, CURSOR_ON = b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?25h"


class Terminal:
    """A terminal of 100x30 with the screens in it; `screen` is what a person sees, `raw` every byte that came."""

    def __init__(self, argv: list[str], variables: dict[str, str], size: tuple[int, int] = (100, 30)) -> None:
        self.columns, self.rows = size
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))
            os.execve(argv[0], argv, variables)
        self.raw = b""
        self.display = pyte.Screen(self.columns, self.rows)
        self._stream = pyte.ByteStream(self.display)

    @property
    def screen(self) -> str:
        return "\n".join(self.display.display)

    def read(self, seconds: float) -> bool:
        """Take what comes within `seconds`. False: the other end is closed."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < deadline, f"{text!r} never came:\n{self.screen}"
            assert self.read(0.1), f"it ended before {text!r}:\n{self.raw[-3000:].decode(errors='replace')}"

    def keys(self, text: str) -> None:
        for letter in text:
            os.write(self.fd, letter.encode())
            self.read(0.05)

    def rest(self, quiet: float = 0.4) -> None:
        """Until nothing came for a moment."""
        seen = -1
        while seen != len(self.raw):
            seen = len(self.raw)
            self.read(quiet)

    def end(self) -> int:
        """Its exit code, after everything that it still said."""
        while self.read(PATIENCE):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def resize(self, columns: int, rows: int) -> None:
        self.display.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)


@contextmanager
def terminal(folder: Path, *, program: str = "", **variables: str) -> Iterator[Terminal]:
    argv = [sys.executable, *(["-c", program] if program else [str(KIT)]), str(folder)]
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "COLORTERM", "COLUMNS", "LINES")}
    shown = Terminal(
        argv,
        {
            **clean,
            "PYTHONPATH": f"{ROOT}:{KIT.parent}",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            **variables,
        },
    )
    try:
        yield shown
    finally:
        if shown.pid:
            os.kill(shown.pid, signal.SIGKILL)
            os.waitpid(shown.pid, 0)
        os.close(shown.fd)


def through_the_screens(shown: Terminal) -> None:
    """Every screen with something hostile in it."""
    shown.until("PRODUCTION")
    shown.keys("2")
    shown.until("/ find")
    shown.keys("d")
    shown.until("ssh 2/2")
    shown.keys("/locked")
    shown.until("1 of 2")
    shown.keys("\r")
    shown.rest()
    shown.keys("\r")
    shown.until("starts the run")
    shown.keys("\r")
    shown.until("does up")
    shown.keys("R")
    shown.until("choose a row")
    shown.keys("a")
    shown.until("enter choose")
    shown.rest()
    assert "second [/markup]" in shown.screen
    shown.keys("\r")
    shown.until("1 the policy")
    shown.rest()
    shown.keys("a")
    shown.until("enter choose")
    shown.rest()
    shown.keys("\x1b")
    shown.rest()
    shown.until("WRITE")
    shown.keys("y")
    shown.until("Copy")
    shown.keys("2")
    shown.rest()
    shown.keys("e")
    shown.until("incident (required)")
    shown.keys("INC-1001\r")
    shown.until("sev1")
    shown.keys("\x1b")
    shown.rest()
    shown.until("locked out")
    shown.keys("g")
    shown.rest()
    shown.keys("l")
    shown.until("entries")
    shown.keys("\x1b[A\x1b[A\x1b[A\r")
    shown.rest()


def test_nothing_hostile_reaches_the_terminal_and_nothing_of_it_is_markup(tmp_path: Path) -> None:
    with terminal(tmp_path) as shown:
        through_the_screens(shown)
        copied = shown.raw.count(b"\x1b]52;")
        raw = shown.raw
    assert copied == 1, "only the copy key sends to the clipboard"
    text = base64.b64decode(re.findall(rb"\x1b\]52;c;([^\x07]*)\x07", raw)[0]).decode()
    assert text.startswith("kept")
    assert not set(text) & set("\x1b\x07\x9b\u202e\x7f")
    for what, found in RAW.items():
        if what != "the clipboard":
            assert found not in raw, f"{what} reached the terminal"
    assert b"kept" in raw
    assert b"UFdORUQ=" not in raw
    assert b"[/markup]" in raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_it_in_order_and_restores_the_terminal(tmp_path: Path, number: signal.Signals) -> None:
    with terminal(tmp_path) as shown:
        shown.until("PRODUCTION")
        shown.keys("2")
        shown.until("/ find")
        os.kill(shown.pid, number)
        code = shown.end()
        assert code == 143
        for restored in (ALTERNATE_OFF, MOUSE_OFF, CURSOR_ON):
            assert restored in shown.raw


def test_a_closed_terminal_ends_the_process(tmp_path: Path) -> None:
    with terminal(tmp_path) as shown:
        shown.until("PRODUCTION")
        closed, shown.fd = shown.fd, os.open(os.devnull, os.O_RDONLY)
        os.close(closed)
        deadline = time.monotonic() + PATIENCE
        pid = 0
        while pid == 0:
            assert time.monotonic() < deadline, "it lives on without a terminal"
            pid, _ = os.waitpid(shown.pid, os.WNOHANG)
            time.sleep(0.05)
        shown.pid = 0


CRASH = """
import sys
from pathlib import Path
import tui_kit
from envtui.tui.screens.runbooks import RunbooksScreen

def crash(self):
    dsn = "postgresql://svc:HUNTER2@db"
    raise RuntimeError("\\x1b]0;PWNED\\x07 it broke")

RunbooksScreen.action_find = crash
sys.exit(tui_kit.main(Path(sys.argv[1]), None, "403"))
"""


def test_a_crash_says_where_and_shows_no_variable(tmp_path: Path) -> None:
    with terminal(tmp_path, program=CRASH) as shown:
        shown.until("PRODUCTION")
        shown.keys("2")
        shown.until("/ find")
        shown.keys("/")
        code = shown.end()
        after = shown.raw[shown.raw.rindex(ALTERNATE_OFF) :]
        assert code == 1
        assert b"it broke" in after
        assert b"action_find" in after or b"crash" in after
        assert b"HUNTER2" not in shown.raw
        assert RAW["a title"] not in shown.raw


def test_without_colour_words_and_borders_say_everything(tmp_path: Path) -> None:
    with terminal(tmp_path, NO_COLOR="1") as shown:
        shown.until("PRODUCTION")
        shown.keys("2")
        shown.until("/ find")
        assert "PRODUCTION" in shown.screen
        assert "READ-ONLY" in shown.screen
        assert "┏" in shown.screen  # heavy: the last environment
        coloured = [
            cell
            for line in shown.display.buffer.values()
            for cell in line.values()
            if len(cell.fg) == 6 and len({cell.fg[:2], cell.fg[2:4], cell.fg[4:]}) > 1
        ]
        assert not coloured


def test_it_follows_the_terminal_down_to_sixty_columns_and_back(tmp_path: Path) -> None:
    with terminal(tmp_path) as shown:
        shown.until("PRODUCTION")
        shown.keys("2")
        shown.until("/ find")
        shown.resize(60, 20)
        shown.until("revert")
        shown.keys("\r")
        shown.read(1)
        shown.resize(120, 40)
        shown.until("PRODUCTION")


@pytest.mark.parametrize(
    ("term", "piped"), [("xterm-256color", True), ("dumb", False)], ids=["not a terminal", "TERM=dumb"]
)
def test_without_a_terminal_nothing_is_drawn_and_the_exit_code_is_2(tmp_path: Path, term: str, piped: bool) -> None:
    variables = {**os.environ, **grow(tmp_path), "TERM": term, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "envtui"]
    if piped:
        done = subprocess.run(argv, env=variables, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        said, code = done.stdout + done.stderr, done.returncode
        assert done.stdout == b""
    else:
        shown = Terminal(argv, variables)
        code = shown.end()
        said = shown.raw
        os.close(shown.fd)
    assert code == 2
    assert b"\x1b" not in said
    assert b"--help" in said
