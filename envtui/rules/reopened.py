"""How a run that was left, or that ended, goes on: resumed where it stood, or taking back what it did."""

from __future__ import annotations

import msgspec

from envtui.core.events import Resumed, UndoStarted

from .run import fresh, planned
from .state import ActState, Run, StepState, UndoState, on_step

_replace = msgspec.structs.replace


def resumed(run: Run, event: Resumed) -> Run:
    """The run as another process takes it up: open again, what is read again marked, the step where it stood to be decided."""
    run = _replace(run, word=None, why="", ended_ms=0, again=(), changed=(), resumed=run.resumed + 1)
    if event.plan:
        run = _replanned(run, event)
    if run.undo is not None:  # what was taken back is not done again: an undo goes on to the run's end
        return _replace(run, steps=tuple(_undo_again(step) for step in run.steps))
    run = _replace(run, stopping="")
    current = run.current
    if current is not None:
        run = on_step(run, current.id, _opened if current.word is not None else _going_on)
    for step_id in event.again:
        run = on_step(run, step_id, fresh)
    return _replace(run, again=event.again)


def undo_started(run: Run, event: UndoStarted) -> Run:
    """The run from here on takes back what it did, also after its end."""
    items = set(event.acts)

    def change(step: StepState) -> StepState:
        if step.id not in items and not any(act.id in items for act in step.undo):
            return step
        undo = tuple(_unasked(act) if act.id in items and not act.in_doubt else act for act in step.undo)
        acts = tuple(act if act.in_doubt else _replace(act, found=None) for act in step.acts)
        return _replace(step, undo=undo, acts=acts, undone=False)

    return _replace(
        run,
        word=None,
        why="",
        ended_ms=0,
        undo=UndoState(items=event.acts, cause=event.cause, why=event.why, by=event.by),
        steps=tuple(map(change, run.steps)),
    )


def _opened(step: StepState) -> StepState:
    """The step where the run stopped: a read is done again; of a write that failed a person says how it goes on."""
    if step.mode != "write":
        return fresh(step)
    bad = next((act for act in step.acts if act.word not in (None, "OK", "IN DOUBT")), None)
    return _replace(step, word=None, why="", failed=(step.why or bad.why or bad.word or "") if bad else "")


def _going_on(step: StepState) -> StepState:
    """A read that was under way begins again, within its old deadline; a write, an offered pick and an answer stay."""
    if step.mode == "write" or step.offer is not None or step.answer:
        return step
    return _replace(fresh(step), wait_until_ms=step.wait_until_ms, failed=step.failed)


def _undo_again(step: StepState) -> StepState:
    def failed(act: ActState) -> bool:
        return act.word not in (None, "OK", "IN DOUBT") or (act.word == "OK" and act.found == "absent")

    if not any(map(failed, step.undo)):
        return step
    undo = tuple(_unasked(act) if failed(act) else act for act in step.undo)
    return _replace(step, undo=undo, acts=tuple(_replace(act, found=None) for act in step.acts))


def _unasked(act: ActState) -> ActState:
    return _replace(act, intended=False, word=None, why="", found=None, found_why="", dead=False)


def _replanned(run: Run, event: Resumed) -> Run:
    """The steps of the changed plan; what was done stays done, step by step and act by act."""
    before = {step.id: step for step in run.steps}
    current = run.steps[run.position].id if run.position < len(run.steps) else ""
    steps = tuple(_carried(step, before.get(step.id)) for step in planned(event.plan))
    position = next((at for at, step in enumerate(steps) if step.id == current), len(steps))
    return _replace(
        run,
        steps=steps,
        position=position,
        plan_digest=event.plan_digest,
        book_sha256=event.book_sha256 or run.book_sha256,
        edited=bool(event.book_text) and not run.unscripted,
    )


def _carried(new: StepState, old: StepState | None) -> StepState:
    if old is None:
        return new
    before = {act.id: act for act in (*old.acts, *old.undo, *old.probes)}

    def carried(act: ActState) -> ActState:
        was = before.get(act.id, act)
        # What is to be done again has the number of the attempts before it: none is made twice.
        return was if was.intended else _replace(act, attempt=was.attempt, counted=was.counted)

    return _replace(
        old,
        title=new.title,
        before=new.before,
        acts=tuple(map(carried, new.acts)),
        undo=tuple(map(carried, new.undo)),
        probes=tuple(map(carried, new.probes)),
        by_hand=new.by_hand,
    )
