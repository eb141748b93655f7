"""A run is the fold of its events; nothing else holds its state.

The screens, the headless twin, the report and the runner all look at this one value, so what is shown is what was written
down. `apply` is total: an event that makes no sense here (another run's, a newer version's order) changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from envtui.core.events import (
    ActEnded,
    ActIntended,
    ActSent,
    Answered,
    Captured,
    Entry,
    GrantActivated,
    GrantEnded,
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
    SignedOff,
    SignOffRefused,
    StepEnded,
    StopAsked,
    Told,
    UndoStarted,
    WaitStarted,
    WriteNeeded,
)

from . import written
from .act_events import about_act
from .state import ActState, Capture, Changed, GrantState, Note, RequestState, Run, StepState, index, on_step

RETRY = "retry"
"""The answer that does a failed step again."""

LOOK = "look"
"""The answer that looks at what a failed write left, before it is done again."""

RESUME = "resume"
"""`Answered.step` when a person has seen what changed since the run was left."""

ASKS = "?"
"""`StepEnded.goto` of a failed step with `on_failure: ask`: the run stays here until a person decides."""

STAYS = "="
"""`StepEnded.goto` of a step whose run stops here: the position does not move."""

_replace = msgspec.structs.replace


def fold(entries: Iterable[Entry], run_id: str) -> Run:
    """The state of one run after `entries`, which may hold other runs' events too."""
    run = Run(id=run_id)
    for entry in entries:
        run = apply(run, entry)
    return run


def fold_all(entries: Iterable[Entry]) -> tuple[Run, ...]:
    """Every run in `entries`, the newest first."""
    by_run: dict[str, list[Entry]] = {}
    for entry in entries:
        run_id = getattr(entry.event, "run", "")
        if run_id:
            by_run.setdefault(run_id, []).append(entry)
    runs = (fold(of_one, run_id) for run_id, of_one in by_run.items())
    return tuple(sorted(runs, key=lambda run: run.started_ms, reverse=True))


def apply(run: Run, entry: Entry) -> Run:
    """`run` after one more entry."""
    event = entry.event
    if getattr(event, "run", "") != run.id:
        return run
    match event:
        case RunStarted() if not run.started_ms:  # a run starts once: no second start makes it forget
            return _replace(
                run,
                book=event.book,
                book_sha256=event.book_sha256,
                title=event.title,
                plan_digest=event.plan_digest,
                operator=event.operator,
                started_ms=entry.at_ms,
                steps=planned(event.plan),
                unscripted=event.unscripted,
                edited=bool(event.book_text) and not event.unscripted,
            )
        case ActIntended() | ActSent() | ActEnded() | Probed() | Resolved():
            return about_act(run, event)
        case StepEnded():
            return _step_ended(run, event)
        case Captured():
            return _captured(run, event)
        case PickOffered():
            return on_step(run, event.step, lambda s: _replace(s, offer=event))
        case Answered():
            return _answered(run, event)
        case WaitStarted():
            return on_step(run, event.step, lambda s: _replace(s, wait_until_ms=event.until_ms))
        case WriteNeeded():
            return on_step(run, event.step, lambda s: _replace(s, write_needed=True))
        case Noted():
            return _replace(run, notes=(*run.notes, Note(entry.at_ms, event.text, event.by)))
        case RunEnded():
            return _replace(run, ended_ms=entry.at_ms, word=event.word, why=event.why)
        case StopAsked():
            return _replace(run, stopping=event.why or "stopped")
        case Resumed() | UndoStarted():
            from . import reopened

            return reopened.resumed(run, event) if isinstance(event, Resumed) else reopened.undo_started(run, event)
        case _:
            return _about_access(run, event)


def _about_access(run: Run, event: object) -> Run:
    match event:
        case Requested():
            asked = RequestState(
                id=event.request,
                sha256=event.request_sha256,
                incident=event.incident,
                reason=event.reason,
                bundle=event.bundle,
            )
            return _replace(run, requests=(*run.requests, asked))
        case SignedOff():
            return _request(run, event.request, lambda r: _replace(r, verdicts=(*r.verdicts, event)))
        case SignOffRefused():
            return _request(run, event.request, lambda r: _replace(r, refusals=(*r.refusals, event.why)))
        case GrantActivated() if run.grant is not None and event.nonce and run.grant.nonce == event.nonce:
            return run  # another process activated the same request: the first in the ledger counts
        case GrantActivated():
            grant = GrantState(
                id=event.grant,
                incident=event.incident,
                signed_by=event.signed_by,
                plan_digest=event.plan_digest,
                until_ms=event.until_ms,
                acts=event.acts,
                nonce=event.nonce,
                break_glass=event.break_glass,
                review_by_ms=event.review_by_ms,
                waived=frozenset(event.waived),
                late=event.late,
            )
            return _replace(run, grant=grant)
        case LateAccepted() if run.grant is not None and run.grant.id == event.grant:
            let = {(event.act, name, value) for name, value in event.values.items()}
            return _replace(run, grant=_replace(run.grant, accepted=run.grant.accepted | let))
        case PermitSpent():
            use = (event.act_digest, event.attempt)
            run = _replace(run, permits=run.permits | {use})
            forward = not event.act.partition("@")[0].endswith(".undo")
            if run.grant is None or run.grant.id != event.grant or not forward:
                return run
            return _replace(run, grant=_replace(run.grant, spent=(*run.grant.spent, use)))
        case Told(to="notify") if run.grant is not None and run.grant.id == event.grant and not run.grant.ended:
            told = "people were told" if event.delivered else f"NOT DELIVERED: {event.why}"
            return _replace(run, grant=_replace(run.grant, told=told))
        case GrantEnded() if run.grant is not None and run.grant.id == event.grant:
            return _replace(run, grant=_replace(run.grant, ended=event.reason))
        case _:
            return run


