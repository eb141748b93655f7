"""Textual's driver for a terminal, which survives that the terminal goes away, and that it is lent for a moment."""

from __future__ import annotations

import contextlib
import sys
import termios
from typing import IO, Any

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver


class _UntilItIsGone:
    """A stream whose writes go nowhere once its terminal has closed.

    Textual's writer thread ends with the first failed write, and the application then waits forever for a place in its
    queue: it would live on without a terminal, with its connections and its write access.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


class TerminalDriver(LinuxDriver):
    """`LinuxDriver`, and it does not wait for a terminal that closed; while another program has it, nothing is written.

    (Textual's own would put what is written meanwhile into a queue that nobody empties, and wait when it is full.)
    """

    _lent = False
    _over = False

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        assert sys.__stderr__ is not None  # a terminal was asked for before
        self._file = _UntilItIsGone(sys.__stderr__)  # type: ignore[assignment]  # all that Textual uses of it is here

    def suspend_application_mode(self) -> None:
        super().suspend_application_mode()
        self._lent = True

    def resume_application_mode(self) -> None:
        """As it was before it was lent: what that program hid is shown again, and what was typed too late is no key."""
        self._lent = False
        if self._over:
            return
        if self.attrs_before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSAFLUSH, self.attrs_before)
        super().resume_application_mode()

    def stop_application_mode(self) -> None:
        if self._lent:  # the application ended meanwhile: the terminal is plain already, and stays so
            self._over = True
        else:
            super().stop_application_mode()

    def write(self, data: str) -> None:
        if not self._lent:
            super().write(data)
