"""While write access lasts: permits spent in the ledger, its grounds looked at again, and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from envtui.core.access import Grant, Incident, Permit, Refusal, Terms
from envtui.core.act import Act
from envtui.core.errors import EnvtuiError, Refused, Unreachable
from envtui.core.events import Entry, Event, GrantEnded, PermitSpent
from envtui.core.ids import new_id
from envtui.core.ports import Clock, Journal, Tracker
from envtui.core.text import clean_line
from envtui.rules import conditions, grants
from envtui.rules.past import CLOSING, Past, past

EndReason = Literal["COMPLETED", "EXPIRED", "REVOKED", "INCIDENT_CLOSED", "CLOCK_JUMP", "GIVEN_BACK"]
WhyNot = Callable[[Grant, Act, int, Past, int, int, Mapping[str, str]], Refusal | None]


async def spend(
    grant: Grant,
    act: Act,
    attempt: int,
    *,
    terms: Terms,
    tracker: Tracker,
    journal: Journal,
    clock: Clock,
    late: Mapping[str, str] = grants.NO_VALUES,
) -> Permit:
    """The permit for one act and one attempt, after the ledger says that it is spent. `act` is the signed one; the permit is
    for what it is with `late` (slot -> value) in its open places.

    Raises Refused: the grant is over, the incident closed, the act not signed or permitted before, an earlier attempt has
    no known outcome, too little time left, a late value that its slot refuses or that nobody let pass.
    """
    if not grant.undo_only:
        ended = await recheck(grant, terms=terms, tracker=tracker, clock=clock)
        if ended is not None:
            await end(grant, ended[0], journal=journal, why=ended[1])
            raise Refused(ended[1], "Ask again.")
    before, permit_id = await _spent(grant, act, attempt, grants.why_not, journal, clock, late)
    return grants.spend(
        grant,
        act,
        attempt,
        past=before,
        wall_ms=clock.wall_ms(),
        boot_ms=clock.boot_ms(),
        permit_id=permit_id,
        values=late,
    )


async def spend_undo(
    grant: Grant,
    act: Act,
    attempt: int,
    *,
    terms: Terms,
    tracker: Tracker,
    journal: Journal,
    clock: Clock,
    late: Mapping[str, str] = grants.NO_VALUES,
) -> Permit:
    """As `spend`, for an undo act: also for `undo_for` after the grant's end, whatever the incident is by then.

    What ends the grant now is written down first; what was done under it can be taken back nevertheless.
    """
    known = past(await journal.read(grant.run))
    if known.end(grant.id):
        await _close(grant, known, journal, clock)
    elif (ended := await recheck(grant, terms=terms, tracker=tracker, clock=clock)) is not None:
        await end(grant, ended[0], journal=journal, why=ended[1])
    before, permit_id = await _spent(grant, act, attempt, grants.why_not_undo, journal, clock, late)
    return grants.spend_undo(
        grant,
        act,
        attempt,
        past=before,
        wall_ms=clock.wall_ms(),
        boot_ms=clock.boot_ms(),
        permit_id=permit_id,
        values=late,
    )


async def _spent(
    grant: Grant, act: Act, attempt: int, why_not: WhyNot, journal: Journal, clock: Clock, late: Mapping[str, str]
) -> tuple[Past, str]:
    """Writes the permit down; what stood in the ledger before it, and its id. Raises Refused."""
    refusal = why_not(grant, act, attempt, past(await journal.read(grant.run)), clock.wall_ms(), clock.boot_ms(), late)
    if refusal is not None:
        conditions.refuse([refusal])
    permit_id = new_id(clock.wall_ms(), clock.randomness(5))
    event = PermitSpent(
        run=grant.run,
        grant=grant.id,
        permit=permit_id,
        act=act.id,
        act_digest=act.digest(),
        attempt=attempt,
        bound="" if act.complete else grants.sent(grant, act, late).digest(),
    )
    entry = await journal.append(event)
    # Two processes may have come here at once: what counts is what stands before this entry in the ledger.
    return past(other for other in await journal.read(grant.run) if other.seq < entry.seq), permit_id


class Over(NamedTuple):
    """What ends a grant now. `cuts`: the write that is under way, too; not where nobody says that the incident is over: a
    tracker that did not answer once is no reason to leave a target half changed."""

    reason: EndReason
    why: str
    cuts: bool = True


async def recheck(grant: Grant, *, terms: Terms, tracker: Tracker, clock: Clock) -> Over | None:
    """What ends the grant now, with a sentence: a clock, or its incident. None: nothing does."""
    clocks = grants.state(grant, clock.wall_ms(), clock.boot_ms())
    if clocks == "EXPIRED":
        return Over("EXPIRED", grants.OVER)
    if clocks == "CLOCK_JUMP":
        return Over("CLOCK_JUMP", grants.SET_BACK)
    if not grant.incident.id:
        return None
    try:
        incident = await look_up(grant.incident.id, tracker, terms, clock)
    except EnvtuiError as error:  # gone from the register, or the register is damaged: no lack of data keeps a grant
        return Over("INCIDENT_CLOSED", error.message, cuts=False)
    if incident.state == "closed":
        return Over("INCIDENT_CLOSED", f"{incident.id} was closed, which ended the write access.")
    others = set(grant.signed_by) - {grant.request.requester.person}
    if len(others) < conditions.needed(terms, incident, grant.request):
        why = f" {incident.why}" if incident.why else ""
        said = f"The tracker does not say that {incident.id} is still open.{why}"
        return Over("INCIDENT_CLOSED", said, cuts=False)
    return None


async def end(grant: Grant, reason: EndReason, *, journal: Journal, why: str = "") -> GrantEnded:
    """Ends a grant, once: the entry that ended it. A revoke, or a clock set back, also ends the undo of one that ended."""
    entries = await journal.read(grant.run)
    over = [e.event for e in entries if isinstance(e.event, GrantEnded) and e.event.grant == grant.id]
    known = past(entries).end(grant.id)
    if known and (known in CLOSING or reason not in CLOSING):
        return next(event for event in over if event.reason == known)
    event = GrantEnded(run=grant.run, grant=grant.id, reason=reason, why=why)
    await journal.append(event)
    return event


async def _close(grant: Grant, known: Past, journal: Journal, clock: Clock) -> None:
    """Writes down what the clocks say of a grant that ended before, so that setting them again brings nothing back."""
    wall, boot = clock.wall_ms(), clock.boot_ms()
    if known.end(grant.id) in CLOSING:
        return
    if grants.state(grant, wall, boot) == "CLOCK_JUMP":
        await end(grant, "CLOCK_JUMP", journal=journal, why=grants.SET_BACK)
    elif grants.undo_left_ms(grant, wall, boot) == 0 and known.latest_ms < grant.undo_until_ms:
        await journal.append(GrantEnded(run=grant.run, grant=grant.id, reason="EXPIRED", why=grants.UNDO_OVER))


async def look_up(incident: str, tracker: Tracker, terms: Terms, clock: Clock) -> Incident:
    """What the tracker says now; unverified when it does not answer. Raises Refused when there is no such incident."""
    if not incident and not terms.policy.incident.required:
        return Incident(id="", state="unverified", checked_ms=clock.wall_ms(), tracker="none")
    if not incident:
        raise conditions.unnamed(terms)
    try:
        return await tracker.lookup(incident)
    except Unreachable as error:
        kind, why = terms.policy.incident.tracker, clean_line(error.message, 300)
        return Incident(id=incident, state="unverified", checked_ms=clock.wall_ms(), tracker=kind, why=why)


def first(entries: Sequence[Entry], fits: Callable[[Event], bool]) -> int | None:
    """The sequence of the first entry that fits: who was first is what the ledger says, whoever asks."""
    return next((entry.seq for entry in entries if fits(entry.event)), None)
