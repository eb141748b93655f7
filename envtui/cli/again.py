"""`envtui run --resume` and `envtui undo`: a run of the ledger in this process. Where it stands is said first, on stderr.

Imported when a run is taken up again: most never are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from envtui.core.errors import EnvtuiError, NeedsWrite, Refused, UsageError
from envtui.engine.resuming import Left
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.late import as_sent
from envtui.rules.shows import shows
from envtui.rules.undo import final, undoable
from envtui.rules.words import stamp

from .driving import Drive
from .lines import Printer
from .replies import Replies
from .signals import Stopped, say

TYPED = 6
"""Characters of a run's id, its last ones, that are typed to have it undone."""


class How(msgspec.Struct, frozen=True, kw_only=True):
    """Which run, and with what: `blocks` is a request for it with its sign-offs, `accepted` that its book may differ."""

    run: str
    answers: Mapping[str, Sequence[str]]
    blocks: str | None
    accepted: bool
    json: bool
    text: str = ""  # of the book as it was edited since, from the file `name`
    name: str = ""


def resume(session: EnvironmentSession, how: How, *, book: str | None) -> int:
    """Go on with a run that was left, or that failed. Returns the exit code."""

    async def go() -> int:
        replies = _replies(how)
        async with session:
            found = await session.left(how.run, how.text, how.name)
            if book is not None and book != found.run.book:
                raise UsageError(f"Run {how.run} is one of {found.run.book}.", "Leave the book out.")
            replies.check(found.book.runbook)
            if how.blocks is not None:
                found = await _signed(session, found, how.blocks)
            if found.run.word not in ("OK", "UNDONE", "SKIPPED"):
                for line in _standing(found):
                    say(line)
                await _accept(session, found, how, replies)
            task = await session.resume(found, accepted=True)
            printer = Printer(how.json, session, task)
            return await Drive(session, task, replies, printer, stays=True).through()

    return asyncio.run(go())


def undo(session: EnvironmentSession, how: How, *, reason: str, yes: bool) -> int:
    """Take back what a run did, the last change first. Returns the exit code: 0 when nothing of it is there any more."""

    async def go() -> int:
        replies = _replies(how)
        if not yes and not replies.interactive:
            raise UsageError("Nobody is at a terminal to confirm it.", "Give --yes, once you know what is taken back.")
        async with session:
            found = await session.left(how.run)
            replies.check(found.book.runbook)
            if how.blocks is not None:
                found = await _signed(session, found, how.blocks)
            await _accept(session, found, how, replies)
            task = await session.adopt(found)
            drive = Drive(session, task, replies, Printer(how.json, session, task), stays=True)
            try:
                doubt = await drive.settle_doubts()
                if doubt is not None:
                    drive.say_doubt(doubt, ("envtui", "undo", session.environment.name, how.run))
                    return 5
                if not await _confirmed(session, task, replies, yes):
                    say("Nothing was taken back.")
                    return 2
            except Stopped:
                return 130
            await task.mending.undo(reason)
            if how.blocks is not None:
                await session.arm(task)
            try:
                code = await drive.through()
            except NeedsWrite as error:
                raise _to_undo(session, how, error) from error
            return 0 if task.run.word == "UNDONE" else code

    return asyncio.run(go())


def _replies(how: How) -> Replies:
    return Replies(how.answers, interactive=sys.stdin.isatty() and not how.json)


async def _signed(session: EnvironmentSession, found: Left, blocks: str) -> Left:
    """The run under what was asked for and signed for it now. Raises as `EnvironmentSession.start_granted` does."""
    from envtui.engine.granted import answers_in, refuse_another, refuse_unsigned, request_in

    env, run = session.environment.name, found.run.id
    signed, request = request_in(blocks, env, found.run.book)
    ask = f"envtui request {env} --resume {run} --incident ID --reason TEXT"
    if request.run != run:
        raise UsageError(f"The request is for run {request.run}.", f"Ask for this one: {ask}")
    if not any(known.id == request.id for known in found.run.requests):
        raise Refused(f"Request {request.id} was not made here.", f"Ask again: {ask}")
    plan = session.replan(request)
    refuse_another(signed, request, plan)
    # Signed as it is here, though it was edited before: then that is what the run goes on with.
    text = request.book_text or ((session.bringing.checkout(request.book) or "") if found.run.edited else "")
    await session.left(run, text)
    refuse_unsigned(await session.access.admit(plan, answers_in(blocks)))
    # Admitting wrote down what was signed: the run is taken up with it.
    return msgspec.structs.replace(await session.left(run, text), plan=plan)


async def _accept(session: EnvironmentSession, found: Left, how: How, replies: Replies) -> None:
    """Raises UsageError when the book is another one now and nobody accepts that. Who edited it has."""
    if not found.differences:
        return
    said = "\n".join((f"The book of run {found.run.id} is another one than when it was left:", *found.differences))
    if how.accepted or (how.blocks is not None and session.text_of(found.plan)):
        for line in said.splitlines():
            say(line)
        return
    if replies.interactive and await replies.accepted("accept", said):
        return
    raise UsageError(
        said, "Read the difference, then accept it with --accept-changes; what it writes has to be signed afresh."
    )


def _standing(found: Left) -> Iterator[str]:
    """Where the run stands, in a few lines."""
    run = found.run
    how = f"it ended {run.word}" if run.word is not None else "it was left"
    stands = run.current
    at = f" at {stands.id}: {stands.title}" if stands is not None else ""
    yield f"Run {run.id} of {run.book}, started {stamp(run.started_ms)} by {run.operator}; {how}{at}"
    if run.why:
        yield f"  because  {run.why}"
    if ended := [f"{s.id} {s.word}" if s.word != "OK" else s.id for s in run.steps if s.word and s is not stands]:
        yield f"  done  {', '.join(ended)}"
    if found.again:
        yield f"  read again first  {', '.join(found.again)}"
    for act in run.in_doubt:
        yield f"  IN DOUBT  {act.id}: {act.shows}"
    for act in run.detached:
        yield f"  goes on at its target  {act.id}: {act.shows}"
    if run.undo is not None:
        yield f"  it takes back what it did  {', '.join(run.undo.items)}"
    if run.grant is not None:
        yield "  write access  it ended with its process, and has to be asked for again to go on writing"


async def _confirmed(session: EnvironmentSession, task: RunTask, replies: Replies, yes: bool) -> bool:
    """Show what is taken back, in order, and have it confirmed where --yes is not given."""
    run, plan = task.run, task.plan
    ids = undoable(run, plan)
    acts = {act.id: act for act in plan.undos}
    steps = {step.id: step for step in plan.steps}
    lines = [f"Run {run.id} of {run.book}: {'what it did is taken back' if ids else 'nothing to take back'}"]
    for number, name in enumerate(ids, 1):
        if name in acts:
            act = as_sent(run, plan, acts[name])
            lines.append(
                f"  {number}. {name}  on {act.place.target}/{act.place.member}: {session.ways.masked(shows(act))}"
            )
        else:
            lines.append(f"  {number}. {name}  by hand: {steps[name].by_hand}")
    lines += [f"  no undo  {name}: {steps[name].title}" for name in final(run, plan)]
    for line in lines:
        say(line)
    return yes or not ids or await replies.accepted(run.id[-TYPED:], "")


def _to_undo(session: EnvironmentSession, how: How, error: EnvtuiError) -> NeedsWrite:
    env = session.environment.name
    return NeedsWrite(
        error.message,
        f"Ask for it: envtui request {env} --resume {how.run} --incident ID --reason TEXT\n"
        f"Then: envtui undo {env} {how.run} --grant FILE",
    )
