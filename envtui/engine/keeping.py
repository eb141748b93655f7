"""Keeping a grant while it lasts: its grounds are looked at every minute and at its end, and it is given back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from envtui.core.access import Grant, Terms

from .runner import RunTask
from .spending import EndReason, recheck
from .ways import Ways

RECHECK_SECONDS = 60
"""How often a grant's grounds are looked at (design: closing the incident ends it within 60 s)."""

End = Callable[[EndReason, str, bool], Awaitable[None]]
"""Ends the grant that is kept, with the reason, a sentence, and whether that ends the write under way, too; nothing where it
ended before."""


class Keeper:
    """Keeps one grant from its activation until `release`. Begins when it is made; needs a running loop."""

    def __init__(self, task: RunTask, grant: Grant, *, terms: Terms, ways: Ways, end: End) -> None:
        self._task = task
        self._grant = grant
        self._terms = terms
        self._ways = ways
        self._end = end
        self._jobs = (asyncio.create_task(self._by_the_clock()),)

    def release(self) -> None:
        """The grant is over: nobody looks after it any more. May be called by what `end` does."""
        for job in self._jobs:
            if job is not asyncio.current_task():
                job.cancel()

    async def _by_the_clock(self) -> None:
        clock = self._ways.clock
        while True:
            left = (self._grant.until_ms - clock.wall_ms()) / 1000
            await clock.sleep(max(0.05, min(RECHECK_SECONDS, left)))
            if self._task.run.word is not None:
                await self._end("COMPLETED", "the run ended", False)
                return
            over = await recheck(self._grant, terms=self._terms, tracker=self._ways.tracker, clock=clock)
            if over is not None:
                await self._end(*over)
                return
