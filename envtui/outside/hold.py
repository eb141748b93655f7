"""Who has a run: one process, until it lets go or ends, however it ends.

A lock of the kernel's on a file beside the ledger (flock), because the kernel frees it with the process: after kill -9, too.
What is written into the file is only for the message that the others see; no decision hangs on it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from pathlib import Path

import msgspec

from envtui.core.errors import EnvtuiError, Failed, Refused, Unsound

_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}", re.ASCII)
_SAID_BYTES = 4096


class _Holder(msgspec.Struct, frozen=True):
    who: str
    pid: int
    since_ms: int


class Hold:
    """A held run (port Hold). Child processes do not have it: the file is not open in any program that they start."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._pid = os.getpid()

    def release(self) -> None:
        """Let others have the run. Safe to call again. A forked child of the holder releases nothing."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            # Unlinked while it is still locked: whoever opened it before finds, once it has the lock, that the name is
            # gone or another file's, and begins again.
            if self._pid == os.getpid() and _is_at(fd, self._path):
                self._path.unlink(missing_ok=True)
        except OSError:
            pass  # the file stays and holds nobody up: the lock is what counts
        finally:
            os.close(fd)


def hold(folder: Path, run: str, who: str) -> Hold:
    """Have the run for this process alone. `who` is shown to whoever wants it meanwhile, e.g. asha@laptop.

    `folder` is made if it is missing (0700). Raises Refused when another process has the run, or this one has it already;
    Unsound when the folder or the file is not this user's alone; Failed when the file cannot be made.
    """
    if not _RUN.fullmatch(run):
        raise Refused("That is no id of a run.", "Take it from the list of runs.")
    path = folder / f"{run}.lock"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(folder)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
            try:
                _require_own(fd, path)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(fd, path):
                    _say(fd, who)
                    return Hold(path, fd)
            except BlockingIOError:
                refusal = _refusal(fd, run)
                os.close(fd)
                raise refusal from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # it was let go between our opening and our locking: its name is gone
    except OSError as error:
        raise _translated(error, path) from error


def _is_at(fd: int, path: Path) -> bool:
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), named)


def _say(fd: int, who: str) -> None:
    said = msgspec.json.encode(_Holder(who[:256], os.getpid(), time.time_ns() // 1_000_000))
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, said, 0)
    except OSError:
        pass  # a full disk: held all the same, and nobody is told by whom


def _refusal(fd: int, run: str) -> EnvtuiError:
    try:
        holder = msgspec.json.decode(os.pread(fd, _SAID_BYTES, 0), type=_Holder)
        since = time.strftime("%H:%M", time.gmtime(holder.since_ms / 1000))
        by = f": {holder.who}, process {holder.pid}, since {since} UTC"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, OverflowError, ValueError):
        by = ""  # it has just begun, or its disk was full
    return Refused(f"Run {run} goes on in another terminal{by}.", "Watch it there, or end it there first.")


def _require_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Unsound(f"{folder} is not a folder of this user's.", "Choose another place with ENVTUI_STATE.")
    if found.st_mode & 0o077:
        raise Unsound(f"Others may enter {folder}, where runs are held.", f"chmod 700 {folder}")


def _require_own(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise Unsound(f"{path} is not a file of this user's.", "Look who made it, then remove it.")
    if found.st_mode & 0o077:
        raise Unsound(f"Others may open {path}.", f"chmod 600 {path}")


def _translated(error: OSError, path: Path) -> EnvtuiError:
    if error.errno == errno.ELOOP:
        return Unsound(f"{path} is a link.", "Look who made it, then remove it.")
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
        return Unsound(
            f"Files cannot be locked in {path.parent}: {error.strerror}.",
            "Set ENVTUI_STATE to a folder on a local disk.",
        )
    return Failed(f"The run cannot be held in {path.parent}: {error.strerror}.", "Look at its owner, mode and space.")
