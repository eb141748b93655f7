"""The journal of one run that goes on: what `access` writes into the ledger is seen by the run's fold as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from envtui.core.events import Entry, Event, GrantEnded, Head
from envtui.core.ports import Journal

from .runner import RunTask


class Through(msgspec.Struct, frozen=True):
    """A journal (port Journal) whose appends go through the run. The session closes the journal, not a run of it."""

    task: RunTask
    journal: Journal
    own: set[tuple[str, str]]  # (grant, reason) of the ends that are written through this

    async def append(self, event: Event) -> Entry:
        return (await self.append_all((event,)))[-1]

    async def append_all(self, events: Sequence[Event]) -> Sequence[Entry]:
        self.own.update((event.grant, event.reason) for event in events if isinstance(event, GrantEnded))
        return await self.task.append(*events)

    async def read(self, run: str | None = None) -> Sequence[Entry]:
        return await self.journal.read(run)

    async def find(self, text: str) -> Sequence[Entry]:
        return await self.journal.find(text)

    def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        return self.journal.follow(after)

    async def head(self) -> Head:
        return await self.journal.head()

    async def close(self) -> None: ...
