"""`envtui ledger verify | check | show | find | export` and `envtui report`: what happened, and whether that is still what was
written.

Nothing is opened and nothing is changed: a ledger can be looked at while somebody runs a book, and on a copied file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from pathlib import Path

import msgspec

from envtui.core.errors import UsageError
from envtui.core.events import Entry, Head, RunStarted, run_of
from envtui.core.redact import shapes
from envtui.core.text import clean_line
from envtui.outside.ledger import exported, read_entries
from envtui.outside.ledger_verify import Verdict, verify
from envtui.outside.paths import Paths
from envtui.outside.system_clock import SystemClock
from envtui.rules.break_glass import MARKS, Debt, owed
from envtui.rules.report import report
from envtui.rules.run import fold_all
from envtui.rules.words import in_words, stamp

BROKEN = 6
_LINE = 1_000


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `ledger` and of `report`."""
    if verb == "report":
        parser.usage = "%(prog)s [ENV] RUN"
        parser.add_argument(
            "words", nargs="+", metavar="[ENV] RUN", help="the run; its environment if the id is not enough"
        )
        return
    actions = parser.add_subparsers(dest="action", required=True, metavar="verify | check | show | find | export")

    one = actions.add_parser("verify", help="compute every hash again: exit 0 when sound, 6 when not")
    one.add_argument("environments", nargs="*", metavar="ENV", help="default: every environment with a ledger")
    one.add_argument(
        "--head", metavar="LEDGER:SEQ:HASH", help="a head that this ledger must have had, as a request shows it"
    )
    one.add_argument("--file", type=Path, help="a copy of a ledger, instead of an environment")
    one.add_argument("--json", action="store_true", help="one line of JSON for each ledger")

    one = actions.add_parser("check", help="verify, and whether every break-glass was reviewed: exit 6 when not")
    one.add_argument("environments", nargs="*", metavar="ENV", help="default: every environment with a ledger")

    one = actions.add_parser("show", help="the entries, oldest first, or those of one run")
    one.add_argument("environment", metavar="ENV", help="whose ledger")
    one.add_argument("of_run", nargs="?", metavar="RUN", help="a run's id, as the entries show it")
    one.add_argument("--json", action="store_true", help="JSON Lines, canonical")

    one = actions.add_parser("find", help="the entries that hold a text: an incident, a host, a book, a person")
    one.add_argument("environment", metavar="ENV", help="whose ledger")
    one.add_argument("text", metavar="TEXT", help="capitals do not matter; exit 1 when nothing is found")

    one = actions.add_parser("export", help="everything, to stdout")
    one.add_argument("environment", metavar="ENV", help="whose ledger")
    one.add_argument(
        "--format", choices=("jsonl", "md"), default="jsonl", help="JSON Lines, or Markdown (default: jsonl)"
    )


def run(verb: str, args: argparse.Namespace) -> int:
    """Do it. Raises UsageError for an environment or a run that has no ledger."""
    paths, zone = Paths.from_environment(), datetime.now().astimezone().tzinfo
    if verb == "report":
        return _report(paths, args.words, zone)
    if args.action == "verify":
        return _verify(paths, args)
    if args.action == "check":
        return _check(paths, args.environments, zone)
    path = ledger_of(paths, args.environment)
    if args.action == "export" and args.format == "md":
        return _export_markdown(args.environment, read_entries(path), zone)
    if args.action == "export" or (args.action == "show" and args.json):
        of_run = getattr(args, "of_run", None)
        _say_missing(args.environment, of_run, _print_lines(exported(path, of_run)))
        return 0
    if args.action == "show":
        entries = read_entries(path, args.of_run)
        _say_missing(args.environment, args.of_run, len(entries))
    else:
        entries = found(read_entries(path), args.text)
    for entry in entries:
        print(line(entry, zone))
    if args.action == "show":
        for said in doubts(entries, args.environment):
            print(said)
    return 0 if entries or args.action == "show" else 1


def ledger_of(paths: Paths, environment: str) -> Path:
    """The file of an environment's ledger. Raises UsageError when there is none."""
    path = paths.state / environment / "ledger.sqlite3"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", environment) or not path.is_file():
        known = ", ".join(recorded(paths)) or "none yet"
        raise UsageError(f"There is no ledger of {environment!r}.", f"There are: {known}.")
    return path


def recorded(paths: Paths) -> Sequence[str]:
    """The environments that have a ledger, by name."""
    return sorted(path.parent.name for path in paths.state.glob("*/ledger.sqlite3"))


def found(entries: Sequence[Entry], text: str) -> Sequence[Entry]:
    """The entries that hold `text` in any field, whatever its capitals."""
    wanted = text.casefold()
    return [e for e in entries if any(wanted in word.casefold() for word in _strings(msgspec.to_builtins(e.event)))]


def line(entry: Entry, zone: tzinfo | None) -> str:
    """An entry as one cleaned line: its number, when, which run, what."""
    return shapes(
        clean_line(
            f"{entry.seq:>6}  {stamp(entry.at_ms, zone)}  {run_of(entry.event):<16}  {in_words(entry.event)}", _LINE
        )
    )


