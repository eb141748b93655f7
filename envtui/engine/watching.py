"""The end of write access, whoever wrote it down: seen in the ledger within a moment, and made so at the targets.

A revoke comes from another terminal, which can do no more than write it down; the process that has the run ends the write
that is under way. Looking whether the ledger changed costs one question to SQLite, ten times a second, and only while a run
has, or takes something back under, write access.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from envtui.core.errors import EnvtuiError
from envtui.core.events import Entry, GrantEnded
from envtui.core.ports import Journal
from envtui.rules.past import CLOSING, CUTTING

from .runner import RunTask

AGAIN = 1.0
"""Seconds until a ledger that could not be read is read again. Nothing is permitted meanwhile: `spend` reads it too."""

LAST = 8.0
"""Seconds that what was begun has to come to its end when the session closes."""


class Watching:
    """For the runs of one session. `ended`: called with each end of a grant that another process wrote down."""

    def __init__(self, journal: Journal, ended: Callable[[RunTask, Entry], None]) -> None:
        self._journal = journal
        self._ended = ended
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._withdrawing: set[asyncio.Task[None]] = set()
        self.own: set[tuple[str, str]] = set()  # (grant, reason) of the ends that this process wrote

    def watch(self, task: RunTask, after: int) -> None:
        """Watch a run from the entry `after` on. Does nothing when it is watched already."""
        watching = self._watches.get(task.run.id)
        if watching is None or watching.done():
            self._watches[task.run.id] = asyncio.create_task(self._watch(task, after))

    def withdraw(self, task: RunTask, reason: str, why: str, cut: bool = True) -> None:
        """Write access ended: end what is under way where the reason does, then look from outside. Returns at once."""
        cut = cut and (reason in CLOSING or (reason in CUTTING and task.run.undo is None))
        if cut or task.run.in_doubt:
            job = asyncio.create_task(_withdrawn(task, f"Write access ended: {why or reason}", cut))
            self._withdrawing.add(job)
            job.add_done_callback(self._withdrawing.discard)

    async def close(self) -> None:
        """The session ends: nobody watches any more; what was begun is waited for."""
        for watching in self._watches.values():
            watching.cancel()
        if self._withdrawing:
            _, late = await asyncio.wait(self._withdrawing, timeout=LAST)
            for job in late:
                job.cancel()

    async def _watch(self, task: RunTask, after: int) -> None:
        while True:
            try:
                async for entry in self._journal.follow(after):
                    after, event = entry.seq, entry.event
                    if not isinstance(event, GrantEnded) or event.run != task.run.id:
                        continue
                    if (event.grant, event.reason) not in self.own:
                        self._ended(task, entry)
                return  # the ledger is closed
            except EnvtuiError:
                await asyncio.sleep(AGAIN)


async def _withdrawn(task: RunTask, why: str, cut: bool) -> None:
    # A ledger that takes nothing more has the intent of what was under way: whoever looks finds it in doubt.
    with contextlib.suppress(EnvtuiError):
        await task.mending.withdraw(why.rstrip(".") + ".", cut)
