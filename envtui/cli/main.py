"""The command line: which verb, which module, and how an error ends."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from envtui.core.errors import EnvtuiError, UsageError
from envtui.core.text import clean_line

from .streams import lost, prepare

VERBS: dict[str, tuple[str, str]] = {
    # verb: (module with add(parser) and run(args), one line of help)
    "check": ("envtui.cli.trees", "check every tree: schema, isolation, lint"),
    "list": ("envtui.cli.trees", "the environments, or the books of one"),
    "show": ("envtui.cli.trees", "an environment's targets and rules, or one book's steps"),
    "trust": ("envtui.cli.trees", "show what changed since you accepted a tree, and accept it"),
    "schema": ("envtui.cli.trees", "JSON Schema of a runbook or an environment"),
    "run": ("envtui.cli.run", "run a book, line by line, or go on with a run that was left"),
    "undo": ("envtui.cli.run", "take back what a run did"),
    "ask": ("envtui.cli.run", "one read that is in no book: a command, a query or a path"),
    "request": ("envtui.cli.access", "ask for write access to a run; prints the block to paste into chat"),
    "propose": ("envtui.cli.propose", "ask for one write that is in no book; prints the block"),
    "draft": ("envtui.cli.propose", "an unscripted run as a book to be filled in"),
    "sign": ("envtui.cli.access", "review a request and sign it, or deny it"),
    "revoke": ("envtui.cli.revoke", "end write access now, and what is under way under it"),
    "review": ("envtui.cli.review", "what was done by break-glass, for somebody else to look at"),
    "ratify": ("envtui.cli.review", "review a break-glass: what was done is right"),
    "dispute": ("envtui.cli.review", "review a break-glass: what was done is not right"),
    "incident": ("envtui.cli.access", "the shared register of incidents"),
    "ledger": ("envtui.cli.ledger", "verify, check, show, find, export what happened"),
    "report": ("envtui.cli.ledger", "one run as Markdown"),
    "doctor": ("envtui.cli.doctor", "reachability, identity and protection of every target"),
    "harden": ("envtui.cli.harden", "what raises a target's read protection, for its owner; applies nothing"),
    "lab": ("envtui.lab.cli", "three throw-away environments on this machine"),
}


SAID_LINES, SAID_LENGTH = 100, 600
"""Of an error, whatever it quotes: lines, and characters of each."""


class Parser(argparse.ArgumentParser):
    """Arguments as they are written out: no shortened options, and what is wrong in one sentence with a way on."""

    def __init__(self, **how: Any) -> None:
        # The width is handed in: argparse would load bz2 and lzma to ask for it.
        shape = functools.partial(how.pop("formatter_class", argparse.HelpFormatter), width=_width())
        super().__init__(**{"allow_abbrev": False, "formatter_class": shape, **how})

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        say(f"{self.prog}: {clean_line(message, 1000)}.")
        say(f"{self.prog} --help says more.")
        raise SystemExit(2)


def _width() -> int:
    """Columns of the terminal that help is for, as argparse counts them."""
    try:
        return int(os.environ.get("COLUMNS", "")) - 2
    except ValueError:
        pass
    try:
        return max(os.get_terminal_size(1).columns, 20) - 2
    except OSError:
        return 78


def parser() -> argparse.ArgumentParser:
    """The top of the command line; a verb's own arguments are added when it is called."""
    top = Parser(
        prog="envtui",
        usage="envtui [--runbooks DIR] [--no-mouse] [ENV]\n       envtui [--runbooks DIR] VERB …",
        description="Runbooks for dev, staging and production. Without a verb: the screens, in ENV when it is given.",
        epilog="verbs (envtui VERB --help says more):\n"
        + "\n".join(f"  {verb:<10}{text}" for verb, (_, text) in VERBS.items())
        + "\n\nEnvironments: envtui list. To practise: envtui lab.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("verb", nargs="?", metavar="ENV | VERB", help="an environment to open, or one of the verbs below")
    top.add_argument("--runbooks", metavar="DIR", help="the trees (default: $ENVTUI_RUNBOOKS, else the samples)")
    top.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    top.add_argument("--version", "-V", action="store_true", help="print the version")
    return top


def main(argv: Sequence[str]) -> int:
    """Run one command line. Returns the exit code of docs/command-line.md."""
    prepare()
    code = _main(argv)
    if why := lost():
        say(clean_line(f"stdout could not be written: {why}. What it should have said is cut off.", 1000))
        code = code or 1
    return code


def _main(argv: Sequence[str]) -> int:
    try:
        return _run(argv)
    except EnvtuiError as error:
        for line in (error.message + (f"\n{error.remedy}" if error.remedy else "")).splitlines()[:SAID_LINES]:
            say(clean_line(line, SAID_LENGTH))
        return error.exit_code
    except SystemExit as error:  # from the parser: --help, or a wrong call that it has explained
        return error.code if isinstance(error.code, int) else 0
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except OSError as error:
        _debug(error)
        place = f"{error.filename}: " if error.filename else ""
        say(clean_line(f"{place}{error.strerror or error}.", 1000))
        say(
            "Look at its permissions and at ENVTUI_RUNBOOKS, ENVTUI_STATE and ENVTUI_CONFIG. ENVTUI_DEBUG=1 shows where."
        )
        return 1
    except Exception as error:
        _debug(error)
        say(clean_line(f"This is a fault in envtui: {type(error).__name__}: {error}", 1000))
        say("ENVTUI_DEBUG=1 shows where; please report it. `envtui ledger verify` says whether the ledger is sound.")
        return 1


def _run(argv: Sequence[str]) -> int:
    at = _word_index(argv)
    if at is None:
        return _screens(parser().parse_args(argv))
    top = parser().parse_args(argv[:at])
    if top.runbooks is not None:
        if not top.runbooks:
            raise UsageError("--runbooks names no folder.", "Give it one: --runbooks DIR.")
        os.environ["ENVTUI_RUNBOOKS"] = top.runbooks
    verb = argv[at]
    if verb not in VERBS:
        _require_environment(verb)
        return _screens(parser().parse_args(argv))
    module = import_module(VERBS[verb][0])
    sub = Parser(prog=f"envtui {verb}", description=f"{verb}: {VERBS[verb][1]}.")
    module.add(verb, sub)
    result: int = module.run(verb, sub.parse_args(argv[at + 1 :]))
    return result


def _require_environment(name: str) -> None:
    """Raises UsageError, with what was probably meant, when no tree has that name."""
    from envtui.outside.paths import Paths

    folder = Paths.from_environment().runbooks
    known = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    if name in known:
        return
    from difflib import get_close_matches

    near = get_close_matches(name, [*known, *VERBS], 2, 0.65)
    raise UsageError(
        f"There is no environment and no verb {name[:80]!r}.",
        f"Did you mean {' or '.join(near)}?" if near else "Environments: envtui list. Verbs: envtui --help.",
    )


def _debug(error: BaseException) -> None:
    """The way to `error`, when it was asked for: places only, never the values of variables."""
    if os.environ.get("ENVTUI_DEBUG"):
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        say("\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames))


def say(text: str) -> None:
    """One line of narration, to stderr."""
    print(text, file=sys.stderr)


def _word_index(argv: Sequence[str]) -> int | None:
    """Where the verb or the environment stands."""
    skip = False
    for index, word in enumerate(argv):
        if skip:
            skip = False
        elif word == "--runbooks":
            skip = True
        elif not word.startswith("-"):
            return index
    return None


def _screens(args: argparse.Namespace) -> int:
    if args.version:
        from envtui import __version__

        print(f"envtui {__version__}")
        return 0
    if args.runbooks:
        os.environ["ENVTUI_RUNBOOKS"] = args.runbooks
    # By name: the two doors do not know each other, they only stand beside each other.
    code: int = import_module("envtui.tui.start").start(environment=args.verb, mouse=not args.no_mouse)
    return code
