"""One open environment: its tree, its ledger, its connections and its runs.

Both doors hold one and nothing below it. An async context manager: leaving it closes every connection within a deadline;
what has not ended by then is in doubt, and the ledger already says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from envtui import __version__
from envtui.core.access import Operator, Permit, Request, Terms, Waiver
from envtui.core.act import Act, HttpCall, Place, Plan, SqlCall, SshCall
from envtui.core.errors import EnvtuiError, Unsound, UsageError
from envtui.core.events import Entry, RunStarted, SessionOpened
from envtui.core.ports import Hold, Probing, Shown
from envtui.core.runbook import Runbook
from envtui.core.tree import Book, Tree
from envtui.rules.places import places
from envtui.rules.proposals import NeedsDecision, Next
from envtui.rules.protection import weakest
from envtui.rules.run import fold, fold_all
from envtui.rules.shows import shows
from envtui.rules.state import Run, writes_left
from envtui.rules.written import written

from .leaving import leave
from .planning import Planning, given_in
from .runner import RunTask
from .ways import Ways, quiet

if TYPE_CHECKING:  # imported when write access is asked for: most runs never do
    from .resuming import Left
    from .writing import WriteAccess


class Connection(msgspec.Struct, frozen=True):
    """What is known of one member of a target. `error` '' and `shown` '' mean: not tried yet."""

    target: str
    member: str
    kind: str
    shown: str = ""
    protection: str = ""
    error: str = ""
    error_code: int = 0
    skew_ms: int | None = None  # how far its clock is ahead; None: it did not tell
    lacks: tuple[str, ...] = ()  # what stands between it and the next level of protection


class SessionStatus(msgspec.Struct, frozen=True):
    """What the banner says besides the run: reachability, ledger, protection as probed, the write gate's name."""

    connections: tuple[Connection, ...]
    ledger: str  # ok, or what is wrong
    write_gate: str

    def count(self, kind: str) -> tuple[int, int]:
        """(connected, tried) members of a kind."""
        tried = [c for c in self.connections if c.kind == kind and (c.shown or c.error)]
        return sum(1 for c in tried if not c.error), len(tried)

    @property
    def protection(self) -> dict[str, str]:
        """The weakest level that was probed, by kind."""
        levels: dict[str, list[str]] = {}
        for one in self.connections:
            if one.protection:
                levels.setdefault(one.kind, []).append(one.protection)
        return {kind: weakest(kind, found) for kind, found in levels.items()}


