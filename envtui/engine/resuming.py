"""A run taken up again: another day, another terminal, after a crash. What the ledger knows is where it goes on.

Its plan is made again from the tree of today. Where that is another one, the difference is shown and the run goes on only
when a person accepts it; writes then need to be signed afresh, because what was signed is another plan.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from envtui.core.act import Act, Plan
from envtui.core.errors import Refused, UsageError
from envtui.core.events import ActIntended, Entry, Requested, Resumed, RunStarted
from envtui.core.tree import Book
from envtui.rules import left as rules
from envtui.rules.run import fold
from envtui.rules.shows import shows
from envtui.rules.state import Run
from envtui.rules.written import written

from .planning import given_in

if TYPE_CHECKING:
    from .runner import RunTask
    from .session import EnvironmentSession


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it was left, with its plan as it is today. `differences`: lines, empty when the plan is the same."""

    run: Run
    plan: Plan
    book: Book
    again: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    begun: int = 0  # acts


async def left(session: EnvironmentSession, run_id: str, text: str = "", name: str = "") -> Left:
    """Look at a run that was left. Raises UsageError when there is none of that id, or its plan cannot be made today.

    `text`: of its book as it was edited since, from the file `name`. Refused where that changes what was sent already.
    """
    entries = await session.entries(run_id)
    started = next((entry for entry in entries if isinstance(entry.event, RunStarted)), None)
    if started is None or not isinstance(started.event, RunStarted):
        raise UsageError(
            f"{session.environment.name} has no run {run_id[:80]!r} that was started.",
            f"`envtui ledger show {session.environment.name}` names them all.",
        )
    event = started.event
    if event.unscripted and not event.book_sha256:
        raise UsageError(f"Run {run_id} was one unscripted read.", "Ask it again.")
    run = fold(entries, run_id)
    book = _book(session, event, _text(entries))
    if text:
        from envtui.rules.brought import refuse_sent

        edited = session.bringing.take(text, event.book, run_id, name or f"{event.book}.yaml").book
        sent = (step.id for step in run.steps if step.mode == "write" and any(act.intended for act in step.acts))
        refuse_sent(book.runbook, edited.runbook, sent)
        book = edited
    signed = _plan(session, book, event, started, _incident(entries))
    known = {run.plan_digest}
    same = signed.digest() in known or _plan(session, book, event, started, "").digest() in known
    masked = {act.id: session.ways.masked(shows(act)) for act in _every(signed)}
    before = next(
        (e.event.plan for e in reversed(entries) if isinstance(e.event, Resumed) and e.event.plan), event.plan
    )
    said = () if same else rules.differences(before, signed, masked) or (_BESIDES,)
    return Left(
        run=run,
        plan=signed,
        book=book,
        again=rules.again(run, signed, book.runbook),
        differences=said,
        begun=sum(isinstance(entry.event, ActIntended) for entry in entries),
    )


async def take_up(session: EnvironmentSession, found: Left, accepted: bool = False) -> RunTask:
    """Go on with it: written down as resumed, nothing sent yet.

    Raises Refused when it is over, when another process has it, or when the plan changed and that was not `accepted`.
    """
    run = found.run
    if run.word in ("OK", "UNDONE", "SKIPPED"):
        raise Refused(
            f"Run {run.id} is over: {run.word}.",
            f"To take back what it did: envtui undo {session.environment.name} {run.id}",
        )
    if found.differences and not accepted:
        raise Refused(
            f"The book of run {run.id} is another one than when it was left:\n" + "\n".join(found.differences),
            "Read the difference, then accept it (--accept-changes); what it writes has to be signed afresh.",
        )
    stands = run.steps[run.position].id if run.position < len(run.steps) else ""
    if stands and all(step.id != stands for step in found.plan.steps):
        raise Refused(
            f"Run {run.id} stands at step {stands}, and the book has no such step any more.",
            "Undo what it did, or start the book anew.",
        )
    task = await adopt(session, found)
    changed = bool(found.differences)
    masked = {act.id: session.ways.masked(shows(act)) for act in _every(found.plan)}
    await task.append(
        Resumed(
            run=run.id,
            operator=session.operator.name,
            machine=session.operator.machine,
            plan_digest=found.plan.digest(),
            again=found.again,
            plan=written(found.plan, masked) if changed else "",
            book_sha256=found.book.sha256 if changed else "",
            book_text=session.text_of(found.plan) if changed else "",
        )
    )
    await task.settle()
    return task


async def adopt(session: EnvironmentSession, found: Left) -> RunTask:
    """The run in this process, as it stands. A grant whose process is gone is ended. Raises Refused when another has it."""
    known = session.task(found.run.id)
    if known is not None and known.busy:
        raise Refused(f"Run {found.run.id} is going on here.", "Stop it first.")
    if known is not None and session.access.grant(found.run.id) is not None:
        await session.access.end(known, "GIVEN_BACK", "the run is taken up again")
        found = msgspec.structs.replace(found, run=known.run)
    task = session.bring(found.run, found.plan, found.book.runbook, found.begun)
    if found.run.grant is not None and session.access.grant(found.run.id) is None:
        await session.access.orphaned(task)
    return task


def _plan(session: EnvironmentSession, book: Book, event: RunStarted, entry: Entry, incident: str) -> Plan:
    date = event.date or dt.datetime.fromtimestamp(entry.at_ms / 1000, dt.UTC).date().isoformat()
    return session.made(book, event.run, event.operator, date, given_in(event.inputs), incident)


def _text(entries: Sequence[Entry]) -> str:
    """The text of the run's book as it was last, where that is in no checkout."""
    had = [
        entry.event.book_text
        for entry in entries
        if isinstance(entry.event, RunStarted) or (isinstance(entry.event, Resumed) and entry.event.plan)
    ]
    return had[-1] if had else ""


def _book(session: EnvironmentSession, event: RunStarted, text: str) -> Book:
    return session.bringing.take(text, event.book, event.run).book if text else session.book(event.book)


def _incident(entries: Sequence[Entry]) -> str:
    asked = [entry.event.incident for entry in entries if isinstance(entry.event, Requested)]
    return asked[-1] if asked else ""


def _every(plan: Plan) -> tuple[Act, ...]:
    return tuple(act for step in plan.steps for act in (*step.acts, *step.undo, *step.probe))


_BESIDES = "nothing that is sent differs; texts, expectations, slots or probes do"
