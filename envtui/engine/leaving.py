"""How a run ends when its session does: in order where that is possible, in doubt where it is not."""

from __future__ import annotations

import asyncio

from .runner import RunTask

CUT = 5.0
"""Seconds in which what was cut off closes its connection and is written down."""


async def leave(task: RunTask, deadline: float) -> None:
    """Stop a run for good. What was going on ends in the ledger; a run that waits for a person stays open there.

    A read is cancelled at once. A write has `deadline` seconds; then it is cut off, and the ledger says in doubt. One that
    was told to go on without us does: the run stays open, too.
    """
    busy = task.busy
    task.interrupt()
    if not busy:
        return
    if not await _idle(task, deadline):
        task.interrupt(writes=True)
        await _idle(task, CUT)
    if not task.busy and task.run.word is None and not task.run.in_doubt and not task.run.detached:
        await task.abandon("left while it went on")


async def _idle(task: RunTask, deadline: float) -> bool:
    try:
        await asyncio.wait_for(task.idle(), deadline)
    except TimeoutError:
        return False
    return True
