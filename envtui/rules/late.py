"""Late values: what a read found out, put into a write that was signed with its places open. Pure.

What is signed is the slot: the place's type, pattern and length, and the value as far as it was known then. What runs is the
act with nothing but those places filled, each value as data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from envtui.core.act import Act, Plan, PlannedStep, Slot
from envtui.core.errors import Refused, UsageError
from envtui.core.runbook import Param, ValueType

from .act_events import covers
from .bind import with_values
from .proposals import LateValue
from .state import ActState, Run, StepState
from .values import typed

PREFIX = "vars."


def slots_of(plan: Plan) -> dict[str, tuple[Slot, ...]]:
    """Digest of each write and undo act with open places -> what may fill them, as the plan that is signed has it."""
    return {
        act.digest(): step.late
        for step in plan.steps
        for act in (*(step.acts if step.mode == "write" else ()), *step.undo)
        if not act.complete
    }


def used(act: Act, slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """The slots that fill a place of this act."""
    places = act.places()
    return tuple(slot for slot in slots if PREFIX + slot.name in places)


def taken(act: Act, slots: Sequence[Slot], names: Mapping[str, str]) -> dict[str, str]:
    """Slot -> value for those that the act uses and that have one. `names`: `vars.NAME` -> text, a member's own."""
    return {slot.name: names[PREFIX + slot.name] for slot in used(act, slots) if PREFIX + slot.name in names}


def filled(act: Act, slots: Sequence[Slot], values: Mapping[str, str]) -> Act:
    """`act` with its open places filled from `values` (slot -> text), and nothing else changed; as it is when it has none.

    Raises Refused: a place without a slot, a value that is not there or is not what its slot says, or one that would become
    syntax where it stands.
    """
    by_name = {PREFIX + slot.name: slot for slot in slots}
    given: dict[str, str] = {}
    for place in act.places():
        slot = by_name.get(place)
        if slot is None:
            raise Refused(
                f"{act.id}: ${{{place}}} is not known, and it is in no slot that is signed.",
                "Name the incident when you ask, or declare the value under `late`.",
            )
        if slot.name not in values:
            raise Refused(
                f"{act.id} needs ${{{place}}}, and no step has captured it.", "Do the step that captures it first."
            )
        if why := unfit(slot, values[slot.name]):
            raise Refused(f"{act.id} cannot be sent with what was captured: {why}.", "Look at what was read.")
        given[place] = values[slot.name]
    try:
        return with_values(act, given)
    except UsageError as error:
        raise Refused(f"{act.id} cannot be sent with what was captured: {error.message}", error.remedy) from error


def unfit(slot: Slot, value: str) -> str:
    """Why a value is not what its slot says, '' when it is: its length, its type, its pattern, characters nobody sees."""
    if len(value) > slot.max_length:
        return f"{slot.name} is longer than the {slot.max_length} characters that were declared"
    param = Param(type=cast("ValueType", slot.type), pattern=slot.pattern)
    try:
        typed(slot.name, param, value)
    except UsageError as error:
        return error.message.rstrip(".")
    return ""


def signed(known: Mapping[str, str], name: str, member: str) -> str | None:
    """The value that a request or a grant has for a slot; None when it was not known. A member's own goes before."""
    return known.get(f"{name}@{member}", known.get(name))


def known(run: Run, plan: Plan) -> dict[str, str]:
    """`Request.late`: what the run has captured by now for the slots of its plan, each value that fits.

    The key is the slot's name, or NAME@MEMBER where members have values of their own.
    """
    found: dict[str, str] = {}
    for act, slots in open_writes(plan):
        member = act.place.member
        for name, value in taken(act, slots, run.values(member)).items():
            own = any(c.name == name.partition(".")[0] and c.member == member for c in run.captures)
            if not any(unfit(slot, value) for slot in slots if slot.name == name):
                found[f"{name}@{member}" if own else name] = value
    return found


