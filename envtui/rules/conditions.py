"""What must hold before write access begins, as pure functions of values: each rule is a Refusal that names the way out.

Signatures are verified before (ports.Verifier); time, the roster and the tracker's answer are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from envtui.core.access import (
    Incident,
    Refusal,
    Request,
    Roster,
    Terms,
    VerifiedRequest,
    VerifiedSignOff,
    fingerprint,
)
from envtui.core.act import Plan
from envtui.core.canonical import SIGNED_LIMIT
from envtui.core.environment import AccessPolicy
from envtui.core.errors import Refused
from envtui.core.ports import Signature
from envtui.core.shape import seconds, span

from . import break_glass, late_signed, waiving
from .refusals import Refusals as Refusals
from .refusals import refuse as refuse

SKEW_MS = 120_000
"""Clocks of two laptops may differ by this much (design/access: above 60 s is shown, above 120 s blocks)."""

REASON_LETTERS = 10
"""`.` is not a reason (teleport 20164): letters and digits that one must have at least."""


def examine(
    asked: VerifiedRequest,
    given: Sequence[VerifiedSignOff],
    *,
    terms: Terms,
    plan: Plan,
    incident: Incident,
    now_ms: int,
    used: frozenset[str] = frozenset(),
    debts: Sequence[str] = (),
) -> tuple[Refusal, ...]:
    """Everything that keeps this request from becoming a grant now; empty: activate it.

    `plan` is the run's as it stands, `incident` what the tracker says now, `used` the nonces that were activated before,
    `debts` the requester's break-glasses that nobody reviewed, by their ledger.
    """
    return (
        *break_glass.of_hidden(asked.request, debts),
        *of_request(asked, terms, now_ms, used),
        *of_plan(asked.request, plan),
        *of_incident(incident, terms, now_ms, asked.request.incident.id),
        *of_signoffs(asked, given, terms, now_ms, incident),
    )


def of_request(
    asked: VerifiedRequest, terms: Terms, now_ms: int, used: frozenset[str] = frozenset()
) -> tuple[Refusal, ...]:
    """What is wrong with the request by itself, against this client's own checkout."""
    request, policy = asked.request, terms.policy
    found = Refusals()
    found.unless(
        request.environment == terms.environment,
        "environment",
        f"The request is for {request.environment}, this is {terms.environment}.",
        f"Use it with {request.environment}, or ask again for {terms.environment}.",
    )
    found.unless(
        is_party(request.requester.person, request.requester.key, asked.by, terms.roster),
        "identity",
        f"The request names {request.requester.person}, its signature is of {_whose(asked.by, terms.roster)}.",
        "Ask again with your own key.",
    )
    for what, theirs, mine in (
        ("environment.yaml", request.manifest_sha256, terms.manifest_sha256),
        ("access policy", request.policy_sha256, terms.policy_sha256),
        ("roster of signers", request.roster_sha256, terms.roster.sha256),
    ):
        found.unless(
            theirs == mine,
            "checkout",
            f"The {what} of the request ({theirs[:12]}) is not the one here ({mine[:12]}).",
            "Bring both checkouts to the same commit and ask again.",
        )
    found.unless(
        request.created_ms <= now_ms + SKEW_MS,
        "clock",
        f"The request was made {span(request.created_ms - now_ms)} in the future.",
        "Set both clocks and ask again.",
    )
    found.unless(
        now_ms < request.expires_ms and request.expires_ms - request.created_ms <= _ms(policy.grant.request_expires),
        "expired",
        f"The request is older than {policy.grant.request_expires}."
        if request.expires_ms <= now_ms
        else f"The request would be valid for longer than {policy.grant.request_expires}.",
        "Ask again.",
    )
    found.extend(of_ttl(request.ttl_ms, policy))
    found.unless(
        0 <= request.undo_for_ms <= _ms(policy.grant.undo_for),
        "undo",
        f"{span(request.undo_for_ms)} for undo were asked for; the policy allows {policy.grant.undo_for}.",
        "Ask again.",
    )
    found.extend(of_reason(request.reason))
    if request.break_glass:
        person = terms.roster.person_of(asked.by.principal)
        found.extend(break_glass.of_break_glass(person, request.reason, request.ttl_ms, request.debts, terms))
        found.extend(break_glass.of_age(request, terms, now_ms))
    found.extend(of_brought(request.book_text, request.break_glass))
    found.unless(
        request.nonce not in used,
        "used",
        "This request was activated before; a request is good for one grant.",
        "Ask again.",
    )
    return found.all


