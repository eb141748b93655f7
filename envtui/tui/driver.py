"""Textual's driver for a terminal, which survives that the terminal goes away."""

from __future__ import annotations

import contextlib
import sys
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
    """`LinuxDriver`, and it does not wait for a terminal that closed."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        assert sys.__stderr__ is not None  # a terminal was asked for before
        self._file = _UntilItIsGone(sys.__stderr__)  # type: ignore[assignment]  # all that Textual uses of it is here
