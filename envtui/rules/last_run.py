"""What is another in a plan than when its book was run last, as far as an approver's own ledger knows."""

from __future__ import annotations

from collections.abc import Sequence

from envtui.core.act import Plan
from envtui.core.events import Entry, RunEnded, RunStarted

from .left import differences
from .words import stamp

NEVER = "never run here, as far as this ledger knows"


def started(entries: Sequence[Entry], book: str, besides: str) -> Entry | None:
    """The last beginning of a run of this book with a plan; not that of the run `besides`, which is the one asked for."""
    for entry in reversed(entries):
        event = entry.event
        if isinstance(event, RunStarted) and event.book == book and event.plan and event.run != besides:
            return entry
    return None


def lines(begun: Entry | None, entries: Sequence[Entry], plan: Plan, shows: dict[str, str]) -> tuple[str, ...]:
    """When, by whom and how it ended, then a line for each place that differs. `entries` are those of that run."""
    if begun is None or not isinstance(begun.event, RunStarted):
        return (NEVER,)
    event = begun.event
    ended = next((e.event.word for e in reversed(entries) if isinstance(e.event, RunEnded)), "not ended")
    # Each run has an id of its own, which often stands in what it does: that is no news.
    found = _told(differences(event.plan.replace(event.run, plan.run), plan, shows), plan.run)
    count = f"{len(found)} lines differ" if len(found) > 1 else "a line differs" if found else "the same plan"
    return (f"{stamp(begun.at_ms)} by {event.operator}, {ended}; {count}", *found)


def _told(found: Sequence[str], run: str) -> tuple[str, ...]:
    """Without places that say the same and are another only by the run's id in them."""
    told: list[str] = []
    for line in found:
        same = told and told[-1][:2] == "- " and line[:2] == "+ " and line[2:].startswith(told[-1][2:])
        if same and run in line:
            told.pop()
        else:
            told.append(line)
    return tuple(told)
