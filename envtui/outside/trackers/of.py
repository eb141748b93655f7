"""The tracker that a policy names. Those that are asked are made, and their modules imported, when the first look is taken."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from envtui.core.access import Incident
from envtui.core.environment import IncidentPolicy
from envtui.core.ports import Clock, Secrets, Tracker
from envtui.outside.incident_file import FileTracker, SelfDeclared, register_of


def tracker_of(
    policy: IncidentPolicy,
    environment: str,
    tree_root: str,
    clock: Clock,
    *,
    secrets: Secrets,
    masked: Callable[[str], str],
    commands: Sequence[str],
    environ: Mapping[str, str],
    operator: str,
    ca: Callable[[str], Path],
) -> Tracker:
    """`commands` are the programs that the user's configuration allows; `ca` gives a file of the tree; `operator` stands for
    `${me}`. Raises Refused where the policy names a register that there cannot be."""

    def over_http() -> Tracker:
        from envtui.outside.service import Service

        from .http_tracker import HttpTracker
        from .presets import api

        service = Service(
            "the tracker",
            api(policy).headers,
            secrets=secrets,
            operator=operator,
            ca=ca,
            authority=policy.ca,
        )
        return HttpTracker(policy, environment, service, clock)

    def by_command() -> Tracker:
        from envtui.outside.programs import Programs

        from .command_tracker import CommandTracker

        return CommandTracker(policy, Programs(commands, environ), clock, masked)

    if policy.tracker == "file":
        return FileTracker(register_of(policy, tree_root), clock)
    if policy.tracker == "none":
        return SelfDeclared(clock)
    return _Later(over_http if policy.tracker == "http" else by_command)


class _Later:
    """A Tracker that is made when it is first asked."""

    def __init__(self, make: Callable[[], Tracker]) -> None:
        self._make = make

    @functools.cached_property
    def _tracker(self) -> Tracker:
        return self._make()

    async def lookup(self, incident: str) -> Incident:
        return await self._tracker.lookup(incident)

    async def note(self, incident: str, text: str) -> bool:
        return await self._tracker.note(incident, text)
