"""`envtui run` and `envtui ask`: a run without a screen, line by line. The same engine, every feature.

Exit codes are an API (docs/command-line.md). stdout carries what happened, stderr asks and explains.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from envtui.compose import World
from envtui.core.errors import EnvtuiError, NeedsWrite, UsageError
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.decide import Doubt, NeedsAnswer, NeedsDecision, NeedsPick, ReadyRead, ReadyWrite, Waiting

from .lines import Printer
from .replies import Replies

T = TypeVar("T")

READ_LIMIT = 4 * 1024 * 1024
"""Characters of a paste that are read, by `sign` too."""

EXIT = {"OK": 0, "FAILED": 1, "TIMED OUT": 1, "CANCELLED": 1, "REFUSED": 1, "SKIPPED": 0, "UNDONE": 1, "IN DOUBT": 5}


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `run` and `ask`."""
    parser.add_argument("environment", metavar="ENV", help="its name: `envtui list` names them all")
    if verb == "ask":
        parser.usage = "%(prog)s [--json] ENV TARGET -- ARGV…"
        parser.add_argument("target", metavar="TARGET", help="one of its targets: `envtui show ENV` names them")
        parser.add_argument("words", nargs="+", metavar="ARGV…", help="a command's words, a SQL query, or an HTTP path")
    else:
        parser.add_argument("book", metavar="BOOK", help="its id: `envtui list ENV` names them all")
        parser.add_argument(
            "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated"
        )
        parser.add_argument(
            "--answer",
            action="append",
            default=[],
            metavar="STEP=VALUE",
            help="what a person would answer at that step; may be repeated. `envtui show ENV/BOOK` shows the steps",
        )
        parser.add_argument(
            "--grant", metavar="FILE", help="write access: the request and its sign-offs as pasted (- for stdin)"
        )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="line by line (the default)")
    how.add_argument("--json", action="store_true", help="each ledger entry as a line of JSON")


def run(verb: str, args: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    return asyncio.run(_ask(args) if verb == "ask" else _run(args))


async def _run(args: argparse.Namespace) -> int:
    params = pairs(args.param, "--param")
    replies = Replies(pairs(args.answer, "--answer"), interactive=sys.stdin.isatty() and not args.json)
    world = World.of(os.environ)
    blocks = _blocks(args.grant) if args.grant is not None else ""
    async with await world.open(args.environment) as session:
        replies.check(session.book(args.book).runbook)
        if args.grant is not None:
            task = await session.start_granted(args.book, params, blocks)
        else:
            task = await session.start(session.plan(args.book, params))
        return await _through(session, task, replies, Printer(args.json, session, task))


async def _ask(args: argparse.Namespace) -> int:
    world = World.of(os.environ)
    async with await world.open(args.environment) as session:
        task = await session.ask(args.target, args.words)
        return await _through(session, task, Replies({}, interactive=False), Printer(args.json, session, task))


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


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE arguments as a mapping. Raises UsageError for one without `=` or given twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} is not NAME=VALUE.", "Write it like -p window=15m.")
        if name in found:
            raise UsageError(f"{option} {name} is given twice.", "Give it once.")
        found[name] = value
    return found


def _blocks(name: str) -> str:
    """What was pasted. Raises UsageError when it cannot be read, or goes on for longer than any paste."""
    try:
        if name == "-":
            text = sys.stdin.read(READ_LIMIT + 1)
        else:
            with open(name, errors="replace") as file:
                text = file.read(READ_LIMIT + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name of a file"
        file_name = name or "A file without a name"
        raise UsageError(f"{file_name} cannot be read: {why}.", "Name the file that holds the blocks.") from error
    if len(text) > READ_LIMIT:
        what = "stdin" if name == "-" else name
        raise UsageError(f"{what} holds more than a request and its sign-offs.", "Name the file that holds the blocks.")
    return text
