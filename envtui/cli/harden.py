"""`envtui harden`: what raises a target's read protection, printed for its owner. It applies nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from envtui.compose import World
from envtui.core.errors import UsageError
from envtui.core.text import clean


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `harden`."""
    parser.add_argument("place", metavar="ENV/TARGET", nargs="?", help="a target of an environment")
    parser.add_argument(
        "--gate", action="store_true", help="print the file that makes a host refuse everything but reads for a key"
    )


def run(verb: str, args: argparse.Namespace) -> int:
    """Exit 0 when it was printed."""
    if args.gate:
        from envtui.outside.ssh.sandbox.send import gate

        sys.stdout.write(gate())
        return 0
    environment, _, target = (args.place or "").partition("/")
    if not target:
        raise UsageError("harden needs ENV/TARGET.", "For example: envtui harden production/gateway. Or: --gate.")
    return asyncio.run(_harden(environment, target))


async def _harden(environment: str, target: str) -> int:
    from envtui.rules.hardening import advice
    from envtui.rules.places import places

    async with await World.of(os.environ).open(environment) as session:
        found = places(session.environment, target, "read", session.operator.name)
        seen = {c.member: c for c in await session.look(thorough=True) if c.target == target}
        for place in found:
            one = seen.get(place.member)
            if one is not None and one.error:
                print(clean(one.error), file=sys.stderr)
            level, lacks = (one.protection, one.lacks) if one is not None else ("", ())
            if place.kind == "sql" and one is not None and place is not found[0] and not one.error:
                continue  # servers of one database: one script
            print(advice(environment, place, level, lacks, session.operator.name))
    return 0
