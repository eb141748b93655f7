"""`envtui request`, `envtui sign` and `envtui incident`: write access by paste, without a screen.

stdout is the block (or the incident's id), nothing else: it can be piped to the clipboard or to the other side.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import msgspec

from envtui.compose import World
from envtui.core.access import Waiver
from envtui.core.act import Plan
from envtui.core.canonical import canonical
from envtui.core.errors import UsageError
from envtui.core.shape import seconds
from envtui.core.text import clean, clean_line
from envtui.engine.access import Review
from envtui.engine.session import EnvironmentSession
from envtui.outside.incident_file import register_of
from envtui.outside.system_clock import SystemClock
from envtui.outside.trees.trust import Trust
from envtui.rules import break_glass as glass
from envtui.rules import conditions, reading

from .hands import hands
from .run import READ_LIMIT, edited_text, pairs


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `request`, `sign` and `incident`."""
    if verb == "request":
        parser.add_argument("environment", metavar="ENV", help="where something is to be changed")
        parser.add_argument(
            "book",
            nargs="?",
            metavar="BOOK",
            help="the book that changes it; `envtui list ENV` names them (not needed with --resume)",
        )
        parser.add_argument(
            "--resume", metavar="RUN", help="ask for a run that was left, or whose changes are to be taken back"
        )
        parser.add_argument(
            "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated"
        )
        parser.add_argument(
            "--book", dest="edited", metavar="FILE", help="the book's text as it was edited for this incident"
        )
        add_asking(parser)
        parser.add_argument(
            "--waive",
            action="append",
            default=[],
            metavar="STEP=REASON",
            help="leave out a required read of the book, and why; whoever signs reads it; may be repeated",
        )
        parser.add_argument(
            "--break-glass",
            action="store_true",
            help="nobody answers: go without a signature, where the environment names you; somebody else reviews it after",
        )
    elif verb == "sign":
        parser.epilog = "The request comes by stdin: envtui sign ENV < BLOCK, or pasted, then Ctrl-D."
        parser.add_argument("environment", metavar="ENV", help="the environment that the request is for")
        parser.add_argument("--deny", action="store_true", help="answer no")
        parser.add_argument("--reason", default="", metavar="TEXT", help="said with the answer")
        parser.add_argument("--yes", action="store_true", help="do not ask for the environment's name to be typed")
        parser.add_argument("--plain", action="store_true", help="line by line, without a screen")
        parser.add_argument(
            "--key",
            default="",
            metavar="REF",
            help="the key that signs: agent:SHA256:… or file:PATH (default: signing_key of config.toml)",
        )
    else:
        does = parser.add_subparsers(dest="does", required=True, metavar="open|close|list")
        opening = does.add_parser("open", help="record an incident; prints its id")
        opening.add_argument("environment", metavar="ENV", help="the environment that it is about")
        opening.add_argument("--title", required=True, metavar="TEXT", help="what is wrong, in one line")
        opening.add_argument("--severity", default="", metavar="TEXT", help="how bad it is, in your own words")
        opening.add_argument("--id", default="", metavar="ID", help="its id elsewhere (default: the next number)")
        closing = does.add_parser("close", help="close an incident, which ends every write access under it")
        closing.add_argument("environment", metavar="ENV", help="the environment whose register it is in")
        closing.add_argument("incident", metavar="ID", help="as `envtui incident list ENV` shows it")
        listing = does.add_parser("list", help="every incident of the register, oldest first")
        listing.add_argument("environment", metavar="ENV", help="the environment whose register is read")
        listing.add_argument("--json", action="store_true", help="one line of JSON for each")


