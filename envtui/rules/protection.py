"""Levels of read protection, and whether a target's is enough. What each means: docs/protection.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envtui.core.act import Plan
from envtui.core.environment import Environment, HttpTarget, SqlTarget

LEVELS: dict[str, tuple[str, ...]] = {
    "ssh": ("advisory", "account-enforced", "kernel-enforced", "gate-enforced"),
    "sql": ("refused", "session-enforced", "role-enforced"),
    "http": ("method-enforced",),
}
"""The levels of each kind, the weakest first."""


def minimum(environment: Environment, target: str) -> tuple[str, str]:
    """(kind, the least level that the environment asks of this target)."""
    described = environment.targets[target]
    kind = "sql" if isinstance(described, SqlTarget) else "http" if isinstance(described, HttpTarget) else "ssh"
    return kind, described.min_protection or getattr(environment.protection, kind)


def weakest(kind: str, levels: Iterable[str]) -> str:
    """The one of these that promises least; one that nobody knows promises nothing."""
    order = LEVELS[kind]

    def place(level: str) -> int:
        name = level.split(",")[0].strip()
        return order.index(name) if name in order else -1

    return min(levels, key=place)


def enough(environment: Environment, target: str, level: str) -> bool:
    """Whether `level`, as probed, meets the minimum. A level that nobody knows is never enough."""
    kind, least = minimum(environment, target)
    order = LEVELS[kind]
    probed = level.split(",")[0].strip()  # "kernel-enforced, with network"
    return probed in order and least in order and order.index(probed) >= order.index(least)


def of_plan(plan: Plan, environment: Environment, probed: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """What protects the reads of a plan, a clause for each target: the level that was probed there (the weakest of its
    members), or the least that will be accepted; and which steps open more by their needs."""
    found: dict[str, dict[str, list[str]]] = {}
    for step in plan.steps:
        for act in (*step.acts, *step.probe):
            if act.mode == "read":
                more = found.setdefault(act.place.target, {}).setdefault(", ".join(act.needs), [])
                if step.id not in more:
                    more.append(step.id)
    clauses = []
    for target, needs in found.items():
        kind, least = minimum(environment, target)
        known = tuple(probed.get(target, ()))
        level = weakest(kind, known) if known else f"at least {least}"
        opened = (f"{' and '.join(steps)} with {what}" for what, steps in needs.items() if what)
        clauses.append(", ".join((f"{target} {level}", *opened)))
    return tuple(clauses)
