"""What comes next in a run: a pure function of its state, its plan and its book. It has no clock.

The runner does what is proposed and turns what happened into events; a replay of the same events proposes the same. A
write whose outcome is not known is never proposed again: first it is found out, or said by a person, that nothing of it is
there.
"""

from __future__ import annotations

from envtui.core.act import Act, Plan, PlannedStep
from envtui.core.events import Word
from envtui.core.runbook import ChooseStep, ManualStep, Runbook, Step, WaitStep
from envtui.core.shape import seconds

from . import late, undo, waiving
from .condition import holds
from .plan import known
from .proposals import (
    Done,
    Doubt,
    EndStep,
    Finish,
    Following,
    LookAt,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    Next,
    ReadyRead,
    ReadyUndo,
    ReadyWrite,
    StartUndo,
    StartWait,
    UndoByHand,
    Waiting,
)
from .run import ASKS, RESUME, STAYS
from .state import ActState, Run, StepState, UndoState
from .template import prose


def decide(run: Run, plan: Plan, book: Runbook) -> Next:
    """The next thing to do."""
    if run.word is not None:
        return Done(run.word, run.why)
    if in_doubt := run.in_doubt:
        return _doubt(run, in_doubt[0])
    if detached := run.detached:
        return Following(next(s.id for s in run.steps if detached[0] in s.acts), detached[0].id)
    if run.undo is not None and (proposed := _undoing(run, plan, run.undo)) is not None:
        return proposed
    if run.stopping:
        return _ending(run, plan, book, "CANCELLED", run.stopping)
    if run.changed:
        said = "; ".join(f"{c.name} was {c.before!r} and is {c.now!r}" for c in run.changed)
        return NeedsDecision(RESUME, f"What was read has changed since: {said}.", ("go on", "stop"))
    state = run.current
    if state is None:
        return _finish(run, plan, book)
    step = step_of(book, state.id)
    if state.failed:
        return NeedsDecision(state.id, state.failed, _choices(run, plan, step, state))
    if state.word is not None:  # the run stopped here
        why = f"step {state.id}: {state.why}" if state.why else f"step {state.id}"
        if step.on_failure == "undo" and (acts := undo.undoable(run, plan)):
            return StartUndo(acts, "on_failure", why)
        return _ending(run, plan, book, state.word, why)
    planned = next(s for s in plan.steps if s.id == state.id)
    if (
        step.if_
        and not state.running
        and not any(a.intended for a in state.acts)
        and not holds(step.if_, values(run, plan))
    ):
        return EndStep(state.id, "SKIPPED", f"not needed: {step.if_}")
    if isinstance(step, ChooseStep):
        if state.answer:
            return EndStep(state.id, "OK", state.answer, step.options.get(state.answer, ""))
        return NeedsAnswer(state.id, dict(step.options), {}, prose(step.doc, values(run, plan)))
    if isinstance(step, ManualStep):
        if state.answer:
            return EndStep(state.id, "OK", goto=step.next or "")
        said = prose(step.instructions, values(run, plan))
        held = waiving.why_held(run, plan, book, state.id) if step.mode == "write" else ""
        return NeedsAnswer(state.id, {}, dict(step.ask), said, step.confirm or "", held)
    if state.kind == "wait" and not planned.acts:
        return _wait(step, state)
    return _acts(run, plan, book, step, state, planned)


def _wait(step: Step, state: StepState) -> Next:
    assert isinstance(step, WaitStep)
    if state.wait_until_ms:
        return Waiting(state.id, state.wait_until_ms)
    return StartWait(state.id, seconds(step.for_ or "0s"))


