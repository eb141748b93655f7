"""Ending write access that was granted, before its time: from another terminal of the same person, or by signature.

    revoke(run, who, reason, *, journal) -> (GrantEnded, …)          the requester, in any terminal on the same ledger
    sign(block, *, terms, signer, verifier, tracker, clock, waiting, reason="") -> (Request, block)     an approver, anywhere
    receive(signed, run, *, terms, verifier, journal) -> SignedOff | SignOffRefused                      the requester, after

What is written down here is all that a revoke is: from then on no permit is spent under the grant, not even to undo, and the
process that has the run ends what is under way (`watching`). Of a request that was not activated yet it is a denial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from envtui.core import access as values
from envtui.core.access import Incident, Party, Request, Signed, SignOff, Terms, fingerprint
from envtui.core.errors import EnvtuiError, Refused
from envtui.core.events import Entry, GrantActivated, GrantEnded, Requested, SignedOff, SignOffRefused
from envtui.core.ports import Clock, Journal, Signer, Tracker, Verifier
from envtui.rules import conditions, grants, paste
from envtui.rules import revoking as rules
from envtui.rules.past import CLOSING, past

from .case import last_request, verify_request, verify_signoff
from .reviewing import person_of
from .spending import look_up

Waiting = Callable[[str], None]


async def revoke(run: str, who: str, reason: str, *, journal: Journal) -> tuple[GrantEnded, ...]:
    """Ends every write access of a run, and what of it still permits undo. Raises Refused when there is nothing to end."""
    entries = await journal.read(run)
    over = past(entries)
    known = dict.fromkeys(e.event.grant for e in entries if isinstance(e.event, GrantActivated))
    asked = last_request(entries)
    if asked is not None:
        known[asked.request] = None  # not activated: it never will be
    ending = [grant for grant in known if over.end(grant) not in CLOSING]
    if not ending:
        raise Refused(
            f"Run {run[:80]} has no write access that could be revoked.",
            "`envtui ledger show` says what it had, and how that ended.",
        )
    why = rules.why(who, reason)
    ends = tuple(GrantEnded(run=run, grant=grant, reason="REVOKED", why=why) for grant in ending)
    await journal.append_all(ends)
    return ends


async def sign(
    block: str,
    *,
    terms: Terms,
    signer: Signer,
    verifier: Verifier,
    tracker: Tracker,
    clock: Clock,
    waiting: Waiting,
    reason: str = "",
) -> tuple[Request, str]:
    """A revoke of what was asked for in this block, as a block. The plan is not made again and nothing has to be fresh.

    Raises UsageError for a text without a request, Refused for one that is altered or foreign, and for a person who may not.
    """
    asked = await verify_request(paste.read(block, "request"), terms, verifier)
    request = asked.request
    person = person_of(signer, "approve", terms)
    conditions.refuse(rules.of_revoker(request, person, terms))
    try:
        incident = await look_up(request.incident.id, tracker, terms, clock)
    except EnvtuiError:  # gone, or the register is damaged: no reason to let write access be
        incident = Incident(id=request.incident.id, state="unverified", checked_ms=clock.wall_ms())
    signoff = SignOff(
        verdict="revoke",
        environment=terms.environment,
        request=request.id,
        request_sha256=asked.sha256,
        approver=Party(person=person, key=fingerprint(signer.key)),
        ttl_ms=request.ttl_ms,
        incident=incident,
        signed_ms=clock.wall_ms(),
        ledger=request.ledger,
        ledger_seq=request.ledger_seq,
        ledger_hash=request.ledger_hash,
        reason=reason,
        machine=terms.machine,
    )
    body = grants.signoff_bytes(signoff)
    signature = await signer.sign(values.namespace("approve", terms.environment), body, waiting)
    return request, paste.block(Signed(kind="approve", body=body.decode(), signature=signature))


def is_revoke(signed: Signed) -> bool:
    """Whether a sign-off says revoke. Nothing of it is verified."""
    try:
        return grants.parse_signoff(signed.body.encode()).verdict == "revoke"
    except Refused:
        return False


async def receive(
    signed: Signed, run: str, *, terms: Terms, verifier: Verifier, journal: Journal
) -> SignedOff | SignOffRefused:
    """Takes a revoke into the ledger, with the end of what it ends; or the reason for which it does not count.

    Raises Refused when this run never asked. The same block twice is one entry.
    """
    bundle = paste.bundle(signed)
    entries = await journal.read(run)
    last = last_request(entries)
    if last is None:
        raise Refused(f"Run {run} has asked for nothing.", "Look for the run that it is meant for.")
    for entry in entries:
        if isinstance(entry.event, SignedOff) and entry.event.bundle == bundle:
            return entry.event
    try:
        one = await verify_signoff(signed, terms, verifier)
        request = _meant(entries, one.signoff)
        conditions.refuse(rules.of_revoker(request, one.signoff.approver.person, terms))
    except Refused as error:
        refused = SignOffRefused(run=run, request=last.request, why=str(error))
        await journal.append(refused)
        return refused
    person, key = one.signoff.approver.person, one.signoff.approver.key
    answer = SignedOff(run=run, request=request.id, verdict="revoke", person=person, key=key, bundle=bundle)
    end = GrantEnded(run=run, grant=request.id, reason="REVOKED", why=rules.why(person, one.signoff.reason))
    over = past(entries).end(request.id) in CLOSING
    await journal.append_all((answer,) if over else (answer, end))
    return answer


def _meant(entries: Sequence[Entry], signoff: SignOff) -> Request:
    """The request of this run that a revoke is about: not only the last one. Its own signature was verified when it came."""
    for entry in entries:
        event = entry.event
        if isinstance(event, Requested) and event.request_sha256 == signoff.request_sha256:
            return grants.parse_request(paste.unbundle(event.bundle).body.encode())
    raise Refused(
        f"{signoff.approver.person} revoked another request ({signoff.request[:40]}), which this run did not make.",
        "Give it to the run that asked for it: `envtui ledger show` names the requests.",
    )
