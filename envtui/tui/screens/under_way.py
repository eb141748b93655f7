"""What of the runs goes on at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envtui.core.events import ActIntended
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.state import ActState, Run

from ..dialogs.stop import UnderWay


def running(run: Run) -> Iterator[ActState]:
    """Acts that were begun and have not ended, those that write first."""
    every = [act for step in run.steps for act in (*step.acts, *step.undo, *step.probes) if act.running]
    yield from sorted(every, key=lambda act: act.mode != "write")


async def under_way(session: EnvironmentSession, tasks: Iterable[RunTask]) -> tuple[UnderWay, ...]:
    """With the time at which each was written down."""
    found: list[UnderWay] = []
    for task in tasks:
        acts = tuple(running(task.run))
        if not acts:
            continue
        since = {e.event.act: e.at_ms for e in await session.entries(task.run.id) if isinstance(e.event, ActIntended)}
        planned = (act for step in task.plan.steps for act in (*step.acts, *step.undo, *step.probe))
        kinds = {act.id: act.place.kind for act in planned}
        found.extend(
            UnderWay(act, kinds.get(act.id, "ssh"), since.get(act.id, 0), session.ways.clock.wall_ms()) for act in acts
        )
    return tuple(found)
