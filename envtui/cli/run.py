"""`envtui run` and `envtui ask`: a run without a screen, line by line. The same engine, every feature.

Exit codes are an API (docs/command-line.md). stdout carries what happened, stderr asks and explains.

Here the arguments are read and the tree is looked at; `going` does the rest. It is imported while the first hosts answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from envtui.compose import World
from envtui.core.errors import UsageError
from envtui.core.runbook import SshStep
from envtui.core.tree import Tree

READ_LIMIT = 4 * 1024 * 1024
"""Characters of a paste that are read, by `sign` too."""


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
    params = answers = {}
    blocks = None
    if verb == "run":
        params, answers = pairs(args.param, "--param"), pairs(args.answer, "--answer")
        blocks = _blocks(args.grant) if args.grant is not None else None
    world = World.of(os.environ)
    tree, order, last = world.trusted(args.environment)
    ahead = world.ahead(tree, *((args.target, "all") if verb == "ask" else _first(tree, args.book)))
    try:
        from . import going  # not before: see above

        session = world.session(tree, order, last, ahead)
        if verb == "ask":
            return going.ask(session, args.target, args.words, json=args.json)
        return going.run(session, args.book, params, answers, blocks, json=args.json)
    finally:
        if ahead is not None:
            ahead.close()


def _first(tree: Tree, book: str) -> tuple[str, str]:
    """The target that a run of the book reads on first over SSH, and which of its hosts; '' when it begins otherwise."""
    runbook = tree.books[book].runbook if book in tree.books else None
    step = next(iter((*runbook.before, *runbook.steps)), None) if runbook is not None else None
    if runbook is None or not isinstance(step, SshStep) or step.mode != "read" or step.if_:
        return "", ""
    return step.target or runbook.defaults.target or "", step.host or runbook.defaults.host or "all"


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
