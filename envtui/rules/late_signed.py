"""Late values against what was signed: what a request must say of its slots, and what a permit is refused for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envtui.core.access import Grant, Refusal, Request
from envtui.core.act import Act, Plan
from envtui.core.errors import Refused

from .late import PREFIX, filled, open_writes, signed, unfit, used
from .past import Past

READ_FIRST = "Run the read that captures it first, then ask."


def of_late(request: Request, plan: Plan) -> tuple[Refusal, ...]:
    """What is wrong with the values that a request knows: one that its slot refuses, one of no slot, a fixed slot without
    one. Nobody signs a fixed value that nobody has seen."""
    return tuple(dict.fromkeys(_wrong(request.late, plan)))


def _wrong(known: Mapping[str, str], plan: Plan) -> Iterator[Refusal]:
    named: set[str] = set()
    for act, slots in open_writes(plan):
        for slot in used(act, slots):
            named |= {slot.name, f"{slot.name}@{act.place.member}"}
            value = signed(known, slot.name, act.place.member)
            if value is not None and (why := unfit(slot, value)):
                yield Refusal(
                    code="late", sentence=f"{act.id}: {why}.", way_out="Look at what was read, and ask again."
                )
            if value is None and slot.fixed:
                said = f"{act.id} uses ${{{PREFIX}{slot.name}}}, which is fixed by the sign-off, and no value is known yet."
                yield Refusal(code="late", sentence=said, way_out=READ_FIRST)
    for name in known:
        if name not in named:
            yield Refusal(
                code="late",
                sentence=f"The request has a value for {name[:80]!r}, and no write of the plan has such a slot.",
                way_out="Ask again for the plan as it is now.",
            )


def why_not(grant: Grant, act: Act, values: Mapping[str, str], past: Past) -> Refusal | None:
    """Why a signed act may not be sent with these values; None when it may: they fit its slots, and are those that were
    signed or that a person let pass, except where no others may be."""
    if act.complete:
        return None
    slots = grant.slots.get(act.digest(), ())
    if refusal := _unfilled(act, grant, values):
        return refusal
    for slot in used(act, slots):
        value = values[slot.name]
        was = signed(grant.request.late, slot.name, act.place.member)
        if value == was:
            continue
        said = f"{act.id}: {slot.name} is {value!r}, and {f'{was!r}' if was is not None else 'no value'} was signed"
        if slot.fixed:
            return Refusal(code="fixed", sentence=f"{said}: it is fixed.", way_out="Ask again, for this value.")
        if (grant.id, act.id, slot.name, value) not in past.accepted:
            return Refusal(code="late", sentence=f"{said}.", way_out="Look at both, and accept the new one.")
    return None


def why_not_undo(
    grant: Grant, act: Act, values: Mapping[str, str], takes_back: frozenset[str], past: Past
) -> Refusal | None:
    """Why a signed undo act may not be sent with these values; None when it may: what it takes back was sent with them."""
    if act.complete:
        return None
    if refusal := _unfilled(act, grant, values):
        return refusal
    mine = {slot.name: values[slot.name] for slot in used(act, grant.slots.get(act.digest(), ()))}
    done = (each for id_ in sorted(takes_back) for each in past.late.get(id_, ()))
    if any(mine.items() <= each.items() for each in done):
        return None
    said = ", ".join(f"{name}={value}" for name, value in mine.items())
    return Refusal(
        code="late",
        sentence=f"{act.id} would take back {said}, and nothing was done with that.",
        way_out="Look at what the run did: envtui ledger show.",
    )


def _unfilled(act: Act, grant: Grant, values: Mapping[str, str]) -> Refusal | None:
    try:
        filled(act, grant.slots.get(act.digest(), ()), values)
    except Refused as error:
        return Refusal(code="late", sentence=error.message, way_out=error.remedy)
    return None
