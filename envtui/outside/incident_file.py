"""The shared register of incidents: a file on a path that both sides can read, and the trackers that need no service.

JSON Lines, appended under a lock and never rewritten: what was opened and closed, when and by whom. The state of an
incident is what its last line says.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from envtui.core.access import Incident
from envtui.core.environment import IncidentPolicy
from envtui.core.errors import Failed, Refused, Unreachable, Unsound, UsageError
from envtui.core.ports import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE: Final = "incidents.jsonl"
"""Its name, where the policy's path is a directory."""

SIZE_LIMIT: Final = 16 * 1024 * 1024
TITLE_LIMIT: Final = 200
FIRST_NUMBER: Final = 1001


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    state: Literal["open", "closed"]
    at_ms: int
    by: str
    title: str = ""
    severity: str = ""
    environment: str = ""


class Register:
    """The register at `path` (a file, or a directory that holds FILE). `pattern` is what ids look like in full."""

    def __init__(self, path: Path, pattern: str) -> None:
        self.path = path / FILE if path.is_dir() else path
        self._pattern = pattern

    def all(self) -> tuple[Incident, ...]:
        """Every incident, oldest first. Raises Unreachable, Unsound."""
        try:
            with self.path.open("rb") as file:
                data = file.read(SIZE_LIMIT + 1)
        except FileNotFoundError:
            if self.path.parent.is_dir():
                return ()
            raise self._unreachable("its folder does not exist") from None
        except OSError as error:
            raise self._unreachable(error.strerror or "it cannot be read") from error
        return tuple(_fold(data, str(self.path)).values())

    def get(self, incident: str) -> Incident:
        """Raises Refused when it was never recorded, Unreachable, Unsound."""
        found = next((one for one in self.all() if one.id == incident), None)
        if found is None:
            raise Refused(
                f"There is no incident {incident[:64]!r} in the register.",
                "`envtui incident list ENV` shows those that are.",
            )
        return found

    def open(
        self, *, title: str, environment: str, by: str, now_ms: int, severity: str = "", incident: str = ""
    ) -> Incident:
        """Records an incident and gives it back; without an id it gets the next number.

        Raises UsageError for a title, a severity or an id that will not do, Refused when the id is taken, Failed when it
        cannot be written.
        """
        if not title.strip() or len(title) > TITLE_LIMIT or not title.isprintable():
            raise UsageError(
                f"An incident needs a title of one line, up to {TITLE_LIMIT} characters.", "Give --title TEXT."
            )
        if len(severity) > TITLE_LIMIT or (severity and not severity.isprintable()):
            raise UsageError(f"A severity is one line of up to {TITLE_LIMIT} characters.", "Give --severity TEXT.")
        with self._locked() as known:
            name = incident or _next(known, self._pattern)
            if not re.fullmatch(self._pattern, name) or len(name) > 64:
                raise UsageError(f"{name[:64]!r} is not an incident's id here: {self._pattern}.", "Give one with --id.")
            if name in known and known[name].state == "open":
                raise Refused(f"{name} is open already.", "Use it, or leave --id away for a new one.")
            self._append(
                _Line(
                    id=name,
                    state="open",
                    at_ms=now_ms,
                    by=by,
                    title=title.strip(),
                    severity=severity,
                    environment=environment,
                )
            )
        return self.get(name)

    def close(self, incident: str, *, by: str, now_ms: int) -> Incident:
        """Closes an incident, which ends every grant under it. Raises Refused, Failed, Unreachable."""
        with self._locked() as known:
            if incident not in known:
                raise Refused(
                    f"There is no incident {incident[:64]!r} in the register.",
                    "`envtui incident list ENV` shows those that are.",
                )
            if known[incident].state == "open":
                self._append(_Line(id=incident, state="closed", at_ms=now_ms, by=by))
        return self.get(incident)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Incident]]:
        """What is recorded, while nobody else records anything."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except OSError as error:
            raise Failed(
                f"The register of incidents {self.path} cannot be written: {error.strerror}.",
                "Ask its owner, or record the incident where you can.",
            ) from error
        with os.fdopen(handle, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield _fold(file.read(SIZE_LIMIT + 1), str(self.path))

    def _append(self, line: _Line) -> None:
        """One write to the end, durable on return; the lock is held by the caller."""
        data = msgspec.json.encode(line) + b"\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                written = os.write(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise Failed(f"The register of incidents cannot be written: {error.strerror}.", "Make room.") from error
        if written != len(data):
            raise Failed(
                "The register of incidents is full: its last line is cut off.", "Make room and remove that line."
            )

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"The register of incidents {self.path} cannot be read: {why}.", "Mount it, or ask its owner."
        )


class FileTracker:
    """The register as a Tracker: looked up anew each time, in a thread (shared paths may hang)."""

    def __init__(self, register: Register, clock: Clock) -> None:
        self._register, self._clock = register, clock

    async def lookup(self, incident: str) -> Incident:
        """Raises Refused when it does not exist, Unreachable when the register cannot be read, Unsound when damaged."""
        found = await asyncio.to_thread(self._register.get, incident)
        return msgspec.structs.replace(found, checked_ms=self._clock.wall_ms())

    async def note(self, incident: str, text: str) -> bool:
        """False: the register has incidents, not what was done about them; the ledger has that."""
        return False


class SelfDeclared:
    """No tracker: whatever is said is taken down, and shown as nobody's word but the operator's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def lookup(self, incident: str) -> Incident:
        return Incident(id=incident, state="unverified", checked_ms=self._clock.wall_ms(), tracker="none")

    async def note(self, incident: str, text: str) -> bool:
        """False: there is nobody to write to."""
        return False


