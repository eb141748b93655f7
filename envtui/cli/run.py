"""`envtui run`, `envtui undo` and `envtui ask`: a run without a screen, line by line. The same engine, every feature.

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
    """The arguments of `run`, `undo` and `ask`."""
    parser.add_argument("environment", metavar="ENV", help="its name: `envtui list` names them all")
    if verb == "ask":
        parser.usage = "%(prog)s [--json] [--needs NEEDS] ENV TARGET -- ARGV…"
        parser.add_argument(
            "--needs",
            default="",
            metavar="NEEDS",
            help="what the sandbox leaves open: network, sockets, root; with commas",
        )
        parser.add_argument("target", metavar="TARGET", help="one of its targets: `envtui show ENV` names them")
        parser.add_argument("words", nargs="+", metavar="ARGV…", help="a command's words, a SQL query, or an HTTP path")
    elif verb == "undo":
        parser.add_argument("of_run", metavar="RUN", help="the run whose changes are taken back, the last one first")
        parser.add_argument("--reason", default="", metavar="TEXT", help="why; it goes into the ledger")
        parser.add_argument("--yes", action="store_true", help="do not ask for the end of the run's id to be typed")
        _add_answers(parser)
    else:
        parser.add_argument(
            "book",
            nargs="?",
            metavar="BOOK",
            help="its id: `envtui list ENV` names them all (not needed with --resume, nor where a grant brings its own)",
        )
        parser.add_argument("--resume", metavar="RUN", help="go on with a run that was left, or that failed")
        parser.add_argument(
            "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated"
        )
        parser.add_argument(
            "--book", dest="edited", metavar="FILE", help="run the book as this edited copy has it; marked EDITED"
        )
        _add_answers(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="line by line (the default)")
    how.add_argument("--json", action="store_true", help="each ledger entry as a line of JSON")


def _listed(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _add_answers(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--accept-changes", action="store_true", help="go on though the book is another one than when the run was left"
    )


def run(verb: str, args: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    answers: dict[str, list[str]] = {}
    blocks = None
    if verb != "ask":
        answers = several(args.answer, "--answer")
        blocks = _blocks(args.grant) if args.grant is not None else None
    left = args.of_run if verb == "undo" else args.resume if verb == "run" else None
    params = pairs(args.param, "--param") if verb == "run" else {}
    if verb == "run":
        _fit_together(args, left)
    world = World.of(os.environ)
    tree, order, last = world.trusted(args.environment)
    as_it_is = verb == "run" and left is None and args.book is not None and args.edited is None
    first = (args.target, "all") if verb == "ask" else _first(tree, args.book) if as_it_is else ("", "")
    ahead = world.ahead(tree, *first)
    try:
        from . import going  # not before: see above

        session = world.session(tree, order, last, ahead)
        if verb == "ask":
            return going.ask(session, args.target, args.words, _listed(args.needs), json=args.json)
        if left is None:
            text = edited_text(args.edited)
            return going.run(session, args.book, params, answers, blocks, text, args.edited or "", json=args.json)
        from . import again

        edited = args.edited if verb == "run" else None
        how = again.How(
            run=left,
            answers=answers,
            blocks=blocks,
            accepted=args.accept_changes or edited is not None,
            json=args.json,
            text=edited_text(edited),
            name=edited or "",
        )
        if verb == "undo":
            return again.undo(session, how, reason=args.reason, yes=args.yes)
        return again.resume(session, how, book=args.book)
    finally:
        if ahead is not None:
            ahead.close()


def _fit_together(args: argparse.Namespace, left: str | None) -> None:
    """Raises UsageError for arguments that mean nothing together."""
    if left == "":
        raise UsageError("--resume names no run.", f"`envtui doctor {args.environment}` names those that were left.")
    if left is None and args.book is None and (args.grant is None or args.edited is not None):
        raise UsageError("run needs a book, or --resume RUN.", f"`envtui list {args.environment}` names the books.")
    if args.edited is not None and args.grant is not None:
        raise UsageError("What was signed is what runs: a grant brings its book along.", "Leave --book out.")
    if left is None and args.accept_changes:
        raise UsageError("--accept-changes is for a run that is taken up again.", "Give --resume RUN, or leave it out.")
    if left is not None and args.param:
        raise UsageError("A run that is taken up again has its parameters.", "Leave -p out.")


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


def several(given: Sequence[str], option: str) -> dict[str, list[str]]:
    """As `pairs`, but a name may be given more than once: its values, in order. Raises UsageError for one without `=`."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} is not NAME=VALUE.", "Write it like -p window=15m.")
        found.setdefault(name, []).append(value)
    return found


def edited_text(name: str | None) -> str:
    """A book's text from a file; '' where none is named. Raises UsageError when it cannot be read."""
    if name is None:
        return ""
    try:
        with open(name, "rb") as file:
            source = file.read(READ_LIMIT + 1)
        text = source.decode()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"{name or 'A file without a name'} cannot be read: {why}.", "Name the edited book."
        ) from error
    if not text.strip():
        raise UsageError(f"{name} is empty.", "Copy the book there, then edit it.")
    return text


def say(text: str) -> None:
    """Narration, to stderr; the caller has cleaned it."""
    print(text, file=sys.stderr)


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