class EnvironmentSession(Planning):
    """An open environment. `order` is its place in the chain of promotion, from 0; `last` is its length - 1."""

    def __init__(self, tree: Tree, order: int, last: int, operator: Operator, ways: Ways, terms: Terms) -> None:
        self.tree = tree
        self.order = order
        self.last = last
        self.operator = operator
        self.ways = ways
        self._tasks: dict[str, RunTask] = {}
        self._holds: dict[str, Hold] = {}
        self._listeners: list[Callable[[], None]] = []
        self._connections: dict[tuple[str, str], Connection] = {}
        self._ledger_problem = ""
        self._terms = terms

    @functools.cached_property
    def access(self) -> WriteAccess:
        """The one way to write access."""
        from .writing import WriteAccess

        return WriteAccess(self._terms, self.ways, self.replan, self)

    async def __aenter__(self) -> EnvironmentSession:
        await self.ways.journal.append(
            SessionOpened(
                environment=self.environment.name,
                operator=self.operator.name,
                machine=self.operator.machine,
                version=__version__,
                manifest_sha256=self.tree.manifest_sha256,
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, deadline: float = 5.0) -> None:
        """End what goes on, give write access back, close every connection.

        Reads are cancelled; a write has `deadline` seconds to end and is in doubt after them. As long is spent on
        closing connections in order.
        """
        await asyncio.gather(*(leave(task, deadline) for task in self._tasks.values()), return_exceptions=True)
        if "access" in vars(self):
            await self.access.close(self._tasks)
        closing = [reader.close() for reader in self.ways.readers.values()]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), deadline)
        await self.ways.journal.close()
        for run in tuple(self._holds):
            self._holds.pop(run).release()
        self.ways.executor.shutdown(wait=False, cancel_futures=True)

    # -- looking ---------------------------------------------------------------------------------------------------

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after every event and connection; returns how to stop that."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed) if changed in self._listeners else None

    def status(self) -> SessionStatus:
        gate = self.environment.access.write_gate or "advisory"
        return SessionStatus(tuple(self._connections.values()), self._ledger_problem or "ok", gate)

    async def entries(self, run: str | None = None) -> Sequence[Entry]:
        return await self.ways.journal.read(run)

    async def runs(self) -> tuple[Run, ...]:
        """Every run in the ledger, in doubt first, then open ones, then the newest."""
        runs = fold_all(await self.ways.journal.read())
        return tuple(sorted(runs, key=lambda r: (not r.in_doubt, r.word is not None, -r.started_ms)))

    def task(self, run_id: str) -> RunTask | None:
        """The run, if it goes on in this process."""
        return self._tasks.get(run_id)

    @property
    def tasks(self) -> tuple[RunTask, ...]:
        return tuple(self._tasks.values())

    # -- running ---------------------------------------------------------------------------------------------------

    async def start(self, plan: Plan, unscripted: Runbook | None = None, asked: Run | None = None) -> RunTask:
        """Write the run's start down; nothing is sent yet. Raises Refused for an act that its target would refuse.

        `asked`: what was written down under the run's id before it, when it was asked for and signed.
        """
        for step in plan.steps:
            for act in (*step.acts, *step.instead, *step.undo, *step.probe):
                self.ways.check(act)
        runbook = unscripted or self.book_of(plan).runbook
        text = self.text_of(plan)
        if unscripted is not None:
            from envtui.rules.book_text import written as as_text

            text = as_text(unscripted)
        task = self.bring(asked or fold((), plan.run), plan, runbook)
        masked = {
            act.id: self.ways.masked(shows(act)) for step in plan.steps for act in (*step.acts, *step.undo, *step.probe)
        }
        await task.append(
            RunStarted(
                run=plan.run,
                book=plan.book,
                book_sha256=plan.book_sha256,
                title=runbook.title,
                plan_digest=plan.digest(),
                operator=self.operator.name,
                inputs=dict(plan.inputs),
                unscripted=unscripted is not None or (bool(text) and self.bringing.unscripted(plan)),
                plan=written(plan, masked),
                date=plan.date,
                book_text=text,
            )
        )
        await task.settle()
        return task

    def bring(self, run: Run, plan: Plan, runbook: Runbook, begun: int = 0) -> RunTask:
        """The run in this process and in no other, as it stands. Raises Refused while another process has it.

        `begun`: how many acts of it were begun before.
        """
        self.hold(run.id)
        keep = functools.partial(self.hold, run.id)
        task = RunTask(
            run, plan, runbook, self.environment, self.ways, self._tell, self.connected, self._spend, keep, begun
        )
        self._tasks[run.id] = task
        return task

    def hold(self, run: str) -> None:
        """Keep the run for this process until it has ended. Raises Refused while another process has it."""
        if run not in self._holds:
            self._holds[run] = self.ways.hold(run)

    async def left(self, run_id: str, text: str = "", name: str = "") -> Left:
        """What resuming a run would mean: where it stands, what is read again, how its plan differs today.

        `text`: of its book as it was edited since, `name` is its file's.
        """
        from .resuming import left

        return await left(self, run_id, text, name)

    async def resume(self, found: Left, accepted: bool = False) -> RunTask:
        """Go on with a run that was left or that failed. `accepted`: the differences were read. Nothing is sent yet."""
        from .resuming import take_up

        return await take_up(self, found, accepted)

    async def adopt(self, found: Left) -> RunTask:
        """A run of the ledger in this process, to take back what it did (`RunTask.mending.undo`)."""
        from .resuming import adopt

        return await adopt(self, found)

    async def start_granted(
        self,
        book_id: str | None,
        params: Mapping[str, str],
        blocks: str,
        check: Callable[[Runbook], object] = lambda _: None,
    ) -> RunTask:
        """A run exactly as it was asked for and signed: `blocks` holds the request and its sign-offs, as pasted.

        `book_id` None: the one that came along. `check` may refuse the book, before its request is used.

        Raises UsageError when the blocks are none of this book, Refused when a sign-off does not count, the plan is another
        one or the request was used, NeedsWrite while signatures lack; nothing has begun then.
        """
        from .granted import answers_in, refuse_another, refuse_old, refuse_unsigned, request_in

        signed, request = request_in(blocks, self.environment.name, book_id)
        plan = self.replan(request)
        if params and dict(params) != given_in(dict(plan.inputs)):
            raise UsageError("The parameters are not those of the request.", "Leave them out: the request has them.")
        refuse_old(request, fold(await self.ways.journal.read(request.run), request.run))
        refuse_another(signed, request, plan)
        if request.book_text:
            self.bringing.take(request.book_text, request.book, request.run)
        check(self.book_of(plan).runbook)
        refuse_unsigned(await self.access.admit(plan, answers_in(blocks)))
        # Admitting wrote down what was asked and signed: the run begins with it.
        return await self.start(plan, asked=fold(await self.ways.journal.read(plan.run), plan.run))

    async def ask_write(
        self,
        task: RunTask,
        incident: str,
        reason: str,
        ttl_ms: int = 0,
        waiting: Callable[[str], None] = quiet,
        break_glass: bool = False,
        waivers: Sequence[Waiver] = (),
    ) -> tuple[Request, str]:
        """Ask for write access to a run that goes on; the run's plan becomes the one under that incident."""
        plan = self.with_incident(task.plan, incident)
        asked = await self.access.ask(
            plan, incident, reason, ttl_ms, task=task, waiting=waiting, break_glass=break_glass, waivers=waivers
        )
        task.plan = plan
        return asked

    async def arm(self, task: RunTask) -> None:
        """Activate what was signed, if it has not been: write access begins. Does nothing where something lacks."""
        grant = task.run.grant
        if (grant is None or grant.ended) and (await self.access.standing(task)).state == "APPROVED":
            await self.access.activate(task)

    async def write(self, task: RunTask, step_id: str) -> Next:
        """Do a write step. Activates what was signed if it has not been; ends write access after the last act."""
        await self.arm(task)
        proposed = await task.write(step_id)
        grant = task.run.grant
        settled = not task.run.in_doubt and not isinstance(proposed, NeedsDecision) and not writes_left(task.run)
        if grant is not None and not grant.ended and grant.acts_left == 0 and settled:
            await self.access.end(task, "COMPLETED", "every permitted act was sent")
        return proposed

    async def _spend(self, task: RunTask, act: Act, attempt: int, undo: bool, late: Mapping[str, str]) -> Permit:
        spend = self.access.spend_undo if undo else self.access.spend
        return await spend(task, act, attempt, late)

    async def ask(self, target: str, words: Sequence[str], needs: Sequence[str] = ()) -> RunTask:
        """An unscripted read: a book of one step, under the same protection and in the same ledger. `needs`: what the
        sandbox is to leave open for it."""
        from envtui.rules import unscripted

        runbook = unscripted.read(self.environment, target, words, self.operator.name, needs)
        run, date = self.begin()
        plan = self.made(Book(runbook, "", "", ""), run, self.operator.name, date, {}, "")
        return await self.start(plan, unscripted=runbook)

    async def look(self, thorough: bool = False) -> tuple[Connection, ...]:
        """Connect to every member of every target with read credentials, as `doctor` and the banner do.

        `thorough`: find out about protection more than the environment asks for; it may leave a line in a host's log.
        """
        members = [
            place
            for name in self.environment.targets
            for place in places(self.environment, name, "read", self.operator.name)
        ]
        await asyncio.gather(*(self._look_at(place, thorough) for place in members))
        return tuple(self._connections.values())

    async def _look_at(self, place: Place, thorough: bool) -> None:
        call = SshCall() if place.kind == "ssh" else SqlCall(text="") if place.kind == "sql" else HttpCall()
        key = (place.target, place.member)
        try:
            reader, act = self.ways.readers[place.kind], Act(step="look", mode="read", place=place, call=call)
            shown = await (reader.probe(act) if thorough and isinstance(reader, Probing) else reader.open(act))
            self.connected(shown, place.kind)
        except EnvtuiError as error:
            self._connections[key] = Connection(
                place.target, place.member, place.kind, error=self.ways.masked(str(error)), error_code=error.exit_code
            )
            self._tell()

    async def verify_ledger(self) -> str:
        """Every entry, recomputed. Returns what was found in words; raises LedgerBroken."""
        try:
            said = await asyncio.get_running_loop().run_in_executor(self.ways.executor, self.ways.verify)
        except Unsound as error:
            self._ledger_problem = error.message
            raise
        finally:
            self._tell()
        self._ledger_problem = ""
        return said

    def connected(self, shown: Shown, kind: str) -> None:
        """Remember what a connection showed."""
        says = self.ways.masked(shown.shown)
        self._connections[(shown.target, shown.member)] = Connection(
            shown.target, shown.member, kind, says, shown.protection, skew_ms=shown.skew_ms, lacks=shown.lacks
        )
        self._tell()

    def _tell(self) -> None:
        for run in tuple(self._holds):
            if self._tasks[run].over:
                self._holds.pop(run).release()
        for changed in tuple(self._listeners):
            changed()
