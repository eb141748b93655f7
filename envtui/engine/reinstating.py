"""Grants whose process is gone: their end is written down, and what is left of them made again from the ledger.

Imported when a run is taken up again or undone: most never are.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from envtui.core.access import Grant, Request, Terms
from envtui.core.act import Plan
from envtui.core.errors import Refused
from envtui.core.events import GrantActivated, GrantEnded
from envtui.core.ports import Clock, Journal, Verifier
from envtui.rules import conditions
from envtui.rules import reinstating as rules
from envtui.rules.past import live, past

from .case import read_case


async def orphaned(run: str, *, journal: Journal, mine: Container[str] = ()) -> tuple[GrantEnded, ...]:
    """Writes the end of the run's grants down whose process is gone: those without an end that are not `mine`.

    The caller knows that nobody else holds the run. If somebody does, their write access ends with this.
    """
    ended: list[GrantEnded] = []
    for activated in live(await journal.read(run)):
        if activated.grant not in mine:
            event = GrantEnded(run=run, grant=activated.grant, reason="GIVEN_BACK", why="its process ended")
            await journal.append(event)
            ended.append(event)
    return tuple(ended)


async def reinstate(
    run: str,
    grant: str,
    *,
    terms: Terms,
    replan: Callable[[Request], Plan],
    verifier: Verifier,
    journal: Journal,
    clock: Clock,
) -> Grant:
    """What is left of a grant of the ledger: it permits the undo of what was done under it, never a forward act.

    Everything is verified again. Raises Refused with everything that does not hold, and what `replan` raises when the
    request's plan cannot be made here any more.
    """
    entries = await journal.read(run)
    found = (
        (entry.event, entry.at_ms)
        for entry in entries
        if isinstance(entry.event, GrantActivated) and entry.event.grant == grant
    )
    activated, at_ms = next(found, (None, 0))
    case = await read_case(run, terms, verifier, journal, grant)
    if activated is None or case.asked is None:
        conditions.refuse(case.problems)
        raise Refused(f"Run {run} never had write access under {grant[:40]!r}.", "Ask for it: envtui request.")
    try:
        return rules.reinstate(
            activated,
            at_ms,
            case.asked,
            case.given,
            terms=terms,
            plan=replan(case.asked.request),
            past=past(entries),
            now_ms=clock.wall_ms(),
            boot_ms=clock.boot_ms(),
        )
    except Refused as error:
        notes = "".join(f"\n{problem}" for problem in case.problems)
        raise Refused(error.message, error.remedy + notes) from error
