"""The one thing that matters now in a run, the key for it, and why an action is not possible."""

from __future__ import annotations

from textual.content import Content

from envtui.core.environment import AccessPolicy
from envtui.core.shape import span
from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.rules.decide import Done, Doubt, NeedsAnswer, NeedsDecision, NeedsPick, ReadyRead, ReadyWrite, Waiting

from ..framed import dim, key, words
from ..moments import moment
from ..widgets.steps import GLYPHS

Said = tuple[str, Content | str, str]
"""(badge, text, tone)"""


def now(task: RunTask, policy: AccessPolicy | None) -> Said:
    """What the line at the bottom of the frame says."""
    if task.busy:
        return _busy(task)
    proposed = task.next
    match proposed:
        case Done(word=word, why=why):
            over = clean(why, 300) or span(task.run.ended_ms - task.run.started_ms)
            return word.lower(), words((over, "$tone-text"), dim("   "), key("esc"), dim(" runbooks")), GLYPHS[word][1]
        case Doubt(act=act):
            said = f"{act}: sent, and its outcome is not known. Look at the target yourself before anything else."
            return "in doubt", clean(said, 300), "$tone-bad"
        case ReadyRead(step=step):
            return "", words(key("r"), dim(f" does {step}   "), key("R"), dim(" goes on until you are needed")), ""
        case Waiting(until_ms=until):
            return "wait", words((f"until {moment(until)}   ", "$tone-text"), key("R"), dim(" waits")), "$tone-wait"
        case NeedsAnswer(options=options):
            return "you", words(key("a"), dim(" choose" if options else " when it is done")), "$tone-send"
        case NeedsPick():
            return "pick", words(key("a"), dim(" choose a row")), "$tone-send"
        case NeedsDecision(why=why):
            return "failed", words((clean(why, 200) + "   ", "$tone-text"), key("a"), dim(" decide")), "$tone-bad"
        case ReadyWrite(granted=True, step=step):
            return "write", words(key("w"), dim(f" does {step}: you will type three letters")), "$tone-bad"
        case ReadyWrite():
            return "needs write", words(dim("press "), key("e"), dim(f" to ask: {price(policy)}")), "$tone-bad"
        case _:
            return "", "", ""


def _busy(task: RunTask) -> Said:
    current = task.run.current
    if current is not None and current.mode == "write":
        return "writing", words((f"{current.id}   ", "$tone-text"), key("c"), dim(" stops after this act")), "$tone-bad"
    waits = f" at most until {moment(current.wait_until_ms)}" if current is not None and current.wait_until_ms else ""
    step = current.id if current is not None else ""
    stops = " stops looking" if waits else " stops after this act"
    return "running", words((f"{step}{waits}   ", "$tone-text"), key("c"), dim(stops)), "$tone-wait"


def price(policy: AccessPolicy | None) -> str:
    """What write access costs here."""
    if policy is None:
        return ""
    incident = "an open incident and " if policy.incident.required else ""
    if policy.signoff.min == 0:
        return f"{incident}your own signature"
    several = "one signature" if policy.signoff.min == 1 else f"{policy.signoff.min} signatures"
    return f"{incident}{several} other than yours"


def why_not(action: str, task: RunTask) -> str:
    """Why an action is not possible in this run now; '' when it is."""
    proposed, run = task.next, task.run
    match action:
        case "step" | "run_on" | "answer" | "write" | "escalate" if run.word is not None:
            return "this run is over"
        case "step" | "run_on" if task.busy:
            return "an act is under way"
        case "step" | "run_on" if not isinstance(proposed, ReadyRead | Waiting):
            return "the next step is not a read"
        case "answer" if not isinstance(proposed, NeedsAnswer | NeedsPick | NeedsDecision):
            return "nobody is asked anything now"
        case "write" if not isinstance(proposed, ReadyWrite):
            return "the next step is no write"
        case "write" if isinstance(proposed, ReadyWrite) and not proposed.granted:
            return f"{proposed.why_not}: press e"
        case "escalate" if not task.plan.writes:
            return "this run has nothing to write"
        case "give_back" if not run.write_active:
            return "there is no write access to give back"
        case "stop" if not task.busy:
            return "nothing is under way"
        case "skip" if task.busy or run.current is None or run.word is not None:
            return "there is no step to leave out now"
        case _:
            return ""
