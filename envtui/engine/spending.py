"""While write access lasts: permits spent in the ledger, its grounds looked at again, and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from envtui.core.access import Grant, Incident, Permit, Terms
from envtui.core.act import Act
from envtui.core.errors import EnvtuiError, Refused, Unreachable
from envtui.core.events import Entry, Event, GrantEnded, PermitSpent
from envtui.core.ids import new_id
from envtui.core.ports import Clock, Journal, Tracker
from envtui.rules import conditions, grants

EndReason = Literal["COMPLETED", "EXPIRED", "REVOKED", "INCIDENT_CLOSED", "CLOCK_JUMP", "GIVEN_BACK"]


async def spend(
    grant: Grant, act: Act, attempt: int, *, terms: Terms, tracker: Tracker, journal: Journal, clock: Clock
) -> Permit:
    """The permit for one act and one attempt, after the ledger says that it is spent.

    Raises Refused: the grant is over, the incident closed, the act not signed or permitted before, too little time left.
    """
    ended = await recheck(grant, terms=terms, tracker=tracker, clock=clock)
    if ended is not None:
        await end(grant, ended[0], journal=journal, why=ended[1])
        raise Refused(ended[1], "Ask again.")
    entries = await journal.read(grant.run)
    over = _ending(entries, grant)
    if over is not None:
        raise Refused(f"The write access ended: {over.reason}.", "Ask again.")
    digest, permit_id = act.digest(), new_id(clock.wall_ms(), clock.randomness(5))
    spent = grants_spent(entries)
    refusal = grants.why_not(grant, act, attempt, spent, clock.wall_ms(), clock.boot_ms())
    if refusal is not None:
        conditions.refuse([refusal])
    event = PermitSpent(run=grant.run, grant=grant.id, permit=permit_id, act=act.id, act_digest=digest, attempt=attempt)
    entry = await journal.append(event)
    # Two processes may have come here with the same grant's id: the ledger's order decides which one spends.
    mine = (event.grant, event.act_digest, event.attempt)
    if first(await journal.read(grant.run), lambda other: _use(other) == mine) != entry.seq:
        raise Refused(f"Attempt {attempt} of {act.id} was permitted before.", "Look at its outcome first.")
    return grants.spend(
        grant, act, attempt, spent=spent, wall_ms=clock.wall_ms(), boot_ms=clock.boot_ms(), permit_id=permit_id
    )


async def recheck(grant: Grant, *, terms: Terms, tracker: Tracker, clock: Clock) -> tuple[EndReason, str] | None:
    """What ends the grant now, with a sentence: a clock, or its incident. None: nothing does."""
    clocks = grants.state(grant, clock.wall_ms(), clock.boot_ms())
    if clocks == "EXPIRED":
        return "EXPIRED", "The write access is over."
    if clocks == "CLOCK_JUMP":
        return "CLOCK_JUMP", "The wall clock was set back, which ended the write access."
    if not grant.incident.id:
        return None
    try:
        incident = await look_up(grant.incident.id, tracker, terms, clock)
    except EnvtuiError as error:  # gone from the register, or the register is damaged: no lack of data keeps a grant
        return "INCIDENT_CLOSED", error.message
    if incident.state == "closed":
        return "INCIDENT_CLOSED", f"{incident.id} was closed, which ended the write access."
    others = set(grant.signed_by) - {grant.request.requester.person}
    if len(others) < conditions.needed(terms, incident):
        return "INCIDENT_CLOSED", f"The tracker does not say that {incident.id} is still open."
    return None


async def end(grant: Grant, reason: EndReason, *, journal: Journal, why: str = "") -> GrantEnded:
    """Ends a grant, once: the entry that ended it."""
    over = _ending(await journal.read(grant.run), grant)
    if over is not None:
        return over
    event = GrantEnded(run=grant.run, grant=grant.id, reason=reason, why=why)
    await journal.append(event)
    return event


def grants_spent(entries: Sequence[Entry]) -> grants.Spent:
    """(grant, act digest, attempt) of every permit in these entries."""
    return frozenset(use for entry in entries if (use := _use(entry.event)) is not None)


async def look_up(incident: str, tracker: Tracker, terms: Terms, clock: Clock) -> Incident:
    """What the tracker says now; unverified when it does not answer. Raises Refused when there is no such incident."""
    if not incident and not terms.policy.incident.required:
        return Incident(id="", state="unverified", checked_ms=clock.wall_ms(), tracker="none")
    if not incident:
        raise conditions.unnamed(terms)
    try:
        return await tracker.lookup(incident)
    except Unreachable:
        kind = terms.policy.incident.tracker
        return Incident(id=incident, state="unverified", checked_ms=clock.wall_ms(), tracker=kind)


def first(entries: Sequence[Entry], fits: Callable[[Event], bool]) -> int | None:
    """The sequence of the first entry that fits: who was first is what the ledger says, whoever asks."""
    return next((entry.seq for entry in entries if fits(entry.event)), None)


def _ending(entries: Sequence[Entry], grant: Grant) -> GrantEnded | None:
    return next(
        (e.event for e in entries if isinstance(e.event, GrantEnded) and e.event.grant == grant.id),
        None,
    )


def _use(event: Event) -> tuple[str, str, int] | None:
    return (event.grant, event.act_digest, event.attempt) if isinstance(event, PermitSpent) else None
