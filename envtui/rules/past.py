"""What a run's entries say of its permits, its grants and its attempts: all that a next permit depends on besides the clocks.

Read whole from the ledger each time, because another process may have written to it, and handed to the pure rules of
`grants`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from envtui.core.events import (
    ActEnded,
    ActIntended,
    Entry,
    GrantActivated,
    GrantEnded,
    LateAccepted,
    PermitSpent,
    Probed,
    Resolved,
)

CLOSING = frozenset({"REVOKED", "CLOCK_JUMP"})
"""Ends after which nothing is permitted under a grant, not even an undo."""

CUTTING = frozenset({*CLOSING, "INCIDENT_CLOSED"})
"""Ends that also end the write which is under way at its target. An act under way when its time is over, or write access
is complete, was seen to fit before it began."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """`spent`: (grant, act digest, attempt) of every permit. `permitted`: (grant, act id) of the same.

    `ended`: grants that ended, with the reason that counts. `tried`: the highest attempt of each act that was intended.
    `unknown`: (act id, attempt) of writes without a known outcome; `alive`: ids of acts of which something may still go on.
    `accepted`: (grant, act id, slot, value) that a person let pass; `late`: the values of each attempt of an act, in order.
    `latest_ms`: the latest time in the entries.
    """

    spent: frozenset[tuple[str, str, int]] = frozenset()
    permitted: frozenset[tuple[str, str]] = frozenset()
    ended: Mapping[str, str] = {}
    tried: Mapping[str, int] = {}
    unknown: frozenset[tuple[str, int]] = frozenset()
    alive: frozenset[str] = frozenset()
    latest_ms: int = 0
    accepted: frozenset[tuple[str, str, str, str]] = frozenset()
    late: Mapping[str, tuple[Mapping[str, str], ...]] = {}

    def end(self, grant: str) -> str:
        """Why a grant ended; '' while the ledger does not say that it did."""
        return self.ended.get(grant, "")


def past(entries: Iterable[Entry]) -> Past:
    """What the entries of one run come to."""
    permits: list[PermitSpent] = []
    ended: dict[str, str] = {}
    tried: dict[str, int] = {}
    unknown: dict[tuple[str, int], None] = {}
    alive: dict[str, None] = {}
    accepted: set[tuple[str, str, str, str]] = set()
    late: dict[str, tuple[Mapping[str, str], ...]] = {}
    latest = 0
    for entry in entries:
        latest = max(latest, entry.at_ms)
        match entry.event:
            case PermitSpent() as permit:
                permits.append(permit)
            case GrantEnded(grant=grant, reason=reason):
                if grant not in ended or (reason in CLOSING and ended[grant] not in CLOSING):
                    ended[grant] = reason
            case LateAccepted(grant=grant, act=act, values=values):
                accepted |= {(grant, act, name, value) for name, value in values.items()}
            case ActIntended(mode="write", act=act, attempt=attempt) as intent:
                late[act] = (*late.get(act, ()), intent.late)
                tried[act] = max(attempt, tried.get(act, 0))
                unknown[act, attempt] = None
                alive[act] = None
            case ActEnded() | Resolved() | Probed() as said:
                if _dead(said):
                    alive.pop(said.act, None)
                if _dead(said) and not (isinstance(said, Probed) and said.found != "absent"):
                    unknown.pop((said.act, said.attempt), None)
    return Past(
        spent=frozenset((p.grant, p.act_digest, p.attempt) for p in permits),
        permitted=frozenset((p.grant, p.act) for p in permits),
        ended=ended,
        tried=tried,
        unknown=frozenset(unknown),
        alive=frozenset(alive),
        latest_ms=latest,
        accepted=frozenset(accepted),
        late=late,
    )


def live(entries: Iterable[Entry]) -> tuple[GrantActivated, ...]:
    """Grants that were activated and have no end; the first activation of each request alone, because no other counts."""
    found: dict[str, GrantActivated] = {}
    over: set[str] = set()
    for entry in entries:
        event = entry.event
        if isinstance(event, GrantActivated):
            found.setdefault(event.grant, event)
        elif isinstance(event, GrantEnded):
            over.add(event.grant)
    return tuple(event for grant, event in found.items() if grant not in over)


def _dead(event: ActEnded | Resolved | Probed) -> bool:
    """Nothing of the attempt goes on any more, as far as somebody could find out."""
    match event:
        case ActEnded():
            return event.word != "IN DOUBT"
        case Probed():
            return event.dead
        case _:
            return True
