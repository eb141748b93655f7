"""What became of a write that nobody can tell: waited for, stopped, proven dead, then looked for.

In this order, because a probe says something lasting only when nothing of the attempt goes on. Nothing here needs write
access, and nothing here sends the act again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping

from envtui.core.errors import EnvtuiError, InDoubt
from envtui.core.events import Finding, Word
from envtui.core.ports import Ender, Fate, Reading, Sink, Started

from .acting import Conclusion, Judge
from .ways import Ways

GRACE = 5.0
"""Seconds that a command has to end in order when it is told to; then it is ended by force."""

AGAIN = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to reach a target again; the last one repeats."""

Probe = Callable[[Fate], Awaitable[tuple[Finding, str] | None]]
"""Looks by the step's probe and writes down what it found. None: the step has no probe."""


class Ending:
    """The end of one attempt. `probe` is asked only when the attempt is dead; `judge` only where there is no probe."""

    def __init__(self, ways: Ways, started: Started, probe: Probe, judge: Judge) -> None:
        self._ways = ways
        self._started = started
        self._probe = probe
        self._judge = judge

    async def lost(self, error: InDoubt, sink: Sink, seconds: float) -> Conclusion:
        """The connection or the answer was lost, or its time is over (`error.overdue`): `seconds` of it are left."""
        if error.overdue or seconds <= 0:
            return await self._concluded(self._stopping(sink, error.seen), "TIMED OUT", error.message)

        async def attached(ender: Ender) -> Fate:
            fate = await self._reached(lambda: ender.attach(self._started, sink, error.seen, seconds), seconds)
            return await ender.stop(self._started, GRACE) if fate.state == "running" else fate

        return await self._concluded(attached, "FAILED", error.message)

    async def cut(self, why: str, sink: Sink, seen: Mapping[str, int]) -> Conclusion:
        """A person ends it now. Its last words go to the sink."""
        return await self._concluded(self._stopping(sink, seen), "CANCELLED", why)

    async def follow(self, sink: Sink, seen: Mapping[str, int], seconds: float) -> Conclusion:
        """Wait for one that goes on at its target; `word` None when it still does after `seconds`."""
        ender = self._ways.ender(self._started.act)
        try:
            fate = await ender.attach(self._started, sink, seen, seconds)
        finally:
            await ender.close()
        if fate.state == "running":
            return Conclusion(word=None)
        return await self._said(fate, "FAILED", "It ended while it was waited for.")

    async def looked(self, halt: bool = False) -> Fate:
        """What is known of it now; with `halt` it is ended first. A target that cannot be asked is unknown, and says why."""
        ender = self._ways.ender(self._started.act)
        try:
            return await (ender.stop(self._started, GRACE) if halt else ender.look(self._started))
        except EnvtuiError as error:
            return Fate(state="unknown", why=str(error))
        finally:
            await ender.close()

    async def forget(self) -> None:
        """The outcome is in the ledger: the target need not keep it. What stays there is shown by `doctor`."""
        ender = self._ways.ender(self._started.act)
        try:
            await ender.forget(self._started)
        except EnvtuiError:
            pass
        finally:
            await ender.close()

    def _stopping(self, sink: Sink, seen: Mapping[str, int]) -> Callable[[Ender], Awaitable[Fate]]:
        async def stopped(ender: Ender) -> Fate:
            fate = await self._reached(lambda: ender.stop(self._started, GRACE), self._started.act.timeout)
            if fate.dead:
                with contextlib.suppress(EnvtuiError):  # what it said until then; that it is dead is known
                    await ender.attach(self._started, sink, seen, 0)
            return fate

        return stopped

    async def _concluded(self, end: Callable[[Ender], Awaitable[Fate]], word: Word, why: str) -> Conclusion:
        ender = self._ways.ender(self._started.act)
        try:
            fate = await end(ender)
        except EnvtuiError as error:
            return Conclusion(word="IN DOUBT", why=f"{why} {error.message}")
        finally:
            await ender.close()
        return await self._said(fate, word, why)

    async def _reached(self, ask: Callable[[], Awaitable[Fate]], seconds: float) -> Fate:
        """Ask until the target answers, for `seconds`: a network comes back."""
        clock = self._ways.clock
        until = clock.boot_ms() + round(seconds * 1000)
        for attempt in range(1_000_000):
            try:
                return await ask()
            except EnvtuiError:
                pause = AGAIN[min(attempt, len(AGAIN) - 1)]
                if clock.boot_ms() + pause * 1000 > until:
                    raise
                await clock.sleep(pause)
        raise AssertionError("unreachable")

    async def _said(self, fate: Fate, word: Word, why: str) -> Conclusion:
        """`word` is what it comes to when nothing of it is there."""
        if fate.state == "committed":
            return Conclusion(word="OK", why=f"{why} The database says that it committed.")
        if fate.state == "aborted":
            return Conclusion(word=word, why=f"{why} The database says that it was rolled back.", untouched=True)
        if not fate.dead:
            return Conclusion(word="IN DOUBT", why=f"{why} {fate.why}".strip(), exit=fate.exit)
        found = await self._probe(fate)
        if found is None:
            return self._told(fate, word, why)
        finding, because = found
        if finding == "unknown":
            return Conclusion(word="IN DOUBT", why=f"{why} Its probe cannot tell: {because}", exit=fate.exit)
        if finding == "absent":
            return Conclusion(word=word, why=f"{why} Its probe did not find it.", exit=fate.exit, untouched=True)
        ended = word == "FAILED" and fate.exit is not None  # by itself: of what was stopped, the exit says nothing
        if ended and not self._judge(Reading(exit=fate.exit))[0]:
            return Conclusion(word="FAILED", why=f"{why} It is there, and ended with {fate.exit}.", exit=fate.exit)
        return Conclusion(word="OK", why=f"{why} Its probe found it.", exit=fate.exit)

    def _told(self, fate: Fate, word: Word, why: str) -> Conclusion:
        """Without a probe the host's own note is all there is; one that was stopped has none that counts."""
        if fate.exit is None or word != "FAILED":
            return Conclusion(word="IN DOUBT", why=f"{why} {fate.why or 'There is no probe.'}", exit=fate.exit)
        good, because = self._judge(Reading(exit=fate.exit))
        return Conclusion(word="OK" if good else "FAILED", why=because, exit=fate.exit)
