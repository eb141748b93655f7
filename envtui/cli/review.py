"""`envtui review`, `envtui ratify` and `envtui dispute`: what was done by break-glass, looked at by somebody else.

stdout is a block (or the list of what is to be reviewed), nothing else: it can be piped to the clipboard.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from envtui.compose import World
from envtui.core.errors import UsageError
from envtui.core.text import clean, clean_line
from envtui.outside.paths import Paths
from envtui.outside.system_clock import SystemClock
from envtui.rules import break_glass

from .hands import hands
from .run import READ_LIMIT


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `review`, `ratify` and `dispute`."""
    if verb == "review":
        parser.add_argument("environment", metavar="ENV", help="whose ledger is looked at")
        parser.add_argument(
            "of_run", nargs="?", metavar="RUN", help="print the record of this run's break-glass, for a reviewer"
        )
        parser.add_argument("--answer", metavar="FILE", help="the reviewer's answer, as pasted (- for stdin)")
        return
    parser.epilog = f"The record comes by stdin: envtui {verb} ENV < BLOCK, or pasted, then Ctrl-D."
    parser.add_argument("environment", metavar="ENV", help="the environment of the break-glass")
    parser.add_argument("--reason", default="", required=verb == "dispute", metavar="TEXT", help="said with the answer")
    parser.add_argument("--key", default="", metavar="KEY", help="the key that signs (default: signing_key)")


def run(verb: str, args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    if verb != "review":
        return asyncio.run(_judge(verb, args))
    if args.of_run is None:
        if args.answer is not None:
            raise UsageError("--answer is for one run.", f"envtui review {args.environment} RUN --answer FILE")
        return _list(args.environment)
    return asyncio.run(_take(args) if args.answer is not None else _record(args))


def _list(environment: str) -> int:
    from .ledger import debts_of, ledger_of, told_debt

    zone, now_ms = datetime.now().astimezone().tzinfo, SystemClock().wall_ms()
    owed = debts_of(ledger_of(Paths.from_environment(), environment))
    for debt in owed:
        print(told_debt(environment, debt, now_ms, zone))
    if not owed:
        _say(f"Nothing is to be reviewed in {environment}.")
    return 0


async def _record(args: argparse.Namespace) -> int:
    from envtui.engine import afterwards
    from envtui.rules import review

    async with await World.of(os.environ).open(args.environment) as session:
        ways, terms = session.ways, session.access.terms
        done, block = await afterwards.record(
            args.of_run,
            terms=terms,
            verifier=ways.verifier,
            signer=await ways.signer(""),
            journal=ways.journal,
            hold=ways.hold,
            waiting=hands,
        )
        others = terms.roster.approvers(terms.policy.signoff.roles, besides=done.requester.person)
    print(block, end="")
    _show(review.lines(done))
    env = args.environment
    _say(f"Send the block to {', '.join(others) or 'somebody who may approve'}: envtui ratify {env}, or dispute")
    _say(f"Then: envtui review {env} {done.run} --answer FILE   (FILE: what they sent back)")
    return 0


async def _take(args: argparse.Namespace) -> int:
    from envtui.engine import afterwards

    text = _text(args.answer)
    async with await World.of(os.environ).open(args.environment) as session:
        ways = session.ways
        event = await afterwards.take(
            text,
            args.of_run,
            terms=session.access.terms,
            verifier=ways.verifier,
            journal=ways.journal,
            clock=ways.clock,
        )
        done = next(d for d in break_glass.every(await session.entries(args.of_run)) if d.grant == event.request)
    late = " It came late." if done.late else ""
    word = "ratified" if event.verdict == "ratify" else "DISPUTED"
    _say(
        f"{event.person} {word} the break-glass {event.request}; it is in the ledger, and nothing is owed for it.{late}"
    )
    return 0


async def _judge(verb: str, args: argparse.Namespace) -> int:
    from envtui.engine import afterwards
    from envtui.rules import review

    from .typed import typed

    text = _text("-")
    async with await World.of(os.environ).open(args.environment) as session:
        ways, terms = session.ways, session.access.terms
        reviewed = await afterwards.read(text, terms=terms, verifier=ways.verifier)
        _show(review.lines(reviewed.record))
        typed(args.environment, verb)
        block = await afterwards.judge(
            reviewed,
            "ratify" if verb == "ratify" else "dispute",
            terms=terms,
            signer=await ways.signer(args.key),
            tracker=ways.tracker,
            clock=ways.clock,
            waiting=hands,
            reason=args.reason,
        )
    print(block, end="")
    _say(f"Send this block back to {reviewed.record.requester.person}.")
    return 0


def _show(lines: Iterable[tuple[str, str]]) -> None:
    before = None
    for label, text in lines:
        _say(f"{'' if label == before else label:<12} {text}")
        before = label


def _text(name: str) -> str:
    """A paste: a file's, or stdin's. Raises UsageError when it cannot be read."""
    if name == "-":
        if sys.stdin.isatty():
            _say("Paste the block, then press Ctrl-D.")
        return sys.stdin.read(READ_LIMIT + 1)
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            return file.read(READ_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{clean_line(name, 300)} cannot be read: {error.strerror}.", "Name the file.") from error


def _say(text: str) -> None:
    """Narration, to stderr, cleaned: it quotes what others wrote."""
    print(clean(text, 8000), file=sys.stderr)
