"""Telling others of write access: people by the manifest's `notify`, the incident's tracker by a note. What was said is
written down, and what could not be delivered as well; none of it holds up a write."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime

from envtui.core.access import Grant
from envtui.core.errors import EnvtuiError
from envtui.core.events import Told
from envtui.core.ports import Journal, Notifier, Tracker
from envtui.core.text import clean_line

NOBODY = "the manifest names nobody (notify)"
CUT_SHORT = "the session ended before that"
WAIT_SECONDS = 5.0
"""How long a session that closes waits for what is still to be told; what is not told by then is written down as that."""

Note = Callable[[str, str], Awaitable[bool]]
"""`Tracker.note`: (incident, text) -> whether the tracker takes notes at all."""

_LONGEST = 400  # characters of what was said, and of why it was not delivered, in the ledger


async def tell_people(
    journal: Journal, notifier: Notifier | None, subject: str, text: str, *, run: str, grant: str = ""
) -> Told:
    """Call people, and write down that they were called or why not. Raises only what the journal raises.

    `subject` is one line, and what the ledger says they were told. Without a notifier nobody was.
    """

    async def call() -> str:
        if notifier is None:
            return NOBODY
        await notifier.notify(subject, text)
        return ""

    why = await _tried(call(), journal, Told(run=run, to="notify", about=_line(subject), delivered=False, grant=grant))
    told = Told(run=run, to="notify", about=_line(subject), delivered=not why, why=why or "", grant=grant)
    await journal.append(told)
    return told


async def tell_tracker(
    journal: Journal, note: Note, incident: str, about: str, *, run: str, grant: str = ""
) -> Told | None:
    """Write a line into the incident's own record, and down that it was. None, and nothing, where the tracker takes no
    notes. Raises only what the journal raises."""

    async def write() -> str | None:
        return "" if await note(incident, about) else None

    why = await _tried(write(), journal, Told(run=run, to="tracker", about=_line(about), delivered=False, grant=grant))
    if why is None:
        return None
    told = Told(run=run, to="tracker", about=_line(about), delivered=not why, why=why, grant=grant)
    await journal.append(told)
    return told


async def _tried(telling: Coroutine[None, None, str | None], journal: Journal, cut: Told) -> str | None:
    """Why it was not delivered; '' when it was. What is cancelled is written down before it goes on."""
    try:
        why = await telling
    except EnvtuiError as error:
        return _line(error.message)
    except asyncio.CancelledError:
        with contextlib.suppress(EnvtuiError):
            await journal.append(
                Told(run=cut.run, to=cut.to, about=cut.about, delivered=False, why=CUT_SHORT, grant=cut.grant)
            )
        raise
    return why


class Telling:
    """What a session tells the incident's tracker of its write access, in the background."""

    def __init__(self, tracker: Tracker, environment: str) -> None:
        self._tracker = tracker
        self._environment = environment
        self._jobs: set[asyncio.Task[None]] = set()
        self._order = asyncio.Lock()  # an end is not told of before its beginning

    def begun(self, journal: Journal, grant: Grant) -> None:
        """Write access was activated."""
        self._tell(journal, grant, begun(self._environment, grant))

    def ended(self, journal: Journal, grant: Grant, reason: str) -> None:
        """Write access is over."""
        self._tell(journal, grant, ended(self._environment, grant, reason))

    async def close(self) -> None:
        """The session ends: wait a little for what is still to be told."""
        if self._jobs:
            _, late = await asyncio.wait(self._jobs, timeout=WAIT_SECONDS)
            for job in late:
                job.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _tell(self, journal: Journal, grant: Grant, about: str) -> None:
        if grant.incident.id:
            job = asyncio.create_task(self._told(journal, grant, about))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _told(self, journal: Journal, grant: Grant, about: str) -> None:
        # A ledger that takes nothing more stops the run by itself.
        with contextlib.suppress(EnvtuiError):
            await tell_tracker(journal, self._note, grant.incident.id, about, run=grant.run, grant=grant.id)

    async def _note(self, incident: str, text: str) -> bool:
        async with self._order:
            return await self._tracker.note(incident, text)


def begun(environment: str, grant: Grant) -> str:
    """What is said when write access begins: who has it, until when, for what, and who signed."""
    request = grant.request
    who = request.requester.person
    others = ", ".join(person for person in grant.signed_by if person != who)
    signed = f"signed by {others}" if others else "signed by nobody else"
    glass = "BREAK-GLASS: " if request.break_glass else ""
    until = datetime.fromtimestamp(grant.until_ms / 1000, UTC).strftime("%H:%M UTC")
    return f"envtui: {glass}{who} has write access to {environment} until {until} for {_what(grant)}, {signed}"


def ended(environment: str, grant: Grant, reason: str) -> str:
    """What is said when it is over."""
    who = grant.request.requester.person
    return f"envtui: {who} has no write access to {environment} any more ({reason}), {_what(grant)}"


def _what(grant: Grant) -> str:
    return f"{grant.request.book} (run {grant.run})"


def _line(text: str) -> str:
    return clean_line(text, _LONGEST)