def doubts(entries: Sequence[Entry], environment: str) -> Iterable[str]:
    """A line for each write whose outcome nobody knows, with the command that finds out."""
    for run in fold_all(entries):
        go_on = f"envtui run {environment} --resume {run.id}"
        for act in run.in_doubt:
            said = f"IN DOUBT  {run.id}  {act.id} was sent to {act.target}/{act.member}: {act.shows}"
            yield shapes(clean_line(f"{said} · what became of it is not known; it is not sent again: {go_on}", _LINE))


def _verify(paths: Paths, args: argparse.Namespace) -> int:
    heads = (_head(args.head),) if args.head is not None else ()
    if args.file:
        if not args.file.is_file():
            raise UsageError(
                f"{clean_line(str(args.file), 300)} is no file.", "Name the copy of a ledger that is meant."
            )
        files = {str(args.file): args.file}
    else:
        files = {name: ledger_of(paths, name) for name in args.environments or recorded(paths)}
    if not files:
        print("No environment has a ledger yet.", file=sys.stderr)
    sound = True
    for name, path in files.items():
        verdict = verify(path, heads)
        sound = sound and verdict.sound
        print(
            json.dumps({"ledger": name, "sound": verdict.sound, **msgspec.to_builtins(verdict)})
            if args.json
            else _told(name, verdict)
        )
    if not sound:
        print("Nothing runs on a broken ledger. Keep the file as it is and compare it with a copy.", file=sys.stderr)
    return 0 if sound else BROKEN


def _check(paths: Paths, environments: Sequence[str], zone: tzinfo | None) -> int:
    """Whether the ledgers are whole, and nothing in them waits for a review."""
    files = {name: ledger_of(paths, name) for name in environments or recorded(paths)}
    if not files:
        print("No environment has a ledger yet.", file=sys.stderr)
    sound, now_ms = True, SystemClock().wall_ms()
    for name, path in files.items():
        verdict = verify(path)
        print(_told(name, verdict))
        debts = debts_of(path) if verdict.sound else ()
        for debt in debts:
            print(told_debt(name, debt, now_ms, zone))
        sound = sound and verdict.sound and not debts
    if not sound:
        print("A break-glass is reviewed with: envtui review ENV. A broken ledger is kept as it is.", file=sys.stderr)
    return 0 if sound else BROKEN


def debts_of(path: Path) -> Sequence[Debt]:
    """The break-glasses of a ledger that nobody reviewed; only what is about them is read."""
    found = list(read_entries(path, holding=MARKS[0]))
    if found:
        found += [entry for mark in MARKS[1:] for entry in read_entries(path, holding=mark)]
    return owed(sorted(found, key=lambda entry: entry.seq))


def told_debt(environment: str, debt: Debt, now_ms: int, zone: tzinfo | None) -> str:
    """A debt as one cleaned line, with the command that pays it."""
    due = f"{'OVERDUE since' if debt.overdue(now_ms) else 'due'} {stamp(debt.due_ms, zone)}"
    said = f"TO REVIEW  {debt.grant}  run {debt.run}, {debt.incident or 'no incident'}, break-glass by {debt.person}"
    return clean_line(f"{said} at {stamp(debt.at_ms, zone)}, {due}: envtui review {environment} {debt.run}", _LINE)


def _told(name: str, verdict: Verdict) -> str:
    if not verdict.sound:
        return clean_line(f"{name}: BROKEN. {verdict.why}", _LINE)
    head = verdict.head or Head("", 0, "")
    fits = (
        f"{verdict.compared} head{'s' if verdict.compared != 1 else ''} from elsewhere fit{'s' if verdict.compared == 1 else ''}"
        if verdict.compared
        else "no head from elsewhere to compare with: a missing end would not be seen"
    )
    return clean_line(
        f"{name}: sound. {verdict.entries} entries, head {head.ledger}:{head.seq}:{head.hash}; {fits}.", _LINE
    )


def _head(text: str) -> Head:
    match = re.fullmatch(r"([0-9a-f]{32}):(\d{1,18}):([0-9a-f]{64})", text)
    if match is None:
        raise UsageError("--head is LEDGER:SEQ:HASH.", "Copy it from a request, a report or an earlier verify.")
    return Head(match[1], int(match[2]), match[3])


def _report(paths: Paths, words: Sequence[str], zone: tzinfo | None) -> int:
    if len(words) > 2:
        raise UsageError("report takes an environment and a run.", "envtui report [ENV] RUN")
    run_id = words[-1]
    for name in words[:1] if len(words) == 2 else recorded(paths):
        entries = read_entries(ledger_of(paths, name), run_id)
        if entries or len(words) == 2:
            print(report(name, entries, run_id, zone), end="")
            return 0
    raise UsageError(f"No ledger has a run {run_id}.", "List the runs of an environment: envtui ledger show ENV")


def _export_markdown(environment: str, entries: Sequence[Entry], zone: tzinfo | None) -> int:
    started = [entry.event.run for entry in entries if isinstance(entry.event, RunStarted)]
    print("\n".join(report(environment, entries, run_id, zone) for run_id in dict.fromkeys(started)), end="")
    return 0


def _print_lines(lines: Iterable[str]) -> int:
    count = 0
    for text in lines:
        print(text)
        count += 1
    return count


def _say_missing(environment: str, run_id: str | None, count: int) -> None:
    if run_id is not None and not count:
        raise UsageError(
            f"The ledger of {environment} has no run {run_id}.", f"List them: envtui ledger show {environment}"
        )


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _strings(item)]
    return []
