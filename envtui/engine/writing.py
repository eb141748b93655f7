"""Write access of a session's runs: the use cases of `access`, bound to this session's tree, ledger and clock.

Grants live here and nowhere else; when the process ends they are gone. A keeper looks at each one every minute and at its
end, and gives it back to read by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from envtui.core.access import Grant, Permit, Request, Terms
from envtui.core.act import Act, Plan
from envtui.core.errors import NeedsWrite, Refused
from envtui.core.events import Entry, Event, Head, SignedOff, SignOffRefused
from envtui.core.ports import Journal

from . import access
from .runner import RunTask
from .ways import Ways, quiet

RECHECK_SECONDS = 60
"""How often a grant's grounds are looked at (design: closing the incident ends it within 60 s)."""


class _Through(msgspec.Struct, frozen=True):
    """The journal with appends going through a run, so that the run's fold sees what `access` writes."""

    task: RunTask
    journal: Journal

    async def append(self, event: Event) -> Entry:
        return (await self.task.append(event))[-1]

    async def append_all(self, events: Sequence[Event]) -> Sequence[Entry]:
        return await self.task.append(*events)

    async def read(self, run: str | None = None) -> Sequence[Entry]:
        return await self.journal.read(run)

    def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        return self.journal.follow(after)

    async def head(self) -> Head:
        return await self.journal.head()

    async def close(self) -> None:
        """The session closes the journal, not a run of it."""


class WriteAccess:
    """Asks, receives, activates, spends and ends, for the runs of one session."""

    def __init__(self, terms: Terms, ways: Ways, replan: Callable[[Request], Plan]) -> None:
        self.terms = terms
        self._ways = ways
        self._replan = replan
        self._grants: dict[str, Grant] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._ending = asyncio.Lock()

    def grant(self, run: str) -> Grant | None:
        return self._grants.get(run)

    async def ask(
        self,
        plan: Plan,
        incident: str,
        reason: str,
        ttl_ms: int,
        *,
        task: RunTask | None = None,
        waiting: Callable[[str], None] = quiet,
        full: bool = False,
    ) -> tuple[Request, str]:
        """A signed request for exactly this plan, and the block that carries it."""
        return await access.ask(
            plan,
            incident,
            reason,
            ttl_ms,
            terms=self.terms,
            signer=await self._ways.signer(""),
            tracker=self._ways.tracker,
            journal=self._journal(task),
            clock=self._ways.clock,
            waiting=waiting,
            full=full,
        )

    async def review(self, block: str) -> access.Review:
        """What an approver needs to see of a request, computed from this checkout."""
        return await access.review(
            block,
            terms=self.terms,
            replan=self._replan,
            verifier=self._ways.verifier,
            tracker=self._ways.tracker,
            clock=self._ways.clock,
        )

    async def sign(
        self,
        review: access.Review,
        verdict: str,
        key: str = "",
        reason: str = "",
        waiting: Callable[[str], None] = quiet,
    ) -> str:
        """The approver's answer as a block. `key`: the approver's key reference; '' is the user's own."""
        assert verdict in ("approve", "deny")
        return await access.sign(
            review,
            "approve" if verdict == "approve" else "deny",
            terms=self.terms,
            signer=await self._ways.signer(key),
            clock=self._ways.clock,
            waiting=waiting,
            reason=reason,
        )

    async def receive(self, task: RunTask, block: str) -> SignedOff | SignOffRefused:
        """Check a sign-off and write down that it came, or why it does not count."""
        return await access.receive(
            block,
            task.run.id,
            terms=self.terms,
            verifier=self._ways.verifier,
            journal=self._journal(task),
            clock=self._ways.clock,
        )

    async def admit(self, plan: Plan, answers: Sequence[str]) -> access.Standing:
        """Take the answers for a run that has not begun, and say what its request still lacks.

        Raises Refused for an answer that does not count.
        """
        for block in answers:
            event = await access.receive(
                block,
                plan.run,
                terms=self.terms,
                verifier=self._ways.verifier,
                journal=self._ways.journal,
                clock=self._ways.clock,
            )
            if isinstance(event, SignOffRefused):
                raise Refused(event.why, "Ask for another signature.")
        return await self._standing(plan)

    async def standing(self, task: RunTask) -> access.Standing:
        """How far the request of a run is, and what still lacks."""
        return await self._standing(task.plan)

    async def _standing(self, plan: Plan) -> access.Standing:
        return await access.status(
            plan.run,
            terms=self.terms,
            plan=plan,
            verifier=self._ways.verifier,
            journal=self._ways.journal,
            clock=self._ways.clock,
        )

    async def activate(self, task: RunTask) -> Grant:
        """Write access begins. Raises Refused with everything that still lacks."""
        grant = await access.activate(
            task.run.id,
            terms=self.terms,
            plan=task.plan,
            verifier=self._ways.verifier,
            tracker=self._ways.tracker,
            journal=self._journal(task),
            clock=self._ways.clock,
        )
        self._grants[task.run.id] = grant
        self._keepers[task.run.id] = asyncio.create_task(self._keep(task, grant))
        return grant

    async def spend(self, task: RunTask, act: Act) -> Permit:
        """A permit for one act, consumed in the ledger before it is returned."""
        grant = self._grants.get(task.run.id)
        if grant is None:
            raise NeedsWrite(f"Act {act.id} writes and this run has no write access.", "Ask for it.")
        return await access.spend(
            grant,
            act,
            1,
            terms=self.terms,
            tracker=self._ways.tracker,
            journal=self._journal(task),
            clock=self._ways.clock,
        )

    async def end(self, task: RunTask, reason: access.EndReason, why: str = "") -> None:
        """Back to read. Does nothing when there is no grant."""
        grant = self._grants.pop(task.run.id, None)
        keeper = self._keepers.pop(task.run.id, None)
        if keeper is not None and keeper is not asyncio.current_task():
            keeper.cancel()
        if grant is None:
            return
        async with self._ending:
            await access.end(grant, reason, journal=self._journal(task), why=why)

    async def close(self, tasks: Mapping[str, RunTask]) -> None:
        """End every grant: the process is leaving."""
        for run in tuple(self._grants):
            if run in tasks:
                await self.end(tasks[run], "GIVEN_BACK", "the session was closed")
        async with self._ending:  # an end that somebody else began is written down before the ledger closes
            return

    async def _keep(self, task: RunTask, grant: Grant) -> None:
        while True:
            left = (grant.until_ms - self._ways.clock.wall_ms()) / 1000
            await self._ways.clock.sleep(max(0.05, min(RECHECK_SECONDS, left)))
            over = await access.recheck(grant, terms=self.terms, tracker=self._ways.tracker, clock=self._ways.clock)
            if over is not None:
                await self.end(task, *over)
                return

    def _journal(self, task: RunTask | None) -> Journal:
        return self._ways.journal if task is None else _Through(task, self._ways.journal)
