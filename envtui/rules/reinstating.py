"""What is left of a grant when its process is gone: for `undo_for`, and only to take back what was done under it.

A grant lives in the process that activated it. What another one may still do is made from the ledger: the request and its
sign-offs, verified again, and the entry that says it was activated.
"""

from __future__ import annotations

from collections.abc import Sequence

from envtui.core.access import Grant, Terms, VerifiedRequest, VerifiedSignOff
from envtui.core.act import Plan
from envtui.core.events import GrantActivated

from . import late
from .conditions import Refusals, examine, refuse
from .grants import JUMP_MS, UNDO_OVER, signed_for, taken_back
from .past import CLOSING, Past

AGAIN = "Ask again for the same plan."


def reinstate(
    activated: GrantActivated,
    at_ms: int,
    asked: VerifiedRequest,
    given: Sequence[VerifiedSignOff],
    *,
    terms: Terms,
    plan: Plan,
    past: Past,
    now_ms: int,
    boot_ms: int,
) -> Grant:
    """An UNDO_ONLY grant. `at_ms` is when the ledger took the activation down, `plan` the request's, as it is made now.

    Signatures, people, roles and the plan must hold as they stand now; times, and the incident, as they did then: the
    activation is in the ledger, and an undo needs no open incident. Raises Refused with everything that does not hold.
    """
    request = asked.request
    found = Refusals()
    ended = past.end(activated.grant)
    found.unless(bool(ended), "active", f"Grant {activated.grant} has not ended.", "Go on where it was activated.")
    found.unless(ended not in CLOSING, "ended", f"The write access ended: {ended}. Nothing is undone under it.", AGAIN)
    found.unless(
        (activated.grant, activated.nonce, activated.run) == (request.id, request.nonce, request.run)
        and activated.plan_digest == request.plan_digest,
        "altered",
        f"Grant {activated.grant} was activated from another request.",
        AGAIN,
    )
    seen = (one.signoff.incident for one in given if one.signoff.incident.state == "open")
    incident = next(seen, request.incident)  # by whoever signed, where the tracker did not answer the requester
    found.extend(
        refusal
        for refusal in examine(asked, given, terms=terms, plan=plan, incident=incident, now_ms=at_ms)
        # Manifest, policy or roster may have changed since, where what they say of these people and acts did not.
        if refusal.code != "checkout"
    )
    people, ttl_ms = signed_for(asked, given, terms, at_ms)
    gone = sorted(set(activated.signed_by) - set(people))
    found.unless(not gone, "signoffs", f"The signature of {', '.join(gone)} does not count any more.", AGAIN)
    until_ms = min(activated.until_ms, at_ms + ttl_ms)
    undo_until_ms = until_ms + request.undo_for_ms
    latest_ms = max(at_ms, past.latest_ms)
    found.unless(
        now_ms + JUMP_MS >= latest_ms, "clock", "The wall clock is behind the ledger's last entry.", "Set the clock."
    )
    found.unless(max(now_ms, latest_ms) < undo_until_ms, "expired", UNDO_OVER, AGAIN)
    refuse(found.all)
    return Grant._issue(
        id=request.id,
        request=request,
        run=request.run,
        plan_digest=request.plan_digest,
        acts=frozenset(),
        undos=taken_back(plan),
        slots=late.slots_of(plan),
        incident=incident,
        signed_by=people,
        activated_ms=at_ms,
        # As if this machine had run since: from here on, the earlier of both clocks ends it.
        activated_boot_ms=boot_ms - (now_ms - at_ms),
        until_ms=until_ms,
        undo_until_ms=undo_until_ms,
        undo_only=True,
    )