def of_ttl(ttl_ms: int, policy: AccessPolicy) -> tuple[Refusal, ...]:
    """The time asked for, against the policy's maximum."""
    found = Refusals()
    found.unless(
        0 < ttl_ms <= _ms(policy.grant.max),
        "ttl",
        f"{span(ttl_ms)} of write access were asked for; the policy allows up to {policy.grant.max}.",
        f"Ask for {policy.grant.max} or less.",
    )
    return found.all


def of_reason(reason: str) -> tuple[Refusal, ...]:
    """A reason that says something, on one line, without control or direction-changing characters."""
    found = Refusals()
    letters = [character for character in reason if character.isalnum()]
    found.unless(
        len(letters) >= REASON_LETTERS and len(set(letters)) >= 4,
        "reason",
        f"{reason[:40]!r} is not a reason.",
        f"Say in at least {REASON_LETTERS} letters why this has to be changed now.",
    )
    found.unless(
        len(reason) <= 500 and reason.isprintable(),
        "reason",
        "The reason is longer than 500 characters or has characters that do not print.",
        "Write it on one line.",
    )
    return found.all


def of_brought(book_text: str, break_glass: bool) -> tuple[Refusal, ...]:
    """What nobody signs before is at least a book that others have read: a break-glass is no free shell."""
    found = Refusals()
    found.unless(
        not (book_text and break_glass),
        "break-glass",
        "A break-glass runs a book as the checkouts have it, nothing unscripted and nothing edited.",
        "Ask for a signature, or run the book as it is.",
    )
    return found.all


def of_size(body: bytes, book_text: str) -> tuple[Refusal, ...]:
    """A request fits into what may be signed, with the book that it brings along."""
    found = Refusals()
    found.unless(
        not book_text or len(body) <= SIGNED_LIMIT,
        "size",
        f"With its book the request has {len(body)} bytes, and at most {SIGNED_LIMIT} can be signed.",
        "Take out of the book what this incident does not need, or bring it into the checkouts.",
    )
    return found.all


def of_plan(request: Request, plan: Plan) -> tuple[Refusal, ...]:
    """The plan that would run is the plan that was asked for."""
    found = Refusals()
    found.unless(
        request.run == plan.run and request.environment == plan.environment,
        "run",
        f"The request is for run {request.run}, this is run {plan.run}.",
        "Ask again for this run.",
    )
    found.unless(
        request.book_sha256 == plan.book_sha256,
        "book",
        f"The book {request.book} of the request ({request.book_sha256[:12]}) is not the one here ({plan.book_sha256[:12]}).",
        "Bring both checkouts to the same commit and ask again.",
    )
    found.unless(
        request.plan_digest == plan.digest(),
        "plan",
        f"The plan of the request ({request.plan_digest[:12]}) is not the plan made here ({plan.digest()[:12]}).",
        "Compare it with `--full`, or ask again for the plan as it is now.",
    )
    if not found.all:
        found.extend(late_signed.of_late(request, plan))
        found.extend(waiving.of_waivers(request.waivers, plan))
    return found.all


def unnamed(terms: Terms) -> Refused:
    """What is wrong without any incident, where the policy asks for one."""
    env = terms.environment
    register = f"Those there are: envtui incident list {env}. A new one: envtui incident open {env} --title TEXT"
    return Refused(
        f"Write access to {env} needs an incident, and none was named.",
        register if terms.policy.incident.tracker == "file" else "Name the one that is open.",
    )


