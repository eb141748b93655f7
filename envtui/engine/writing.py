"""Write access of a session's runs: the use cases of `access`, bound to this session's tree, ledger and clock.

Grants live here and nowhere else; when the process ends they are gone, and another one makes of the ledger only what takes
back what was done under them. A keeper looks at each one every minute and at its end, and gives it back to read by itself.
What that means for the act that is under way is in `watching`: a revoke, a closed incident and a clock that was set back end
it; when the time is over it goes on, because it was seen to fit before it began.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence

import msgspec

from envtui.core.access import Grant, Permit, Request, Terms, Waiver
from envtui.core.act import Act, Plan
from envtui.core.errors import EnvtuiError, NeedsWrite, Refused, UsageError
from envtui.core.events import Entry, GrantEnded, PermitSpent, SignedOff, SignOffRefused, run_of
from envtui.core.ports import Journal
from envtui.rules import last_run, late
from envtui.rules.break_glass import review_by_ms
from envtui.rules.grants import NO_VALUES
from envtui.rules.past import past
from envtui.rules.run import fold
from envtui.rules.shows import shows

from . import access
from .keeping import Keeper
from .paging import Paging
from .planning import Planning
from .runner import RunTask
from .telling import Telling
from .through import Through
from .watching import Watching
from .ways import Ways, quiet


class WriteAccess:
    """Asks, receives, activates, spends and ends, for the runs of one session."""

    def __init__(
        self, terms: Terms, ways: Ways, replan: Callable[[Request], Plan], planning: Planning | None = None
    ) -> None:
        self.terms = terms
        self._ways = ways
        self._replan = replan
        self._planning = planning  # of books that are in no checkout
        self._grants: dict[str, Grant] = {}
        self._over: dict[str, dict[str, Grant]] = {}  # run -> id -> what still permits undo
        self._keepers: dict[str, Keeper] = {}
        self._watching = Watching(ways.journal, self._ended_elsewhere)
        self._ending = asyncio.Lock()
        self._telling = Telling(ways.tracker, terms.environment)
        self._paging = Paging(ways.notifier)

    def grant(self, run: str) -> Grant | None:
        """The run's write access, if it was activated in this process and has not ended."""
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
        break_glass: bool = False,
        waivers: Sequence[Waiver] = (),
    ) -> tuple[Request, str]:
        """A signed request for exactly this plan, and the block that carries it. With `break_glass` nobody else signs.

        What the run has captured for its late slots by now is in it.
        """
        run = task.run if task is not None else fold(await self._ways.journal.read(plan.run), plan.run)
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
            break_glass=break_glass,
            book_text=self._planning.text_of(plan) if self._planning is not None else "",
            waivers=waivers,
            late=late.known(run, plan),
        )

    async def review(self, block: str) -> access.Review:
        """What an approver needs to see of a request, computed from this checkout."""
        found = await access.review(
            block,
            terms=self.terms,
            replan=self._replan,
            verifier=self._ways.verifier,
            tracker=self._ways.tracker,
            clock=self._ways.clock,
            compare=self._planning.bringing.compare if self._planning is not None else access.same,
        )
        return msgspec.structs.replace(found, last=await self._last(found.plan)) if found.plan is not None else found

    async def _last(self, plan: Plan) -> tuple[str, ...]:
        journal = self._ways.journal
        begun = last_run.started(await journal.find(f'"book":"{plan.book}"'), plan.book, plan.run)
        entries = await journal.read(run_of(begun.event)) if begun is not None else ()
        shown = {act.id: self._ways.masked(shows(act)) for s in plan.steps for act in (*s.acts, *s.undo, *s.probe)}
        return last_run.lines(begun, entries, plan, shown)

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
        """Check a sign-off and write down that it came, or why it does not count. A revoke ends write access."""
        event = await access.receive(
            block,
            task.run.id,
            terms=self.terms,
            verifier=self._ways.verifier,
            journal=self._journal(task),
            clock=self._ways.clock,
        )
        if isinstance(event, SignedOff) and event.verdict == "revoke":
            await self._revoked(task)
        return event

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
        before = (await self._ways.journal.head()).seq
        grant = await access.activate(
            task.run.id,
            terms=self.terms,
            plan=task.plan,
            verifier=self._ways.verifier,
            tracker=self._ways.tracker,
            journal=self._journal(task),
            clock=self._ways.clock,
        )
        await self.end(task, "GIVEN_BACK", "write access was asked for again")  # where there was another grant before
        self._grants[task.run.id] = grant
        self._keepers[task.run.id] = Keeper(
            task, grant, terms=self.terms, ways=self._ways, end=functools.partial(self._kept_until, task, grant)
        )
        self._watching.watch(task, before)
        self._telling.begun(self._journal(task), grant)
        if grant.request.break_glass:
            self._paging.begun(self._journal(task), grant, review_by_ms(self.terms.policy, grant.activated_ms))
        return grant

    async def spend(self, task: RunTask, act: Act, attempt: int, values: Mapping[str, str] = NO_VALUES) -> Permit:
        """A permit for one attempt of a forward act, consumed in the ledger before it is returned. Raises NeedsWrite, Refused."""
        grant = self._grants.get(task.run.id)
        if grant is None:
            raise NeedsWrite(f"Act {act.id} writes and this run has no write access.", "Ask for it.")
        try:
            return await access.spend(
                grant,
                act,
                attempt,
                terms=self.terms,
                tracker=self._ways.tracker,
                journal=self._journal(task),
                clock=self._ways.clock,
                late=values,
            )
        except Refused:
            await self._put_by(task, grant)
            raise

    async def spend_undo(self, task: RunTask, act: Act, attempt: int, values: Mapping[str, str] = NO_VALUES) -> Permit:
        """A permit for one attempt of an undo act: under the run's write access, or under what is left of the one that did
        what is taken back, also when that was another process's. Raises NeedsWrite where nothing of the step was
        permitted, Refused with the reason where it is not permitted any more.
        """
        why: EnvtuiError | None = None
        active = self._grants.get(task.run.id)
        self._watching.watch(task, (await self._ways.journal.head()).seq)
        for grant_id in await self._undoing(task, act):
            try:
                grant = active if active and active.id == grant_id else await self._left_of(task, grant_id)
                permit = await access.spend_undo(
                    grant,
                    act,
                    attempt,
                    terms=self.terms,
                    tracker=self._ways.tracker,
                    journal=self._journal(task),
                    clock=self._ways.clock,
                    late=values,
                )
            except EnvtuiError as error:
                if not isinstance(error, Refused | UsageError):
                    raise
                why = why or error
            else:
                return permit
            finally:
                if active is not None:
                    await self._put_by(task, active)
        raise why or NeedsWrite(f"Nothing that {act.id} takes back was permitted in this run.", "Ask for write access.")

    async def _undoing(self, task: RunTask, act: Act) -> tuple[str, ...]:
        """Ids of the grants that may permit an undo act: the one that is active, then those that its step was done under,
        the last first."""
        step = act.step.removesuffix(".undo")
        active = self._grants.get(task.run.id)
        found = {active.id: None} if active else {}
        for entry in reversed(await self._ways.journal.read(task.run.id)):
            if isinstance(entry.event, PermitSpent) and entry.event.act.partition("@")[0] == step:
                found[entry.event.grant] = None
        return tuple(found)

    async def _left_of(self, task: RunTask, grant_id: str) -> Grant:
        known = self._over.setdefault(task.run.id, {})
        if grant_id not in known:
            from .reinstating import reinstate

            known[grant_id] = await reinstate(
                task.run.id,
                grant_id,
                terms=self.terms,
                replan=self._replan,
                verifier=self._ways.verifier,
                journal=self._ways.journal,
                clock=self._ways.clock,
            )
        return known[grant_id]

    async def orphaned(self, task: RunTask) -> tuple[GrantEnded, ...]:
        """A run is taken up again: write down the end of its grants whose process is gone."""
        from .reinstating import orphaned

        mine = {grant.id for grant in self._grants.values()}
        return await orphaned(task.run.id, journal=self._journal(task), mine=mine)

    async def end(self, task: RunTask, reason: access.EndReason, why: str = "", cut: bool = True) -> None:
        """Back to read. Does nothing when there is no grant; a revoke also ends the undo of those that ended before.

        Where the reason does (`watching`), what is under way is ended, too, unless `cut` says not to.
        """
        ending = list(self._over.get(task.run.id, {}).values()) if reason == "REVOKED" else []
        grant = self._lapse(task.run.id)
        if grant is not None:
            ending.append(grant)
        for one in ending:
            async with self._ending:
                await access.end(one, reason, journal=self._journal(task), why=why)
        if ending:
            self._watching.withdraw(task, reason, why, cut)
        self._over_now(task, grant, reason)

    def _ended_elsewhere(self, task: RunTask, entry: Entry) -> None:
        """Another process wrote down that a grant of this run ended: it has, here too."""
        event = entry.event
        assert isinstance(event, GrantEnded)
        task.take(entry)
        self._ended(task, event)

    async def _revoked(self, task: RunTask) -> None:
        """A revoke that somebody signed is in the ledger."""
        ends = [e.event for e in await self._ways.journal.read(task.run.id) if isinstance(e.event, GrantEnded)]
        if ends:
            self._ended(task, ends[-1])

    def _ended(self, task: RunTask, event: GrantEnded) -> None:
        """The ledger says that a grant ended. One that was only asked for has nothing under way."""
        grant = self._grants.get(task.run.id)
        if grant is not None and grant.id == event.grant:
            self._over_now(task, self._lapse(task.run.id), event.reason)
        if event.grant in self._over.get(task.run.id, {}):
            self._watching.withdraw(task, event.reason, event.why)

    async def _put_by(self, task: RunTask, grant: Grant) -> None:
        """An active grant that ended, as the ledger has it, is one that undoes only."""
        reason = past(await self._ways.journal.read(task.run.id)).end(grant.id)
        if self._grants.get(task.run.id) is grant and reason:
            self._over_now(task, self._lapse(task.run.id), reason)
            self._watching.withdraw(task, reason, "", cut=False)  # what is under way is what asks for a permit now

    def _over_now(self, task: RunTask, grant: Grant | None, reason: str) -> None:
        """It is written down that a grant ended: the incident's record and who was called learn it."""
        if grant is not None:
            self._telling.ended(self._journal(task), grant, reason)
            self._paging.ended(self._journal(task), grant, reason)

    def _lapse(self, run: str) -> Grant | None:
        grant = self._grants.pop(run, None)
        keeper = self._keepers.pop(run, None)
        if keeper is not None:
            keeper.release()
        if grant is not None:
            self._over.setdefault(run, {})[grant.id] = grant
        return grant

    async def close(self, tasks: Mapping[str, RunTask]) -> None:
        """End every grant: the process is leaving."""
        await self._watching.close()
        for run in tuple(self._grants):
            if run in tasks and (grant := self._lapse(run)) is not None:
                async with self._ending:
                    why = "the session was closed"
                    await access.end(grant, "GIVEN_BACK", journal=self._journal(tasks[run]), why=why)
                self._over_now(tasks[run], grant, "GIVEN_BACK")
        async with self._ending:  # an end that somebody else began is written down before the ledger closes
            pass
        await asyncio.gather(self._telling.close(), self._paging.close())

    async def _kept_until(self, task: RunTask, grant: Grant, reason: access.EndReason, why: str, cut: bool) -> None:
        if self._grants.get(task.run.id) is grant:
            await self.end(task, reason, why, cut)

    def _journal(self, task: RunTask | None) -> Journal:
        return self._ways.journal if task is None else Through(task, self._ways.journal, self._watching.own)
