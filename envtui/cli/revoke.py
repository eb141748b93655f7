"""`envtui revoke`: write access ends now, and what is under way under it, too.

envtui revoke ENV RUN                     the requester, in another terminal on the same ledger
envtui revoke ENV < REQUEST               somebody who may approve here, on their own machine: prints a block
envtui revoke ENV RUN --grant FILE        the requester, with that block
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from envtui.compose import World
from envtui.core.access import Signed
from envtui.core.errors import EnvtuiError, Refused, UsageError
from envtui.core.events import Entry, Noted, SignOffRefused
from envtui.core.text import clean, clean_line
from envtui.engine import revoking
from envtui.engine.session import EnvironmentSession
from envtui.rules import paste
from envtui.rules.outside import ENVTUI
from envtui.rules.run import fold

from .hands import hands
from .run import READ_LIMIT

PATIENCE = 30.0
"""Seconds that the process which has the run is given to say what it ended: TERM, KILL after 5 s, and its probe."""


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `revoke`."""
    parser.epilog = (
        "Without RUN the request comes by stdin, and the answer is a block for the requester: envtui revoke ENV < BLOCK. "
        "Closing the incident ends every write access under it, too, within a minute: envtui incident close ENV ID."
    )
    parser.add_argument("environment", metavar="ENV", help="where the write access is")
    parser.add_argument("of_run", nargs="?", metavar="RUN", help="a run of your own ledger (not with a block by stdin)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; it goes into the ledger")
    parser.add_argument("--grant", metavar="FILE", help="the block of somebody who revoked it, as pasted (- for stdin)")
    parser.add_argument(
        "--key", default="", metavar="REF", help="the key that signs (default: signing_key of config.toml)"
    )


def run(verb: str, args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    if not args.reason.isprintable() or len(args.reason) > 500:
        raise UsageError("The reason is longer than 500 characters or has some that do not print.", "Write one line.")
    if args.of_run is None:
        if args.grant is not None:
            raise UsageError("--grant is for one run.", f"envtui revoke {args.environment} RUN --grant FILE")
        return asyncio.run(_sign(args))
    if args.key:
        raise UsageError("--key signs a revoke for somebody else's run.", f"envtui revoke {args.environment} < BLOCK")
    return asyncio.run(_revoke(args))


async def _sign(args: argparse.Namespace) -> int:
    text = _text("-", "Paste the request, then press Ctrl-D.")
    async with await World.of(os.environ).open(args.environment) as session:
        ways = session.ways
        request, block = await revoking.sign(
            text,
            terms=session.access.terms,
            signer=await ways.signer(args.key),
            verifier=ways.verifier,
            tracker=ways.tracker,
            clock=ways.clock,
            waiting=hands,
            reason=args.reason,
        )
    print(block, end="")
    who, env = request.requester.person, request.environment
    _say(f"Send this block to {who}, who pastes it into the run, or: envtui revoke {env} {request.run} --grant FILE")
    if request.incident.id:
        _say(
            f"It ends nothing before {who} has it. Closing {request.incident.id} does, within a minute, wherever they are."
        )
    return 0


async def _revoke(args: argparse.Namespace) -> int:
    text = _text(args.grant, "Paste the block, then press Ctrl-D.") if args.grant is not None else ""
    revoked = _revoke_in(text) if args.grant is not None else None
    async with await World.of(os.environ).open(args.environment) as session:
        journal = session.ways.journal
        before = (await journal.head()).seq
        if revoked is not None:
            access, ways = session.access, session.ways
            event = await revoking.receive(
                revoked, args.of_run, terms=access.terms, verifier=ways.verifier, journal=journal
            )
            if isinstance(event, SignOffRefused):
                raise Refused(event.why, "The write access is as it was.")
            who = event.person
        else:
            who = f"{session.operator.name} on {session.operator.machine}"
            await revoking.revoke(args.of_run, who, args.reason, journal=journal)
        _say(f"The write access of run {args.of_run} is revoked by {who}; nothing is permitted under it any more.")
        return await _ended(session, args.of_run, before)


async def _ended(session: EnvironmentSession, run: str, before: int) -> int:
    """See to it that what was under way has ended, or say who does. 0: nothing is left; 5: something may be."""
    state = fold(await session.entries(run), run)
    if not state.in_doubt and not state.detached:
        return 0
    try:
        session.hold(run)
    except Refused as error:
        _say(f"{error.message} What is under way is ended there.")
        said = await _heard(session, run, before)
    else:
        said = await _end_here(session, run)
    if said:
        _say(said)
    state = fold(await session.entries(run), run)
    if not any(not act.dead for act in state.in_doubt) and not state.detached:
        return 0
    env = session.environment.name
    _say(f"What is left at the targets: envtui doctor {env} --leftovers   Its end: envtui run {env} --resume {run}")
    return 5


async def _heard(session: EnvironmentSession, run: str, before: int) -> str:
    """What the process that has the run wrote down about the end of what was under way."""
    try:
        async with asyncio.timeout(PATIENCE):
            async for entry in session.ways.journal.follow(before):
                if said := _note(entry, run):
                    return said
    except TimeoutError:
        pass
    return f"It did not say within {PATIENCE:g} s what it ended."


def _note(entry: Entry, run: str) -> str:
    event = entry.event
    return event.text if isinstance(event, Noted) and (event.run, event.by) == (run, ENVTUI) else ""


async def _end_here(session: EnvironmentSession, run: str) -> str:
    """Its process is gone: end what the ledger says may still be at it."""
    try:
        task = await session.adopt(await session.left(run))
        await task.mending.withdraw("Write access was revoked.", cut=True)
    except EnvtuiError as error:
        return f"Nobody has run {run}, and its writes cannot be looked at from here: {error.message}"
    return next((note.text for note in reversed(task.run.notes) if note.by == ENVTUI), "")


def _revoke_in(text: str) -> Signed:
    """The one revoke in what was pasted. Raises UsageError when there is none, or several."""
    found = [signed for signed in paste.blocks(text) if signed.kind == "approve" and revoking.is_revoke(signed)]
    if len(found) != 1:
        raise UsageError(
            f"There are {len(found)} revokes in what was given.",
            "It is what `envtui revoke ENV < REQUEST` printed for whoever revoked it.",
        )
    return found[0]


def _text(name: str, ask: str) -> str:
    """A paste: a file's, or stdin's. Raises UsageError when it cannot be read, or holds nothing."""
    if name == "-":
        if sys.stdin.isatty():
            _say(ask)
        return sys.stdin.read(READ_LIMIT + 1)
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            return file.read(READ_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{clean_line(name, 300)} cannot be read: {error.strerror}.", "Name the file.") from error


def _say(text: str) -> None:
    """Narration, to stderr, cleaned: it quotes what others wrote."""
    print(clean(text, 8000), file=sys.stderr)
