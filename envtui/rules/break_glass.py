"""Break-glass: who may go without another person's signature, under which conditions, and what they owe for it afterwards.

The answer to a night on which nobody answers, the tracker included: the plan is as narrow as ever, the time is short, and
somebody else has to look at what was done. That is a debt from the moment it begins; whoever has one needs two approvers
and cannot break the glass again. Pure: entries, the policy and the request are handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from envtui.core.access import Refusal, Request, Terms
from envtui.core.act import Plan
from envtui.core.environment import AccessPolicy, Environment
from envtui.core.events import Entry, GrantActivated, SignedOff
from envtui.core.shape import seconds, span

from .refusals import Refusals

REASON_LETTERS = 30
"""Letters and digits that the reason of a break-glass has at least: nobody else reads it before."""

APPROVERS_IN_DEBT = 2
"""People who sign for whoever has a break-glass that nobody reviewed."""

REVIEWS = ("ratify", "dispute")
"""Verdicts that pay a debt: a dispute is loud, and says as well that somebody looked."""

MARKS = ('"break_glass":true', '"verdict":"ratify"', '"verdict":"dispute"')
"""What the stored bytes of the entries hold that debts follow from, for `Journal.find`. Inside of text it is escaped."""


class Debt(msgspec.Struct, frozen=True, kw_only=True):
    """One break-glass and its review. `verdict` '' while nobody else gave one. Times are wall ms."""

    run: str
    grant: str
    person: str
    incident: str
    at_ms: int
    due_ms: int
    verdict: str = ""
    by: str = ""
    reviewed_ms: int = 0

    @property
    def open(self) -> bool:
        return not self.verdict

    @property
    def late(self) -> bool:
        """It was reviewed, after it was due."""
        return bool(self.verdict) and self.reviewed_ms > self.due_ms

    def overdue(self, now_ms: int) -> bool:
        return self.open and now_ms > self.due_ms


def every(entries: Iterable[Entry]) -> tuple[Debt, ...]:
    """Every break-glass in `entries`, in order, with the first review by another person."""
    found: dict[str, Debt] = {}
    for entry in entries:
        match entry.event:
            case GrantActivated(break_glass=True) as event if event.grant not in found:
                found[event.grant] = Debt(
                    run=event.run,
                    grant=event.grant,
                    person=", ".join(event.signed_by),
                    incident=event.incident,
                    at_ms=entry.at_ms,
                    due_ms=event.review_by_ms,
                )
            case SignedOff(verdict=verdict, request=request, person=person) if verdict in REVIEWS:
                debt = found.get(request)
                if debt is not None and debt.open and person and person != debt.person:
                    found[request] = msgspec.structs.replace(debt, verdict=verdict, by=person, reviewed_ms=entry.at_ms)
            case _:
                pass
    return tuple(found.values())


def owed(entries: Iterable[Entry], person: str = "") -> tuple[Debt, ...]:
    """What nobody reviewed yet, of one person or of all."""
    return tuple(debt for debt in every(entries) if debt.open and person in ("", debt.person))


def allowed(policy: AccessPolicy, person: str) -> bool:
    """Whether the policy names this person."""
    return policy.break_glass is not None and person in policy.break_glass.people


def longest_ms(policy: AccessPolicy) -> int:
    """The most time that a break-glass gives: the policy's own maximum, and never more than half of a signed one."""
    half = round(seconds(policy.grant.max) * 1000) // 2
    return min(half, round(seconds(policy.break_glass.max) * 1000)) if policy.break_glass is not None else half


def letters(reason: str) -> int:
    """What counts of a reason: letters and digits, not what is between them."""
    return sum(character.isalnum() for character in reason)


def review_by_ms(policy: AccessPolicy, now_ms: int) -> int:
    """Until when somebody else has to look at a break-glass that begins now."""
    assert policy.break_glass is not None
    return now_ms + round(seconds(policy.break_glass.review_due) * 1000)


