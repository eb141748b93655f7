"""A plan as the ledger keeps it: enough to show a run and to recognise its acts without the tree."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from envtui.core.act import Act, Plan


class WrittenAct(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger keeps of a planned act: enough to show it and to recognise it."""

    id: str
    target: str
    member: str
    shows: str
    digest: str


class WrittenStep(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    mode: str
    title: str
    before: bool = False
    acts: tuple[WrittenAct, ...] = ()
    undo: tuple[WrittenAct, ...] = ()
    probe: tuple[WrittenAct, ...] = ()
    by_hand: bool = False


class WrittenPlan(msgspec.Struct, frozen=True, kw_only=True):
    steps: tuple[WrittenStep, ...] = ()


def written(plan: Plan, shows: dict[str, str]) -> str:
    """The plan as `RunStarted.plan` keeps it. `shows`: act id -> masked command."""

    def kept(acts: Iterable[Act]) -> tuple[WrittenAct, ...]:
        return tuple(
            WrittenAct(
                id=act.id,
                target=act.place.target,
                member=act.place.member,
                shows=shows.get(act.id, ""),
                digest=act.digest(),
            )
            for act in acts
        )

    steps = tuple(
        WrittenStep(
            id=step.id,
            kind=step.kind,
            mode=step.mode,
            title=step.title,
            before=step.before,
            acts=kept(step.acts),
            undo=kept(step.undo),
            probe=kept(step.probe),
            by_hand=bool(step.by_hand),
        )
        for step in plan.steps
    )
    return msgspec.json.encode(WrittenPlan(steps=steps)).decode()


def read(plan: str) -> tuple[WrittenStep, ...]:
    """The steps of a written plan; none for ''."""
    return msgspec.json.decode(plan, type=WrittenPlan).steps if plan else ()
