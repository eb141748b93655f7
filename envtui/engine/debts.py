"""What people owe of their break-glasses, as a ledger has it: looked up, and never two at once."""

from __future__ import annotations

from envtui.core.access import Grant, Refusal, Terms
from envtui.core.errors import Refused
from envtui.core.events import Entry, GrantEnded
from envtui.core.ports import Clock, Journal, Tracker
from envtui.rules.break_glass import MARKS, Debt, every, longest_ms, of_break_glass, owed
from envtui.rules.conditions import of_incident

from .spending import look_up


async def glasses(journal: Journal) -> tuple[Debt, ...]:
    """Every break-glass of a ledger, with its review where there is one. Only what is about them is read."""
    return every(await _about(journal))


async def owes(person: str, journal: Journal) -> tuple[str, ...]:
    """The grants of a person's break-glasses that nobody else reviewed."""
    return tuple(debt.grant for debt in owed(await _about(journal), person))


async def why_no_glass(
    person: str,
    reason: str,
    ttl_ms: int,
    incident: str,
    *,
    terms: Terms,
    tracker: Tracker,
    journal: Journal,
    clock: Clock,
) -> tuple[Refusal, ...]:
    """What keeps a person from breaking the glass, before they are asked to type anything. `ttl_ms` 0: all there is.

    Raises Refused where the tracker says that there is no such incident; one that does not answer keeps nobody from it.
    """
    ttl_ms = ttl_ms or longest_ms(terms.policy)
    found = of_break_glass(person, reason, ttl_ms, await owes(person, journal), terms)
    if any(refusal.code == "break-glass" for refusal in found):
        return found
    seen = await look_up(incident, tracker, terms, clock)
    return (*found, *of_incident(seen, terms, clock.wall_ms(), incident))


async def one_glass_at_a_time(grant: Grant, entry: Entry, journal: Journal) -> None:
    """Two windows may break the glass at once: the first in the ledger counts. Ends the other and raises Refused there."""
    person = grant.request.requester.person
    before = [debt.grant for debt in owed((e for e in await _about(journal) if e.seq < entry.seq), person)]
    if before:
        why = f"the break-glass {before[0]} was first"
        await journal.append(GrantEnded(run=grant.run, grant=grant.id, reason="GIVEN_BACK", why=why))
        raise Refused(
            f"The break-glass {before[0]} of {person} is not reviewed yet.", "Go on there, or have it reviewed."
        )


async def _about(journal: Journal) -> list[Entry]:
    found = list(await journal.find(MARKS[0]))
    if found:  # most ledgers have none, and reviews are of these alone
        for mark in MARKS[1:]:
            found.extend(await journal.find(mark))
    return sorted(found, key=lambda entry: entry.seq)
