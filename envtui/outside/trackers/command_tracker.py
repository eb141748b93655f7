"""A tracker that is a program of the user's: asked with the incident's id, it prints one JSON object."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from envtui.core.access import Incident
from envtui.core.environment import IncidentPolicy
from envtui.core.errors import Refused, Unreachable
from envtui.core.ports import Clock
from envtui.core.text import clean_line
from envtui.outside.programs import Programs, complaint

from .answers import URL_LIMIT, checked, moment, same, shown

NONE = 3
"""Exit code that says: there is no such incident."""


class CommandTracker:
    """The Tracker port. `masked` takes secrets out of what the program complains with."""

    def __init__(self, policy: IncidentPolicy, programs: Programs, clock: Clock, masked: Callable[[str], str]) -> None:
        self._policy = policy
        self._argv = policy.command or ()
        self._programs = programs
        self._clock = clock
        self._masked = masked

    async def lookup(self, incident: str) -> Incident:
        """Raises Refused when there is none or the program may not be started, Unreachable for everything else that is no
        clear answer."""
        checked(incident, self._policy.pattern)
        ended = await self._programs.run([incident if item == "${incident}" else item for item in self._argv])
        where = f"The tracker {self._argv[0]}"
        if ended.code == NONE:
            raise Refused(f"{where} knows no incident {incident!r}.", "Name the one that is going on.")
        if ended.code != 0:
            why = complaint(ended.err, self._masked)
            raise Unreachable(f"{where} ended with {ended.code}{why}.", "Run it in a shell to see why.")
        try:
            said = msgspec.json.decode(ended.out)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise Unreachable(f"{where} did not print one JSON object.", "Run it in a shell to see what it prints.")
        missing = [name for name in ("id", "state", "opened") if name not in said]
        if missing:
            raise Unreachable(f"{where} does not say the {missing[0]}.", "It prints id, state and opened at least.")
        same(incident, said["id"], where)
        if said["state"] not in ("open", "closed"):
            raise Unreachable(
                f"{where} says {clean_line(repr(said['state']), 80)} for the state.", "It says open or closed."
            )
        environment = said.get("environment", "")
        if not isinstance(environment, str):
            raise Unreachable(f"{where} says no name for the environment.", "Leave it out, or write its name.")
        return Incident(
            id=incident,
            state="open" if said["state"] == "open" else "closed",
            title=shown(said.get("title")),
            severity=shown(said.get("severity")),
            service=shown(said.get("service")),
            environment=environment[:64],
            opened_ms=moment(said["opened"], where, self._clock.wall_ms()),
            checked_ms=self._clock.wall_ms(),
            tracker="command",
            url=shown(said.get("url"), URL_LIMIT),
        )

    async def note(self, incident: str, text: str) -> bool:
        """False: it only looks."""
        return False
