"""The approver's side: a request read against their own checkout, and their answer to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from envtui.core import access as values
from envtui.core.access import Incident, Party, Refusal, Request, Signed, SignOff, Terms, VerifiedRequest, fingerprint
from envtui.core.act import Plan
from envtui.core.errors import EnvtuiError, Refused
from envtui.core.ports import Clock, Signer, Tracker, Verifier
from envtui.rules import break_glass, conditions, difference, grants, paste

from .case import verify_request
from .spending import look_up

Waiting = Callable[[str], None]


def same(_: Request) -> tuple[tuple[str, ...], tuple[Refusal, ...]]:
    """Where no book ever comes along."""
    return (), ()


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What an approver sees before signing. `refusals` empty: approving is possible. Denying always is."""

    asked: VerifiedRequest
    plan: Plan | None  # made from the approver's own checkout; None: it cannot be made, `refusals` says why
    incident: Incident  # as the approver's own client saw it
    refusals: tuple[Refusal, ...] = ()
    differences: tuple[str, ...] = ()
    last: tuple[str, ...] = ()  # the last run of this book in the reader's own ledger, and what is another since
    edited: tuple[str, ...] = ()  # of a book that came along: clean lines, how it differs from the approver's own

    @property
    def request(self) -> Request:
        return self.asked.request


async def review(
    block: str,
    *,
    terms: Terms,
    replan: Callable[[Request], Plan],
    verifier: Verifier,
    tracker: Tracker,
    clock: Clock,
    compare: Callable[[Request], tuple[tuple[str, ...], tuple[Refusal, ...]]] = same,
) -> Review:
    """Reads a request as its approver: everything is made or looked up again on this side, nothing is believed.

    `compare`: how a book that came along differs from the one here, and why it is none to be signed.
    Raises UsageError for a text without a request, Refused for one that is altered, foreign or not signed by its requester.
    """
    asked = await verify_request(paste.read(block, "request"), terms, verifier)
    request, now = asked.request, clock.wall_ms()
    if asked.signed.plan and grants.sha256(asked.signed.plan.encode()) != request.plan_digest:
        raise Refused("The plan in the block is not the one that was signed.", "Ask for the block to be sent again.")
    refusals = [*conditions.of_request(asked, terms, now), *break_glass.of_approval(request)]
    plan: Plan | None = None
    differences: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    try:
        plan = replan(request)
        edited, unfit = compare(request)
        refusals.extend(unfit)
    except EnvtuiError as error:
        refusals.append(
            Refusal(code="plan", sentence=f"No plan can be made here: {error.message}", way_out=error.remedy)
        )
    else:
        refusals.extend(conditions.of_plan(request, plan))
        differences = difference.of_plans(request, asked.signed.plan, plan)
    try:
        incident = await look_up(request.incident.id, tracker, terms, clock)
        refusals.extend(conditions.of_incident(incident, terms, now, request.incident.id))
    except Refused as error:
        incident = Incident(id=request.incident.id, state="unverified", checked_ms=now)
        refusals.append(Refusal(code="incident", sentence=error.message, way_out=error.remedy))
    return Review(
        asked=asked,
        plan=plan,
        incident=incident,
        refusals=tuple(refusals),
        differences=differences,
        edited=edited,
    )


async def sign(
    review: Review,
    verdict: Literal["approve", "deny"],
    *,
    terms: Terms,
    signer: Signer,
    clock: Clock,
    waiting: Waiting,
    reason: str = "",
) -> str:
    """The approver's answer as a block. Raises Refused with every reason why it cannot be an approval, TimedOut."""
    request, now = review.request, clock.wall_ms()
    person = person_of(signer, "approve", terms)
    if verdict == "approve":
        fresh = conditions.of_request(review.asked, terms, now)
        conditions.refuse(
            (
                *conditions.of_approver(request, person, signer.key, terms),
                # A security key's touch is only known from its signature; the receiving side looks at that.
                *conditions.of_presence(request, person, terms.machine, signer.key.startswith("sk-"), terms),
                *review.refusals,
                *(refusal for refusal in fresh if refusal not in review.refusals),
            )
        )
    signoff = SignOff(
        verdict=verdict,
        environment=terms.environment,
        request=request.id,
        request_sha256=review.asked.sha256,
        approver=Party(person=person, key=fingerprint(signer.key)),
        ttl_ms=request.ttl_ms,
        incident=review.incident,
        signed_ms=now,
        ledger=request.ledger,
        ledger_seq=request.ledger_seq,
        ledger_hash=request.ledger_hash,
        reason=reason,
        machine=terms.machine,
    )
    body = grants.signoff_bytes(signoff)
    signature = await signer.sign(values.namespace("approve", terms.environment), body, waiting)
    return paste.block(Signed(kind="approve", body=body.decode(), signature=signature))


def person_of(signer: Signer, kind: values.SignedKind, terms: Terms) -> str:
    """Whose key it is, for this purpose. Raises Refused when it is nobody's."""
    line = terms.roster.line(signer.key)
    person = terms.roster.person(signer.key)
    if line is None or not person or values.namespace(kind, terms.environment) not in line.namespaces:
        what = "approve" if kind == "approve" else "ask"
        raise Refused(
            f"The key {fingerprint(signer.key)} may not {what} in {terms.environment}.",
            "Its line must stand in access/allowed_signers: ask the environment's owners.",
        )
    return person
