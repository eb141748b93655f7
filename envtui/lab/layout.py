"""Where a lab keeps things, whether it is alive, and what dead ones left behind.

The lab's home ($ENVTUI_LAB, else the user's state directory) has the people, the copy of the trees and the register. The
servers' files are in a temporary folder, the workspace: as root they belong to accounts that root's home is closed to.
A live lab holds a lock on both; the kernel lets go of it however the lab ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from envtui.core.errors import Failed, UsageError

WORKSPACE = "envtui-lab-"
_MARK = ".envtui-lab"


def called() -> str:
    """What the user typed to come here, for messages that say what to type next: `./lab` sets the variable."""
    return os.environ.get("ENVTUI_LAB_COMMAND") or "envtui lab"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a live lab says of itself in lab.json."""

    pid: int
    workspace: str
    environments: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab's home. Every path below it is given here."""

    home: Path

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Lab:
        given = os.environ if variables is None else variables
        if named := given.get("ENVTUI_LAB"):
            return cls(Path(os.path.abspath(os.path.expanduser(named))))
        import platformdirs

        return cls(Path(platformdirs.user_state_dir("envtui-lab", appauthor=False)))

    @property
    def runbooks(self) -> Path:
        return self.home / "runbooks"

    @property
    def registers(self) -> Path:
        return self.home / "registers"

    @property
    def log(self) -> Path:
        return self.home / "lab.log"

    def person(self, name: str) -> Path:
        """The home directory of a persona."""
        return self.home / "people" / name

    def claim(self) -> None:
        """Make the home, 0700. Raises UsageError when it holds somebody else's files."""
        if self.home.exists() and any(self.home.iterdir()) and not (self.home / _MARK).exists():
            raise UsageError(f"{self.home} holds files that are not a lab's.", "Name an empty folder in ENVTUI_LAB.")
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)
        (self.home / _MARK).touch(mode=0o600)

    def empty(self) -> None:
        """Remove what an earlier lab left in a claimed home. Call it while holding the lock."""
        for name in ("people", "runbooks", "registers"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        (self.home / "lab.json").unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove a claimed home, unless something else is in it."""
        self.empty()
        for name in ("lab.log", "lock", _MARK):
            (self.home / name).unlink(missing_ok=True)
        if not any(self.home.iterdir()):
            self.home.rmdir()

    def alive(self) -> Facts | None:
        """The facts of the running lab; None when there is none."""
        if not locked(self.home / "lock"):
            return None
        try:
            return msgspec.json.decode((self.home / "lab.json").read_bytes(), type=Facts)
        except (OSError, msgspec.DecodeError):
            return None  # on its way up or down

    def facts(self) -> Facts:
        """As `alive`. Raises Failed when there is no lab."""
        found = self.alive()
        if found is None:
            raise Failed("The lab is not up.", f"Start it with `{called()} up`.")
        return found


def hold(path: Path) -> int:
    """Take the lock on `path` for the rest of this process. Returns the descriptor. Raises Failed when it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Failed("This lab is already up.", f"`{called()} status` shows it, `{called()} down` ends it.") from error
    return descriptor


def locked(path: Path) -> bool:
    """Whether a live process holds the lock on `path`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def sweep() -> list[Path]:
    """Remove this user's workspaces whose lab is dead. Returns them."""
    swept = []
    for folder in Path(tempfile.gettempdir()).glob(f"{WORKSPACE}*"):
        lock = folder / "lock"
        if folder.is_symlink() or not lock.exists() or folder.stat().st_uid != os.geteuid() or locked(lock):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        swept.append(folder)
    return swept
