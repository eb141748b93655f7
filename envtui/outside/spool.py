"""Output on disk first: one file for each act, written once, read by line number while it still grows.

Bytes come in pieces of any size from any thread; secrets are overwritten before a piece is written; nothing is done line by
line. An index of one entry for each 64 KiB finds a line by bisection and one read. A line longer than `LINE_BYTES` is split
into several, so that 200 MB without a newline are 51,200 lines and never one.

A full disk does not end the act whose output it is: the rest is drained and counted, and the recording says that and why it
was cut. Its sha256 is of what is in the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from envtui.core.errors import Failed
from envtui.core.redact import Redactor
from envtui.core.secret import Secret

CAP = 256 * 1024 * 1024
"""Bytes of one act's output that are kept, unless the caller says otherwise."""

LINE_BYTES = 4096
BLOCK = 64 * 1024
_SEARCH = 1024 * 1024
_NAME_BYTES = 180


class Index:
    """Where lines begin in bytes that arrive in order: a count, and an anchor at a line's start every `BLOCK` bytes.

    One writer; any number of readers, without a lock: they look at what was published last.
    """

    def __init__(self) -> None:
        self._anchor_offsets = array("Q", [0])
        self._anchor_lines = array("Q", [0])
        self._pending = b""  # the unfinished line
        self.begun = 0  # offset of the unfinished line
        self.complete = 0  # lines before it

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        data = self._pending + data
        base, at, lines = self.begun, 0, self.complete
        while at < len(data):
            newline = data.rfind(b"\n", at, at + LINE_BYTES + 1)
            if newline >= 0:
                # Every line that ends in this window is short enough.
                lines += data.count(b"\n", at, newline + 1)
                at = newline + 1
            elif len(data) - at > LINE_BYTES:
                lines += 1
                at += _soft_break(data, at)
            else:
                break
            if base + at - self._anchor_offsets[-1] >= BLOCK:
                self._anchor_offsets.append(base + at)
                self._anchor_lines.append(lines)
        self._pending = data[at:]
        self.begun, self.complete = base + at, lines

    def block_of_line(self, number: int) -> tuple[int, int, int | None]:
        """(first line, offset, end offset or None for the last block) of the block that line `number` is in."""
        count = len(self._anchor_lines)
        block = bisect_right(self._anchor_lines, number, 0, count) - 1
        end = self._anchor_offsets[block + 1] if block + 1 < count else None
        return self._anchor_lines[block], self._anchor_offsets[block], end

    def block_of_offset(self, offset: int) -> tuple[int, int, int | None]:
        """The same, by a byte's place."""
        count = len(self._anchor_lines)
        block = bisect_right(self._anchor_offsets, offset, 0, count) - 1
        end = self._anchor_offsets[block + 1] if block + 1 < count else None
        return self._anchor_lines[block], self._anchor_offsets[block], end


def _soft_break(data: bytes, at: int) -> int:
    """How many bytes of a line without end make one line: `LINE_BYTES`, or a little less to keep a character whole."""
    for back in range(4):
        if data[at + LINE_BYTES - back] & 0xC0 != 0x80:
            return LINE_BYTES - back
    return LINE_BYTES


def _starts(data: bytes) -> list[int]:
    """Where lines start in a block that begins with one; the last may be unfinished."""
    starts = [0]
    at = 0
    while at < len(data):
        newline = data.find(b"\n", at, at + LINE_BYTES + 1)
        if newline >= 0:
            at = newline + 1
        elif len(data) - at > LINE_BYTES:
            at += _soft_break(data, at)
        else:
            break
        starts.append(at)
    return starts


