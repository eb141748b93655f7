"""A request in words: all that an approver reads before signing, the same on screen and without one. Not cleaned here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from envtui.core.access import Incident, Request
from envtui.core.act import Plan
from envtui.core.shape import span

from .shows import multiline


def lines(request: Request, incident: Incident, plan: Plan | None) -> Iterator[tuple[str, str]]:
    """(label, text) pairs in reading order; the label of a continued text is ''. `incident` is the reader's own look-up."""
    yield "Environment", request.environment
    yield (
        "Asked by",
        f"{request.requester.person} ({request.requester.key}) on {request.machine or 'a machine without a name'}",
    )
    yield "Incident", incident_words(incident)
    yield "Reason", request.reason
    yield "Book", f"{request.book} ({request.book_sha256[:12]}), run {request.run}"
    for name, value in request.inputs.items():
        yield "Input", f"{name} = {value.reference if value.secret else value.text} ({value.origin})"
    yield "For", f"{span(request.ttl_ms)} from activation"
    yield "Valid until", moment(request.expires_ms)
    yield "Plan", request.plan_digest
    if plan is not None:
        for act in plan.writes:
            first, *rest = multiline(act).splitlines() or [""]
            yield (
                "Writes",
                f"{act.id} at {request.targets.get(f'{act.place.target}/{act.place.member}', act.place.address)}",
            )
            yield "", first
            for line in rest:
                yield "", line


def incident_words(incident: Incident) -> str:
    """What is known of an incident, and how surely."""
    if not incident.id:
        return "none"
    if incident.tracker == "none":
        return f"{incident.id}, self-declared: there is no tracker"
    parts = [incident.id, incident.state.upper(), incident.title, incident.severity]
    if incident.opened_ms:
        parts.append(f"opened {moment(incident.opened_ms)}{f' by {incident.by}' if incident.by else ''}")
    return " · ".join(part for part in parts if part)


def moment(milliseconds: int) -> str:
    """Wall ms as UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def people(names: Sequence[str]) -> str:
    """`meera`, `meera or tom`, `meera, tom or ines`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}" if names else "nobody"
