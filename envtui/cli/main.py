"""The command line: which verb, which module, and how an error ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from envtui.core.errors import EnvtuiError
from envtui.core.text import clean

VERBS: dict[str, tuple[str, str]] = {
    # verb: (module with add(parser) and run(args), one line of help)
    "check": ("envtui.cli.trees", "check every tree: schema, isolation, lint"),
    "list": ("envtui.cli.trees", "the runbooks of an environment"),
    "show": ("envtui.cli.trees", "an environment, or one book"),
    "trust": ("envtui.cli.trees", "show what changed since you accepted a tree, and accept it"),
    "schema": ("envtui.cli.trees", "JSON Schema of a runbook or an environment"),
    "run": ("envtui.cli.run", "run a book"),
    "ask": ("envtui.cli.run", "an unscripted read"),
    "request": ("envtui.cli.access", "ask for write access to a run"),
    "sign": ("envtui.cli.access", "review a request and sign it, or deny it"),
    "incident": ("envtui.cli.access", "the shared register of incidents"),
    "ledger": ("envtui.cli.ledger", "verify, show, find, export what happened"),
    "report": ("envtui.cli.ledger", "one run as Markdown"),
    "doctor": ("envtui.cli.doctor", "reachability, identity and protection of every target"),
    "lab": ("envtui.lab.cli", "three throw-away environments on this machine"),
}


def parser() -> argparse.ArgumentParser:
    """The top of the command line; a verb's own arguments are added when it is called."""
    top = argparse.ArgumentParser(
        prog="envtui",
        description="Runbooks for dev, staging and production. Without a verb: the terminal interface.",
        epilog="\n".join(f"  {verb:<10}{text}" for verb, (_, text) in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("verb", nargs="?", metavar="ENV | VERB", help="an environment to open, or one of the verbs below")
    top.add_argument("--runbooks", metavar="DIR", help="the trees (default: $ENVTUI_RUNBOOKS, else the samples)")
    top.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    top.add_argument("--version", "-V", action="store_true", help="print the version")
    return top


def main(argv: Sequence[str]) -> int:
    """Run one command line. Returns the exit code of docs/command-line.md."""
    verb_at = _verb_index(argv)
    try:
        if verb_at is None:
            return _screens(parser().parse_args(argv))
        top = parser().parse_args([*argv[:verb_at]])
        if top.runbooks:
            os.environ["ENVTUI_RUNBOOKS"] = top.runbooks
        verb = argv[verb_at]
        module = import_module(VERBS[verb][0])
        sub = argparse.ArgumentParser(prog=f"envtui {verb}", description=VERBS[verb][1])
        module.add(verb, sub)
        result: int = module.run(verb, sub.parse_args(argv[verb_at + 1 :]))
        return result
    except EnvtuiError as error:
        say(clean(error.message, 4000))
        if error.remedy:
            say(clean(error.remedy, 2000))
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def say(text: str) -> None:
    """One line of narration, to stderr."""
    print(text, file=sys.stderr)


def _verb_index(argv: Sequence[str]) -> int | None:
    skip = False
    for index, word in enumerate(argv):
        if skip:
            skip = False
        elif word == "--runbooks":
            skip = True
        elif not word.startswith("-"):
            return index if word in VERBS else None
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