def register_of(policy: IncidentPolicy, tree_root: str) -> Register:
    """The register that a policy names: absolute, or below the folder of the tree. Raises Refused when it names none."""
    if policy.tracker != "file" or not policy.path:
        raise Refused(*_elsewhere(policy))
    if not PurePosixPath(policy.path).is_absolute() and ".." in PurePosixPath(policy.path).parts:
        raise Refused(f"The register's path {policy.path!r} leads out of its folder.", "Write an absolute path.")
    return Register(Path(tree_root).parent / policy.path, policy.pattern)


def _elsewhere(policy: IncidentPolicy) -> tuple[str, str]:
    """Why there is no register, and where incidents are instead."""
    if policy.tracker == "http":
        name = {"pagerduty": "PagerDuty", "jira": "Jira"}.get(policy.preset, "its own tracker")
        where = f" ({policy.url.partition('${')[0]})" if policy.url else ""
        return (
            f"The incidents of this environment are in {name}{where}, and envtui only looks them up there.",
            "Open, close and list them there.",
        )
    if policy.tracker == "command":
        program = policy.command[0] if policy.command else "a program"
        return f"The incidents of this environment are where {program} looks.", "Open, close and list them there."
    return (
        "This environment keeps no register of incidents: whatever is named is taken down as self-declared.",
        "A register is named in environment.yaml: access.incident, tracker: file and path.",
    )


def _fold(data: bytes, where: str) -> dict[str, Incident]:
    if len(data) > SIZE_LIMIT:
        raise Unsound(f"{where} is larger than {SIZE_LIMIT >> 20} MiB.", "Start a new register.")
    known: dict[str, Incident] = {}
    for number, raw in enumerate(data.splitlines(), 1):
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except msgspec.MsgspecError as error:
            # Not skipped: the line that cannot be read may be the one that closes the incident.
            raise Unsound(f"{where}:{number} is no line of a register.", "Repair it by hand.") from error
        before = known.get(line.id)
        if line.state == "open":
            known[line.id] = Incident(
                id=line.id,
                state="open",
                title=line.title,
                severity=line.severity,
                environment=line.environment,
                opened_ms=line.at_ms,
                tracker="file",
                by=line.by,
            )
        elif before is not None:
            known[line.id] = msgspec.structs.replace(before, state="closed")
    return known


def _next(known: dict[str, Incident], pattern: str) -> str:
    """The next number behind the prefix that the pattern names (`CHG-\\d+`), or behind INC."""
    named = re.fullmatch(r"([A-Z][A-Z0-9]*)-\\d\+", pattern)
    prefix = f"{named.group(1) if named else 'INC'}-"
    numbers = [int(name[len(prefix) :]) for name in known if re.fullmatch(rf"{prefix}\d{{1,12}}", name)]
    return f"{prefix}{max([FIRST_NUMBER - 1, *numbers]) + 1}"
