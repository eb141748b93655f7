"""A request in words: all that an approver reads before signing, the same on screen and without one. Not cleaned here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from envtui.core.access import Incident, Request
from envtui.core.act import Act, Plan
from envtui.core.shape import span

from .brought import word_of
from .grants import account
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
    if request.break_glass:
        yield "BREAK-GLASS", "nobody else signs this before; somebody else reviews what was done afterwards"
    for debt in request.debts:
        yield (
            "OWES",
            f"the break-glass {debt} of {request.requester.person} is not reviewed: two people sign until then",
        )
    word = word_of(request)
    if word == "UNSCRIPTED":
        yield word, "one step that is in no book; all of its text came along"
    elif word:
        yield word, "the book was edited for this; its text came along, and how it differs is shown"
    yield "Book", f"{request.book} ({request.book_sha256[:12]}), run {request.run}"
    for name, value in request.inputs.items():
        yield "Input", f"{name} = {value.reference if value.secret else value.text} ({value.origin})"
    yield "For", f"{span(request.ttl_ms)} from activation"
    yield "Valid until", moment(request.expires_ms)
    for waiver in request.waivers:
        yield "WAIVED", f"the required read {waiver.step}: {waiver.reason}"
    yield "Plan", request.plan_digest
    if plan is not None:
        yield from _late(request, plan)
        for act in plan.writes:
            place = request.targets.get(f"{act.place.target}/{act.place.member}", act.place.address)
            yield "Writes", f"{act.id} at {place}{_alone(act)}"
            yield from _what(act)
        if plan.undos:
            yield "Undo", f"of what was done, for up to {span(request.undo_for_ms)} longer"
        for step in plan.steps:
            for act in step.undo:
                yield "Undoes", f"{act.id} at {account(act.place)}{_alone(act)}"
                yield from _what(act)
            if step.by_hand:
                yield "Undoes", f"{step.id}, by hand:"
                for line in step.by_hand.splitlines():
                    yield "", line


def _late(request: Request, plan: Plan) -> Iterator[tuple[str, str]]:
    """What captured values may fill in what is written, and which are known."""
    for step in plan.steps:
        for slot in step.late:
            members = [act.place.member for act in step.acts]
            own = [f"{slot.name}@{member}" for member in members if f"{slot.name}@{member}" in request.late]
            if slot.name in request.late or not own:
                own = [slot.name]
            for name in own:
                value = request.late.get(name)
                others = "no other value" if slot.fixed else f"any other value asks {request.requester.person}"
                if value is None:
                    others = f"{request.requester.person} is asked whether what is found may be sent"
                is_ = f" = {value}" if value is not None else ", not known yet"
                terms = f"{slot.type}, pattern {slot.pattern}, at most {slot.max_length} characters"
                yield "Late", f"{step.id}: {name}{is_} ({terms}; {others})"


def _what(act: Act) -> Iterator[tuple[str, str]]:
    for line in multiline(act).splitlines() or [""]:
        yield "", line


def _alone(act: Act) -> str:
    """What goes on when write access is over is said."""
    return f", which goes on by itself for up to {span(round(act.timeout * 1000))}" if act.detach else ""


def incident_words(incident: Incident) -> str:
    """What is known of an incident, and how surely."""
    if not incident.id:
        return "none"
    if incident.tracker == "none":
        return f"{incident.id}, self-declared: there is no tracker"
    parts = [incident.id, incident.state.upper(), incident.why, incident.title, incident.severity, incident.service]
    if incident.opened_ms:
        parts.append(f"opened {moment(incident.opened_ms)}{f' by {incident.by}' if incident.by else ''}")
    return " · ".join(part for part in parts if part)


def moment(milliseconds: int) -> str:
    """Wall ms as UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def people(names: Sequence[str]) -> str:
    """`meera`, `meera or tom`, `meera, tom or ines`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}" if names else "nobody"
