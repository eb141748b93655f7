"""Grants and permits: what was signed becomes write access, and write access is spent act by act.

`activate` issues a Grant (and `reinstating.reinstate` what is left of one), `spend` and `spend_undo` a Permit; nothing else
does, and they only when no rule of `conditions`, no clock and nothing in the ledger objects. Pure: time is handed in.

ACTIVE, as long as its clocks say and the ledger has no end of it: the plan's acts, and the undo of what the run did.
UNDO_ONLY, for `undo_for` after that: the undo of what was done under this very grant. CLOSED: nothing, for good; a revoke and
a clock that was set back lead there at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeVar

import msgspec

from envtui.core import canonical
from envtui.core.access import (
    Grant,
    Incident,
    Permit,
    Refusal,
    Request,
    SignOff,
    Terms,
    VerifiedRequest,
    VerifiedSignOff,
)
from envtui.core.act import Act, Place, Plan
from envtui.core.errors import Refused
from envtui.core.shape import span

from . import late, late_signed
from .conditions import Refusals, examine, of_signoff, refuse
from .past import CLOSING, Past

JUMP_MS = 2_000
"""A wall clock that fell behind the boot clock by more than this since activation was set back: above what NTP slews."""

OVER = "The write access is over."
SET_BACK = "The wall clock was set back, which ended the write access."
UNDO_OVER = "The time in which it could be taken back is over."

NO_VALUES: Mapping[str, str] = MappingProxyType({})
_T = TypeVar("_T")
GrantState = Literal["ACTIVE", "EXPIRED", "CLOCK_JUMP"]
Phase = Literal["ACTIVE", "UNDO_ONLY", "CLOSED"]


def request_bytes(request: Request) -> bytes:
    """What the requester signs."""
    return canonical.canonical(msgspec.to_builtins(request))


def signoff_bytes(signoff: SignOff) -> bytes:
    """What the approver signs."""
    return canonical.canonical(msgspec.to_builtins(signoff))


def parse_request(data: bytes) -> Request:
    """The request of canonical bytes. Raises Refused for anything that would not be written in exactly these bytes."""
    request = _convert(data, Request)
    if request_bytes(request) != data:
        raise Refused("The request has fields that this version does not know.", "Use the same version on both sides.")
    return request


def parse_signoff(data: bytes) -> SignOff:
    """The sign-off of canonical bytes. Raises Refused like `parse_request`."""
    signoff = _convert(data, SignOff)
    if signoff_bytes(signoff) != data:
        raise Refused("The sign-off has fields that this version does not know.", "Use the same version on both sides.")
    return signoff


def sha256(data: bytes) -> str:
    """Digest of canonical bytes, as a sign-off names its request."""
    return hashlib.sha256(data).hexdigest()


def targets_of(plan: Plan) -> dict[str, str]:
    """target/member -> account and address, for each write of a plan: what a reader of the request checks by eye."""
    return {f"{act.place.target}/{act.place.member}": account(act.place) for act in plan.writes}


def account(place: Place) -> str:
    """Where an act happens and who does it there: `ssh ops@10.0.0.1:22 as root`."""
    user = f"{place.user}@" if place.user else ""
    database = f"/{place.dbname}" if place.dbname else ""
    becomes = f" as {place.as_}" if place.as_ else ""
    return f"{place.kind} {user}{place.address}{database}{becomes}"


# --- grants and permits -----------------------------------------------------------------------------------------------


def activate(
    asked: VerifiedRequest,
    given: Sequence[VerifiedSignOff],
    *,
    terms: Terms,
    plan: Plan,
    incident: Incident,
    now_ms: int,
    boot_ms: int,
    used: frozenset[str],
    debts: Sequence[str] = (),
) -> Grant:
    """The grant. Its id is the request's; it lasts as long as the shortest of what was asked for and signed.

    Raises Refused with everything that `examine` finds.
    """
    refuse(examine(asked, given, terms=terms, plan=plan, incident=incident, now_ms=now_ms, used=used, debts=debts))
    people, ttl_ms = signed_for(asked, given, terms, now_ms)
    return Grant._issue(
        id=asked.request.id,
        request=asked.request,
        run=asked.request.run,
        plan_digest=asked.request.plan_digest,
        acts=frozenset(act.digest() for act in plan.writes),
        undos=taken_back(plan),
        slots=late.slots_of(plan),
        incident=incident,
        signed_by=people,
        activated_ms=now_ms,
        activated_boot_ms=boot_ms,
        until_ms=now_ms + ttl_ms,
        undo_until_ms=now_ms + ttl_ms + asked.request.undo_for_ms,
        undo_only=False,
    )


def signed_for(
    asked: VerifiedRequest, given: Sequence[VerifiedSignOff], terms: Terms, now_ms: int
) -> tuple[tuple[str, ...], int]:
    """The people whose signatures count (the requester alone where nobody else is asked), and for how long they are good."""
    counting = [one.signoff for one in given if not of_signoff(asked, one, terms, now_ms)]
    people = sorted({signoff.approver.person for signoff in counting}) or [asked.request.requester.person]
    return tuple(people), min([asked.request.ttl_ms, *(signoff.ttl_ms for signoff in counting)])


def taken_back(plan: Plan) -> Mapping[str, frozenset[str]]:
    """Digest of each undo act -> ids of the acts that it takes back: the one on its member, or all where it is elsewhere."""
    found: dict[str, frozenset[str]] = {}
    for step in plan.steps:
        for undo in step.undo:
            same = frozenset(act.id for act in step.acts if act.place.member == undo.place.member)
            found[undo.digest()] = same or frozenset(act.id for act in step.acts)
    return MappingProxyType(found)


def state(grant: Grant, wall_ms: int, boot_ms: int) -> GrantState:
    """What the clocks say. The boot clock counts suspend and never goes back; the wall clock may be set."""
    if (wall_ms - grant.activated_ms) < (boot_ms - grant.activated_boot_ms) - JUMP_MS:
        return "CLOCK_JUMP"
    return "ACTIVE" if left_ms(grant, wall_ms, boot_ms) > 0 else "EXPIRED"


def left_ms(grant: Grant, wall_ms: int, boot_ms: int) -> int:
    """Milliseconds until the earlier of the two clocks ends the grant; 0 when one has."""
    ttl_ms = grant.until_ms - grant.activated_ms
    return max(0, min(grant.until_ms - wall_ms, grant.activated_boot_ms + ttl_ms - boot_ms))


def undo_left_ms(grant: Grant, wall_ms: int, boot_ms: int) -> int:
    """As `left_ms`, until nothing is undone under it any more."""
    whole_ms = grant.undo_until_ms - grant.activated_ms
    return max(0, min(grant.undo_until_ms - wall_ms, grant.activated_boot_ms + whole_ms - boot_ms))


def phase(grant: Grant, past: Past, wall_ms: int, boot_ms: int) -> Phase:
    """What may still be permitted under it. The time of the ledger's last entry counts too: it was that late already."""
    clocks, ended = state(grant, wall_ms, boot_ms), past.end(grant.id)
    if (
        ended in CLOSING
        or clocks == "CLOCK_JUMP"
        or undo_left_ms(grant, max(wall_ms, past.latest_ms), boot_ms) == 0
        or wall_ms + JUMP_MS < past.latest_ms
    ):
        return "CLOSED"
    return "UNDO_ONLY" if grant.undo_only or ended or clocks == "EXPIRED" else "ACTIVE"


