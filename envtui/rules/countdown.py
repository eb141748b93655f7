"""What is said while write access runs out: twice before its end, and of the next write once it does not fit any more.

Nobody is cut off without a word (teleport 47320, 64074, 68474). Each thing is said once.
"""

from __future__ import annotations

from collections.abc import Iterator

from envtui.core.act import Plan
from envtui.core.shape import span

from .state import Run

MARKS_MS = (5 * 60_000, 60_000)
"""Time left at which its end is announced; one that a grant has from its beginning on is left out."""


class Countdown:
    """For one door and the runs that it shows. Remembers what it has said."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def due(self, run: Run, plan: Plan, now_ms: int) -> tuple[str, ...]:
        """Sentences to say now, in order; nothing where no write access is active."""
        grant = run.grant
        if grant is None or not run.write_active:
            return ()
        left = grant.until_ms - now_ms
        if left <= 0:
            return ()
        if self._new(grant.id, "begun"):
            self._said |= {(grant.id, str(mark)) for mark in MARKS_MS if left <= mark}
        return tuple(text for key, text in self._every(run, plan, left) if self._new(grant.id, key))

    def _every(self, run: Run, plan: Plan, left: int) -> Iterator[tuple[str, str]]:
        env = plan.environment
        for mark in MARKS_MS:
            if left <= mark:
                yield str(mark), f"Write access to {env} ends in {span(left)}."
        if (unfit := _unfit(run, plan, left)) is not None:
            act, takes = unfit
            yield (
                f"unfit {act}",
                f"{act} may take {span(takes)} and {span(left)} are left: it will not be started. Ask again without losing"
                f" the run: e, or envtui request {env} --resume {run.id}",
            )

    def _new(self, grant: str, key: str) -> bool:
        fresh = (grant, key) not in self._said
        self._said.add((grant, key))
        return fresh


def _unfit(run: Run, plan: Plan, left: int) -> tuple[str, int] | None:
    """The next write that was not begun, and the milliseconds that it may take, where that is more than is left."""
    acts = {act.id: act for act in plan.writes}
    for step in run.steps[run.position :]:
        for state in step.acts:
            act = acts.get(state.id)
            if step.mode != "write" or step.word is not None or state.intended or act is None:
                continue
            takes = round(act.timeout * 1000)
            return (act.id, takes) if not act.detach and takes > left else None
    return None
