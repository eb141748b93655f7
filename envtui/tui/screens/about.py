"""What the run screen says about one step: what it is for, what is sent, how it ended."""

from __future__ import annotations

from envtui.core.act import PlannedStep
from envtui.core.runbook import ChooseStep, Step
from envtui.core.text import clean
from envtui.rules.shows import shows
from envtui.rules.state import StepState

from ..widgets.rows import Row, line, paragraphs, row
from ..widgets.steps import GLYPHS


def about(step: StepState, planned: PlannedStep | None, book_step: Step) -> list[Row]:
    """The rows above the output, the most telling first. `planned` is None for a step that was asked, not planned."""
    word, tone = (
        ("WRITE", "bold $tone-bad")
        if step.mode == "write"
        else ("read", "$tone-good")
        if step.acts
        else ("you", "$tone-send")
    )
    members = ", ".join(a.member for a in step.acts)
    rows = [
        line((f"{clean(step.id)}  ", "bold $tone-text"), (word, tone), (f"  {clean(members, 100)}", "$tone-dim")),
        line((clean(step.title, 300), "$tone-text")),
    ]
    doc = book_step.doc or getattr(book_step, "instructions", "")
    if doc:
        rows.append(line((paragraphs(clean(doc, 1200)), "$tone-dim")))
    rows += [
        row("  $ ", clean(command, 800), "bold $tone-send")
        for command in dict.fromkeys(a.shows for a in step.acts if a.shows)
    ]
    rows += _doubts(step)
    if planned is not None:
        for label, group in (("probe", planned.probe), ("undo", planned.undo)):
            for command in dict.fromkeys(shows(a) for a in group):
                rows.append(row(f"{label:<6}", clean(command, 300), "$tone-dim"))
        if planned.by_hand:
            rows.append(row("undo  ", f"by hand: {clean(planned.by_hand, 300)}", "$tone-dim"))
    if book_step.on_failure != "stop":
        rows.append(row("fails ", clean(book_step.on_failure), "$tone-dim"))
    if step.word is not None:
        glyph, glyph_tone = GLYPHS[step.word]
        rows.append(row(f"{glyph} {step.word}  ", clean(step.why, 300), "$tone-dim", label_tone=f"bold {glyph_tone}"))
        rows += [
            row("refused  ", f"by the sandbox: {clean(refused, 300)}", "$tone-dim", label_tone="$tone-wait")
            for refused in dict.fromkeys(each for act in (*step.acts, *step.probes) for each in act.refused)
        ]
    elif isinstance(book_step, ChooseStep):
        rows += [
            row(f"  {n} ", clean(label, 200), label_tone="bold $tone-send")
            for n, label in enumerate(book_step.options, 1)
        ]
    return rows


def _doubts(step: StepState) -> list[Row]:
    """What is known of its writes whose outcome is not."""
    rows = []
    for act in (*step.acts, *step.undo):
        if not act.in_doubt:
            continue
        where = f"{clean(act.id, 80)} on {clean(act.member, 60)}"
        rows.append(
            row("? IN DOUBT  ", f"check before anything: {where}", "bold $tone-bad", label_tone="bold $tone-bad")
        )
        if act.why:
            rows.append(row("known ", clean(act.why, 600)))
        if act.found is not None:
            still = "" if act.dead else "; it may still run there"
            rows.append(row("found ", f"{act.found}{still}: {clean(act.found_why, 600)}"))
    return rows
