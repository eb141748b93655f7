"""`envtui doctor`: can every target be reached, is it what the manifest says, what protects reads on it, and what was left
unfinished: runs in the ledger, and with --leftovers what their writes left at the hosts."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

import msgspec

from envtui.compose import World
from envtui.core.canonical import canonical
from envtui.core.errors import EnvtuiError
from envtui.core.shape import span
from envtui.core.skew import said
from envtui.core.text import clean
from envtui.engine.session import EnvironmentSession
from envtui.rules.protection import enough, minimum
from envtui.rules.state import Run

IN_DOUBT = 5


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `doctor`."""
    parser.add_argument("environment", metavar="ENV", help="its name: `envtui list` names them all")
    parser.add_argument(
        "--leftovers",
        action="store_true",
        help="look what writes left at the ssh hosts, too; this uses the write credentials",
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON for each member, for the ledger, and for what is left"
    )


def run(verb: str, args: argparse.Namespace) -> int:
    """Exit 0 when all is well, 1 when something cannot be reached, 5 when a write is in doubt, 6 when something is not what
    it should be."""
    return asyncio.run(_doctor(args))


async def _doctor(args: argparse.Namespace) -> int:
    world = World.of(os.environ)
    code = 0
    async with await world.open(args.environment) as session:
        found = await session.look(thorough=True)
        for one in sorted(found, key=lambda c: (c.kind, c.target, c.member)):
            low = not one.error and not enough(session.environment, one.target, one.protection)
            sound = one.error_code if one.error else (6 if low else 0)
            code = max(code, sound)
            if args.json:
                fields = {
                    k: getattr(one, k) for k in ("kind", "target", "member", "shown", "protection", "skew_ms", "error")
                }
                _json(
                    {
                        **fields,
                        "minimum": minimum(session.environment, one.target)[1],
                        "lacks": one.lacks,
                        "ok": sound == 0,
                    }
                )
                continue
            word = "ok " if sound == 0 else "BAD"
            skewed = f" · {said(one.skew_ms)}" if said(one.skew_ms) else ""
            says = one.error or f"{one.protection}{' (below the minimum)' if low else ''}{skewed} · {one.shown}"
            _say(f"{word}  {one.kind:<4}  {one.target}/{one.member}  {says}")
            for lack in one.lacks:
                _say(f"          lacks {lack}")
        verdict, wrong = "", ""
        try:
            verdict = await session.verify_ledger()
        except EnvtuiError as error:
            code, wrong = max(code, error.exit_code), str(error)
        if args.json:
            _json({"kind": "ledger", "shown": verdict, "error": wrong, "ok": not wrong})
        else:
            _say(f"{'BAD' if wrong else 'ok '}  ledger  {wrong or verdict}")
        if not wrong:
            code = max(code, await _unfinished(session, as_json=args.json))
        if args.leftovers:
            code = max(code, await _leftovers(session, as_json=args.json))
        if not args.json:
            gate = session.status().write_gate
            print(
                f"     write gate: {gate}"
                + (" (it stops mistakes, not a patched laptop)" if gate == "advisory" else "")
            )
    return code


async def _unfinished(session: EnvironmentSession, *, as_json: bool) -> int:
    """Runs in doubt and runs that were left open, with the command that goes on. Returns the exit code."""
    code = 0
    for run in await session.runs():
        if run.word is not None and not run.in_doubt:
            continue
        if not run.started_ms or run.lone_read:
            continue  # asked for and never begun; a single read has nothing to go on with
        doubt = ", ".join(act.id for act in run.in_doubt)
        code = max(code, IN_DOUBT if doubt else 0)
        command = f"envtui run {session.environment.name} --resume {run.id}"
        if as_json:
            _json(
                {"kind": "run", "run": run.id, "book": run.book, "at": _at(run), "in_doubt": doubt, "ok": not doubt}
                | {"resume": command, "elsewhere": _elsewhere(session, run.id)}
            )
            continue
        stands = f"IN DOUBT: {doubt}" if doubt else f"open at {_at(run)}"
        goes = " (another process has it)" if _elsewhere(session, run.id) else f" · {command}"
        _say(f"{'BAD' if doubt else 'ok '}  run  {run.id} {run.book}  {stands}{goes}")
    return code


def _at(run: Run) -> str:
    if run.undo is not None:
        return "its undo"
    if run.detached:
        return f"{run.detached[0].id}, which goes on at its target"
    return run.current.id if run.current is not None else "its end"


def _elsewhere(session: EnvironmentSession, run: str) -> bool:
    try:
        session.ways.hold(run).release()
    except EnvtuiError:
        return True
    return False


async def _leftovers(session: EnvironmentSession, *, as_json: bool) -> int:
    """What is kept at the hosts. Returns the exit code: that something is kept is nothing bad."""
    from envtui.engine.leftovers import leftovers

    found = await leftovers(session)
    code = max((one.error_code for one in found), default=0)
    for one in found:
        if as_json:
            _json({"kind": "leftover", **msgspec.to_builtins(one), "ok": not one.error})
            continue
        where = f"{one.target}/{one.member} as {one.account}"
        if one.error:
            _say(f"BAD  left  {where}  {one.error}")
            continue
        exits = f", exit {one.exit}" if one.exit is not None else ""
        age = f", begun {span(one.age_seconds * 1000)} ago" if one.age_seconds is not None else ""
        whose = f"{one.act} of run {one.run}" if one.run else "no run of this ledger"
        _say(f"ok   left  {where}  permit {one.permit}: {one.state}{exits}{age} · {whose}")
    if not found and not as_json:
        _say("ok   left  nothing of a write is kept at any host")
    return code


def _json(fields: dict[str, Any]) -> None:
    print(canonical(fields).decode())


def _say(text: str) -> None:
    print(clean(text, 2000))
