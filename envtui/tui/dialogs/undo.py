"""What would be taken back, in order, and three letters to type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from envtui.core.act import Plan
from envtui.core.environment import AccessPolicy
from envtui.core.runbook import Runbook
from envtui.core.shape import seconds
from envtui.core.text import clean
from envtui.rules.late import as_sent
from envtui.rules.shows import shows
from envtui.rules.state import Run
from envtui.rules.undo import final, undoable

from ..framed import words
from ..moments import moment
from .typed import TypedDialog

Part = str | tuple[str, str]


class UndoDialog(TypedDialog):
    """Dismisses with `letters` when they were typed by hand, else with ''. `masked` takes secrets out of what is shown."""

    def __init__(
        self,
        run: Run,
        plan: Plan,
        book: Runbook,
        letters: str,
        masked: Callable[[str], str],
        access: str,
        differences: Sequence[str] = (),
    ) -> None:
        parts: list[Part] = [("Taken back, the last first; each is looked at before and after:\n", "$tone-text")]
        for number, (where, command) in enumerate(_items(run, plan), 1):
            parts += [
                (f"{number:>3} {clean(where, 100)}  ", "$tone-label"),
                (masked(clean(command, 600)) + "\n", "bold $tone-send"),
            ]
        steps = {step.id: step for step in (*book.before, *book.steps)}
        for step_id in final(run, plan):
            why = getattr(steps.get(step_id), "point_of_no_return", None) or "it has no undo"
            parts += [
                ("    NOT ", "bold $tone-bad"),
                (f"{clean(step_id, 60)}  {masked(clean(why, 300))}\n", "$tone-bad"),
            ]
        parts += [("\naccess  ", "$tone-label"), (clean(access, 300) + "\n", "$tone-text")]
        if differences:
            parts += [
                ("\nThe book is another one than when this ran:\n", "bold $tone-bad"),
                *difference(differences, masked),
            ]
        super().__init__(
            f"UNDO: {clean(run.title or run.book, 60)}",
            words(*parts),
            {letters: "by hand, then enter"},
            "leaves everything as it is",
            "Nothing was sent.",
        )


def difference(lines: Sequence[str], masked: Callable[[str], str]) -> list[Part]:
    """Lines of a difference, what is gone and what is new in their tones."""
    tones = {"-": "$tone-bad", "+": "$tone-good"}
    return [(masked(clean(line, 600)) + "\n", tones.get(line[:1], "$tone-text")) for line in lines]


def _items(run: Run, plan: Plan) -> list[tuple[str, str]]:
    acts = {act.id: act for step in plan.steps for act in step.undo}
    by_hand = {step.id: step.by_hand for step in plan.steps}
    found = []
    for item in undoable(run, plan):
        act = acts.get(item)
        if act is None:
            found.append((item, f"you, by hand: {by_hand.get(item, '')}"))
        else:
            found.append((f"{act.step.removesuffix('.undo')} on {act.place.member}", shows(as_sent(run, plan, act))))
    return found


def covered(run: Run, policy: AccessPolicy, now_ms: int) -> str:
    """Whether the write access that there was covers an undo still; what is signed decides, this says what to expect."""
    grant = run.grant
    if grant is None:
        return "there was none: e asks for it once the undo has begun"
    if grant.ended in ("REVOKED", "CLOCK_JUMP"):
        return f"write access was ended ({grant.ended.lower().replace('_', ' ')}): e asks for it anew"
    until = grant.until_ms + round(seconds(policy.grant.undo_for) * 1000)
    if now_ms >= until:
        return f"the time for undo was over at {moment(until)}: e asks for write access"
    if not grant.ended:
        return f"write access until {moment(grant.until_ms)}, its undo until {moment(until)}"
    return f"write access ended; its undo is permitted until {moment(until)}"
