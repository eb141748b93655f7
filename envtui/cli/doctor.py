"""`envtui doctor`: can every target be reached, is it what the manifest says, and what protects reads on it."""

from __future__ import annotations

import argparse
import asyncio
import os

from envtui.compose import World
from envtui.core.canonical import canonical
from envtui.core.errors import EnvtuiError
from envtui.core.text import clean
from envtui.rules.protection import enough


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `doctor`."""
    parser.add_argument("environment", metavar="ENV", help="its name: `envtui list` names them all")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each member, and one for the ledger")


def run(verb: str, args: argparse.Namespace) -> int:
    """Exit 0 when all is well, 1 when something cannot be reached, 6 when something is not what it should be."""
    return asyncio.run(_doctor(args))


async def _doctor(args: argparse.Namespace) -> int:
    world = World.of(os.environ)
    code = 0
    async with await world.open(args.environment) as session:
        found = await session.look()
        for one in sorted(found, key=lambda c: (c.kind, c.target, c.member)):
            low = not one.error and not enough(session.environment, one.target, one.protection)
            sound = one.error_code if one.error else (6 if low else 0)
            code = max(code, sound)
            if args.json:
                fields = {k: getattr(one, k) for k in ("kind", "target", "member", "shown", "protection", "error")}
                print(canonical({**fields, "ok": sound == 0}).decode())
                continue
            word = "ok " if sound == 0 else "BAD"
            says = one.error or f"{one.protection}{' (below the minimum)' if low else ''} · {one.shown}"
            print(clean(f"{word}  {one.kind:<4}  {one.target}/{one.member}  {says}", 2000))
        verdict, wrong = "", ""
        try:
            verdict = await session.verify_ledger()
        except EnvtuiError as error:
            code, wrong = max(code, error.exit_code), str(error)
        if args.json:
            print(canonical({"kind": "ledger", "shown": verdict, "error": wrong, "ok": not wrong}).decode())
        else:
            print(f"{'BAD' if wrong else 'ok '}  ledger  {clean(wrong or verdict, 2000)}")
        if not args.json:
            gate = session.status().write_gate
            print(
                f"     write gate: {gate}"
                + (" (it stops mistakes, not a patched laptop)" if gate == "advisory" else "")
            )
    return code