def of_incident(incident: Incident, terms: Terms, now_ms: int, asked_for: str) -> tuple[Refusal, ...]:
    """The incident is the one asked for, real, open, of this environment and not too old."""
    policy, found = terms.policy.incident, Refusals()
    if not asked_for and not policy.required:
        return ()
    found.unless(
        re.fullmatch(policy.pattern, asked_for) is not None and len(asked_for) <= 64,
        "incident",
        f"{asked_for[:64]!r} is not an incident's id here ({policy.looks}).",
        f"Record the incident first: envtui incident open {terms.environment} --title TEXT"
        if policy.tracker == "file"
        else "Name it as its tracker does.",
    )
    found.unless(
        incident.id == asked_for,
        "incident",
        f"The tracker answered for {incident.id!r} instead of {asked_for!r}.",
        "Check the tracker in environment.yaml.",
    )
    if policy.tracker == "none" or found.all:
        return found.all  # self-declared: there is nobody to ask
    found.unless(
        incident.state != "closed",
        "incident",
        f"{incident.id} is closed.",
        "Open it again or name the incident that is going on.",
    )
    if incident.state == "open":
        found.unless(
            incident.environment in ("", terms.environment),
            "incident",
            f"{incident.id} is an incident of {incident.environment}, not of {terms.environment}.",
            f"Open one for {terms.environment}.",
        )
        found.unless(
            incident.opened_ms > now_ms - _ms(policy.max_age),
            "incident",
            f"{incident.id} was opened more than {policy.max_age} ago.",
            "Open a new incident for what is going on now.",
        )
    return found.all


def of_signoff(asked: VerifiedRequest, one: VerifiedSignOff, terms: Terms, now_ms: int) -> tuple[Refusal, ...]:
    """What keeps one approval from counting."""
    request, signoff, policy = asked.request, one.signoff, terms.policy
    who, found = signoff.approver.person, Refusals()
    found.unless(
        signoff.verdict == "approve",
        "verdict",
        f"{who} did not approve: {signoff.verdict}.",
        "Ask the approver to sign this request.",
    )
    found.unless(
        signoff.environment == terms.environment,
        "environment",
        f"The sign-off is for {signoff.environment}, this is {terms.environment}.",
        "Ask the approver to sign this request.",
    )
    found.unless(
        (signoff.request, signoff.request_sha256) == (request.id, asked.sha256),
        "altered",
        f"{who} signed another request ({signoff.request}, {signoff.request_sha256[:12]}).",
        "Ask the approver to sign this request.",
    )
    found.unless(
        (signoff.ledger, signoff.ledger_seq, signoff.ledger_hash)
        == (request.ledger, request.ledger_seq, request.ledger_hash),
        "ledger",
        f"The sign-off of {who} repeats another head of the ledger than the request has.",
        "Ask the approver to sign this request.",
    )
    found.unless(
        is_party(who, signoff.approver.key, one.by, terms.roster),
        "identity",
        f"The sign-off names {who}, its signature is of {_whose(one.by, terms.roster)}.",
        "Ask the approver to sign with their own key.",
    )
    found.extend(of_approver(request, who, one.by.key, terms))
    found.extend(break_glass.of_approval(request))
    found.extend(of_presence(request, who, signoff.machine, one.by.touched is True, terms))
    found.unless(
        0 < signoff.ttl_ms <= request.ttl_ms,
        "ttl",
        f"{who} signed for {span(signoff.ttl_ms)}, more than the {span(request.ttl_ms)} asked for.",
        "Ask the approver to sign again.",
    )
    found.unless(
        signoff.signed_ms <= now_ms + SKEW_MS and signoff.signed_ms >= request.created_ms - SKEW_MS,
        "clock",
        f"The time of {who}'s signature does not fit the request's or this clock.",
        "Set both clocks and ask for the signature again.",
    )
    found.unless(
        now_ms - signoff.signed_ms <= _ms(policy.grant.activate_within),
        "expired",
        f"{who} signed more than {policy.grant.activate_within} ago.",
        "Ask for the signature again and activate at once.",
    )
    found.unless(
        signoff.incident.id == request.incident.id and signoff.incident.state != "closed",
        "incident",
        f"{who} saw {signoff.incident.id or 'no incident'} {signoff.incident.state}.",
        "Ask again under an open incident.",
    )
    return found.all


def of_approver(request: Request, person: str, key: str, terms: Terms) -> tuple[Refusal, ...]:
    """May this person, with this key, approve this request at all? Self-approval is refused by person and by key."""
    found = Refusals()
    others = terms.roster.approvers(terms.policy.signoff.roles, besides=request.requester.person)
    ask = f"Ask {', '.join(others)}." if others else _nobody(terms)
    found.unless(
        bool(person) and person != request.requester.person and fingerprint(key) != request.requester.key,
        "self-approval",
        f"{person or 'Nobody'} asked for this access and cannot approve it.",
        ask,
    )
    found.unless(
        terms.roster.may(person, terms.policy.signoff.roles),
        "role",
        f"{person or 'This key'} has none of the roles that approve here: {', '.join(terms.policy.signoff.roles)}.",
        ask,
    )
    return found.all