def _acts(run: Run, plan: Plan, book: Runbook, step: Step, state: StepState, planned: PlannedStep) -> Next:
    by_id = {act.id: act for act in planned.acts}
    if step.mode == "write":
        bad = next((a for a in state.acts if a.word not in (None, "OK")), None)
        if bad is not None:
            return failing(run, step, bad.word or "FAILED", f"{bad.member}: {bad.why}")
        pending = next((a for a in state.acts if not a.intended), None)
        if pending is not None:
            if pending.counted >= step.attempts and not step.repeatable:
                tried = "once" if pending.counted == 1 else f"{pending.counted} times"
                return failing(run, step, "REFUSED", f"{pending.member}: it was written {tried} already (`attempts`)")
            act = by_id[pending.id]
            granted, why_not = _granted(run)
            values_ = late.about_to(run, act, planned.late)
            held = waiving.why_held(run, plan, book, state.id)
            if not held and not act.complete:
                held = late.held(act, planned, pending, values_, granted)
            return ReadyWrite(state.id, act, granted, why_not, _attempt(run, act, pending), values_, held)
        return EndStep(state.id, "OK", goto=step.next or "")
    pending_reads = tuple(by_id[a.id] for a in _wanted(run, plan, state, planned) if a.word is None)
    if pending_reads:
        return ReadyRead(state.id, pending_reads)
    if state.offer is not None:
        offer = state.offer
        many = step.capture[offer.name].pick == "many" if offer.name in step.capture else False
        return NeedsPick(state.id, offer.name, offer.columns, offer.rows, many)
    wanted = _wanted(run, plan, state, planned)
    if not wanted:
        return failing(run, step, "FAILED", f"{planned.only} names no member of the target")
    bad = next((a for a in wanted if a.word != "OK"), None)
    one_is_enough = bool(getattr(getattr(step, "expect", None), "any_host", False))
    if bad is None or (one_is_enough and any(a.word == "OK" for a in wanted)):
        return EndStep(state.id, "OK", goto=step.next or "")
    return failing(run, step, bad.word or "FAILED", f"{bad.member}: {bad.why}")


def _wanted(run: Run, plan: Plan, state: StepState, planned: PlannedStep) -> tuple[ActState, ...]:
    """The acts of a read that run: all, or the one member that a captured name says."""
    if not planned.only:
        return state.acts
    member = values(run, plan).get(planned.only, "")
    return tuple(a for a in state.acts if a.member == member)


def _granted(run: Run) -> tuple[bool, str]:
    grant = run.grant
    if grant is None:
        return False, "needs write access: an open incident and a signature"
    if grant.ended:
        return False, f"write access ended ({grant.ended.lower().replace('_', ' ')}); ask for it again"
    return True, ""


def _granted_undo(run: Run) -> tuple[bool, str]:
    """Whether a permit may be there: an undo is permitted for a while after write access ended. `spend` looks at the time."""
    grant = run.grant
    if grant is not None and grant.ended and grant.ended not in ("REVOKED", "CLOCK_JUMP"):
        return True, ""
    return _granted(run)


def _attempt(run: Run, act: Act, state: ActState) -> int:
    """The next attempt. One whose permit was spent and that has no intent was never sent: it is passed over."""
    attempt, digest = state.attempt + 1, act.digest()
    while (digest, attempt) in run.permits:
        attempt += 1
    return attempt


def _doubt(run: Run, act: ActState) -> Doubt:
    step = next(s.id for s in run.steps if act in (*s.acts, *s.undo))
    if act.found is None:
        return Doubt(step, act.id, None, act.why)
    if not act.dead:  # it may still be at it
        return Doubt(step, act.id, act.found, act.found_why, ("look", "halt", "done", "not done"))
    choices = {"applied": ("done",), "absent": ("not done",), "unknown": ("done", "not done")}[act.found]
    return Doubt(step, act.id, act.found, act.found_why, ("look", *choices))