def why_not(
    grant: Grant, act: Act, attempt: int, past: Past, wall_ms: int, boot_ms: int, values: Mapping[str, str] = NO_VALUES
) -> Refusal | None:
    """Why this act, as it was signed, may not start under this grant now; None when it may. `values` (slot -> value) are
    what would be sent in its open places."""
    found = Refusals()
    now, ended = state(grant, wall_ms, boot_ms), past.end(grant.id)
    found.unless(now != "CLOCK_JUMP", "clock", SET_BACK, "Ask again.")
    found.unless(now != "EXPIRED", "expired", OVER, "Ask again.")
    found.unless(not ended, "ended", f"The write access ended: {ended}.", "Ask again.")
    found.unless(
        not grant.undo_only, "undo-only", "The write access is over; only what it did can be taken back.", "Ask again."
    )
    found.unless(
        act.mode == "write" and act.digest() in grant.acts,
        "plan",
        f"{act.id} is not what was signed.",
        "Ask again for the plan as it is now.",
    )
    found.extend(_of_late(grant, act, past, values))
    _of_attempt(found, grant, act, attempt, past)
    _of_time(found, act, left_ms(grant, wall_ms, boot_ms), "Ask again for more time.")
    return found.all[0] if found.all else None


def why_not_undo(
    grant: Grant, act: Act, attempt: int, past: Past, wall_ms: int, boot_ms: int, values: Mapping[str, str] = NO_VALUES
) -> Refusal | None:
    """Why this undo act may not start under this grant now; None when it may. The incident may be closed by then. Its
    `values` are those that what it takes back was sent with."""
    found = Refusals()
    clocks, ended, now = state(grant, wall_ms, boot_ms), past.end(grant.id), phase(grant, past, wall_ms, boot_ms)
    again = "Ask again for the same plan."
    found.unless(clocks != "CLOCK_JUMP", "clock", SET_BACK, again)
    found.unless(ended not in CLOSING, "ended", f"The write access ended: {ended}. Nothing is undone under it.", again)
    found.unless(
        wall_ms + JUMP_MS >= past.latest_ms,
        "clock",
        f"The wall clock is {span(past.latest_ms - wall_ms)} behind the ledger's last entry.",
        "Set the clock.",
    )
    found.unless(now != "CLOSED", "expired", UNDO_OVER, again)
    takes_back = grant.undos.get(act.digest(), frozenset())
    found.unless(
        act.mode == "write" and bool(takes_back),
        "plan",
        f"{act.id} is no undo that was signed.",
        "Ask again for the plan as it is now.",
    )
    done = {id_ for by, id_ in past.permitted if now == "ACTIVE" or by == grant.id}
    found.unless(
        not takes_back or bool(takes_back & done),
        "nothing",
        f"{act.id} has nothing to take back: {_named(takes_back)} was not permitted under this write access.",
        again,
    )
    wrong = late_signed.why_not_undo(grant, act, values, takes_back, past) if takes_back else None
    found.extend((wrong,) if wrong else ())
    running = sorted(takes_back & past.alive)
    found.unless(
        not running,
        "in-doubt",
        f"{_named(running)} has no known outcome, and what may still go on cannot be taken back.",
        "Look at it first.",
    )
    _of_attempt(found, grant, act, attempt, past)
    _of_time(found, act, undo_left_ms(grant, wall_ms, boot_ms), again)
    return found.all[0] if found.all else None


