"""One book: its parameters, and each step with what stands around it."""

from __future__ import annotations

from collections.abc import Iterable

from envtui.core.errors import Problem
from envtui.core.runbook import Gate, Runbook, Step
from envtui.core.shape import seconds
from envtui.core.tree import Book, Path, Tree
from envtui.rules.lint.flow import lint_flow
from envtui.rules.lint.names import lint_names
from envtui.rules.lint.report import Report
from envtui.rules.lint.step import lint_step
from envtui.rules.values import check_param


def lint_book(tree: Tree, book: Book, unscripted: bool = False) -> Iterable[Problem]:
    """The problems of one book. `unscripted`: one step of an incident, which a person may look after instead of a probe."""
    runbook = book.runbook
    report = Report(tree.file(book.path), book.positions)
    if runbook.environment != tree.name:
        report.error(("environment",), f"this book is for {runbook.environment}, and its tree is {tree.name}'s.")
    for name, param in runbook.params.items():
        if wrong := check_param(name, param):
            report.error(("params", name), wrong)
    if runbook.defaults.target is not None:
        report.known(("defaults", "target"), "target", runbook.defaults.target, tree.environment.targets)
    _gates(runbook, tree, report)
    for path, step in steps_of(runbook):
        lint_step(tree, runbook, step, path, report, unscripted)
    _durations(runbook, report)
    lint_flow(runbook, report)
    lint_names(tree, runbook, report)
    return report.problems


def steps_of(runbook: Runbook) -> list[tuple[Path, Step]]:
    """Every step with its path, those of `before` first."""
    return [
        *((("before", index), step) for index, step in enumerate(runbook.before)),
        *((("steps", index), step) for index, step in enumerate(runbook.steps)),
    ]


def _gates(runbook: Runbook, tree: Tree, report: Report) -> None:
    for index, gate in enumerate(runbook.gates):
        said = [name for name in Gate.__struct_fields__ if getattr(gate, name) is not None]
        if len(said) != 1:
            names = ", ".join(Gate.__struct_fields__)
            report.error(("gates", index), "a gate is exactly one key.", f"One of {names}.")
    for index, after in enumerate(runbook.after):
        for number, check in enumerate(after.watch.checks):
            path: Path = ("after", index, "watch", "checks", number)
            report.known(path, "check", check, tree.environment.monitoring)
    if runbook.subject is not None:
        subject = runbook.subject
        if (subject.artifact is None) == (subject.digest is None):
            report.error(("subject",), "a subject has an artifact or a digest.")
        elif subject.artifact is not None and subject.artifact not in tree.entries:
            remedy = "Paths begin at the tree: artifacts/…"
            report.error(("subject", "artifact"), f"there is no file {subject.artifact} in this tree.", remedy)


def _durations(runbook: Runbook, report: Report) -> None:
    """What would wait for nothing."""
    for path, step in steps_of(runbook):
        if step.timeout is not None and not seconds(step.timeout):
            report.error((*path, "timeout"), "a timeout of nothing.", "Leave it out for 60s.")
        if step.poll is not None and seconds(step.poll.for_) < seconds(step.poll.every):
            report.error((*path, "poll"), "it ends before the second look.", "Make for longer than every.")