def _undoing(run: Run, plan: Plan, state: UndoState) -> Next | None:
    """What comes next in an undo that was begun; None when it is over and the run goes on to its end."""
    items = undo.items(run, plan)
    for item in items:
        if item.failed:
            return Finish("FAILED", f"the undo of {item.step.id} did not work: {item.failed}")
        proposed = None if item.over else _undo_of(run, item)
        if proposed is not None:
            return proposed
    if state.cause == "finally":
        return None
    done = ", ".join(dict.fromkeys(item.step.id for item in items))
    said = f"{state.why}; taken back: {done}" if state.why else f"taken back: {done}"
    return Finish("UNDONE", said + _lasting(run, plan))


def _undo_of(run: Run, item: undo.Item) -> Next | None:
    if item.act is None:
        return UndoByHand(item.step.id, item.planned.by_hand)
    if item.act.word == "OK":
        if item.act.found is None:
            return LookAt(item.step.id, (item.act.id,))
        return _unsure(item.step.id, item.act) if item.act.found == "unknown" else None
    unseen = tuple(act.id for act in item.covers if act.touched and act.found is None)
    if unseen and item.planned.probe:
        return LookAt(item.step.id, unseen)
    unsure = next((act for act in item.covers if act.touched and act.found == "unknown"), None)
    if unsure is not None:
        return _unsure(item.step.id, unsure)
    act = next(a for a in item.planned.undo if a.id == item.id)
    granted, why_not = _granted_undo(run)
    attempt = _attempt(run, act, item.act)
    return ReadyUndo(item.step.id, act, granted, why_not, attempt)


def _unsure(step: str, act: ActState) -> Doubt:
    return Doubt(step, act.id, "unknown", act.found_why, ("done", "not done"))


def _lasting(run: Run, plan: Plan) -> str:
    lasting = undo.final(run, plan)
    return f"; there is no undo of {', '.join(lasting)}" if lasting else ""


def _ending(run: Run, plan: Plan, book: Runbook, word: Word, why: str) -> Next:
    """The run's end; what is undone whatever happened comes before it."""
    always = {step.id for step in (*book.before, *book.steps) if step.finally_ == "undo"}
    if always and (acts := undo.undoable(run, plan, always)):
        return StartUndo(acts, "finally", f"the run ends: {word}")
    return Finish(word, why)


def failing(run: Run, step: Step, word: Word, why: str) -> EndStep:
    """The end of a step that failed, leading where its book says; a person is asked where it was signed that it may."""
    passes = step.required and step.mode == "read" and not step.on_failure.startswith("goto:")
    if step.on_failure == "ask" or (passes and waiving.waived(run, step.id)):
        return EndStep(step.id, word, why, ASKS)
    if step.on_failure.startswith("goto:"):
        return EndStep(step.id, word, why, step.on_failure.removeprefix("goto:"))
    return EndStep(step.id, word, why, STAYS)


def _choices(run: Run, plan: Plan, step: Step, state: StepState) -> tuple[str, ...]:
    undoable = ("undo",) if undo.undoable(run, plan) else ()
    skip = ("skip",) if not step.required or waiving.waived(run, step.id) else ()
    if state.mode != "write":
        return ("retry", *skip, *undoable, "stop")
    bad = [act for act in state.acts if act.word not in (None, "OK")]
    again = step.repeatable or all(act.untouched or act.counted < step.attempts for act in bad)
    look = step.probe is not None and any(act.touched for act in bad)
    return (*(("retry",) if again else ()), *(("look",) if look else ()), *skip, *undoable, "stop")


def _finish(run: Run, plan: Plan, book: Runbook) -> Next:
    skipped = [s.id for s in run.steps if s.word == "SKIPPED" and s.mode == "write"]
    return _ending(run, plan, book, "OK", f"skipped: {', '.join(skipped)}" if skipped else "")


def values(run: Run, plan: Plan, member: str = "") -> dict[str, str]:
    """Every name that a step may use now: `params.x`, `run.x`, and what was captured or answered (a member's own first)."""
    return {**known(plan), **run.values(member)}


def step_of(book: Runbook, step_id: str) -> Step:
    """The book's step of that id."""
    return next(s for s in (*book.before, *book.steps) if s.id == step_id)