def open_writes(plan: Plan) -> Iterator[tuple[Act, tuple[Slot, ...]]]:
    """The plan's writes with open places, each with its step's slots."""
    yield from (
        (act, step.late) for step in plan.steps if step.mode == "write" for act in step.acts if not act.complete
    )


# --- in a run ---------------------------------------------------------------------------------------------------------


def about_to(run: Run, act: Act, slots: Sequence[Slot]) -> tuple[LateValue, ...]:
    """The values that the act would be sent with now, each against what was signed."""
    member, grant = act.place.member, run.grant
    found = []
    for name, value in taken(act, slots, run.values(member)).items():
        was = signed(grant.late, name, member) if grant is not None else None
        asks = grant is not None and value != was and (act.id, name, value) not in grant.accepted
        base = name.partition(".")[0]
        by = next((c.step for c in run.captures if c.name == base and c.member in ("", member)), base)
        found.append(LateValue(name=name, value=value, member=member, signed=was, asks=asks, step=by))
    return tuple(found)


def asks(run: Run, step: PlannedStep) -> tuple[tuple[Act, tuple[LateValue, ...]], ...]:
    """The acts of a write step that were not sent yet, with their values that a person must let pass first."""
    state = run.step(step.id)
    pending = {each.id for each in state.acts if not each.intended} if state is not None else set()
    found = ((act, about_to(run, act, step.late)) for act in step.acts if act.id in pending)
    every = ((act, tuple(value for value in values if value.asks)) for act, values in found)
    return tuple((act, values) for act, values in every if values)


def held(act: Act, step: PlannedStep, state: ActState, values: Sequence[LateValue], granted: bool) -> str:
    """Why the act cannot be sent as things are, whatever a person says; '' when it can.

    A fixed value that is another one than the signed needs a new sign-off. So that an undo takes back all that was done, an
    act that may have left something is not sent anew with other values.
    """
    by_name = {each.name: each.value for each in values}
    try:
        filled(act, step.late, by_name)
    except Refused as error:
        return f"{error.message} {error.remedy}".strip()
    fixed = {slot.name for slot in step.late if slot.fixed}
    for each in values:
        if granted and each.name in fixed and each.value != each.signed:
            was = f"signed was {each.signed!r}" if each.signed is not None else "none was signed"
            return f"{act.id}: {each.name} is fixed: {was}, and it is {each.value!r} now. Ask again, for this value."
    if state.counted and any(not undo.complete for undo in step.undo) and dict(state.late) != by_name:
        before = ", ".join(f"{name}={value}" for name, value in state.late)
        return f"{act.id} was sent with {before}, and its undo takes back only the last. Undo that first."
    return ""


def sent_with(step: StepState, act: Act) -> dict[str, str]:
    """The values that an act of the step was sent with; of an undo act, those of what it takes back.

    Raises Refused when it takes back acts that were sent with different ones.
    """
    own = next((state for state in (*step.acts, *step.undo) if state.id == act.id), None)
    if own is None:
        return {}
    if own in step.acts:
        return dict(own.late)
    ways = {state.late for state in covers(step, own) if state.touched} or {own.late}
    if len(ways) > 1:
        raise Refused(
            f"{act.id} takes back what was done with different values at once.",
            "Take it back by hand, member by member.",
        )
    return dict(next(iter(ways)))


def as_sent(run: Run, plan: Plan, act: Act) -> Act:
    """A write or undo act with the values that it has or would have now, to be shown; as planned where that cannot be."""
    step_id = act.step.partition(".")[0]
    planned = next((step for step in plan.steps if step.id == step_id), None)
    state = run.step(step_id)
    if act.complete or planned is None or state is None:
        return act
    own = next((one for one in state.acts if one.id == act.id), None)
    try:
        pending = own is not None and not own.intended
        now = taken(act, planned.late, run.values(act.place.member))
        values = now if pending else sent_with(state, act) or now
        return filled(act, planned.late, values)
    except Refused:
        return act
