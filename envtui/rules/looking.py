"""Looking again: how often a step looks, and when that is over. Pure; the runner looks, pauses and writes down."""

from __future__ import annotations

from envtui.core.runbook import Poll, Runbook, Step, WaitStep

from .calls import DEFAULT_TIMEOUT


def poll_of(step: Step, book: Runbook) -> Poll | None:
    """How a step looks again; None: it looks once. A wait for a read looks until its time limit, said or not."""
    if step.poll is not None or not isinstance(step, WaitStep) or step.until is None:
        return step.poll
    return Poll(for_=step.timeout or book.defaults.timeout or f"{DEFAULT_TIMEOUT:.0f}s")


class Tally:
    """What the looks of one poll came to so far."""

    def __init__(self, poll: Poll) -> None:
        self._poll = poll
        self._failed = 0
        self._in_a_row = 0
        self.looks = 0

    def count(self, good: bool) -> None:
        self.looks += 1
        self._in_a_row = self._in_a_row + 1 if good else 0
        self._failed += 0 if good else 1

    @property
    def over(self) -> bool:
        """As often as expected in a row, or failed too often."""
        poll = self._poll
        if self._in_a_row:
            return poll.until == "expect" and self._in_a_row >= poll.in_a_row
        return poll.failure_limit is not None and self._failed >= poll.failure_limit

    @property
    def lacks(self) -> str:
        """Why it is no success although the last look was as expected; '' when there is nothing to add."""
        poll = self._poll
        if poll.until == "expect" and 0 < self._in_a_row < poll.in_a_row:
            return f"as expected {self._in_a_row} times in a row when the time was over, not {poll.in_a_row} in a row"
        return ""