def add_asking(parser: argparse.ArgumentParser) -> None:
    """What everybody says who asks for write access."""
    parser.add_argument(
        "--incident", default="", metavar="ID", help="the incident under which it is done, where one is required"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why it has to be changed now")
    parser.add_argument(
        "--for",
        dest="ttl",
        metavar="30m",
        help="for how long: 90s, 30m, 2h (default: all that the environment allows)",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="send the whole plan along, so that the signer sees any difference in full",
    )


def run(verb: str, args: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    if verb == "incident":
        return _incident(args)
    if (
        verb == "sign"
        and not (args.plain or args.yes or args.deny or args.reason)
        and sys.stdin.isatty()
        and sys.stdout.isatty()
    ):
        # By name: the two doors do not know each other, they only stand beside each other.
        code: int = import_module("envtui.tui.signing").start(args.environment, args.key)
        return code
    return asyncio.run(_request(args) if verb == "request" else _sign(args))


async def _request(args: argparse.Namespace) -> int:
    ttl_ms = milliseconds(args.ttl)
    params = pairs(args.param, "--param")
    text = edited_text(args.edited)
    if args.resume is None and args.book is None:
        raise UsageError("request needs a book, or --resume RUN.", f"`envtui list {args.environment}` names the books.")
    if args.resume is not None and params:
        raise UsageError("A run that is taken up again has its parameters.", "Leave -p out.")
    async with await World.of(os.environ).open(args.environment) as session:
        require_incident(session, args.incident)
        if args.resume is None:
            plan = session.plan(args.book, params, args.incident, text, args.edited or "")
        else:
            plan = await _left(session, args.resume, args.book, args.incident, text, args.edited or "")
        for line in hints(session, plan):
            _say(line)
        if args.break_glass:
            await _break_glass(session, plan, args.reason, ttl_ms)
        await asked(session, plan, args, ttl_ms)
    return 0


def require_incident(session: EnvironmentSession, incident: str) -> None:
    """Raises UsageError where one is required and none was named."""
    if session.environment.access.incident.required and not incident:
        missing = conditions.unnamed(session.access.terms)
        raise UsageError(missing.message, f"Give one with --incident ID. {missing.remedy}")


def waivers(given: Sequence[str]) -> tuple[Waiver, ...]:
    """`--waive STEP=REASON` arguments. Raises UsageError for one that is none; what they may name, the plan says."""
    found: list[Waiver] = []
    for text in given:
        step, equals, reason = text.partition("=")
        if not equals or not step:
            raise UsageError(
                f"--waive {text!r:.200} is not STEP=REASON.", 'Write it like --waive rate="why it may be left out".'
            )
        found.append(Waiver(step=step, reason=reason))
    return tuple(found)


def hints(session: EnvironmentSession, plan: Plan) -> tuple[str, ...]:
    """That the plan's book is in no checkout, and how it differs from the one that is."""
    if not session.text_of(plan):
        return ()
    found = session.bringing.of(plan.run, plan.book_sha256)
    assert found is not None
    if found.unscripted:
        return ("UNSCRIPTED: one step that is in no book.",)
    return (f"EDITED: {plan.book} is not as this checkout has it.", *session.bringing.difference(found))


async def asked(session: EnvironmentSession, plan: Plan, args: argparse.Namespace, ttl_ms: int) -> None:
    """Ask for this plan, print the block, and say who signs it and how it runs then."""
    request, block = await session.access.ask(
        plan,
        args.incident,
        args.reason,
        ttl_ms,
        waiting=hands,
        full=args.full,
        break_glass=getattr(args, "break_glass", False),
        waivers=waivers(getattr(args, "waive", ())),
    )
    must = conditions.needed(session.access.terms, request.incident, request)
    asked_of = session.access.terms.roster.approvers(
        session.environment.access.signoff.roles, besides=request.requester.person
    )
    print(block, end="")
    _say(
        f"Request {request.id} for run {request.run}, {len(plan.writes)} writes, valid until {reading.moment(request.expires_ms)}."
    )
    if request.incident.why:
        _say(f"{request.incident.id} is unverified: {request.incident.why}")
    if request.break_glass:
        _say(f"Nobody else signs it. Afterwards it is reviewed: envtui review {request.environment} {request.run}")
    elif must:
        count = "the signature" if must == 1 else f"{must} signatures"
        for debt in request.debts:
            _say(f"Nobody has reviewed the break-glass {debt} yet; until then two people sign.")
        _say(f"Send the block to {reading.people(asked_of)} for {count}: envtui sign {request.environment}")
    else:
        _say("Your own signature is enough here.")
    resumes = getattr(args, "resume", None) is not None
    what = f" --resume {request.run}" if resumes else "" if request.book_text else f" {request.book}"
    _say(f"Then: envtui run {request.environment}{what} --grant FILE   (FILE: this block and every answer)")
    if resumes:
        _say(f"Or, to take back what it did: envtui undo {request.environment} {request.run} --grant FILE")


async def _break_glass(session: EnvironmentSession, plan: Plan, reason: str, ttl_ms: int) -> None:
    """Say what going without a signature means, and have the environment's name typed. No option stands for that."""
    from envtui.engine.debts import why_no_glass

    from .typed import typed

    terms, ways = session.access.terms, session.ways
    hinder = await why_no_glass(
        plan.operator,
        reason,
        ttl_ms,
        plan.incident,
        terms=terms,
        tracker=ways.tracker,
        journal=ways.journal,
        clock=ways.clock,
    )
    conditions.refuse(hinder)
    for line in glass.warning(session.environment, plan, ttl_ms):
        _say(line)
    typed(terms.environment, "break the glass")


async def _left(session: EnvironmentSession, run: str, book: str | None, incident: str, text: str, name: str) -> Plan:
    """The plan of a run that was left, as it is today, under an incident. What differs from then is said."""
    found = await session.left(run, text, name)
    if book is not None and book != found.run.book:
        raise UsageError(f"Run {run} is one of {found.run.book}.", "Leave the book out.")
    if found.differences:
        _say("What is signed is the book as it is now; since the run was left it changed:")
        for line in found.differences:
            _say(line)
    return session.with_incident(found.plan, incident)


async def _sign(args: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        _say("Paste the request, then press Ctrl-D.")
    text = sys.stdin.read(READ_LIMIT + 1)
    async with await World.of(os.environ).open(args.environment) as session:
        review = await session.access.review(text)
        _show(review)
        if not args.yes:
            _confirm(args.environment, "deny" if args.deny else "approve")
        verdict = "deny" if args.deny else "approve"
        block = await session.access.sign(review, verdict, key=args.key, reason=args.reason, waiting=hands)
    print(block, end="")
    _say(f"Send this block back to {review.request.requester.person}.")
    return 0


def _show(review: Review) -> None:
    """What is asked, in full, as this side computed it."""
    before = None
    for label, text in reading.lines(review.request, review.incident, review.plan):
        _say(f"{'' if label == before else label:<12} {text}")
        before = label
    for number, line in enumerate(review.last):
        _say(f"{'' if number else 'Last run':<12} {line}")
    for line in review.edited:
        _say(f"{'':<12} {line}")
    for difference in review.differences:
        _say(f"{'DIFFERS':<12} {difference}")
    for refusal in review.refusals:
        _say(f"{'NOT POSSIBLE':<12} {refusal}")


def _confirm(environment: str, verdict: str) -> None:
    """Ask on the terminal itself: stdin was the block. Raises UsageError when it is not typed."""
    try:
        with open("/dev/tty", "w") as question, open("/dev/tty") as answer:
            print(f"Type {environment} to {verdict}: ", end="", file=question, flush=True)
            typed = answer.readline().strip()
    except OSError as error:
        raise UsageError("There is no terminal to ask on.", "Read what is asked, then give --yes.") from error
    if typed != environment:
        raise UsageError("Nothing was signed.", f"Type {environment} in full to {verdict}.")


def _incident(args: argparse.Namespace) -> int:
    world = World.of(os.environ)
    tree, _, _ = world.tree(args.environment)
    Trust(world.paths.trust).require(tree)  # the tree names the file that is written
    register = register_of(tree.environment.access.incident, tree.root)
    now_ms = SystemClock().wall_ms()
    by = world.operator.name
    if args.does == "open":
        opened = register.open(
            title=args.title,
            environment=args.environment,
            by=by,
            now_ms=now_ms,
            severity=args.severity,
            incident=args.id,
        )
        print(opened.id)
        _say(f"{reading.incident_words(opened)}, in {register.path}")
    elif args.does == "close":
        closed = register.close(args.incident, by=by, now_ms=now_ms)
        print(closed.id)
        _say(f"{closed.id} is closed: every write access under it ends within a minute.")
    else:
        incidents = register.all()
        if not incidents:
            _say(
                f"{register.path} has no incident. To record one: envtui incident open {args.environment} --title TEXT"
            )
        for one in incidents:
            if args.json:
                print(canonical(msgspec.to_builtins(one)).decode())
            else:
                print(clean_line(f"{one.id:<12} {one.environment:<12} {reading.incident_words(one)}", 400))
    return 0


def milliseconds(duration: str | None) -> int:
    try:
        return round(seconds(duration) * 1000) if duration is not None else 0
    except ValueError as error:
        raise UsageError(f"--for {duration!r:.100} is no duration.", "Write it like 30m.") from error


def _say(text: str) -> None:
    """Narration, to stderr, cleaned: it quotes what others wrote."""
    print(clean(text, 8000), file=sys.stderr)
