"""An event in one line, for people: the ledger's timeline, its search, the report.

What comes from outside stands in it as it was; whoever shows the line cleans it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from envtui.core.act import Value
from envtui.core.events import (
    ActEnded,
    ActIntended,
    ActSent,
    Answered,
    Captured,
    Event,
    GrantActivated,
    GrantEnded,
    IdentityShown,
    LateAccepted,
    Noted,
    PermitSpent,
    PickOffered,
    Probed,
    Requested,
    Resolved,
    Resumed,
    RunEnded,
    RunStarted,
    SessionOpened,
    SignedOff,
    SignOffRefused,
    StepEnded,
    StopAsked,
    Told,
    TrustAccepted,
    UndoStarted,
    WaitStarted,
    WriteNeeded,
)
from envtui.core.shape import span

from .break_glass import Debt

_SAID = {
    "approve": "signed off",
    "deny": "DENIED",
    "revoke": "REVOKED",
    "ratify": "ratified what was done under",
    "dispute": "DISPUTES what was done under",
}


def in_words(event: Event) -> str:
    """What happened, as one sentence without its time and run."""
    match event:
        case SessionOpened():
            return f"{event.operator}@{event.machine} opened {event.environment} (envtui {event.version})"
        case TrustAccepted():
            return f"{event.operator} accepted the tree {event.digest[:12]}"
        case IdentityShown():
            fits = "as expected" if event.fits else "NOT WHAT IS EXPECTED"
            return f"{event.target}/{event.member} for {event.access}: {event.shown}, {fits}" + _and(event.protection)
        case RunStarted():
            kind = "an UNSCRIPTED run" if event.unscripted else event.book
            kind += " as EDITED" if event.book_text and not event.unscripted else ""
            return f"{event.operator} started {kind}: {event.title}" + _and(inputs_in_words(event.inputs))
        case ActIntended():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return f"{event.step}: about to {event.mode} on {event.target}/{event.member}{again}: {event.shows}"
        case ActEnded():
            return f"{event.act}: {event.word}{_and(event.why)} ({outcome_in_words(event)})"
        case ActSent() if event.detached:
            return f"{event.act}: it goes on at the target"
        case ActSent():
            return f"{event.act}: found again by " + ", ".join(f"{k} {v}" for k, v in event.handle.items())
        case Probed():
            return f"{event.act}: attempt {event.attempt} was found {event.found}{_and(event.why)}"
        case Resolved():
            said = "done" if event.done else "not done"
            return f"{event.by} said that {event.act} is {said}: {event.why}"
        case Resumed():
            changed = ", with an EDITED book" if event.book_text else ", with a changed plan" if event.plan else ""
            return f"{event.operator}@{event.machine} took the run up again{changed}"
        case StopAsked():
            return f"{event.by or 'somebody'} stopped the run{_and(event.why)}"
        case UndoStarted():
            begun = {"person": event.by or "somebody", "on_failure": "the book", "finally": "the book, as always"}
            return f"undo begun by {begun[event.cause]}: {', '.join(event.acts)}{_and(event.why)}"
        case Captured():
            return f"{event.step}: {event.name} is {captured_in_words(event)}"
        case PickOffered():
            return f"{event.step}: one of {len(event.rows)} to pick for {event.name}"
        case StepEnded():
            return f"{event.step}: {event.word}{_and(event.why)}" + (
                f", on to {event.goto}" if event.goto.isalnum() else ""
            )
        case Answered():
            said = " ".join(part for part in (event.answer, inputs_in_words(event.values)) if part)
            return f"{event.step}: {event.by or 'somebody'} answered {said}"
        case LateAccepted():
            said = ", ".join(f"{name} = {value}" for name, value in event.values.items())
            return f"{event.act}: {event.by or 'somebody'} lets it be sent with {said}, other than what was signed"
        case WaitStarted():
            return f"{event.step}: waiting until {stamp(event.until_ms)}"
        case Noted():
            return f"{event.by} noted: {event.text}"
        case WriteNeeded():
            return f"{event.step}: needs write access"
        case RunEnded():
            return f"the run ended: {event.word}{_and(event.why)}"
        case Requested():
            return f"write access asked for under {event.incident}: {event.reason} (request {event.request})"
        case SignedOff():
            return f"{event.person} {_SAID[event.verdict]} request {event.request}" + _and(event.reason)
        case SignOffRefused():
            return f"a sign-off of request {event.request} was refused: {event.why}"
        case GrantActivated():
            who = ", ".join(event.signed_by) or "nobody else"
            acts = f"{event.acts} act{'s' if event.acts != 1 else ''}"
            if event.break_glass:
                due = f"somebody else reviews it until {stamp(event.review_by_ms)}"
                return f"BREAK-GLASS by {who}: WRITE for {acts} until {stamp(event.until_ms)}, {event.incident}; {due}"
            return f"WRITE for {acts} until {stamp(event.until_ms)}, {event.incident}, signed by {who}" + (
                f", WITHOUT the required {', '.join(event.waived)}" if event.waived else ""
            )
        case PermitSpent():
            return f"{event.act}: permit {event.permit} spent, attempt {event.attempt}"
        case GrantEnded():
            return f"write access ended: {event.reason}{_and(event.why)}"
        case Told():
            where = "people" if event.to == "notify" else "the tracker"
            said = "told" if event.delivered else "NOT DELIVERED to"
            return f"{said} {where}: {event.about}{_and(event.why)}"


def in_review(debt: Debt, zone: tzinfo | None = None) -> str:
    """How the review of a break-glass stands."""
    if debt.open:
        return f"by {debt.person}, NOT REVIEWED, due {stamp(debt.due_ms, zone)}"
    word = "ratified" if debt.verdict == "ratify" else "DISPUTED"
    return f"by {debt.person}, {word} by {debt.by} at {stamp(debt.reviewed_ms, zone)}{', late' if debt.late else ''}"


def outcome_in_words(event: ActEnded) -> str:
    """Exit status, rows and size of an act, as far as it had them, and how long it took."""
    said = [span(event.milliseconds)]
    for number, word in (
        (event.exit, "exit {}"),
        (event.status, "status {}"),
        (event.rows, "{} rows"),
        (event.affected, "{} rows affected"),
    ):
        if number is not None:
            said.append(word.format(number))
    if event.output_bytes:
        said.append(f"{event.output_bytes} bytes" + (", cut" if event.truncated else ""))
    if event.refused:
        said.append(f"the sandbox refused {'; '.join(event.refused)}")
    return ", ".join(said)


def captured_in_words(event: Captured) -> str:
    """A captured value, or its table's size and first row."""
    where = f" on {event.member}" if event.member else ""
    if event.value is not None:
        return value_in_words(event.value) + where
    if not event.rows:
        return f"nothing{where}"
    first = ", ".join(f"{column}={cell}" for column, cell in zip(event.columns, event.rows[0], strict=False))
    more = f", and {len(event.rows) - 1} more" if len(event.rows) > 1 else ""
    return f"{first or ', '.join(event.rows[0])}{more}{where}"


def inputs_in_words(values: dict[str, Value]) -> str:
    """`name=value` for each, secrets by reference."""
    return " ".join(f"{name}={value_in_words(value)}" for name, value in values.items())


def value_in_words(value: Value) -> str:
    """A value; of a secret only where it is."""
    return f"secret {value.reference}".strip() if value.secret else value.text


def stamp(at_ms: int, zone: tzinfo | None = None) -> str:
    """A moment in UTC, and in `zone` behind it when that is another time: `2026-11-22 21:41:10 UTC (22:41:10 +01:00)`."""
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    text = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if zone is None or not moment.astimezone(zone).utcoffset():
        return text
    local = moment.astimezone(zone)
    day = f"{local:%Y-%m-%d} " if local.date() != moment.date() else ""
    return f"{text} ({day}{local:%H:%M:%S} {local:%z})"


def _and(text: str) -> str:
    return f", {text}" if text else ""
