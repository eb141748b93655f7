"""Late values that are other ones than those signed: shown, and let pass by a person, before a write is sent with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envtui.core.act import Act
from envtui.core.errors import NeedsWrite, Refused
from envtui.core.events import LateAccepted
from envtui.rules import late
from envtui.rules.proposals import LateValue, ReadyWrite

if TYPE_CHECKING:
    from .runner import RunTask

Asked = tuple[Act, tuple[LateValue, ...]]
"""An act of the plan, and its values of which a person must say first that they may be sent."""


def asks(task: RunTask, step_id: str) -> tuple[Asked, ...]:
    """The acts of a write step that are asked about: `accept` them before the step is written."""
    return late.asks(task.run, next(step for step in task.plan.steps if step.id == step_id))


async def accept(task: RunTask, shown: Sequence[Asked], by: str = "") -> None:
    """A person has seen these values, as they are in `shown`, and lets them be sent: in the ledger before anything is.

    Raises NeedsWrite without write access: what is let pass is so under that alone.
    """
    async with task.lock:
        grant = task.run.grant
        if grant is None or grant.ended:
            raise NeedsWrite("There is no write access under which these values could be sent.", "Ask for it.")
        for act, values in shown:
            await task.append(
                LateAccepted(
                    run=task.run.id,
                    step=act.step,
                    act=act.id,
                    grant=grant.id,
                    values={each.name: each.value for each in values},
                    by=by or task.run.operator,
                )
            )


def refuse_held(proposed: ReadyWrite) -> None:
    """Raises Refused when the act is not sent as things are, or a person has to say first that it may be."""
    if proposed.held:
        raise Refused(f"Step {proposed.step} is not sent: {proposed.held}")
    if proposed.asks:
        raise Refused("\n".join(map(_other, proposed.asks)), "Look at both, and say that the new one may be sent.")


def _other(value: LateValue) -> str:
    was = f"and {value.signed!r} was signed" if value.signed is not None else "and none was known when it was signed"
    return f"{value.name} is {value.value!r} on {value.member}, {was}."
