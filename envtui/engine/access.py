"""Write access as use cases: ask, review, sign, receive, activate, spend, end. Both doors call these; no state of its own.

    terms: Terms            what this client's own checkout says (core.access): environment, policy, roster, manifest, machine
    signer: Signer          one key of whoever signs; verifier: Verifier; tracker: Tracker; journal: Journal; clock: Clock (ports)
    waiting: (str) -> None  called with a sentence while a person must touch a key or answer their agent

Requester, before:
    ask(plan, incident_id, reason, ttl_ms, *, terms, signer, tracker, journal, clock, waiting, full=False,
        break_glass=False, waivers=(), late=None) -> (Request, block)
        Looks the incident up, checks reason and ttl, signs, journals Requested. ttl_ms 0: the policy's maximum.
        `plan` is final: Plan.incident and Plan.date are filled by the caller, Plan.operator is the person of the signer's key.
Approver (another client, or beside you: then with the approver's signer):
    review(block, *, terms, replan, verifier, tracker, clock) -> Review
        replan: (Request) -> Plan, from the reader's own checkout (run, book, inputs, date, incident.id, requester.person)
        Review: asked (VerifiedRequest), request, plan (None when it cannot be made), incident, refusals, differences
    sign(review, verdict, *, terms, signer, clock, waiting, reason="") -> block          verdict "approve" | "deny"
Requester, after:
    receive(block, run, *, terms, verifier, journal, clock) -> SignedOff | SignOffRefused     the journalled event; a revoke
        ends what was granted
    status(run, *, terms, plan, verifier, journal, clock) -> Standing
        Standing: asked, given, refusals (what still lacks; empty: activate), state DRAFT | REQUESTED | DENIED | EXPIRED |
        APPROVED | USED, needed (sign-offs by others), approvers (people who may give one)
    activate(run, *, terms, plan, verifier, tracker, journal, clock) -> Grant                 journals GrantActivated
    spend(grant, act, attempt, *, terms, tracker, journal, clock) -> Permit                   journals PermitSpent first
    spend_undo(…the same…) -> Permit              for an undo act: also for `undo_for` after the grant's end
    recheck(grant, *, terms, tracker, clock) -> (reason, why) | None     every minute and tick: what ends the grant now
    end(grant, reason, *, journal, why="") -> GrantEnded                 journals GrantEnded
After its process is gone, in engine.reinstating: orphaned(run, …) writes the end of its grants down, reinstate(run, grant, …)
    gives one back, to undo what was done under it and for nothing else.
Pure, in rules.grants: why_not and why_not_undo(grant, act, attempt, past, wall_ms, boot_ms) -> Refusal | None; phase(…);
    left_ms(grant, wall_ms, boot_ms) -> int for the countdown. In rules.conditions: examine(…) -> refusals.

All raise Refused with a way out; UsageError for a block that is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from envtui.core import access as values
from envtui.core.access import (
    Grant,
    Party,
    Refusal,
    Request,
    Signed,
    Terms,
    VerifiedRequest,
    VerifiedSignOff,
    Waiver,
    fingerprint,
)
from envtui.core.act import Plan
from envtui.core.canonical import canonical
from envtui.core.errors import Refused
from envtui.core.events import (
    GrantActivated,
    Requested,
    SignedOff,
    SignOffRefused,
)
from envtui.core.ids import new_id
from envtui.core.ports import Clock, Journal, Signer, Tracker, Verifier
from envtui.core.shape import seconds
from envtui.rules import break_glass as glass
from envtui.rules import conditions, grants, paste

from . import revoking
from .case import check_about, last_request, read_case, verify_request, verify_signoff
from .debts import one_glass_at_a_time, owes
from .reviewing import Review as Review
from .reviewing import Waiting, person_of
from .reviewing import review as review
from .reviewing import same as same
from .reviewing import sign as sign
from .spending import EndReason as EndReason
from .spending import end as end
from .spending import first, look_up
from .spending import recheck as recheck
from .spending import spend as spend
from .spending import spend_undo as spend_undo

State = Literal["DRAFT", "REQUESTED", "DENIED", "EXPIRED", "APPROVED", "USED"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run's request has come. `refusals` empty: it can be activated."""

    state: State
    asked: VerifiedRequest | None = None
    given: tuple[VerifiedSignOff, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    needed: int = 0  # sign-offs by people other than the requester
    approvers: tuple[str, ...] = ()


# --- the requester, before --------------------------------------------------------------------------------------------


async def ask(
    plan: Plan,
    incident_id: str,
    reason: str,
    ttl_ms: int,
    *,
    terms: Terms,
    signer: Signer,
    tracker: Tracker,
    journal: Journal,
    clock: Clock,
    waiting: Waiting,
    full: bool = False,
    break_glass: bool = False,
    book_text: str = "",
    waivers: Sequence[Waiver] = (),
    late: Mapping[str, str] | None = None,
) -> tuple[Request, str]:
    """Asks for write access to exactly this plan: the signed request and its block. Journals Requested.

    With `break_glass` nobody else is asked. What the requester owes of earlier ones is in the request. `late`: slot -> the
    value that is known by now. `book_text`: of a plan whose book is in no checkout.

    Raises Refused with every reason why nobody could sign it, TimedOut when the key is not touched.
    """
    person = person_of(signer, "request", terms)
    if person != plan.operator:
        raise Refused(f"The key that signs is {person}'s, and you are {plan.operator}.", "Set signing_key to your own.")
    if not plan.writes:
        raise Refused("This plan writes nothing.", "Run it: reading needs no sign-off.")
    longest_ms = glass.longest_ms(terms.policy) if break_glass else round(seconds(terms.policy.grant.max) * 1000)
    ttl_ms = ttl_ms or longest_ms
    debts = await owes(person, journal)
    incident = await look_up(incident_id, tracker, terms, clock)
    now = clock.wall_ms()
    conditions.refuse(
        (
            *conditions.of_incident(incident, terms, now, incident_id),
            *conditions.of_reason(reason),
            *conditions.of_ttl(ttl_ms, terms.policy),
            *conditions.of_brought(book_text, break_glass),
            *(_of_glass(person, reason, ttl_ms, debts, signer, terms) if break_glass else ()),
        )
    )
    head = await journal.head()
    request = Request(
        environment=terms.environment,
        id=new_id(now, clock.randomness(5)),
        nonce=clock.randomness(16).hex(),
        requester=Party(person=person, key=fingerprint(signer.key)),
        incident=incident,
        reason=reason,
        run=plan.run,
        book=plan.book,
        book_sha256=plan.book_sha256,
        manifest_sha256=terms.manifest_sha256,
        policy_sha256=terms.policy_sha256,
        roster_sha256=terms.roster.sha256,
        inputs=dict(plan.inputs),
        date=plan.date,
        targets=grants.targets_of(plan),
        plan_digest=plan.digest(),
        ttl_ms=ttl_ms,
        undo_for_ms=round(seconds(terms.policy.grant.undo_for) * 1000),
        created_ms=now,
        expires_ms=now + round(seconds(terms.policy.grant.request_expires) * 1000),
        ledger=head.ledger,
        ledger_seq=head.seq,
        ledger_hash=head.hash,
        machine=terms.machine,
        break_glass=break_glass,
        debts=debts,
        book_text=book_text,
        waivers=tuple(waivers),
        late=dict(late or {}),
    )
    conditions.refuse(conditions.of_plan(request, plan))
    body = grants.request_bytes(request)
    conditions.refuse(conditions.of_size(body, book_text))
    grants.parse_request(body)  # its size above all: a request that no reader takes must not be signed
    signature = await signer.sign(values.namespace("request", terms.environment), body, waiting)
    signed = Signed(kind="request", body=body.decode(), signature=signature)
    await journal.append(
        Requested(
            run=plan.run,
            request=request.id,
            request_sha256=grants.sha256(body),
            incident=incident.id,
            reason=reason,
            bundle=paste.bundle(signed),
        )
    )
    sent = msgspec.structs.replace(signed, plan=canonical(plan.as_data()).decode()) if full else signed
    return request, paste.block(sent)


# --- the requester, after ---------------------------------------------------------------------------------------------


async def receive(
    block: str, run: str, *, terms: Terms, verifier: Verifier, journal: Journal, clock: Clock
) -> SignedOff | SignOffRefused:
    """Takes an answer to the run's last request into the ledger: as it is, or refused with the reason.

    Raises UsageError for a text without a sign-off, Refused when this run never asked. The same block twice is one entry.
    """
    signed = paste.read(block, "approve")
    if revoking.is_revoke(signed):
        return await revoking.receive(signed, run, terms=terms, verifier=verifier, journal=journal)
    bundle = paste.bundle(signed)
    entries = await journal.read(run)
    requested = last_request(entries)
    if requested is None:
        raise Refused(f"Run {run} has asked for nothing.", "Ask first: envtui request.")
    for entry in entries:
        event = entry.event
        if isinstance(event, SignedOff) and (event.request, event.bundle) == (requested.request, bundle):
            return event
    try:
        asked = await verify_request(paste.unbundle(requested.bundle), terms, verifier)
        one = await verify_signoff(signed, terms, verifier)
        check_about(asked, one)
        if one.signoff.verdict != "deny":
            conditions.refuse(conditions.of_signoff(asked, one, terms, clock.wall_ms()))
        answer: SignedOff | SignOffRefused = SignedOff(
            run=run,
            request=requested.request,
            verdict=one.signoff.verdict,
            person=one.signoff.approver.person,
            key=one.signoff.approver.key,
            bundle=bundle,
            reason=one.signoff.reason,
        )
    except Refused as error:
        answer = SignOffRefused(run=run, request=requested.request, why=str(error))
    await journal.append(answer)
    return answer


async def status(run: str, *, terms: Terms, plan: Plan, verifier: Verifier, journal: Journal, clock: Clock) -> Standing:
    """How far the run's last request has come, with everything that it still lacks. The incident is not looked up."""
    case = await read_case(run, terms, verifier, journal)
    if case.asked is None:
        state: State = "REQUESTED" if case.problems else "DRAFT"
        return Standing(state=state, refusals=case.problems)
    request, now = case.asked.request, clock.wall_ms()
    refusals = (
        *case.problems,
        *conditions.examine(
            case.asked,
            case.given,
            terms=terms,
            plan=plan,
            incident=request.incident,
            now_ms=now,
            used=case.used,
            debts=await owes(request.requester.person, journal),
        ),
    )
    return Standing(
        state=_state(request, refusals, now),
        asked=case.asked,
        given=case.given,
        refusals=refusals,
        needed=conditions.needed(terms, request.incident, request),
        approvers=terms.roster.approvers(terms.policy.signoff.roles, besides=request.requester.person),
    )


async def activate(
    run: str,
    *,
    terms: Terms,
    plan: Plan,
    verifier: Verifier,
    tracker: Tracker,
    journal: Journal,
    clock: Clock,
) -> Grant:
    """Turns the run's last request into a grant: everything is verified again, the incident looked up again.

    Raises Refused with everything that is missing. Journals GrantActivated; of two processes, the first in the ledger wins.
    """
    case = await read_case(run, terms, verifier, journal)
    if case.asked is None:
        conditions.refuse(case.problems)
        raise Refused(f"Run {run} has asked for nothing.", "Ask first: envtui request.")
    conditions.refuse(problem for problem in case.problems if problem.code == "denied")
    request = case.asked.request
    incident = await look_up(request.incident.id, tracker, terms, clock)
    try:
        grant = grants.activate(
            case.asked,
            case.given,
            terms=terms,
            plan=plan,
            incident=incident,
            now_ms=clock.wall_ms(),
            boot_ms=clock.boot_ms(),
            used=case.used,
            debts=await owes(request.requester.person, journal),
        )
    except Refused as error:
        notes = "".join(f"\n{problem}" for problem in case.problems)
        raise Refused(error.message, error.remedy + notes) from error
    entry = await journal.append(
        GrantActivated(
            run=run,
            grant=grant.id,
            plan_digest=grant.plan_digest,
            incident=incident.id,
            signed_by=grant.signed_by,
            until_ms=grant.until_ms,
            acts=len(grant.acts),
            nonce=request.nonce,
            break_glass=request.break_glass,
            waived=tuple(waiver.step for waiver in request.waivers),
            late=request.late,
            review_by_ms=glass.review_by_ms(terms.policy, clock.wall_ms()) if request.break_glass else 0,
        )
    )
    winner = first(
        await journal.read(run), lambda event: isinstance(event, GrantActivated) and event.nonce == request.nonce
    )
    if winner != entry.seq:
        raise Refused("Another window activated this request first.", "Go on there, or ask again.")
    if request.break_glass:
        await one_glass_at_a_time(grant, entry, journal)
    return grant


def _of_glass(
    person: str, reason: str, ttl_ms: int, debts: Sequence[str], signer: Signer, terms: Terms
) -> tuple[Refusal, ...]:
    touch = glass.of_own_touch(signer.key.startswith("sk-"), terms)  # whether it was, only the signature says
    return (*glass.of_break_glass(person, reason, ttl_ms, debts, terms), *touch)


# --- small parts ---------------------------------------------------------------------------------------------------------


def _state(request: Request, refusals: Sequence[Refusal], now_ms: int) -> State:
    codes = {refusal.code for refusal in refusals}
    if "used" in codes:
        return "USED"
    if "denied" in codes:
        return "DENIED"
    if now_ms >= request.expires_ms:
        return "EXPIRED"
    return "REQUESTED" if codes else "APPROVED"
