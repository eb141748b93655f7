"""Required reads: what a write waits for, and which of them a signed request leaves out. Pure.

A book may be left by a jump, a failure or a person; a write behind a required read waits for that read all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envtui.core.access import Refusal, Waiver
from envtui.core.act import Plan, PlannedStep
from envtui.core.errors import UsageError
from envtui.core.runbook import Gate, Runbook, Step
from envtui.core.text import clean_line

from .condition import holds
from .plan import known
from .state import Run, StepState, index

GATES = tuple(Gate.__struct_fields__)


def is_required(step: PlannedStep) -> bool:
    """A read that a write waits for."""
    return step.required and step.mode == "read"


def waived(run: Run, step_id: str) -> bool:
    """Whether the write access that there is now leaves this read out."""
    return run.grant is not None and not run.grant.ended and step_id in run.grant.waived


def unmet(run: Run, plan: Plan, book: Runbook, step_id: str) -> tuple[str, ...]:
    """Ids of the required reads before a write that were not OK in this run, and that nobody signed away."""
    at = index(run, step_id)
    before = {state.id: state for state in run.steps[: at if at is not None else len(run.steps)]}
    steps = {step.id: step for step in (*book.before, *book.steps)}
    return tuple(
        planned.id
        for planned in plan.steps
        if is_required(planned)
        and (state := before.get(planned.id)) is not None
        and not waived(run, planned.id)
        and not _met(run, plan, steps[planned.id], state)
    )


def why_held(run: Run, plan: Plan, book: Runbook, step_id: str) -> str:
    """Why a write may not be sent yet, whoever signed it; '' when every required read before it was OK or is waived."""
    lacking = unmet(run, plan, book, step_id)
    if not lacking:
        return ""
    words = {state.id: state.word or "not done" for state in run.steps}
    said = ", ".join(f"{each} ({words[each]})" for each in lacking)
    return (
        f"it waits for what is required before it: {said}. Do that, or ask for write access with a waiver: "
        f"envtui request {plan.environment} --resume {run.id} --waive {lacking[0]}=REASON"
    )


def of_waivers(waivers: Sequence[Waiver], plan: Plan) -> tuple[Refusal, ...]:
    """What is wrong with the waivers of a request: each names one required read of the plan, once, for a reason."""
    return tuple(_wrong(waivers, plan))


def _wrong(waivers: Sequence[Waiver], plan: Plan) -> Iterator[Refusal]:
    from .conditions import of_reason

    steps = {step.id: step for step in plan.steps}
    able = [step.id for step in plan.steps if is_required(step)]
    way_out = (
        f"Required here: {', '.join(able)}." if able else "No read of this plan is required: leave the waiver out."
    )
    seen: set[str] = set()
    for waiver in waivers:
        name = waiver.step
        said = ""
        if name.partition(":")[0].partition(".")[0] in ("gate", "gates", *GATES) and name not in steps:
            said = f"{clean_line(name, 80)!r} is a gate; this version has no gates, and waives none."
        elif name == "identity" and name not in steps:
            said = "The identity of a target is checked on every connection, and nobody waives that."
        elif name not in steps:
            said = f"The plan has no step {clean_line(name, 80)!r} that could be waived."
        elif not is_required(steps[name]):
            said = f"Step {name} is no required read: it can be skipped as it is."
            if steps[name].mode == "write":
                said = f"Step {name} writes: what is not to be written is skipped, not waived."
        elif name in seen:
            said = f"Step {name} is waived twice."
        if said:
            yield Refusal(code="waiver", sentence=said, way_out=way_out)
        else:
            yield from of_reason(waiver.reason)
        seen.add(name)


def _met(run: Run, plan: Plan, step: Step, state: StepState) -> bool:
    if state.word == "SKIPPED" and step.if_:  # by its own condition; one that a person left out is asked for again
        try:
            return not holds(step.if_, {**known(plan), **run.values()})
        except UsageError:
            return False
    # Looking again that was stopped ends well for the step; what it saw last may not be what was required.
    one_is_enough = bool(getattr(getattr(step, "expect", None), "any_host", False))
    enough = one_is_enough or (step.poll is not None and step.poll.until == "person")
    return state.word == "OK" and (enough or all(act.word in (None, "OK") for act in state.acts))
