"""Why an action is not possible in a run at this moment, in a few words."""

from __future__ import annotations

from envtui.engine.runner import RunTask
from envtui.rules.proposals import (
    Doubt,
    Following,
    LookAt,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    ReadyRead,
    ReadyUndo,
    ReadyWrite,
    UndoByHand,
    Waiting,
)
from envtui.rules.undo import undoable
from envtui.rules.waiving import waived

from .now import LEFT

ASKED = NeedsAnswer | NeedsPick | NeedsDecision | Doubt | UndoByHand


def why_not(action: str, task: RunTask) -> str:
    """'' when it is possible."""
    proposed, run = task.next, task.run
    match action:
        case "step" | "run_on" | "answer" | "write" | "escalate" if run.word is not None:
            return "this run is over"
        case "step" | "run_on" if task.busy:
            return "an act is under way"
        case "step" | "run_on" if isinstance(proposed, Doubt):
            return "a write is in doubt: press l to look, before anything"
        case "step" | "run_on" if isinstance(proposed, ReadyUndo) and not proposed.granted:
            return f"{proposed.why_not}: press e"
        case "step" | "run_on" if not isinstance(proposed, ReadyRead | Waiting | LookAt | Following | ReadyUndo):
            return "the next step is not a read"
        case "answer" if task.busy or not isinstance(proposed, ASKED):
            return "nobody is asked anything now"
        case "write" if task.busy or not isinstance(proposed, ReadyWrite):
            return "the next step is no write"
        case "write" if isinstance(proposed, ReadyWrite) and not proposed.granted:
            return f"{proposed.why_not}: press e"
        case "write" if isinstance(proposed, ReadyWrite) and proposed.held:
            return proposed.held
        case "escalate" if not task.plan.writes:
            return "this run has nothing to write"
        case "give_back" if not run.write_active:
            return "there is no write access to give back"
        case "stop" if not task.busy:
            return "nothing is under way"
        case "skip":
            return _skip(task)
        case "edit" if run.word in ("OK", "UNDONE", "SKIPPED") or run.undo is not None or run.lone_read:
            return "this run goes nowhere that could be edited"
        case "edit" if task.busy or run.in_doubt or run.detached:
            return "an act is under way, or in doubt"
        case "cut" | "examine" | "undo" | "resume":
            return _mending(action, task)
        case _:
            return ""


def _skip(task: RunTask) -> str:
    current = task.run.current
    if task.busy or current is None or task.run.word is not None:
        return "there is no step to leave out now"
    stays = task.step_of(current.id).required and not waived(task.run, current.id)
    return f"{current.id} is required: e asks to waive it" if stays else ""


def _mending(action: str, task: RunTask) -> str:
    proposed, run = task.next, task.run
    if action == "cut":
        if task.busy:
            return "it is being ended already" if task.cutting else ""
        ends = isinstance(proposed, Following) or (isinstance(proposed, Doubt) and "halt" in proposed.choices)
        return "" if ends else "nothing is under way"
    if task.busy:
        return "an act is under way"
    if action == "examine":
        return "" if isinstance(proposed, Doubt) else "nothing is in doubt"
    if action == "resume":
        return "" if run.word in LEFT and not run.lone_read else "this run goes on, or it is done"
    if run.in_doubt:
        return "a write is in doubt: press l to look, before anything"
    if run.word is None and run.undo is not None:
        return "it is being taken back: press R"
    return "" if undoable(run, task.plan) else "there is nothing to take back"
