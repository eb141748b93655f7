"""Every error that a user can meet, as one tree; each class has one exit code, each error its own remedy.

EnvtuiError                     1
├── Failed                      1   it was tried and did not work; nothing is unknown
│   ├── Unreachable                 no connection: refused, no route, DNS, a dead jump host
│   ├── AuthenticationFailed        the target did not accept the credential
│   ├── SecretMissing               a reference could not be resolved
│   └── TimedOut                    the time limit of a read passed
├── UsageError                  2   a wrong call, or an answer that was not given
│   └── InvalidFiles                files with problems, all of them at once
├── NeedsWrite                  3   the next step writes and no grant covers it
├── GateClosed                  4   a gate of the book or of the policy is not open
├── InDoubt                     5   a write was sent and its outcome is not known
├── Unsound                     6   something that must be true is not
│   ├── LedgerBroken                a changed, missing or reordered entry
│   ├── WrongIdentity               the target is not what the manifest says (host key, marker, system id)
│   └── ProtectionTooLow            the target offers less than the environment's minimum
├── NotTrusted                  7   the tree changed since this user accepted it
└── Refused                     1   not allowed: a sign-off, a grant, a statement, a shell
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec


class EnvtuiError(Exception):
    """An error with one sentence saying what is wrong and one saying what to do.

    `message` and `remedy` may quote data from outside; whoever shows them cleans them (`core.text.clean`).
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Failed(EnvtuiError):
    """It was tried and did not work; nothing is unknown."""


class Unreachable(Failed):
    """No connection could be made."""


class AuthenticationFailed(Failed):
    """The target did not accept the credential."""


class SecretMissing(Failed):
    """A credential's reference could not be resolved."""


class TimedOut(Failed):
    """The time limit of a read passed; what it had said until then is kept."""


class Refused(EnvtuiError):
    """Not allowed, by us or by the target, before anything happened."""


class UsageError(EnvtuiError):
    """A wrong call, or an answer that was not given."""

    exit_code = 2


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing wrong in a file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""
    severity: str = "error"  # or "warning": shown, but does not make the tree invalid

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f" {self.remedy}" if self.remedy else "")


class InvalidFiles(UsageError):
    """One or more files have problems; all are carried, sorted by place."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(p) for p in self.problems), "")


class NeedsWrite(EnvtuiError):
    """The next step writes and no active grant covers it."""

    exit_code = 3


class GateClosed(EnvtuiError):
    """A gate is not open: it failed, or there is no data (which never opens one)."""

    exit_code = 4


class InDoubt(EnvtuiError):
    """A write was sent and its outcome is not known. It is never run again by itself.

    `seen` is what the writer had of it: `out` and `err`, how many bytes of each stream are in the sink already. `overdue`:
    its time was over, or it was silent for too long; else the connection or the answer was lost.
    """

    exit_code = 5

    def __init__(
        self, message: str, remedy: str = "", seen: Mapping[str, int] | None = None, overdue: bool = False
    ) -> None:
        super().__init__(message, remedy)
        self.seen: Mapping[str, int] = seen or {}
        self.overdue = overdue


class Unsound(EnvtuiError):
    """Something that must be true is not; nothing is done until it is."""

    exit_code = 6


class LedgerBroken(Unsound):
    """An entry of the ledger was changed, removed, reordered or added."""


class WrongIdentity(Unsound):
    """The target is not the one that the manifest describes."""


class ProtectionTooLow(Unsound):
    """The target offers less read protection than the environment's minimum."""


class NotTrusted(EnvtuiError):
    """The manifest, access files or host keys changed since this user accepted them."""

    exit_code = 7
