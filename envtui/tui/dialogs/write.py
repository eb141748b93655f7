"""The last look before a write: what will be sent where, and three letters to type."""

from __future__ import annotations

from collections.abc import Sequence

from envtui.core.act import Act
from envtui.core.text import clean
from envtui.rules.proposals import LateValue
from envtui.rules.shows import shows

from ..framed import words
from .typed import TypedDialog


class WriteDialog(TypedDialog):
    """Dismisses with `letters` (or the step's phrase) when they were typed by hand and Enter was pressed, else with ''."""

    def __init__(
        self,
        step: str,
        title: str,
        acts: tuple[Act, ...],
        letters: str,
        phrase: str | None,
        undo: str,
        final: str | None,
        late: Sequence[LateValue] = (),
    ) -> None:
        parts: list[str | tuple[str, str]] = [(clean(title, 200) + "\n\n", "bold $tone-text")]
        for act in acts:
            where = f"{act.place.member} as {act.place.user}"
            parts += [(f"{clean(where, 80)}  ", "$tone-label"), (clean(shows(act), 600) + "\n", "bold $tone-send")]
        parts += _values(late)
        hosts = len(acts)
        parts += [
            ("\nblast   ", "$tone-label"),
            (f"{hosts} place{'' if hosts == 1 else 's'}, one after the other\n", "$tone-text"),
        ]
        if final:
            parts += [("        ", ""), (f"POINT OF NO RETURN: {clean(final, 300)}\n", "bold $tone-bad")]
        if undo:
            parts += [("undo    ", "$tone-label"), (f"u takes it back: {clean(undo, 400)}\n", "$tone-dim")]
        super().__init__(
            f"WRITE: {clean(step)}",
            words(*parts),
            {phrase or letters: "by hand, then enter"},
            "leaves everything as it is",
            "Nothing was sent.",
        )


def _values(late: Sequence[LateValue]) -> list[str | tuple[str, str]]:
    """Where each captured value comes from, and whether it is the one that was signed."""
    parts: list[str | tuple[str, str]] = []
    for each in late:
        name = f"{each.name} = {each.value}"
        parts += [("\nvalue   ", "$tone-label"), (clean(name, 300), "bold $tone-text")]
        parts.append((f"  on {clean(each.member, 60)}, found by {clean(each.step, 60)}", "$tone-dim"))
        if not each.asks:
            parts.append(("; as it was signed" if each.value == each.signed else "; you let it pass", "$tone-dim"))
            continue
        was = f"SIGNED WAS {clean(each.signed, 300)}" if each.signed is not None else "NOT KNOWN WHEN IT WAS SIGNED"
        parts += [("\n        ", ""), (was, "bold $tone-bad"), (": typing below lets this one be sent", "$tone-bad")]
    return [*parts, ("\n", "")] if parts else []
