"""What was asked for of a run's plan as it is now: a request for another plan, or one that is over, is none."""

from __future__ import annotations

from envtui.core.errors import EnvtuiError
from envtui.engine.runner import RunTask
from envtui.rules import grants, paste
from envtui.rules.state import RequestState


def asked(task: RunTask) -> RequestState | None:
    """The last request, where it is for this very plan and its write access has not ended."""
    run = task.run
    if not run.requests:
        return None
    last = run.requests[-1]
    if run.grant is not None and run.grant.id == last.id and run.grant.ended:
        return None
    try:
        request = grants.parse_request(paste.unbundle(last.bundle).body.encode())
    except EnvtuiError:  # by another version: it says so itself when it is used
        return last
    return last if request.plan_digest == task.plan.digest() else None
