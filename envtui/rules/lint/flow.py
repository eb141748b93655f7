"""The way through a book: jumps that lead somewhere, writes that are reached once, steps that are reached at all."""

from __future__ import annotations

from envtui.core.runbook import ChooseStep, Runbook, Step
from envtui.core.tree import Path
from envtui.rules.lint.report import Report

END = "end"
RESERVED = (END, "resume")
"""What `next`, options and answers say besides the ids of steps."""


def lint_flow(runbook: Runbook, report: Report) -> None:
    """Unique ids; `next`, `goto:` and options that name a step or `end`; no write on a circle without `attempts`."""
    seen: dict[str, Path] = {}
    for section, steps in (("before", runbook.before), ("steps", runbook.steps)):
        for index, step in enumerate(steps):
            path: Path = (section, index)
            if step.id in RESERVED:
                report.error((*path, "id"), f"{step.id!r} has a meaning of its own.", "Name the step otherwise.")
            if step.id in seen:
                report.error((*path, "id"), f"the id {step.id!r} is taken.", "Every step has its own.")
            seen.setdefault(step.id, path)
    for index, step in enumerate(runbook.before):
        for where, target in _jumps(step):
            report.error(("before", index, *where), f"a jump to {target!r}.", "What runs before has no branches.")
    places = {step.id: index for index, step in enumerate(runbook.steps)}
    edges: list[set[int]] = []
    for index, step in enumerate(runbook.steps):
        to: set[int] = set()
        for where, target in _jumps(step):
            if target in places:
                to.add(places[target])
            elif target != END:
                remedy = f"Known: {', '.join(places)}, {END}."
                report.error(("steps", index, *where), f"there is no step {target!r}.", remedy)
        goes_on = step.if_ is not None or (step.next is None and not isinstance(step, ChooseStep))  # skipped: the next
        if goes_on and index + 1 < len(runbook.steps):
            to.add(index + 1)
        edges.append(to)
    if len(places) != len(runbook.steps):
        return  # with double ids nobody knows where a jump leads
    _circles(runbook, edges, report)
    _required(runbook, edges, report)
    _undoes(runbook, report)
    reached = _reach({0}, edges)
    for index, step in enumerate(runbook.steps):
        if index not in reached:
            report.warning(("steps", index), f"no way leads to {step.id}.", "Name it in an option, next or goto.")


def _jumps(step: Step) -> list[tuple[Path, str]]:
    """(path below the step, step id) of each place that it names."""
    jumps: list[tuple[Path, str]] = []
    if step.next is not None:
        jumps.append((("next",), step.next))
    if step.on_failure.startswith("goto:"):
        jumps.append((("on_failure",), step.on_failure.removeprefix("goto:")))
    if isinstance(step, ChooseStep):
        jumps += [(("options", label), target) for label, target in step.options.items()]
    return jumps


def _circles(runbook: Runbook, edges: list[set[int]], report: Report) -> None:
    if not any(target <= index for index, targets in enumerate(edges) for target in targets):
        return
    for index, step in enumerate(runbook.steps):
        if step.mode == "write" and step.attempts == 1 and index in _reach(edges[index], edges):
            remedy = "Set attempts, or let the jump back lead past it."
            report.error(("steps", index), f"the write {step.id} can be reached twice.", remedy)


def _required(runbook: Runbook, edges: list[set[int]], report: Report) -> None:
    """A way that leads past a required read to a write behind it ends there: the write waits for the read."""
    for at, read in enumerate(runbook.steps):
        if not read.required or read.mode != "read" or read.if_ is not None:
            continue
        around = [set() if index == at else to - {at} for index, to in enumerate(edges)]
        reached = _reach({0}, around) if at else set()
        past = [
            runbook.steps[index].id for index in sorted(reached) if index > at and runbook.steps[index].mode == "write"
        ]
        if past:
            report.warning(
                ("steps", at, "required"),
                f"a way leads past {read.id} to the write {past[0]}, which waits for it there.",
                "Let every way to the write lead over it, or take it out of required.",
            )


def _undoes(runbook: Runbook, report: Report) -> None:
    """`on_failure: undo` needs something before it, or itself, that can be taken back."""
    can = False
    for index, step in enumerate((*runbook.before, *runbook.steps)):
        preset = step.probe is not None and step.probe.preset is not None
        can = can or (step.mode == "write" and (step.undo is not None or preset))
        if step.on_failure == "undo" and not can:
            before = len(runbook.before)
            path: Path = ("before", index) if index < before else ("steps", index - before)
            report.error((*path, "on_failure"), "there is nothing to undo yet.", "Use stop, or undo after a write.")


def _reach(start: set[int], edges: list[set[int]]) -> set[int]:
    reached: set[int] = set()
    todo = [*start]
    while todo:
        index = todo.pop()
        if index not in reached:
            reached.add(index)
            todo += edges[index]
    return reached
