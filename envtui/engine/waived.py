"""What the last request of a run leaves out, with the reasons that were signed. Read from what the ledger has of it."""

from __future__ import annotations

from envtui.core.access import Waiver
from envtui.core.errors import EnvtuiError
from envtui.rules import grants, paste
from envtui.rules.state import Run


def waivers(run: Run, request: str = "") -> tuple[Waiver, ...]:
    """Those of a request by its id, or of the run's last one; none where it asked for nothing or cannot be read."""
    asked = next((each for each in reversed(run.requests) if request in ("", each.id)), None)
    if asked is None:
        return ()
    try:
        return grants.parse_request(paste.unbundle(asked.bundle).body.encode()).waivers
    except EnvtuiError:
        return ()


def reason(run: Run, step_id: str) -> str:
    """Why a step is left out under the run's write access, as it was signed."""
    grant = run.grant.id if run.grant is not None else ""
    return next((waiver.reason for waiver in waivers(run, grant) if waiver.step == step_id), "")
