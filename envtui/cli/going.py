"""A run that goes on without a screen: what comes next is done, asked or refused, until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from envtui import cycles
from envtui.core.errors import EnvtuiError, NeedsWrite
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.decide import Doubt, NeedsAnswer, NeedsDecision, NeedsPick, ReadyRead, ReadyWrite, Waiting

from .lines import Printer
from .replies import Replies

T = TypeVar("T")

EXIT = {"OK": 0, "FAILED": 1, "TIMED OUT": 1, "CANCELLED": 1, "REFUSED": 1, "SKIPPED": 0, "UNDONE": 1, "IN DOUBT": 5}


def run(
    session: EnvironmentSession,
    book: str,
    params: Mapping[str, str],
    answers: Mapping[str, str],
    blocks: str | None,
    *,
    json: bool,
) -> int:
    """A run of a book, under a grant when `blocks` holds one. Returns the exit code."""

    async def go() -> int:
        replies = Replies(answers, interactive=sys.stdin.isatty() and not json)
        async with session:
            replies.check(session.book(book).runbook)
            if blocks is not None:
                task = await session.start_granted(book, params, blocks)
            else:
                task = await session.start(session.plan(book, params))
            return await _through(session, task, replies, Printer(json, session, task))

    return asyncio.run(go())


def ask(session: EnvironmentSession, target: str, words: Sequence[str], *, json: bool) -> int:
    """One unscripted read. Returns the exit code."""

    async def go() -> int:
        async with session:
            task = await session.ask(target, words)
            return await _through(session, task, Replies({}, interactive=False), Printer(json, session, task))

    return asyncio.run(go())


class _Stopped(Exception):
    """A signal said so."""


async def _through(session: EnvironmentSession, task: RunTask, replies: Replies, printer: Printer) -> int:
    """Go on until the run has ended, or nobody answers."""
    loop = asyncio.get_running_loop()
    answering: asyncio.Task[Any] | None = None

    def stop() -> None:
        task.interrupt()
        if answering is not None:
            answering.cancel()

    async def said(reply: Coroutine[Any, Any, T]) -> T:
        nonlocal answering
        asking = asyncio.create_task(reply)
        answering = asking
        try:
            return await asking
        except asyncio.CancelledError as error:
            raise _Stopped from error
        finally:
            answering = None

    cycles.settle()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop)
    await printer.begin()
    try:
        while True:
            proposed = await task.run_on()
            if task.stopping and not isinstance(proposed, Doubt):
                raise _Stopped
            match proposed:
                case ReadyRead() | Waiting():
                    continue
                case NeedsAnswer():
                    answer, values = await said(replies.answer(proposed))
                    await task.answer(proposed.step, answer, values)
                case NeedsPick():
                    await task.pick(proposed.step, proposed.name, await said(replies.pick(proposed)))
                case NeedsDecision():
                    await task.decide(proposed.step, await said(replies.decision(proposed)))
                case ReadyWrite():
                    await said(replies.confirm(proposed.step, task.step_of(proposed.step).confirm))
                    await session.write(task, proposed.step)
                case Doubt():
                    printer.end()
                    return 5
                case _:
                    break
    except _Stopped:
        if task.run.word is None and not task.run.in_doubt:
            await task.abandon("stopped by the operator")
        printer.end()
        return 130
    except NeedsWrite as error:
        await task.abandon(_why(session, f"needs write access: {error.message}"))
        printer.end()
        raise NeedsWrite(
            error.message,
            f"Ask for it: envtui request {session.environment.name} {task.plan.book} --incident ID --reason TEXT",
        ) from error
    except EnvtuiError as error:
        if task.run.word is None and not task.run.in_doubt:
            await task.abandon(_why(session, error.message))
        printer.end()
        raise
    printer.end()
    return EXIT.get(task.run.word or "FAILED", 1)


def _why(session: EnvironmentSession, message: str) -> str:
    """A message of several lines as one, for the ledger."""
    return session.ways.masked(" ".join(message.split()))
