"""After a break-glass: its record, another person's review of it, and the answer that pays the debt. Both sides.

    record(run, *, terms, verifier, signer, journal, hold, waiting) -> (Record, block)   the requester, from their ledger
    read(block, *, terms, verifier) -> Reviewed                                          the reviewer, who believes nothing
    judge(reviewed, verdict, *, terms, signer, tracker, clock, waiting, reason="") -> block   "ratify" | "dispute"
    take(block, run, *, terms, verifier, journal, clock) -> SignedOff                    the requester: verified, written down

All raise Refused with the reason and the way out; UsageError for a text without the block that is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from envtui.core import access as values
from envtui.core.access import Incident, Party, Signed, SignOff, Terms, VerifiedRequest, fingerprint
from envtui.core.errors import EnvtuiError, Refused, UsageError
from envtui.core.events import Entry, SignedOff, SignOffRefused
from envtui.core.ports import Clock, Hold, Journal, Signature, Signer, Tracker, Verifier
from envtui.rules import conditions, grants, paste
from envtui.rules import review as rules
from envtui.rules.break_glass import Debt, every
from envtui.rules.past import live
from envtui.rules.review import Record

from .case import last_request, verify_request, verify_signoff
from .reinstating import orphaned
from .reviewing import person_of
from .spending import look_up

Waiting = Callable[[str], None]


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """A record whose signature holds, and is its requester's. `by` is the key."""

    record: Record
    by: Signature


async def record(
    run: str,
    *,
    terms: Terms,
    verifier: Verifier,
    signer: Signer,
    journal: Journal,
    hold: Callable[[str], Hold],
    waiting: Waiting,
) -> tuple[Record, str]:
    """What was done under the run's break-glass, signed by whoever did it, and the block that carries it.

    The end of a break-glass whose process is gone is written down first. Raises Refused while it is active.
    """
    if live(await journal.read(run)):
        held = hold(run)
        try:
            await orphaned(run, journal=journal)
        finally:
            held.release()
    entries = await journal.read(run)
    asked = await _asked(entries, _debt(entries, run).grant, run, terms, verifier)
    person = person_of(signer, "request", terms)
    if person != asked.request.requester.person:
        raise Refused(
            f"The break-glass was {asked.request.requester.person}'s, and the key that signs is {person}'s.",
            f"Its record is signed by {asked.request.requester.person}.",
        )
    done = msgspec.structs.replace(
        rules.record(entries, asked.request, asked.sha256), requester=Party(person=person, key=fingerprint(signer.key))
    )
    body = rules.record_bytes(done)
    rules.parse_record(body)  # its size above all
    signature = await signer.sign(values.namespace("request", terms.environment), body, waiting)
    return done, paste.block(Signed(kind="record", body=body.decode(), signature=signature))


async def read(block: str, *, terms: Terms, verifier: Verifier) -> Reviewed:
    """A record as its reviewer gets it. Raises Refused when it is altered, foreign or not signed by its requester."""
    signed = paste.read(block, "record")
    body = signed.body.encode()
    done = rules.parse_record(body)
    if done.environment != terms.environment:
        raise Refused(
            f"This is for {done.environment[:40]!r}, and {terms.environment} is open here.",
            f"Review it in {done.environment[:40]}.",
        )
    by = await verifier.verify(values.namespace("request", terms.environment), body, signed.signature)
    if not conditions.is_party(done.requester.person, done.requester.key, by, terms.roster):
        raise Refused(
            f"The record names {done.requester.person[:40]}, its signature is {by.principal}'s.",
            "It is signed by whoever broke the glass: ask them.",
        )
    return Reviewed(record=done, by=by)


async def judge(
    reviewed: Reviewed,
    verdict: Literal["ratify", "dispute"],
    *,
    terms: Terms,
    signer: Signer,
    tracker: Tracker,
    clock: Clock,
    waiting: Waiting,
    reason: str = "",
) -> str:
    """The reviewer's answer as a block. Raises Refused for one's own break-glass, without the role, without a reason."""
    done = reviewed.record
    reviewer = Party(person=person_of(signer, "approve", terms), key=fingerprint(signer.key))
    refusals = rules.of_reviewer(
        done.requester, done.machine, reviewer, terms.machine, signer.key.startswith("sk-"), terms
    )
    conditions.refuse((*refusals, *(conditions.of_reason(reason) if verdict == "dispute" else ())))
    signoff = SignOff(
        verdict=verdict,
        environment=terms.environment,
        request=done.request,
        request_sha256=done.request_sha256,
        approver=reviewer,
        ttl_ms=0,
        incident=await _incident(done, tracker, terms, clock),
        signed_ms=clock.wall_ms(),
        ledger=done.ledger,
        ledger_seq=done.ledger_seq,
        ledger_hash=done.ledger_hash,
        reason=reason,
        machine=terms.machine,
        transcript_sha256=done.transcript_sha256,
    )
    body = grants.signoff_bytes(signoff)
    signature = await signer.sign(values.namespace("approve", terms.environment), body, waiting)
    return paste.block(Signed(kind="approve", body=body.decode(), signature=signature))


async def take(block: str, run: str, *, terms: Terms, verifier: Verifier, journal: Journal, clock: Clock) -> SignedOff:
    """The answer in the ledger: the debt is paid, whatever the verdict. The same block twice is one entry.

    Raises Refused for one that is forged, foreign, the requester's own, or of another transcript; that is written down too.
    """
    signed = paste.read(block, "approve")
    bundle = paste.bundle(signed)
    entries = await journal.read(run)
    for entry in entries:
        if isinstance(entry.event, SignedOff) and entry.event.bundle == bundle:
            return entry.event
    grant = _debt(entries, run).grant
    try:
        asked = await _asked(entries, grant, run, terms, verifier)
        one = await verify_signoff(signed, terms, verifier)
        done = rules.record(entries, asked.request, asked.sha256)
        conditions.refuse(rules.of_answer(one, done, terms, clock.wall_ms()))
    except Refused as error:
        await journal.append(SignOffRefused(run=run, request=grant, why=str(error)))
        raise
    event = SignedOff(
        run=run,
        request=grant,
        verdict=one.signoff.verdict,
        person=one.signoff.approver.person,
        key=one.signoff.approver.key,
        bundle=bundle,
        reason=one.signoff.reason,
    )
    await journal.append(event)
    return event


def _debt(entries: Sequence[Entry], run: str) -> Debt:
    """The run's break-glass that nobody reviewed, else its last one. Raises UsageError when it has none."""
    found = every(entries)
    if not found:
        raise UsageError(f"Run {run[:40]} has no break-glass.", "`envtui review ENV` names those to review.")
    return next((debt for debt in found if debt.open), found[-1])


async def _asked(entries: Sequence[Entry], grant: str, run: str, terms: Terms, verifier: Verifier) -> VerifiedRequest:
    """The request behind a break-glass, verified again. Raises Refused."""
    requested = last_request(entries, grant)
    if requested is None:
        raise Refused(
            f"The ledger has no request {grant} of run {run}.", "envtui ledger verify says whether it is whole."
        )
    return await verify_request(paste.unbundle(requested.bundle), terms, verifier)


async def _incident(done: Record, tracker: Tracker, terms: Terms, clock: Clock) -> Incident:
    """As the reviewer's own client sees it; one that is gone by now hinders no review."""
    try:
        return await look_up(done.incident, tracker, terms, clock)
    except EnvtuiError:
        return Incident(id=done.incident, state="unverified", checked_ms=clock.wall_ms())