def of_presence(request: Request, who: str, machine: str, touched: bool, terms: Terms) -> tuple[Refusal, ...]:
    """Was the approver there? By a touched key where policy asks for it, and on another machine unless it says otherwise."""
    policy, found = terms.policy.signoff, Refusals()
    found.unless(
        touched or not policy.require_touch,
        "touch",
        f"The key of {who} was not touched, and {terms.environment} asks for it.",
        "Sign with a security key (ed25519-sk, ecdsa-sk) and touch it.",
    )
    found.unless(
        touched or policy.same_machine == "allowed" or machine != request.machine,
        "same-machine",
        f"{who} signed on the machine that asked ({request.machine}).",
        "Send the request to the approver's own machine, or have them touch their security key here.",
    )
    return found.all


def of_signoffs(
    asked: VerifiedRequest, given: Sequence[VerifiedSignOff], terms: Terms, now_ms: int, incident: Incident
) -> tuple[Refusal, ...]:
    """Enough different people said yes, and nobody said no. One that does not count hides none that does."""
    about = [one for one in given if one.signoff.request_sha256 == asked.sha256]
    denied = [one.signoff for one in about if one.signoff.verdict in ("deny", "revoke") and _own(one, terms.roster)]
    if denied:
        why = f": {denied[0].reason}" if denied[0].reason else ""
        return (
            Refusal(
                code="denied",
                sentence=f"{denied[0].approver.person} {'denied' if denied[0].verdict == 'deny' else 'revoked'} the request{why}.",
                way_out="Talk to them, and ask again if it still has to be done.",
            ),
        )
    policy, found = terms.policy.signoff, Refusals()
    if policy.min == 0 or asked.request.break_glass:
        found.extend(break_glass.of_own_touch(asked.by.touched is True, terms))
    counting: set[str] = set()
    objections: list[Refusal] = []
    for one in given:
        wrong = of_signoff(asked, one, terms, now_ms)
        objections.extend(wrong)
        if not wrong:
            counting.add(one.signoff.approver.person)
    must = needed(terms, incident, asked.request)
    lacking = must - len(counting)
    if lacking > 0:
        found.extend(objections)
        people = terms.roster.approvers(policy.roles, besides=asked.request.requester.person)
        left = [person for person in people if person not in counting]
        unsure = " because the tracker did not answer" if must > policy.min else ""
        if asked.request.debts and must > policy.min:
            unsure = f" because nobody reviewed the break-glass {', '.join(asked.request.debts)} yet"
        found.add(
            "signoffs",
            f"{lacking} more sign-off{'s are' if lacking > 1 else ' is'} needed{unsure}.",
            f"Send the request to {', '.join(left)}." if left else _nobody(terms),
        )
    return found.all


def needed(terms: Terms, incident: Incident, request: Request) -> int:
    """People besides the requester who must sign. Two when the tracker did not say whether the incident is real, and when
    the requester has a break-glass that nobody reviewed; none for a break-glass, which is there for just such a night."""
    policy = terms.policy
    if request.break_glass:
        return 0
    unsure = policy.incident.required and policy.incident.tracker != "none" and incident.state == "unverified"
    least = break_glass.APPROVERS_IN_DEBT if unsure or request.debts else 0
    return max(policy.signoff.min, least)


def is_party(person: str, key: str, by: Signature, roster: Roster) -> bool:
    """The person and key that a text names are those of its signature."""
    return bool(person) and person == roster.person_of(by.principal) and key == fingerprint(by.key)


def _own(one: VerifiedSignOff, roster: Roster) -> bool:
    return is_party(one.signoff.approver.person, one.signoff.approver.key, one.by, roster)


def _whose(by: Signature, roster: Roster) -> str:
    return roster.person_of(by.principal) or by.principal


def _nobody(terms: Terms) -> str:
    return terms.policy.escalation or "Nobody else may approve here: the environment's owners must add a person."


def _ms(duration: str) -> int:
    return round(seconds(duration) * 1000)
