"""Taking back what a run did: which undo acts, in which order, and how far each is. Pure, as all that `decide` asks.

Each item is looked at before (what is not there needs no undo) and after (what an undo act says of itself is no proof).
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from envtui.core.act import Plan, PlannedStep

from .act_events import covers
from .state import ActState, Run, StepState


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One undo act with the forward acts that it takes back; `act` None: a person does it."""

    id: str
    step: StepState
    planned: PlannedStep
    act: ActState | None
    covers: tuple[ActState, ...]

    @property
    def failed(self) -> str:
        """Why it did not work; '' while it may."""
        if self.act is None or self.act.word in (None, "IN DOUBT"):
            return ""
        if self.act.word != "OK":
            return f"{self.act.word}: {self.act.why}" if self.act.why else self.act.word
        return "it is still there" if self.act.found == "absent" else ""

    @property
    def over(self) -> bool:
        """Nothing of what it takes back is there any more, or nothing ever was."""
        if self.act is None:
            return self.step.undone
        return not any(act.touched for act in self.covers)


def undoable(run: Run, plan: Plan, only: Container[str] | None = None) -> tuple[str, ...]:
    """Ids for `UndoStarted.acts`: what was applied and can be taken back, the last first. `only`: of these steps."""
    found: list[str] = []
    for planned in reversed(plan.steps):
        step = run.step(planned.id)
        if step is None or (only is not None and planned.id not in only):
            continue
        if planned.undo:
            found.extend(act.id for act in reversed(step.undo) if any(covered.touched for covered in covers(step, act)))
        elif planned.by_hand and not step.undone and (step.word == "OK" or step.answer):
            found.append(planned.id)
    return tuple(found)


def final(run: Run, plan: Plan) -> tuple[str, ...]:
    """Steps of the run that changed something for good: there is no undo of them."""
    without = {step.id for step in plan.steps if step.mode == "write" and not step.undo and not step.by_hand}
    return tuple(step.id for step in run.steps if step.id in without and any(act.touched for act in step.acts))


def items(run: Run, plan: Plan) -> tuple[Item, ...]:
    """The items of the undo that the run is in, in order."""
    if run.undo is None:
        return ()
    wanted = {id_: at for at, id_ in enumerate(run.undo.items)}
    found: list[Item] = []
    for planned in plan.steps:
        step = run.step(planned.id)
        if step is None:
            continue
        if step.id in wanted:
            found.append(Item(id=step.id, step=step, planned=planned, act=None, covers=step.acts))
        for act in step.undo:
            if act.id in wanted:
                found.append(Item(id=act.id, step=step, planned=planned, act=act, covers=covers(step, act)))
    return tuple(sorted(found, key=lambda item: wanted[item.id]))
