"""How far a target's clock is from this one, as far as that can be known, and what follows for a write."""

from __future__ import annotations

from .errors import Refused
from .shape import span

SHOWN_MS = 60_000
"""From here on it is said (design: skew above 60 s is shown, above 120 s blocks)."""

MOST_MS = 120_000


def skew(theirs_ms: int, sent_ms: int, received_ms: int, grain_ms: int = 0) -> int:
    """Milliseconds that their clock is ahead (below 0: behind), less what the question's own way may have taken.

    `theirs_ms` is the middle of what their answer can mean, `grain_ms` half of its width (a whole second: 500). 0 when the
    clocks may be the same.
    """
    ahead = theirs_ms - (sent_ms + received_ms) // 2
    unsure = (received_ms - sent_ms) // 2 + grain_ms
    return max(0, ahead - unsure) if ahead > 0 else min(0, ahead + unsure)


def said(skew_ms: int | None) -> str:
    """In words where it matters; '' while it does not."""
    if skew_ms is None or abs(skew_ms) < SHOWN_MS:
        return ""
    return f"its clock is {span(abs(skew_ms))} {'ahead' if skew_ms > 0 else 'behind'}"


def check_write(where: str, skew_ms: int | None, now_ms: int, until_ms: int) -> None:
    """Raises Refused when the write may not start by the target's own clock. A clock that was not told is not judged.

    `until_ms` is when its permit's time is over, wall time of this machine, as `now_ms`.
    """
    if skew_ms is None:
        return
    if abs(skew_ms) > MOST_MS:
        raise Refused(
            f"The clock of {where} is {span(abs(skew_ms))} {'ahead of' if skew_ms > 0 else 'behind'} this one.",
            "Nothing was sent: times in logs and signatures would not fit. Set the clock that is wrong, and write again.",
        )
    if now_ms + skew_ms > until_ms:
        raise Refused(
            f"By the clock of {where} the write access is over.", "Nothing was sent. Ask again, and set the clock."
        )
