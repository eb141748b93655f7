"""The command line: which verb, which module, and how an error ends."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from envtui.core.errors import EnvtuiError
from envtui.core.text import clean, clean_line

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
    _any_text()
    try:
        return _run(argv)
    except EnvtuiError as error:
        say(clean(error.message, 4000))
        if error.remedy:
            say(clean(error.remedy, 2000))
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except BrokenPipeError:
        # Nobody reads any more; the interpreter's own flush at the end must not complain about that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not {"run", "ask"}.intersection(argv):
            return 0
        say("Nobody reads the output any more, and the run was left where it was: `envtui ledger show` says where.")
        return 1
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
    verb_at = _verb_index(argv)
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
    if sys.stdout:
        sys.stdout.flush()  # here, where a reader that went away is no error
    return result


def _any_text() -> None:
    """No text may end a run: what the terminal's encoding cannot show is escaped, and binary input is replaced."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    if sys.stdin is None:  # closed by whoever started us: as good as empty
        sys.stdin = open(os.devnull)  # noqa: SIM115 - it stays open as long as the process


def _debug(error: BaseException) -> None:
    """The way to `error`, when it was asked for: places only, never the values of variables."""
    if os.environ.get("ENVTUI_DEBUG"):
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        say("\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames))


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
