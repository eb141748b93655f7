"""What a probe found of a write: it is there, it is not, or nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envtui.core.errors import EnvtuiError
from envtui.core.events import Finding
from envtui.core.ports import Reading
from envtui.core.runbook import Probe, Step

from .expect import compared
from .presets import written_out

NOT_RUN = 126
"""Exit codes from here on are the shell's or a signal's: the probe itself did not do its work."""


GONE = (404, 410)
"""What a service answers of a thing that is not there. 401, 403, 429 or a redirect speak of who asked, not of the thing."""


def finding(step: Step, reading: Reading, values: Mapping[str, str]) -> tuple[Finding, str]:
    """What `reading`, taken by the step's probe, says of the step's write, and why in a sentence.

    Both matchers fit, or none: unknown. A probe that failed, whose answer was cut, or whose answer cannot be compared (no
    JSON, no value) has found nothing: what is absent may be done again, so absence is never taken from a missing answer.
    """
    probe = written_out(step).probe
    if probe is None or probe.applied is None:
        return "unknown", "there is no probe"
    if problem := _problem(reading):
        return "unknown", problem
    try:
        return _compared(probe, reading, values)
    except EnvtuiError as error:
        return "unknown", error.message.rstrip(".")


def _compared(probe: Probe, reading: Reading, values: Mapping[str, str]) -> tuple[Finding, str]:
    assert probe.applied is not None
    applied, why = compared(probe.applied, reading, values)
    if probe.absent == "otherwise":
        status = reading.status
        if not applied and status is not None and not (200 <= status < 300 or status in GONE):
            return "unknown", f"its probe was answered with status {status}"
        return ("applied", why) if applied else ("absent", why)
    if probe.absent is None:
        return ("applied", why) if applied else ("unknown", f"not found ({why}), and nothing says how absence looks")
    absent, other = compared(probe.absent, reading, values)
    if applied and absent:
        return "unknown", "what was read fits both `applied` and `absent`"
    if not applied and not absent:
        return "unknown", f"what was read fits neither: {why}; {other}"
    return ("applied", why) if applied else ("absent", other)


def combined(findings: Sequence[Finding]) -> Finding:
    """Of several: all say the same, or nobody can tell."""
    first = findings[0] if findings else "unknown"
    return first if all(one == first for one in findings) else "unknown"


def _problem(reading: Reading) -> str:
    """Why the probe itself says nothing; '' when it does."""
    if reading.truncated:
        return "its probe said more than is looked at"
    if reading.status is not None:
        return f"its probe was answered with status {reading.status}" if reading.status >= 500 else ""
    if reading.row_count is None and not reading.columns and reading.exit is None:
        return (
            f"its probe was ended by signal {reading.signal}" if reading.signal else "its probe ended without a status"
        )
    if reading.exit is not None and reading.exit >= NOT_RUN:
        return f"its probe exited with {reading.exit}"
    return ""
