"""check, list, show, trust and schema: everything that can be said of trees without opening one.

No credential is resolved, nothing is connected to, nothing of a tree is run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from envtui.core.errors import InvalidFiles, Problem, UsageError
from envtui.core.text import clean_line
from envtui.core.tree import Tree
from envtui.outside import allowed_signers
from envtui.outside.paths import Paths
from envtui.outside.trees.load import Forest, errors, read_forest
from envtui.outside.trees.schema import json_schema
from envtui.rules.lint import check


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of one of the verbs."""
    if verb == "check":
        parser.add_argument(
            "folder", nargs="?", metavar="DIR", help="the trees (default: $ENVTUI_RUNBOOKS, the samples)"
        )
        parser.add_argument("--json", action="store_true", help="the problems as one JSON list")
    elif verb == "list":
        parser.add_argument("environment", nargs="?", metavar="ENV", help="its books; without it, all environments")
        parser.add_argument("--json", action="store_true", help="one line of JSON for each")
    elif verb == "show":
        parser.add_argument("name", metavar="ENV[/BOOK]", help="an environment, or one of its books")
    elif verb == "trust":
        parser.add_argument("environment", metavar="ENV", help="its name: `envtui list` names them all")
        parser.add_argument(
            "--yes", action="store_true", help="accept without being asked; the difference is printed all the same"
        )
        parser.add_argument(
            "--sign", action="store_true", help="as an owner: sign the change, into access/policy.signatures"
        )
        parser.add_argument(
            "--key",
            default="",
            metavar="REF",
            help="the key that signs: agent:SHA256:… or file:PATH (default: signing_key of config.toml)",
        )
    else:
        parser.add_argument("what", choices=["runbook", "environment"], help="which of the two formats")


def run(verb: str, args: argparse.Namespace) -> int:
    """Run one of the verbs. Exit 1 from check when a tree is not sound, 7 from trust when it was not accepted."""
    if verb == "check":
        return _check(args.folder, args.json)
    if verb == "list":
        return _list(args.environment, args.json)
    if verb == "show":
        return _show(args.name)
    if verb == "trust":
        return _trust(args)
    print(json.dumps(json_schema(args.what), indent=2, ensure_ascii=False))
    return 0


def problems_of(forest: Forest) -> tuple[Problem, ...]:
    """Everything wrong with the trees: read, alone and together."""
    trees = tuple(forest.trees.values())
    return tuple(sorted({*forest.problems, *check(trees), *allowed_signers.problems_of(trees)}))


def _check(folder: str | None, as_json: bool) -> int:
    if folder == "":
        raise UsageError("check was given a folder without a name.", "Name one, or none for your own trees.")
    forest = read_forest(Path(folder) if folder else Paths.from_environment().runbooks)
    problems = problems_of(forest)
    bad = errors(problems)
    if as_json:
        fields = ("file", "line", "column", "severity", "message", "remedy")
        found = [{field: getattr(problem, field) for field in fields} for problem in problems]
        print(json.dumps(found, indent=2, ensure_ascii=True))
    else:
        for problem in problems:
            print(clean_line(_shown(problem), 2000))
    books = sum(len(tree.books) for tree in forest.trees.values())
    _say(
        f"{_count(len(forest.trees), 'environment')}, {_count(books, 'book')}: "
        f"{_count(len(bad), 'error')}, {_count(len(problems) - len(bad), 'warning')}."
    )
    return 1 if bad else 0


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _list(environment: str | None, as_json: bool) -> int:
    forest = _forest()
    if environment is None:
        for name, tree in forest.trees.items():
            debts = _debts(name)
            row = {"environment": name, "purpose": tree.environment.purpose, "books": len(tree.books)}
            print(
                json.dumps(row | {"to_review": len(debts)})
                if as_json
                else clean_line(f"{name}  {_count(len(tree.books), 'book')}  {tree.environment.purpose}")
            )
            if not as_json:
                for line in debts:
                    print(f"  {line}")
        return 0
    for book in sorted(_tree(forest, environment).books.values(), key=lambda each: each.path):
        runbook = book.runbook
        writes = sum(step.mode == "write" for step in runbook.steps)
        if as_json:
            row = {"id": runbook.id, "title": runbook.title, "folder": book.folder, "writes": writes, "path": book.path}
            print(json.dumps(row))
        else:
            mark = f"{writes}W" if writes else "R "
            print(clean_line(f"{mark}  {'/'.join(filter(None, (book.folder, runbook.id)))}  {runbook.title}"))
    return 0


def _debts(environment: str) -> list[str]:
    """A line for each break-glass in this user's ledger that nobody reviewed. A ledger that cannot be read is said."""
    from envtui.core.errors import EnvtuiError
    from envtui.outside.system_clock import SystemClock

    from .ledger import debts_of, told_debt

    path = Paths.from_environment().state / environment / "ledger.sqlite3"
    if not path.is_file():
        return []
    try:
        owed = debts_of(path)
    except EnvtuiError as error:
        _say(f"The ledger of {environment} cannot be read: {error}")
        return []
    return [told_debt(environment, debt, SystemClock().wall_ms(), None) for debt in owed]


def _show(name: str) -> int:
    from envtui.cli.shown import book_lines, environment_lines

    environment, _, book_id = name.partition("/")
    tree = _tree(_forest(), environment)
    if not book_id:
        lines: Iterable[str] = environment_lines(tree)
    else:
        book = tree.books.get(book_id.rpartition("/")[2])
        if book is None:
            raise UsageError(
                f"There is no book {book_id!r} in {environment}.", f"envtui list {environment} names them."
            )
        lines = book_lines(tree, book)
    for line in lines:
        print(clean_line(line, 4000))
    return 0


def _trust(args: argparse.Namespace) -> int:
    from envtui.cli import trusting

    trusting.refuse_together(args.yes, args.key, args.sign)
    tree = _tree(_forest(), args.environment)
    return trusting.sign(tree, args.key) if args.sign else trusting.trust(tree, args.yes)


def _forest() -> Forest:
    return read_forest(Paths.from_environment().runbooks)


def _tree(forest: Forest, name: str) -> Tree:
    """Raises InvalidFiles when the tree is there and unfit, UsageError when it is not."""
    if name in forest.trees:
        return forest.trees[name]
    if problems := errors(forest.problems_of(name)):
        raise InvalidFiles(problems)
    known = ", ".join(forest.trees) or "none that can be read"
    raise UsageError(f"There is no environment {name!r}.", f"There are: {known}.")


def _shown(problem: Problem) -> str:
    """A problem, its file relative to where the user is."""
    here = f"{os.getcwd()}/"
    return ("warning: " if problem.severity == "warning" else "") + str(problem).removeprefix(here)


def _say(text: str) -> None:
    print(clean_line(text), file=sys.stderr)