class FileTranscript:
    """A transcript on disk (port Transcript). The file is opened when it is read and reopened after `close`."""

    def __init__(self, path: Path, index: Index, errors: Sequence[tuple[int, int]] = ()) -> None:
        self._path = path
        self._index = index
        self._size = 0
        self._fd = -1
        self._reading = threading.Lock()
        self._block: tuple[int, int, bytes, list[int]] | None = None
        self._errors: list[tuple[int, int]] = list(errors)  # (start, end) of what came from standard error

    @property
    def lines(self) -> int:
        """Lines so far, the unfinished one included."""
        return self._index.complete + (self._size > self._index.begun)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def line(self, number: int) -> bytes:
        """Line `number`, from 0, without its newline; raw, at most `LINE_BYTES` long. b"" beyond the end."""
        if not 0 <= number < self.lines:
            return b""
        first, _, data, starts = self._read_block(number)
        place = number - first
        if place >= len(starts):
            return b""
        end = starts[place + 1] if place + 1 < len(starts) else len(data)
        return data[starts[place] : end].removesuffix(b"\n")

    def is_error(self, number: int) -> bool:
        """Whether line `number` begins with what came from standard error."""
        if not self._errors or not 0 <= number < self.lines:
            return False
        first, offset, _, starts = self._read_block(number)
        place = number - first
        if place >= len(starts):
            return False
        at = offset + starts[place]
        span = bisect_right(self._errors, at, key=lambda error: error[0]) - 1
        return span >= 0 and at < self._errors[span][1]

    def search(self, text: str, start: int = 0) -> int | None:
        """The first line from `start` on that holds `text`; capitals matter only when `text` has some."""
        needle = text.encode()
        if not needle or not 0 <= start < self.lines:
            return None
        fold = needle == needle.lower()
        first, offset, _, starts = self._read_block(start)
        at = offset + starts[min(start - first, len(starts) - 1)]
        while at < self._size:
            data = self._pread(at, min(_SEARCH + len(needle) - 1, self._size - at))
            found = (data.lower() if fold else data).find(needle)
            if found >= 0:
                return self._line_at(at + found)
            at += _SEARCH
        return None

    def close(self) -> None:
        """Give the file back; a later read opens it again."""
        with self._reading:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _line_at(self, offset: int) -> int:
        first, begin, end = self._index.block_of_offset(offset)
        data = self._pread(begin, (self._size if end is None else end) - begin)
        return first + bisect_right(_starts(data), offset - begin) - 1

    def _read_block(self, number: int) -> tuple[int, int, bytes, list[int]]:
        cached = self._block
        if cached is not None and cached[0] <= number < cached[0] + len(cached[3]) - 1:
            return cached
        first, offset, end = self._index.block_of_line(number)
        data = self._pread(offset, (self._size if end is None else end) - offset)
        starts = _starts(data)
        if end is not None:
            starts = starts[:-1] if starts[-1] == len(data) else starts
        block = (first, offset, data, starts)
        self._block = block
        return block

    def _pread(self, offset: int, count: int) -> bytes:
        with self._reading:
            if self._fd < 0:
                try:
                    self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                except OSError as error:
                    raise Failed(
                        f"This output cannot be read: {error.strerror}.", f"It was kept in {self._path}."
                    ) from error
            try:
                return os.pread(self._fd, count, offset)
            except OSError as error:
                raise Failed(
                    f"This output cannot be read: {error.strerror}.", f"It was kept in {self._path}."
                ) from error


