"""One run as Markdown, from its entries: for the incident's ticket, and for whoever asks next week what was done.

Everything in it is cleaned and escaped: a host that prints `[x](http://…)` gives no link in a ticket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import tzinfo

from envtui.core.errors import UsageError
from envtui.core.events import (
    ActEnded,
    ActIntended,
    Answered,
    Captured,
    Entry,
    GrantActivated,
    GrantEnded,
    Noted,
    PermitSpent,
    Requested,
    RunEnded,
    RunStarted,
    SignedOff,
    SignOffRefused,
    StepEnded,
    Told,
    run_of,
)
from envtui.core.redact import shapes
from envtui.core.shape import span
from envtui.core.text import clean, clean_line

from .break_glass import every
from .run import fold
from .words import in_review, in_words, inputs_in_words, outcome_in_words, stamp

_TEXT = 2_000
_COMMAND = 20_000
# Characters that mean something anywhere; what some renderers make a link of; what makes a list at a line's beginning.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&@$^!]|:(?=//)|(?i:(?<=www))\.|\A[-+=]|(?<=\A\d)[.)](?= )|(?<=\A\d\d)[.)](?= )")
_ACCESS = (Requested, SignedOff, SignOffRefused, GrantActivated, PermitSpent, GrantEnded, Told)


def report(environment: str, entries: Sequence[Entry], run_id: str, zone: tzinfo | None = None) -> str:
    """The report of run `run_id`; times in UTC and in `zone`. `entries` may hold other runs too.

    Raises UsageError when it holds nothing of this one.
    """
    own = [entry for entry in entries if run_of(entry.event) == run_id]
    if not own:
        raise UsageError(
            f"The ledger of {environment} has no run {run_id}.", f"List them: envtui ledger show {environment}"
        )
    return "\n".join(_lines(environment, own, run_id, zone)) + "\n"


def _lines(environment: str, entries: Sequence[Entry], run_id: str, zone: tzinfo | None) -> Iterator[str]:
    started = next((entry.event for entry in entries if isinstance(entry.event, RunStarted)), None)
    ended = next((entry for entry in reversed(entries) if isinstance(entry.event, RunEnded)), None)
    yield f"# {text(started.title if started else f'Run {run_id}')}"
    yield ""
    yield from _doubts(entries)
    yield "| | |"
    yield "|---|---|"
    for name, value in _facts(environment, entries, run_id, started, ended, zone):
        yield f"| {name} | {text(value)} |"
    access = [entry for entry in entries if isinstance(entry.event, _ACCESS)]
    if access:
        yield from ("", "## Write access", "")
        yield from (_line(entry, zone) for entry in access)
    yield from ("", "## Steps")
    yield from _steps(entries, run_id, zone)
    notes = [entry for entry in entries if isinstance(entry.event, Noted)]
    if notes:
        yield from ("", "## Notes", "")
        yield from (_line(entry, zone) for entry in notes)


def _facts(
    environment: str,
    entries: Sequence[Entry],
    run_id: str,
    started: RunStarted | None,
    ended: Entry | None,
    zone: tzinfo | None,
) -> Iterator[tuple[str, str]]:
    yield "Environment", environment
    yield "Run", run_id
    if started:
        yield (
            "Book",
            f"UNSCRIPTED: {started.book}"
            if started.unscripted
            else f"{started.book} ({started.book_sha256[:12]})" + (", EDITED" if fold(entries, run_id).edited else ""),
        )
        yield "Operator", started.operator
        if started.inputs:
            yield "Inputs", inputs_in_words(started.inputs)
        yield "Plan", started.plan_digest
    yield "Started", stamp(entries[0].at_ms, zone)
    if ended is not None and isinstance(ended.event, RunEnded):
        yield "Ended", f"{stamp(ended.at_ms, zone)}, after {span(max(0, ended.at_ms - entries[0].at_ms))}"
        yield "Outcome", f"{ended.event.word}{', ' if ended.event.why else ''}{ended.event.why}"
    else:
        yield "Outcome", "not ended"
    incidents = dict.fromkeys(
        entry.event.incident for entry in entries if isinstance(entry.event, Requested | GrantActivated)
    )
    if incidents:
        yield "Incident", ", ".join(incidents)
    for glass in every(entries):
        yield "BREAK-GLASS", in_review(glass, zone)
    yield "Ledger", f"entries {entries[0].seq} to {entries[-1].seq}, hash {entries[-1].hash}"


def _doubts(entries: Sequence[Entry]) -> Iterator[str]:
    """Writes that were sent and whose outcome nobody wrote down, or wrote down as unknown."""
    open_: dict[tuple[str, int], ActIntended] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, ActIntended) and event.mode == "write":
            open_[event.act, event.attempt] = event
        elif isinstance(event, ActEnded) and event.word != "IN DOUBT":
            open_.pop((event.act, event.attempt), None)
    if open_:
        yield "**IN DOUBT: check before anything.** Sent, and it is not known whether it happened:"
        yield ""
        for event in open_.values():
            yield f"- {text(f'{event.act}, attempt {event.attempt}')}"
        yield ""


def _steps(entries: Sequence[Entry], run_id: str, zone: tzinfo | None) -> Iterator[str]:
    planned = {step.id: step for step in fold(entries, run_id).steps}
    heading = ""
    seen: set[str] = set()
    for entry in entries:
        event = entry.event
        step = getattr(event, "step", "")
        if not step or isinstance(event, _ACCESS):
            continue
        if step != heading:
            heading = step
            seen.add(step)
            known = planned.get(step)
            yield from ("", f"### {text(known.title if known else step)}", "")
            yield text(f"{step}, {known.kind}, {known.mode}" if known else step)
            yield ""
        yield from _within_step(entry, zone)
    missed = [step.title for step_id, step in planned.items() if step_id not in seen]
    if missed:
        yield from ("", "### Not reached", "")
        yield from (f"- {text(title)}" for title in missed)


def _within_step(entry: Entry, zone: tzinfo | None) -> Iterator[str]:
    event = entry.event
    when = text(stamp(entry.at_ms, zone))
    if isinstance(event, ActIntended):
        yield f"- {when}: {text(f'{event.mode} on {event.target}/{event.member}')}"
        yield ""
        yield from ("  " + line for line in code(event.shows))
        yield ""
    elif isinstance(event, ActEnded):
        why = f", {text(event.why)}" if event.why else ""
        yield f"- {when}: **{text(event.word)}**{why} ({text(outcome_in_words(event))})"
        if event.output_bytes:
            yield f"  output sha256 {text(event.output_sha256)}"
    elif isinstance(event, StepEnded):
        yield f"- {when}: step **{text(event.word)}**{f', {text(event.why)}' if event.why else ''}"
    elif isinstance(event, Captured | Answered):
        yield _line(entry, zone)
    else:
        yield _line(entry, zone)


def _line(entry: Entry, zone: tzinfo | None) -> str:
    return f"- {text(stamp(entry.at_ms, zone))}: {text(in_words(entry.event))}"


def text(value: str) -> str:
    """`value` as literal text on one line of Markdown: nothing in it is markup, a link, a list or a heading."""
    return _MARKUP.sub(r"\\\g<0>", shapes(clean_line(value, _TEXT)))


def code(value: str) -> Iterator[str]:
    """`value` as a fenced block; the fence is longer than any run of backticks in it."""
    shown = shapes(clean(value, _COMMAND))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    yield fence
    yield from shown.split("\n")
    yield fence
