"""The steps of a run at the left: glyph, word and time for each, the current one marked."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from envtui.core.text import clean
from envtui.rules.state import Run, StepState
from envtui.rules.undo import Item

from ..framed import words

GLYPHS: dict[str, tuple[str, str]] = {
    "OK": ("✓", "$tone-good"),
    "FAILED": ("✗", "$tone-bad"),
    "TIMED OUT": ("✗", "$tone-bad"),
    "CANCELLED": ("–", "$tone-wait"),
    "REFUSED": ("✗", "$tone-bad"),
    "SKIPPED": ("–", "$tone-label"),
    "UNDONE": ("↶", "$tone-wait"),
    "IN DOUBT": ("?", "$tone-bad"),
}


class Steps(Static):
    """Redrawn from the run; holds no state of its own but the selected step."""

    DEFAULT_CSS = "Steps { height: auto; }"
    _drawn = Content("")

    def show(self, run: Run, selected: str, width: int, undone: Sequence[Item] = ()) -> None:
        """`width` in cells: below 34 the titles are left out. `undone`: what is taken back, below the steps."""
        done = sum(1 for step in run.steps if step.word is not None)
        head = words(("steps   ", "$tone-label"), (f"{done} done, {len(run.steps) - done} to go\n", "$tone-dim"))
        lines = [_line(run, step, step.id == selected, width) for step in run.steps]
        if undone:
            over = sum(1 for item in undone if item.over)
            lines.append(words(("undo    ", "$tone-label"), (f"{over} of {len(undone)} done", "$tone-dim")))
            lines += [_undo_line(run, item, width) for item in undone]
        drawn = Content("\n").join([head, *lines])
        if drawn.plain != self._drawn.plain or drawn.spans != self._drawn.spans:
            same = len(lines) == self._drawn.plain.count("\n") - 1  # each is one line: only their number needs a layout
            self._drawn = drawn
            self.update(drawn, layout=not same)


def _line(run: Run, step: StepState, selected: bool, width: int) -> Content:
    current = run.current is not None and run.current.id == step.id and run.word is None
    glyph, tone = GLYPHS.get(step.word or "", ("·", "$tone-label"))
    if any(act.word == "IN DOUBT" for act in step.acts) or (step.running and step.mode == "write"):
        glyph, tone = ("?", "$tone-bad") if not step.running else ("◐", "$tone-bad")
    elif step.running:
        glyph, tone = "◐", "$tone-wait"
    elif current:
        glyph, tone = "▸", "$tone-bad" if step.mode == "write" else "$tone-send"
    right, right_tone = _right(step, current)
    name = step.id
    room = max(0, width - 2 - 13 - len(right) - 1)
    title = clean(step.title, 200).replace("\n", " ") if width >= 34 else ""
    if len(title) > room:
        title = title[: max(0, room - 1)].rstrip() + "…" if room > 4 else ""
    mark = "bold $tone-text" + (" on $tone-line" if selected else "")
    body = mark if selected or current else "$tone-text" if step.word else "$tone-dim"
    return words(
        (f"{glyph} ", tone),
        (
            f"{name[:12]:<13}"
            if width >= 34
            else f"{name[: max(4, width - len(right) - 3)]:<{max(4, width - len(right) - 3)}}",
            body,
        ),
        (f"{title:<{room}} " if width >= 34 else " ", "$tone-dim" if not current else "$tone-text"),
        (right, right_tone),
    )


def _undo_line(run: Run, item: Item, width: int) -> Content:
    glyph, tone, said = _undo_word(run, item)
    name = clean(item.step.id, 60) + (f" on {clean(item.act.member, 60)}" if item.act is not None else ", by hand")
    room = max(4, width - len(said) - 4)
    return words((f"{glyph} ", tone), (f"{name[:room]:<{room}} ", "$tone-text"), (said, tone))


def _undo_word(run: Run, item: Item) -> tuple[str, str, str]:
    act = item.act
    if item.failed:
        return "✗", "$tone-bad", "FAILED"
    if act is not None and act.in_doubt and act.word is not None:
        return "?", "$tone-bad", "IN DOUBT"
    if act is not None and act.running:
        return "◐", "$tone-bad", "undoing"
    if item.over:
        if act is not None and act.word is None:
            return "–", "$tone-label", "nothing to undo"
        return (*GLYPHS["UNDONE"], "UNDONE")
    if act is not None and act.word == "OK":
        return "◐", "$tone-wait", "looking"
    return "·", "$tone-label", "you" if act is None else "to undo"


def took(milliseconds: int) -> str:
    """`31 ms`, `1.9 s`, `94 s`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 10_000 else f"{milliseconds // 1000} s"


def _short(text: str, length: int) -> str:
    said = " ".join(clean(text, 200).split())
    return said if len(said) <= length else said[: length - 1].rstrip() + "…"


def _right(step: StepState, current: bool) -> tuple[str, str]:
    if step.word in ("OK", "SKIPPED"):
        if step.answer:
            return _short(step.answer, 10), "$tone-dim"
        return (took(step.milliseconds) if step.acts and step.word == "OK" else step.word.lower()), "$tone-dim"
    if step.word is not None:
        return step.word, "bold $tone-bad"
    if step.running:
        over = sum(1 for act in step.acts if act.word is not None)
        return (f"{over} of {len(step.acts)}" if len(step.acts) > 1 else "running"), "$tone-wait"
    if step.mode == "write":
        return "WRITE", "bold $tone-bad"
    if step.kind in ("choose", "manual"):
        return "you", "$tone-send" if current else "$tone-label"
    return step.kind, "$tone-label"
