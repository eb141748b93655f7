"""A run that was left: what of it is read again before it goes on, and how today's plan differs from the one it had."""

from __future__ import annotations

from collections.abc import Iterator

from envtui.core.act import Plan
from envtui.core.errors import UsageError
from envtui.core.runbook import Runbook

from . import written
from .condition import split
from .state import Run


def again(run: Run, plan: Plan, book: Runbook) -> tuple[str, ...]:
    """Steps that are read again, in order: what ran of `before`, and reads whose captures decide on writes still to come, or
    are sent in them."""
    if run.undo is not None:
        return ()
    pending = {step.id for step in plan.steps[run.position :] if step.mode == "write"}
    wanted = {
        _captured_by(step.if_) for step in (*book.before, *book.steps) if step.id in pending and step.if_ is not None
    }
    # What was sent already is not sent otherwise: only acts that are still to come are fed.
    wanted |= {slot.name.partition(".")[0] for step in plan.steps if step.id in pending for slot in step.late}
    # What was to be read again, and was not to its end, is so still.
    done = {step.id for step in run.steps[: run.position] if step.word is not None} | set(run.again)
    return tuple(
        [step.id for step in book.before if step.id in done]
        + [
            step.id
            for step in book.steps
            if step.id in done and step.mode == "read" and wanted & set(step.capture) and step.id not in pending
        ]
    )


def differences(before: str, plan: Plan, shows: dict[str, str]) -> tuple[str, ...]:
    """What is another in the plan than when it was written down (`RunStarted.plan`), a line for each place.

    Empty when nothing that is shown of it differs; the book may differ all the same.
    """
    return tuple(_differences(before, written.written(plan, shows)))


def _differences(before: str, now: str) -> Iterator[str]:
    old = {step.id: step for step in written.read(before)}
    new = {step.id: step for step in written.read(now)}
    for step_id in old:
        if step_id not in new:
            yield f"- step {step_id} is gone"
    for step_id, step in new.items():
        if step_id not in old:
            yield f"+ step {step_id}: {'; '.join(act.shows for act in step.acts) or step.title}"
            continue
        for name, theirs, ours in (
            ("", old[step_id].acts, step.acts),
            (" probe", old[step_id].probe, step.probe),
            (" undo", old[step_id].undo, step.undo),
        ):
            known = {act.id: act for act in theirs}
            for act in ours:
                was = known.pop(act.id, None)
                if was is None:
                    yield f"+ {step_id}{name} on {act.member}: {act.shows}"
                elif was.digest != act.digest:
                    yield f"- {step_id}{name} on {act.member}: {was.shows}"
                    yield f"+ {step_id}{name} on {act.member}: {act.shows}" + (
                        "" if was.shows != act.shows else "  (same words; its place, time or content is another)"
                    )
            yield from (f"- {step_id}{name} on {act.member}: {act.shows}" for act in known.values())
    if tuple(old) != tuple(new) and set(old) == set(new):
        yield "the steps stand in another order"


def _captured_by(condition: str) -> str:
    try:
        name = split(condition)[0]
    except UsageError:
        return ""
    return name.split(".")[1] if name.startswith("vars.") else ""