def planned(plan: str) -> tuple[StepState, ...]:
    """The steps of a written plan, nothing of them done."""

    def states(acts: Iterable[written.WrittenAct], mode: str) -> tuple[ActState, ...]:
        return tuple(
            ActState(id=a.id, target=a.target, member=a.member, mode=mode, shows=a.shows, digest=a.digest) for a in acts
        )

    return tuple(
        StepState(
            id=step.id,
            kind=step.kind,
            mode=step.mode,
            title=step.title or step.id,
            before=step.before,
            acts=states(step.acts, step.mode),
            undo=states(step.undo, "write"),
            probes=states(step.probe, "read"),
            by_hand=step.by_hand,
        )
        for step in written.read(plan)
    )


def fresh(step: StepState) -> StepState:
    """The step as if nothing of it had been done; of its acts only the attempts are remembered."""
    acts = tuple(
        _replace(act, intended=False, word=None, why="", found=None, dead=False, detached=False) for act in step.acts
    )
    return _replace(step, acts=acts, word=None, why="", failed="", answer="", offer=None, wait_until_ms=0)


def _request(run: Run, request_id: str, change: Callable[[RequestState], RequestState]) -> Run:
    requests = tuple(change(r) if r.id == request_id else r for r in run.requests)
    return _replace(run, requests=requests)


def _captured(run: Run, event: Captured) -> Run:
    known = run.captures
    at = -1
    for number, capture in enumerate(known):  # no generator: a long run captures often
        if capture.name == event.name and capture.member == event.member:
            at = number
    before = known[at] if at >= 0 else None
    kept = (*known[:at], *known[at + 1 :]) if at >= 0 else known
    new = Capture(
        name=event.name,
        step=event.step,
        member=event.member,
        value=event.value,
        columns=event.columns,
        rows=event.rows,
    )
    if before is not None and event.step in run.again and (before.value, before.rows) != (new.value, new.rows):
        run = _replace(run, changed=(*run.changed, Changed(event.name, _said(before), _said(new))))
    run = _replace(run, captures=(*kept, new))
    return on_step(run, event.step, lambda s: _replace(s, offer=None))


def _said(capture: Capture) -> str:
    if capture.value is not None:
        return capture.value.text
    return "; ".join(", ".join(row) for row in capture.rows[:3]) + (" …" if len(capture.rows) > 3 else "")


def _answered(run: Run, event: Answered) -> Run:
    if event.step == RESUME:
        return _replace(run, changed=())
    named = {f"{event.step}.{name}": value for name, value in event.values.items()}
    kept_answers = tuple((n, v) for n, v in run.answers if n not in named)
    run = _replace(run, answers=(*kept_answers, *named.items()))
    if event.answer in (RETRY, LOOK):
        return on_step(run, event.step, lambda s: _again(s, event.answer))
    return on_step(run, event.step, lambda s: _replace(s, answer=event.answer, failed=""))


def _again(step: StepState, answer: str) -> StepState:
    """A failed step, to be done again: of a write only the acts that failed, and after looking where that was said."""
    if step.mode != "write":
        return fresh(step)

    def act_again(act: ActState) -> ActState:
        if act.word in (None, "OK"):
            return act
        if answer == LOOK:
            return _replace(act, word="IN DOUBT", found=None, dead=True)
        return _replace(act, intended=False, word=None, why="")

    return _replace(step, acts=tuple(map(act_again, step.acts)), word=None, why="", failed="")


def _step_ended(run: Run, event: StepEnded) -> Run:
    asks = event.goto == ASKS
    run = on_step(
        run,
        event.step,
        lambda s: _replace(
            s,
            word=event.word,
            why=event.why,
            offer=None,
            write_needed=False,
            visits=s.visits + 1,
            failed=event.why if asks else "",
        ),
    )
    if asks or event.goto == STAYS:
        return run
    if event.step in run.again:
        return _replace(run, again=tuple(step for step in run.again if step != event.step))
    position = _position(run, event)
    if position < len(run.steps) and position != run.position:
        # A jump back starts the step again: what its acts said belongs to the visit before.
        run = on_step(run, run.steps[position].id, fresh)
    return _replace(run, position=position)


def _position(run: Run, event: StepEnded) -> int:
    at = index(run, event.step)
    if at is None:
        return run.position
    if event.goto == "end":
        return len(run.steps)
    target = index(run, event.goto) if event.goto else None
    return at + 1 if target is None else target
