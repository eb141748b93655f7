"""Grants and permits: what was signed becomes write access, and write access is spent act by act.

`activate` and `spend` are the only places that issue a Grant and a Permit, and they do so only when no rule of `conditions`
and no clock objects. Pure: time is handed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
from envtui.core.act import Act, Plan
from envtui.core.errors import Refused
from envtui.core.shape import span

from .conditions import Refusals, examine, of_signoff, refuse

JUMP_MS = 2_000
"""A wall clock that fell behind the boot clock by more than this since activation was set back: above what NTP slews."""

Spent = frozenset[tuple[str, str, int]]  # (grant, act digest, attempt)
_T = TypeVar("_T")
GrantState = Literal["ACTIVE", "EXPIRED", "CLOCK_JUMP"]


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
    found: dict[str, str] = {}
    for act in plan.writes:
        place = act.place
        account = f"{place.user}@" if place.user else ""
        database = f"/{place.dbname}" if place.dbname else ""
        becomes = f" as {place.as_}" if place.as_ else ""
        found[f"{place.target}/{place.member}"] = f"{place.kind} {account}{place.address}{database}{becomes}"
    return found


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
) -> Grant:
    """The grant. Its id is the request's; it lasts as long as the shortest of what was asked for and signed.

    Raises Refused with everything that `examine` finds.
    """
    refuse(examine(asked, given, terms=terms, plan=plan, incident=incident, now_ms=now_ms, used=used))
    counting = [one.signoff for one in given if not of_signoff(asked, one, terms, now_ms)]
    ttl_ms = min([asked.request.ttl_ms, *(signoff.ttl_ms for signoff in counting)])
    people = sorted({signoff.approver.person for signoff in counting}) or [asked.request.requester.person]
    return Grant._issue(
        id=asked.request.id,
        request=asked.request,
        run=asked.request.run,
        plan_digest=asked.request.plan_digest,
        acts=frozenset(act.digest() for act in plan.writes),
        incident=incident,
        signed_by=tuple(people),
        activated_ms=now_ms,
        activated_boot_ms=boot_ms,
        until_ms=now_ms + ttl_ms,
    )


def state(grant: Grant, wall_ms: int, boot_ms: int) -> GrantState:
    """What the clocks say. The boot clock counts suspend and never goes back; the wall clock may be set."""
    if (wall_ms - grant.activated_ms) < (boot_ms - grant.activated_boot_ms) - JUMP_MS:
        return "CLOCK_JUMP"
    return "ACTIVE" if left_ms(grant, wall_ms, boot_ms) > 0 else "EXPIRED"


def left_ms(grant: Grant, wall_ms: int, boot_ms: int) -> int:
    """Milliseconds until the earlier of the two clocks ends the grant; 0 when one has."""
    ttl_ms = grant.until_ms - grant.activated_ms
    return max(0, min(grant.until_ms - wall_ms, grant.activated_boot_ms + ttl_ms - boot_ms))


def why_not(grant: Grant, act: Act, attempt: int, spent: Spent, wall_ms: int, boot_ms: int) -> Refusal | None:
    """Why this act may not start under this grant now; None when it may."""
    found = Refusals()
    now = state(grant, wall_ms, boot_ms)
    left = left_ms(grant, wall_ms, boot_ms)
    found.unless(
        now != "CLOCK_JUMP", "clock", "The wall clock was set back, which ended the write access.", "Ask again."
    )
    found.unless(now != "EXPIRED", "expired", "The write access is over.", "Ask again.")
    found.unless(
        act.mode == "write" and act.digest() in grant.acts,
        "plan",
        f"{act.id} is not what was signed.",
        "Ask again for the plan as it is now.",
    )
    found.unless(
        attempt >= 1 and (grant.id, act.digest(), attempt) not in spent,
        "spent",
        f"Attempt {attempt} of {act.id} was permitted before; a permit is good for once.",
        "Look at its outcome first.",
    )
    found.unless(
        left >= act.timeout * 1000,
        "time",
        f"{act.id} may take {span(round(act.timeout * 1000))}, and {span(left)} are left.",
        "Ask again for more time.",
    )
    return found.all[0] if found.all else None


def spend(grant: Grant, act: Act, attempt: int, *, spent: Spent, wall_ms: int, boot_ms: int, permit_id: str) -> Permit:
    """The permit for one act and one attempt. The caller has made it durable that it is spent. Raises Refused."""
    refusal = why_not(grant, act, attempt, spent, wall_ms, boot_ms)
    if refusal:
        refuse([refusal])
    return Permit._issue(id=permit_id, grant=grant.id, run=grant.run, act_digest=act.digest(), attempt=attempt)


def _convert(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(canonical.parse(data), kind)
    except msgspec.ValidationError as error:
        raise Refused(f"This is no {kind.__name__.lower()}: {error}.", "Ask for the block to be sent again.") from error
