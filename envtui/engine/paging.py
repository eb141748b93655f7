"""People are called when the glass is broken, and when that is over: in the background, because nobody waits for a pager.

Whether it was delivered is written down (`telling`), and hinders nothing.
"""

from __future__ import annotations

import asyncio
import contextlib

from envtui.core.access import Grant
from envtui.core.errors import EnvtuiError
from envtui.core.ports import Journal, Notifier
from envtui.rules.words import stamp

from .telling import WAIT_SECONDS, tell_people


class Paging:
    """The calls of one session. Grants that others signed call nobody: somebody knows of them."""

    def __init__(self, notifier: Notifier | None) -> None:
        self._notifier = notifier
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._jobs: set[asyncio.Task[None]] = set()

    def begun(self, journal: Journal, grant: Grant, review_by_ms: int) -> None:
        """Write access was activated."""
        if grant.request.break_glass and grant.id not in self._begun:
            self._begun.add(grant.id)
            self._call(journal, grant, *begun(grant, review_by_ms))

    def ended(self, journal: Journal, grant: Grant, reason: str) -> None:
        """It is over. Once, however many ways its end is noticed; of a grant that began here."""
        if grant.id in self._begun and grant.id not in self._ended:
            self._ended.add(grant.id)
            self._call(journal, grant, *ended(grant, reason))

    async def close(self) -> None:
        """The session ends: wait a little for who is still called; that it was cut short is written down."""
        if self._jobs:
            _, late = await asyncio.wait(self._jobs, timeout=WAIT_SECONDS)
            for job in late:
                job.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _call(self, journal: Journal, grant: Grant, subject: str, text: str) -> None:
        async def call() -> None:
            with contextlib.suppress(EnvtuiError):  # a ledger that takes nothing more stops the run by itself
                await tell_people(journal, self._notifier, subject, text, run=grant.run, grant=grant.id)

        job = asyncio.create_task(call())
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)


def begun(grant: Grant, review_by_ms: int) -> tuple[str, str]:
    """(subject, text) as it begins: who, where, why, on what, until when, and how it is stopped."""
    request = grant.request
    who, env, incident = request.requester.person, request.environment, grant.incident
    said = [
        f"{who} broke the glass in {env}: write access until {stamp(grant.until_ms)}, and nobody else signed.",
        f"Incident: {incident.id or 'none'}{f', {incident.title}' if incident.title else ''}",
        f"Reason: {request.reason}",
        f"Book: {request.book}, run {grant.run}",
        *(f"Writes: {member}, {account}" for member, account in request.targets.items()),
        f"To stop it: close the incident (envtui incident close {env} {incident.id})." if incident.id else "",
        f"Until {stamp(review_by_ms)} somebody else has to review it; {who} sends the record: envtui ratify {env}.",
    ]
    return f"BREAK-GLASS in {env} by {who}: {request.book}, {request.reason}", "\n".join(filter(None, said))


def ended(grant: Grant, reason: str) -> tuple[str, str]:
    """(subject, text) when it is over."""
    request = grant.request
    who, env = request.requester.person, request.environment
    said = f"The write access of {who} to {env} is over ({reason}): {request.book}, run {grant.run}."
    return f"BREAK-GLASS in {env} by {who} is over ({reason})", f"{said}\nIt is to be reviewed: envtui ratify {env}."
