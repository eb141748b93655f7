"""The standard streams, so that none of them can end a run half-way: a reader that goes away, a full disk, a stream that
whoever started us closed.

What cannot be written is dropped and remembered; the verb goes on to its end, and the ledger has all of it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2


class Lossy(io.FileIO):
    """Writes as long as somebody takes it. `lost` is why nobody does any more."""

    lost: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Says that all was written, always."""
        view = memoryview(data)
        done = 0
        while self.lost is None and done < view.nbytes:
            try:
                written = super().write(view[done:])
            except OSError as error:
                self.lost = error
                break
            if written is None:  # somebody else made our terminal non-blocking
                import select

                select.select([], [self], [])
            else:
                done += written
        return view.nbytes


def prepare() -> None:
    """Make the streams of this process such. Streams that are no files of ours (a test's) keep what they are.

    No text may end a run either: what an encoding cannot show is escaped, and binary input is replaced.
    """
    for number in (STDIN, STDOUT, STDERR):
        _occupy(number)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - it stays open as long as the process
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    sys.stdout = _lossy(sys.stdout, STDOUT)
    sys.stderr = _lossy(sys.stderr, STDERR)


def lost() -> str:
    """Why stdout was not written to its end; '' when it was, and when its reader merely had enough (`| head`)."""
    error = _error()
    return "" if error is None or error.errno == errno.EPIPE else error.strerror or str(error)


def unread() -> bool:
    """Whether what was written to stdout has no reader any more."""
    error = _error()
    return error is not None and error.errno == errno.EPIPE


def _error() -> OSError | None:
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, Lossy) else None


def _occupy(number: int) -> None:
    """A closed descriptor would be given to the next file that is opened, and a stray word would be written into it."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def _lossy(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return _writer(number, "utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    raw = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer between
    if not isinstance(raw, io.FileIO) or isinstance(raw, Lossy) or raw.fileno() != number:
        return stream
    stream.flush()
    return _writer(number, stream.encoding, stream.line_buffering)


def _writer(number: int, encoding: str, lines: bool = False) -> TextIO:
    buffer = io.BufferedWriter(Lossy(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=lines or number == STDERR)
