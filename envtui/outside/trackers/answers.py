"""What every tracker's answer has to hold, whatever way it came: the id that was asked for, a state, a time.

An answer that lacks what decides is none: the incident is then not known to be open.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from envtui.core.errors import Refused, Unreachable
from envtui.core.text import clean_line

ID_LIMIT = 64
TEXT_LIMIT = 200
URL_LIMIT = 400
AHEAD_MS = 24 * 3600 * 1000
"""How far a tracker's clock, or a time that it says without a zone, may be ahead."""

CHECK = "Check the tracker in environment.yaml."


def checked(incident: str, pattern: str) -> str:
    """An id that may be asked for: it stands in an address or among a program's arguments. Raises Refused."""
    whole = re.fullmatch(pattern, incident) is not None and incident.isprintable() and len(incident) <= ID_LIMIT
    if not whole or not incident or incident.startswith("-") or incident in (".", ".."):
        raise Refused(
            f"{incident[:ID_LIMIT]!r} is not an incident's id here ({pattern}).", "Look it up in the tracker."
        )
    return incident


def same(incident: str, answered: object, where: str) -> None:
    """Raises Unreachable when the answer is about another incident."""
    if str(answered) != incident or isinstance(answered, bool | dict | list):
        said = clean_line(repr(answered), 80)
        raise Unreachable(
            f"{where} answers for {said} instead of {incident!r}.", "If it was moved, name the one that it is now."
        )


def moment(value: object, where: str, now_ms: int) -> int:
    """ISO 8601 as wall ms; a time without a zone is UTC. Raises Unreachable, also for one that is still to come."""
    try:
        at = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        said = clean_line(repr(value), 80)
        raise Unreachable(f"{where} says {said} for when it was opened: no time in ISO 8601.", CHECK) from None
    opened_ms = round((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if opened_ms > now_ms + AHEAD_MS:  # it would never be too old
        raise Unreachable(f"{where} says that it was opened at {at:%Y-%m-%d %H:%M}, which is still to come.", CHECK)
    return opened_ms


def shown(value: object, limit: int = TEXT_LIMIT) -> str:
    """A fact that is only shown; '' where it is no text."""
    return clean_line(value, limit) if isinstance(value, str) else ""