class FileRecording(FileTranscript):
    """A transcript while it is written (port Recording). `out`, `err` and `finish` may be called from any thread."""

    def __init__(self, path: Path, name: str, redactor: Redactor, cap: int) -> None:
        super().__init__(path, Index())
        self.name = name
        """What `Spool.replay` finds it by."""
        self.received = 0
        """Bytes that came in, kept or not."""
        self.why = ""
        """Why it was cut; '' when it was not."""
        self._cap = cap
        self._writing = threading.Lock()
        self._out_stream = redactor.stream()
        self._err_stream = redactor.stream()
        self._sha256 = hashlib.sha256()
        self._write_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def out(self, data: bytes) -> None:
        with self._writing:
            self.received += len(data)
            self._write(self._out_stream.feed(data), error=False)

    def err(self, data: bytes) -> None:
        with self._writing:
            self.received += len(data)
            self._write(self._err_stream.feed(data), error=True)

    def finish(self) -> tuple[str, int, bool]:
        """No more will come. (sha256, bytes, whether it was cut) of what is in the file; the same when called again."""
        with self._writing:
            if self._write_fd >= 0:
                self._write(self._out_stream.finish(), error=False)
                self._write(self._err_stream.finish(), error=True)
                self._out_stream = self._err_stream = Redactor(()).stream()  # what it looked for is let go
                fd, self._write_fd = self._write_fd, -1
                try:
                    os.close(fd)
                except OSError as failure:  # some disks say only now that what they took is lost
                    self._lost(failure, self._size)
                self._write_errors()
            return self._sha256.hexdigest(), self._size, bool(self.why)

    def close(self) -> None:
        self.finish()
        super().close()

    def _write(self, data: bytes, error: bool) -> None:
        if not data or self.why or self._write_fd < 0:
            return
        room = self._cap - self._size
        if len(data) > room:
            self.why = f"only the first {self._cap} bytes are kept"
            data = data[:room]
        view = memoryview(data)
        written = 0
        while written < len(data):
            try:
                written += os.write(self._write_fd, view[written:])
            except OSError as failure:
                self._lost(failure, written + self._size)
                data = data[:written]
                break
        start = self._size
        self._sha256.update(data)
        # The size first: no line is counted whose bytes a reader would not find.
        self._size = start + len(data)
        self._index.feed(data)
        if error and data:
            if self._errors and self._errors[-1][1] == start:
                self._errors[-1] = (self._errors[-1][0], self._size)
            else:
                self._errors.append((start, self._size))

    def _lost(self, failure: OSError, kept: int) -> None:
        # Never raised: whoever reads from the target would take it for a lost connection, and a write for IN DOUBT.
        self.why = self.why or f"{kept} bytes were kept, then: {failure.strerror}"

    def _write_errors(self) -> None:
        if self._errors:
            # Only colour depends on it: a disk that is full now does not matter.
            with contextlib.suppress(OSError):
                _errors_path(self._path).write_bytes(array("Q", [n for span in self._errors for n in span]).tobytes())


class DiskSpool:
    """The transcripts of one environment in a private folder (port Spool)."""

    def __init__(self, folder: Path, cap: int = CAP) -> None:
        self._folder = folder
        self._cap = cap

    def record(self, name: str, secrets: Sequence[Secret]) -> FileRecording:
        """A new file for `name`, 0600. Nothing is ever overwritten. Raises Failed when the file cannot be made."""
        path = self.path(name)
        try:
            return FileRecording(path, name, Redactor(secrets), self._cap)
        except FileExistsError as error:
            raise Failed(f"There is output of {name} already: {path}.", "Start a new run.") from error
        except OSError as error:
            raise Failed(
                f"No output can be recorded in {self._folder}: {error.strerror}.",
                "Free some space there, then go on.",
            ) from error

    def replay(self, name: str) -> FileTranscript:
        """A transcript as it was recorded. Raises Failed when it is not there any more."""
        path = self.path(name)
        index = Index()
        transcript = FileTranscript(path, index, _read_errors(path))
        try:
            with path.open("rb") as file:
                while data := file.read(_SEARCH):
                    index.feed(data)
                    transcript._size += len(data)
        except OSError as error:
            raise Failed(
                f"The output of {name} cannot be read: {error.strerror}.", f"It was kept in {path}."
            ) from error
        return transcript

    def forget(self, name: str) -> None:
        """Remove a transcript (`keep_output: false`). Whoever has it open reads on until it is closed."""
        path = self.path(name)
        for file in (path, _errors_path(path)):
            with contextlib.suppress(OSError):  # a disk that fails: the outcome of the act is recorded all the same
                file.unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        """sha256 of the file as it is now, to compare with the ledger's. Raises Failed when it is not there."""
        try:
            with self.path(name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise Failed(f"The output of {name} cannot be read: {error.strerror}.", "") from error

    def path(self, name: str) -> Path:
        """The file of a transcript: one flat folder, whatever `name` holds."""
        flat = quote(name, safe="@+~", encoding="utf-8", errors="surrogateescape").replace(".", "%2E")
        if len(flat) > _NAME_BYTES:
            flat = flat[: _NAME_BYTES - 65] + "-" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{flat}.out"


def _errors_path(path: Path) -> Path:
    return path.with_suffix(".err")


def _read_errors(path: Path) -> list[tuple[int, int]]:
    numbers = array("Q")
    try:
        content = _errors_path(path).read_bytes()
    except OSError:
        return []
    numbers.frombytes(content[: len(content) // 16 * 16])
    return list(zip(numbers[::2], numbers[1::2], strict=True))
