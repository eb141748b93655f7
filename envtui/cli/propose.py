"""`envtui propose` and `envtui draft`: one write that is in no book, asked for like any other; and the book it may become.

stdout is the block, or the draft, nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os

from envtui.compose import World
from envtui.core.errors import UsageError
from envtui.core.events import Resumed, RunStarted
from envtui.core.text import clean
from envtui.outside.ledger import read_entries
from envtui.outside.paths import Paths
from envtui.outside.trees.load import read_book
from envtui.rules import book_text, unscripted
from envtui.rules.brought import unscripted_id

from . import access
from .ledger import ledger_of
from .run import say


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `propose` and `draft`."""
    if verb == "draft":
        parser.add_argument("environment", metavar="ENV", help="its name: `envtui list` names them all")
        parser.add_argument("of_run", metavar="RUN", help="an unscripted run, or one of an edited book")
        return
    parser.usage = (
        "%(prog)s ENV TARGET (--probe CMD --applied PATTERN [--absent PATTERN] | --check TEXT)\n"
        "       (--undo CMD | --no-undo WHY) --incident ID --reason TEXT [options] -- ARGV…"
    )
    parser.add_argument("environment", metavar="ENV", help="where something is to be changed")
    parser.add_argument("target", metavar="TARGET", help="one of its targets: `envtui show ENV` names them")
    parser.add_argument(
        "words", nargs="+", metavar="ARGV…", help="a command's words, one SQL statement, or METHOD PATH [BODY]"
    )
    parser.add_argument("--host", default="", metavar="MEMBER", help="one member of the target (default: all of them)")
    parser.add_argument("--as", dest="account", default="", metavar="ACCOUNT", help="the account it runs as, for ssh")
    parser.add_argument("--timeout", default="", metavar="60s", help="how long it may take (default: 60s)")
    looks = parser.add_mutually_exclusive_group()
    looks.add_argument("--probe", default="", metavar="CMD", help="a command, query or path that tells if it is there")
    looks.add_argument("--check", default="", metavar="TEXT", help="what a person looks at, where nothing can tell")
    parser.add_argument("--applied", default="", metavar="PATTERN", help="what the probe shows when it is there")
    parser.add_argument(
        "--absent", default="", metavar="PATTERN", help="what it shows when it is not (default: anything else)"
    )
    back = parser.add_mutually_exclusive_group()
    back.add_argument("--undo", default="", metavar="CMD", help="what takes it back")
    back.add_argument("--no-undo", default="", metavar="WHY", help="why nothing takes it back")
    access.add_asking(parser)


def run(verb: str, args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return _draft(args.environment, args.of_run) if verb == "draft" else asyncio.run(_propose(args))


async def _propose(args: argparse.Namespace) -> int:
    ttl_ms = access.milliseconds(args.ttl)
    proposal = unscripted.Proposal(
        target=args.target,
        words=tuple(args.words),
        member=args.host,
        account=args.account,
        timeout=args.timeout,
        probe=args.probe,
        applied=args.applied,
        absent=args.absent,
        check=args.check,
        undo=args.undo,
        no_undo=args.no_undo,
    )
    async with await World.of(os.environ).open(args.environment) as session:
        access.require_incident(session, args.incident)
        plan = session.propose(proposal, args.incident)
        for line in (*session.text_of(plan).splitlines(), *access.hints(session, plan)):
            say(clean(line, 8000))
        await access.asked(session, plan, args, ttl_ms)
    return 0


def _draft(environment: str, run_id: str) -> int:
    """Print the text of a run's book that is in no checkout; an unscripted one as a book to be filled in."""
    entries = read_entries(ledger_of(Paths.from_environment(), environment), run_id)
    had = [
        e.event for e in entries if isinstance(e.event, RunStarted) or (isinstance(e.event, Resumed) and e.event.plan)
    ]
    started = next((event for event in had if isinstance(event, RunStarted)), None)
    text = had[-1].book_text if had else ""
    if started is None or not text:
        raise UsageError(
            f"{environment} has no run {run_id[:80]!r} of a book that is in no checkout.",
            f"`envtui ledger show {environment}` names them all.",
        )
    if not started.unscripted:
        print(text, end="" if text.endswith("\n") else "\n")
        say(f"This is {started.book} as it was edited in run {run_id}.")
        return 0
    source = text.encode()
    book, problems = read_book(source, "books/draft.yaml", hashlib.sha256(source).hexdigest(), "the draft")
    if book is None:
        raise UsageError(f"The text of run {run_id} is no book for this version: {problems[0]}", "Write it anew.")
    made = unscripted.draft(book.runbook)
    print(book_text.written(made), end="")
    say(f"A draft: fill in what says TODO, save it as books/{made.id}.yaml, then: envtui check")
    if book.runbook.id == unscripted_id(run_id) and book.runbook.steps[0].probe is None:
        say("It has no probe, because a person looked: a book needs one, and check says so until it is there.")
    return 0
