"""A run that was left: where it stands, what is read again, what changed; and the word that takes it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from envtui.core.text import clean

from ..framed import words
from ..moments import ago
from .typed import TypedDialog
from .undo import Part, difference

if TYPE_CHECKING:
    from envtui.engine.resuming import Left


class ResumeDialog(TypedDialog):
    """Dismisses with `resume`, or with `accept` where the book changed; '' leaves the run as it is."""

    def __init__(self, found: Left, masked: Callable[[str], str]) -> None:
        run = found.run
        parts: list[Part] = [
            (f"{clean(run.title, 200)}\n", "bold $tone-text"),
            (f"{clean(run.book, 60)}  run {run.id}  {clean(run.operator, 40)}  {ago(run.started_ms)}\n", "$tone-dim"),
        ]
        for act in run.in_doubt:
            parts += [
                ("? IN DOUBT  ", "bold $tone-bad"),
                (f"{clean(act.id, 80)}: check before anything. {masked(clean(act.why, 300))}\n", "$tone-bad"),
            ]
        for act in run.detached:
            parts += [("◐ goes on   ", "$tone-wait"), (f"{clean(act.id, 80)}, by itself at its target\n", "$tone-text")]
        step = run.current
        if run.undo is not None:
            parts += [("stands   ", "$tone-label"), ("taking back what it did\n", "$tone-text")]
        elif step is not None:
            parts += [
                ("stands   ", "$tone-label"),
                (f"at {clean(step.id, 60)}  {clean(step.title, 200)}\n", "$tone-text"),
            ]
        if run.word is not None:
            parts += [("ended    ", "$tone-label"), (f"{run.word}: {masked(clean(run.why, 400))}\n", "$tone-text")]
        if found.again:
            parts += [("again    ", "$tone-label"), (f"{', '.join(found.again)}: read again first\n", "$tone-text")]
        if found.differences:
            parts += [("\nThe book is another one than when it was left:\n", "bold $tone-bad")]
            parts += difference(found.differences, masked)
            parts.append(("What it writes has to be signed afresh.\n", "$tone-dim"))
            answers = {"accept": "takes it up with the plan as it is now"}
        else:
            answers = {"resume": "takes it up where it stands; nothing is sent yet"}
        super().__init__(
            f"RESUME: {clean(run.book, 60)}",
            words(*parts),
            answers,
            "leaves it; the ledger tells it below",
            "It stays as it is.",
        )
