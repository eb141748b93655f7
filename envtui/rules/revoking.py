"""Who may end write access that somebody else has: pure, like everything that is asked of a signature."""

from __future__ import annotations

from envtui.core.access import Refusal, Request, Terms

from .refusals import Refusals


def of_revoker(request: Request, person: str, terms: Terms) -> tuple[Refusal, ...]:
    """Whoever may approve here, or asked for it. Neither freshness, nor a touch, nor another machine is asked for: a revoke
    that is refused leaves somebody with write access."""
    found = Refusals()
    roles = terms.policy.signoff.roles
    found.unless(
        bool(person) and (person == request.requester.person or terms.roster.may(person, roles)),
        "role",
        f"{person or 'This key'} did not ask for this write access and has none of the roles that approve here:"
        f" {', '.join(roles) or 'none'}.",
        "Ask somebody who may, or close the incident: that ends every write access under it within a minute.",
    )
    return found.all


def why(person: str, reason: str) -> str:
    """What stands in the ledger as the end's reason."""
    return f"revoked by {person}" + (f": {reason}" if reason else "")
