"""The one thing that matters now in a run, and the key for it."""

from __future__ import annotations

from textual.content import Content

from envtui.core.environment import AccessPolicy
from envtui.core.shape import span
from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.rules.proposals import (
    Done,
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

from ..framed import dim, key, words
from ..moments import moment
from ..widgets.steps import GLYPHS
from .under_way import running

Said = tuple[str, Content | str, str]
"""(badge, text, tone)"""

LEFT = ("FAILED", "TIMED OUT", "CANCELLED", "REFUSED", "IN DOUBT")
"""How a run ended that can be taken up again."""


def now(task: RunTask, policy: AccessPolicy | None, asking: str = "") -> Said:
    """What the line at the bottom of the frame says. `asking`: an act whose target is being asked what became of it."""
    if task.busy:
        if asking:
            return "looking", f"{clean(asking, 80)}: its target is asked what became of it.", "$tone-bad"
        return _busy(task)
    proposed = task.next
    match proposed:
        case Done(word=word, why=why):
            over = clean(why, 300) or span(task.run.ended_ms - task.run.started_ms)
            mends = (key("P"), dim(" goes on after all   ")) if word in LEFT and not task.run.lone_read else ()
            back = (key("u"), dim(" takes it back   ")) if undoable(task.run, task.plan) else ()
            draft = (
                (dim(f"   draft: envtui draft {task.plan.environment} {task.run.id}"),) if task.run.unscripted else ()
            )
            said = words((over, "$tone-text"), dim("   "), *mends, *back, key("esc"), dim(" runbooks"), *draft)
            return word.lower(), said, GLYPHS[word][1]
        case Doubt():
            return _doubt(proposed)
        case Following(act=act):
            said = words((f"{clean(act, 80)} goes on by itself   ", "$tone-text"), key("R"), dim(" waits for it   "))
            return "at its target", said + words(key("C"), dim(" ends it there")), "$tone-wait"
        case LookAt(step=step):
            return "look", words(key("R"), dim(f" looks what is there of {step}")), "$tone-wait"
        case ReadyUndo(granted=True, step=step):
            return "undo", words(key("R"), dim(f" takes back {step} and what is left")), "$tone-bad"
        case ReadyUndo(why_not=why):
            said = words((f"{clean(why, 200)}   ", "$tone-text"), key("e"), dim(" asks"))
            return "undo needs write", said, "$tone-bad"
        case UndoByHand(step=step):
            said = words((f"{clean(step, 60)} is taken back by hand   ", "$tone-text"), key("a"), dim(" shows how"))
            return "undo", said, "$tone-bad"
        case ReadyRead(step=step):
            return "", words(key("r"), dim(f" does {step}   "), key("R"), dim(" goes on until you are needed")), ""
        case Waiting(until_ms=until):
            return "wait", words((f"until {moment(until)}   ", "$tone-text"), key("R"), dim(" waits")), "$tone-wait"
        case NeedsAnswer(options=options):
            return "you", words(key("a"), dim(" choose" if options else " when it is done")), "$tone-send"
        case NeedsPick():
            return "pick", words(key("a"), dim(" choose a row")), "$tone-send"
        case NeedsDecision(why=why, choices=choices):
            badge = "changed" if "go on" in choices else "failed"
            return badge, words((clean(why, 200) + "   ", "$tone-text"), key("a"), dim(" decide")), "$tone-bad"
        case ReadyWrite(granted=True, held=held) if held:
            return "held", words((f"{clean(held, 300)}   ", "$tone-text"), key("e"), dim(" asks")), "$tone-bad"
        case ReadyWrite(granted=True, step=step):
            return "write", words(key("w"), dim(f" does {step}: you will type three letters")), "$tone-bad"
        case ReadyWrite():
            return "needs write", words(dim("press "), key("e"), dim(f" to ask: {price(policy)}")), "$tone-bad"
        case _:
            return "", "", ""


def _doubt(proposed: Doubt) -> Said:
    found = f"found {proposed.found}; " if proposed.found else ""
    said = f"{clean(proposed.act, 80)}: check before anything. {found}{clean(proposed.why, 160)}   "
    answer = (key("a"), dim(" your word")) if len(proposed.choices) > 1 else ()
    return "IN DOUBT", words((said, "bold $tone-bad"), key("l"), dim(" look   "), *answer), "$tone-bad"


def _busy(task: RunTask) -> Said:
    act = next(running(task.run), None)
    if task.cutting:
        what = f"{clean(act.id, 80)}: " if act is not None else ""
        return "ending", f"{what}it is ended now, then looked for what is there of it.", "$tone-bad"
    if task.stopping and act is not None:
        said = words((f"after {clean(act.id, 80)}   ", "$tone-text"), key("C"), dim(" ends it now"))
        return "stopping", said, "$tone-wait"
    keys = (key("c"), dim(" stops after this act   "), key("C"), dim(" ends it now"))
    if act is not None and (act.mode == "write" or task.run.undo is not None):
        undo = act.id.partition("@")[0].endswith(".undo")
        badge = (
            "at its target" if act.detached else "undoing" if undo else "writing" if act.mode == "write" else "looking"
        )
        tone = "$tone-wait" if act.mode == "read" or act.detached else "$tone-bad"
        return badge, words((f"{clean(act.id, 80)}   ", "$tone-text"), *keys), tone
    current = task.run.current
    waits = f" at most until {moment(current.wait_until_ms)}" if current is not None and current.wait_until_ms else ""
    step = current.id if current is not None else ""
    stops = (key("c"), dim(" stops looking")) if waits else keys
    return "running", words((f"{step}{waits}   ", "$tone-text"), *stops), "$tone-wait"


def price(policy: AccessPolicy | None) -> str:
    """What write access costs here."""
    if policy is None:
        return ""
    incident = "an open incident and " if policy.incident.required else ""
    if policy.signoff.min == 0:
        return f"{incident}your own signature"
    several = "one signature" if policy.signoff.min == 1 else f"{policy.signoff.min} signatures"
    return f"{incident}{several} other than yours"
