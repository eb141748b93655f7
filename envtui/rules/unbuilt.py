"""Fields that the format has and this version does not run: named, so that nothing is silently ignored.

`plan` refuses a book that uses one. When a field is built, its line goes away.
"""

from __future__ import annotations

from collections.abc import Iterator

from envtui.core.environment import Environment
from envtui.core.errors import UsageError
from envtui.core.runbook import HttpStep, ManualStep, Runbook, Step, WaitStep


def unbuilt(book: Runbook) -> tuple[str, ...]:
    """One sentence for each use, in the book's order: where, and which field."""
    return tuple(
        f"{where}: `{name}` is part of the format but this version does not run it yet." for where, name in _uses(book)
    )


def refuse_unbuilt(book: Runbook) -> None:
    """Raises UsageError with every use at once."""
    uses = unbuilt(book)
    if uses:
        raise UsageError("\n".join(uses), "Leave these out, or use a version that has them.")


def unbuilt_policy(environment: Environment) -> tuple[str, ...]:
    """Rules of a manifest that a write would have to pass and that this version does not hold, by name."""
    access = environment.access
    used = {
        "windows": bool(environment.windows),
        "access.write_gate": access.write_gate not in (None, "advisory"),
    }
    return tuple(name for name, uses in used.items() if uses)


def refuse_unheld_policy(environment: Environment) -> None:
    """Raises UsageError when a write here would pass by a rule that nobody looks at."""
    unheld = unbuilt_policy(environment)
    if unheld:
        raise UsageError(
            f"{environment.name}: `{'`, `'.join(unheld)}` would have to hold for a write, and this version does not hold it yet.",
            "Read steps run; for writes, use a version that has it, or take the rule out with its owners.",
        )


def _uses(book: Runbook) -> Iterator[tuple[str, str]]:
    for name, used in (("subject", book.subject), ("gates", book.gates), ("after", book.after)):
        if used:
            yield "book", name
    for name, param in book.params.items():
        if param.generate:
            yield f"param {name}", "generate"
    for step in (*book.before, *book.steps):
        for field in _of_step(step):
            yield f"step {step.id}", field


def _of_step(step: Step) -> Iterator[str]:
    used = {
        "each": step.each is not None,
        "retry": step.retry > 0,
        "fanout": step.fanout is not None,
        "see": isinstance(step, ManualStep) and step.see is not None,
        "check": isinstance(step, HttpStep) and step.check is not None,
        "probe.check": step.probe is not None and step.probe.check is not None,
        "undo.check": step.undo is not None and step.undo.check is not None,
        "until.check": isinstance(step, WaitStep) and step.until is not None and step.until.check is not None,
    }
    yield from (name for name, uses in used.items() if uses)
    for name, spec in step.capture.items():
        if spec.to is not None:
            yield f"capture.{name}.to"
