"""Programs that a tree names and the user's own configuration allows: started without a terminal, bounded in time and size.

What they print is data; what they print to stderr may be anything, a secret as well, and whoever shows it masks and cleans it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envtui.core.errors import Refused, Unreachable
from envtui.core.text import clean_line

if TYPE_CHECKING:
    import asyncio

LIMIT = 64 * 1024
"""Bytes of stdout that a program may print, and of stderr that are kept."""

_REAP_SECONDS = 2.0


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: its exit code (negative: a signal's number) and what it printed."""

    code: int
    out: bytes
    err: bytes


def check(program: str, allowed: Collection[str]) -> None:
    """Raises Refused when the user's configuration does not name it or others may change it, OSError when it is not there."""
    if program not in allowed:
        raise Refused(
            f"Your configuration does not allow {program} to be started.",
            "Add its absolute path to commands in your own configuration, if this tree may start it.",
        )
    path = Path(program)
    if not path.is_absolute():
        raise Refused(f"{program} is not an absolute path.", "Write the whole path, here and in commands.")
    real = path.resolve(strict=True)
    for place in (real.stat(), real.parent.stat()):
        sticky = stat.S_ISDIR(place.st_mode) and place.st_mode & stat.S_ISVTX
        if place.st_uid not in (0, os.geteuid()) or (place.st_mode & 0o022 and not sticky):
            raise Refused(f"{program} can be changed by other users.", "chmod go-w it and its directory.")


class Programs:
    """Starts what `allowed` names. `environ` is what they see of the environment; `seconds` is how long one may take."""

    def __init__(self, allowed: Sequence[str], environ: Mapping[str, str], seconds: float = 20.0) -> None:
        self._allowed = frozenset(allowed)
        self._environ = dict(environ)
        self._seconds = seconds

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Ended:
        """Run one to its end. Raises Refused when it is not allowed, Unreachable when it is not there, does not end in time
        or prints more than LIMIT."""
        import asyncio

        program = argv[0]
        try:
            check(program, self._allowed)
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environ,
                start_new_session=True,  # no terminal: it must not ask there; and its children are ended with it
            )
        except OSError as error:
            raise Unreachable(f"{program} could not be started: {error.strerror}.", "Try it in a shell.") from error
        assert process.stdout is not None
        assert process.stderr is not None
        out = asyncio.create_task(_read(process.stdout))
        others = (asyncio.create_task(_drained(process.stderr)), asyncio.create_task(_feed(process, stdin)))
        try:
            async with asyncio.timeout(self._seconds):
                printed = await out
                if len(printed) > LIMIT:
                    raise Unreachable(f"{program} printed more than {LIMIT >> 10} KiB.", "A short answer is expected.")
                err, _ = await asyncio.gather(*others)
                code = await process.wait()
        except TimeoutError as error:
            raise Unreachable(f"{program} did not end within {self._seconds:g} s.", "Try it in a shell.") from error
        finally:
            for task in (out, *others):
                task.cancel()
            await asyncio.gather(out, *others, return_exceptions=True)
            if process.returncode is None:
                await _killed(process)
        return Ended(code, printed, err or b"")


def complaint(err: bytes, masked: Callable[[str], str]) -> str:
    """The last line that a program complained with, to end a sentence with: made harmless, and then masked, because a
    secret with sequences inside it would be none that is known."""
    lines = [line for line in err.splitlines() if line.strip()]
    return f": {clean_line(masked(clean_line(lines[-1], 400)), 200)}" if lines else ""


async def _read(stream: asyncio.StreamReader) -> bytes:
    """What comes, to its end or until it is more than LIMIT."""
    kept = b""
    while len(kept) <= LIMIT and (piece := await stream.read(LIMIT)):
        kept += piece
    return kept


async def _drained(stream: asyncio.StreamReader) -> bytes | None:
    """The last LIMIT bytes of all that comes."""
    kept = b""
    while piece := await stream.read(LIMIT):
        kept = (kept + piece)[-LIMIT:]
    return kept


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is told
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _killed(process: asyncio.subprocess.Process) -> None:
    """End it and what it started, and wait for that, though not for ever."""
    import asyncio

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REAP_SECONDS):
            await asyncio.gather(_drained(process.stdout), _drained(process.stderr), process.wait())