def of_break_glass(person: str, reason: str, ttl_ms: int, debts: Sequence[str], terms: Terms) -> tuple[Refusal, ...]:
    """What keeps this person from going without anybody's signature now, besides what any request has to fulfil."""
    found = Refusals()
    policy, env = terms.policy, terms.environment
    if policy.break_glass is None or not policy.break_glass.people:
        found.add("break-glass", f"{env} has no break-glass.", f"Ask for a signature: envtui request {env}.")
        return found.all
    found.unless(
        allowed(policy, person),
        "break-glass",
        f"The break-glass of {env} is not for {person or 'this key'}.",
        f"It is for {', '.join(policy.break_glass.people)}. Ask for a signature, or ask one of them.",
    )
    found.unless(
        letters(reason) >= REASON_LETTERS,
        "reason",
        f"A break-glass needs a reason of at least {REASON_LETTERS} letters.",
        "Say what is broken, what this will do, and why it cannot wait for a signature.",
    )
    longest = longest_ms(policy)
    found.unless(
        0 < ttl_ms <= longest,
        "ttl",
        f"{span(ttl_ms)} were asked for; a break-glass of {env} lasts {span(longest)} at most.",
        f"Ask for {span(longest)} or less.",
    )
    found.unless(
        not debts,
        "debt",
        f"Nobody has reviewed the break-glass {', '.join(debts)} yet; until then there is no further one.",
        f"Have it reviewed: envtui review {env}. Or ask for {APPROVERS_IN_DEBT} signatures.",
    )
    return found.all


def warning(environment: Environment, plan: Plan, ttl_ms: int) -> Iterator[str]:
    """What breaking the glass means here, for whoever is about to: the same words on screen and without one."""
    policy = environment.access
    assert policy.break_glass is not None
    yield f"BREAK-GLASS in {environment.name}: nobody else signs this."
    acts = f"{len(plan.writes)} act{'' if len(plan.writes) == 1 else 's'}"
    yield f"It permits exactly this plan, {acts}, for {span(ttl_ms or longest_ms(policy))}, under the incident."
    yield (
        "People are called (notify) the moment it begins."
        if environment.notify is not None
        else "NOBODY IS CALLED: the manifest names nobody (notify). That is written down."
    )
    yield f"Somebody else has to review what was done within {policy.break_glass.review_due}."
    yield f"Until then you need {APPROVERS_IN_DEBT} signatures for anything, and cannot break the glass again."


def of_own_touch(touched: bool, terms: Terms) -> tuple[Refusal, ...]:
    """Where the requester's signature stands alone, it is the one that policy wants to be touched."""
    found = Refusals()
    found.unless(
        touched or not terms.policy.signoff.require_touch,
        "touch",
        f"Your key was not touched, and {terms.environment} asks for it.",
        "Ask again with a security key and touch it.",
    )
    return found.all


def of_age(request: Request, terms: Terms, now_ms: int) -> tuple[Refusal, ...]:
    """It begins as soon after it was signed as any write access: nobody keeps one in a drawer."""
    found, within = Refusals(), terms.policy.grant.activate_within
    found.unless(
        now_ms - request.created_ms <= round(seconds(within) * 1000),
        "expired",
        f"The break-glass was signed more than {within} ago.",
        "Ask again and begin at once.",
    )
    return found.all


def of_hidden(request: Request, debts: Sequence[str]) -> tuple[Refusal, ...]:
    """A request says everything that its requester owes: `debts` is what their own ledger says now."""
    found = Refusals()
    hidden = sorted(set(debts) - set(request.debts))
    found.unless(
        not hidden,
        "debts",
        f"The request does not say that nobody reviewed the break-glass {', '.join(hidden)}.",
        f"Ask again: it then needs {APPROVERS_IN_DEBT} signatures.",
    )
    return found.all


def of_approval(request: Request) -> tuple[Refusal, ...]:
    """Nobody approves a break-glass before: it is looked at afterwards. Denying it is possible."""
    found = Refusals()
    found.unless(
        not request.break_glass,
        "break-glass",
        f"{request.requester.person} goes without a signature (break-glass); nobody approves that.",
        f"Deny it if it must not be done. Afterwards: envtui ratify {request.environment}, or dispute.",
    )
    return found.all
