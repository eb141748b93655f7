"""How a run is stopped: after the current act, or now and for good."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from envtui.core.ports import Clock


class Stopping:
    """What one run was told, and the job that can be cut off. `now`: it was; `for_good`: nothing follows it here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked = asyncio.Event()
        self._doing: tuple[asyncio.Task[Any], bool] | None = None
        self.for_good = False
        self.now = False
        self.why = ""

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def cutting(self) -> bool:
        """Whether a job that was cut off is still coming to its end."""
        return self.now and self._doing is not None

    @property
    def writing(self) -> bool:
        """Whether a job is under way that writes, or is about to."""
        return self._doing is not None and self._doing[1]

    def ask(self) -> None:
        """Nothing more begins until `go_on`; a pause ends now."""
        self._asked.set()

    def go_on(self) -> None:
        if not self.for_good:
            self._asked.clear()
            self.now = False
            self.why = ""

    def interrupt(self, writes: bool) -> None:
        """Nothing more begins, ever. A read under way is cancelled; a write only with `writes`."""
        self.for_good = True
        self.cut(writes)

    def cut(self, writes: bool, why: str = "") -> None:
        """Nothing more begins until `go_on`. A read under way is cancelled now; a write only with `writes`. `why`: the
        sentence that its outcome begins with; the first one that is given stays."""
        self.now = True
        self.why = self.why or why
        self._asked.set()
        if self._doing is not None and (writes or not self._doing[1]):
            self._doing[0].cancel()

    async def cuttable(self, job: Coroutine[Any, Any, Any], writes: bool) -> bool:
        """Do it; False when it was cut off. `writes`: whether the job does."""
        self._doing = asyncio.create_task(job), writes
        try:
            await self._doing[0]
        except asyncio.CancelledError:
            if not self.now:
                raise
            return False
        finally:
            self._doing = None
        return True

    async def pause(self, seconds: float) -> bool:
        """Wait; True when stopping was asked for first."""
        if seconds <= 0:
            return self.asked
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        stopping = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
        return self.asked
