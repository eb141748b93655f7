"""Ctrl-C, and what else tells a run to end: once in order, twice now, three times whatever comes of it.

The first signal of any kind cancels a read and waits for a write. Only a second Ctrl-C ends a write at its target, and only
a third leaves it there: a closed terminal and a supervisor send several signals, and none of them means that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from envtui.core.text import clean_line
from envtui.engine.runner import RunTask

T = TypeVar("T")


class Stopped(Exception):
    """A signal said so."""


class Signals:
    """Listens for one run. `heard` counts the signals that mean something: a step further each."""

    def __init__(self, task: RunTask) -> None:
        self._task = task
        self._answering: asyncio.Task[Any] | None = None
        self.heard = 0

    def listen(self) -> None:
        """From now on until the loop ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, functools.partial(self._hear, number))

    def check(self) -> None:
        """Raises Stopped once a signal was heard."""
        if self.heard:
            raise Stopped

    async def said(self, reply: Coroutine[Any, Any, T]) -> T:
        """Wait for a person, or for something that may be left half-done. Raises Stopped when a signal ends that."""
        asking = asyncio.create_task(reply)
        self._answering = asking
        try:
            return await asking
        except asyncio.CancelledError as error:
            if not self.heard:
                raise
            raise Stopped from error
        finally:
            self._answering = None

    def _hear(self, number: signal.Signals) -> None:
        if self.heard and number != signal.SIGINT:
            return
        self.heard += 1
        writing = self._writing()
        if self.heard == 1:
            self._task.cut()
            if writing:
                say(f"Stopping once {writing} has ended. Ctrl-C again ends it at its target now.")
        elif self.heard == 2:
            self._task.cut(writes=True)
            if writing:
                say(f"Ending {writing} at its target. Ctrl-C again leaves it there, in doubt.")
        else:
            self._task.interrupt(writes=True)
            if writing:
                say(f"Leaving {writing} where it is.")
        if self._answering is not None:
            self._answering.cancel()

    def _writing(self) -> str:
        """The write that is under way here; '' when there is none, or when it goes on by itself."""
        acts = (act for step in self._task.run.steps for act in (*step.acts, *step.undo))
        return next((act.id for act in acts if act.mode == "write" and act.running and not act.detached), "")


def say(text: str) -> None:
    """One line of narration, to stderr, cleaned."""
    print(clean_line(text, 4000), file=sys.stderr, flush=True)