def spend(
    grant: Grant,
    act: Act,
    attempt: int,
    *,
    past: Past,
    wall_ms: int,
    boot_ms: int,
    permit_id: str,
    values: Mapping[str, str] = NO_VALUES,
) -> Permit:
    """The permit for one act and one attempt: for the act that was signed with `values` in its open places, and nothing
    else. The caller has made it durable that it is spent. Raises Refused."""
    refusal = why_not(grant, act, attempt, past, wall_ms, boot_ms, values)
    return _issued(refusal, grant, act, attempt, permit_id, values)


def spend_undo(
    grant: Grant,
    act: Act,
    attempt: int,
    *,
    past: Past,
    wall_ms: int,
    boot_ms: int,
    permit_id: str,
    values: Mapping[str, str] = NO_VALUES,
) -> Permit:
    """As `spend`, for an undo act."""
    refusal = why_not_undo(grant, act, attempt, past, wall_ms, boot_ms, values)
    return _issued(refusal, grant, act, attempt, permit_id, values)


def sent(grant: Grant, act: Act, values: Mapping[str, str]) -> Act:
    """The act that is sent: the signed one with `values` in its open places. Raises Refused where its slots refuse one."""
    return act if act.complete else late.filled(act, grant.slots.get(act.digest(), ()), values)


def _issued(
    refusal: Refusal | None, grant: Grant, act: Act, attempt: int, permit_id: str, values: Mapping[str, str]
) -> Permit:
    if refusal:
        refuse([refusal])
    digest = sent(grant, act, values).digest()
    until_ms = grant.undo_until_ms if act.digest() in grant.undos else grant.until_ms
    return Permit._issue(
        id=permit_id, grant=grant.id, run=grant.run, act_digest=digest, attempt=attempt, until_ms=until_ms
    )


def _of_late(grant: Grant, act: Act, past: Past, values: Mapping[str, str]) -> tuple[Refusal, ...]:
    wrong = late_signed.why_not(grant, act, values, past) if act.digest() in grant.acts else None
    return (wrong,) if wrong else ()


def _of_attempt(found: Refusals, grant: Grant, act: Act, attempt: int, past: Past) -> None:
    """An attempt is permitted once, and none while an earlier one, under whatever grant, has no known outcome."""
    unknown = sorted(before for id_, before in past.unknown if id_ == act.id)
    found.unless(
        not unknown,
        "in-doubt",
        f"Attempt {unknown[0] if unknown else 0} of {act.id} has no known outcome.",
        "Look at it first: nothing is sent again before it is known.",
    )
    found.unless(
        attempt >= 1 and (grant.id, act.digest(), attempt) not in past.spent and attempt > past.tried.get(act.id, 0),
        "spent",
        f"Attempt {attempt} of {act.id} was permitted before; a permit is good for once.",
        "Look at its outcome first.",
    )


def _of_time(found: Refusals, act: Act, left: int, way_out: str) -> None:
    """What is started here ends within the time; what was signed to go on by itself needs the time only to start."""
    found.unless(
        act.detach or left >= act.timeout * 1000,
        "time",
        f"{act.id} may take {span(round(act.timeout * 1000))}, and {span(left)} are left.",
        way_out,
    )


def _named(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))


def _convert(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(canonical.parse(data), kind)
    except msgspec.ValidationError as error:
        raise Refused(f"This is no {kind.__name__.lower()}: {error}.", "Ask for the block to be sent again.") from error
