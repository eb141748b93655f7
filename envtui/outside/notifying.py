"""People called by what the manifest's `notify` names: a program that reads JSON, or a service that is posted it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from envtui.core.canonical import canonical
from envtui.core.environment import Notify
from envtui.core.errors import Unreachable
from envtui.core.ports import Notifier, Secrets
from envtui.core.text import clean, clean_line

from .programs import Programs, complaint
from .service import Service

SUBJECT_LIMIT = 200
TEXT_LIMIT = 8000


class CommandNotifier:
    """The Notifier port: JSON {environment, subject, text} on a program's stdin; exit 0 says that it was delivered."""

    def __init__(
        self, argv: tuple[str, ...], environment: str, programs: Programs, masked: Callable[[str], str]
    ) -> None:
        self._argv, self._environment, self._programs, self._masked = argv, environment, programs, masked

    async def notify(self, subject: str, text: str) -> None:
        ended = await self._programs.run(self._argv, _said(self._environment, subject, text))
        if ended.code != 0:
            raise Unreachable(
                f"{self._argv[0]} ended with {ended.code}{complaint(ended.err, self._masked)}.", "Try it in a shell."
            )


class HttpNotifier:
    """The Notifier port: the same JSON, posted; a status from 200 to 299 says that it was delivered."""

    def __init__(self, url: str, environment: str, service: Service) -> None:
        self._url, self._environment, self._service = url, environment, service

    async def notify(self, subject: str, text: str) -> None:
        answer = await self._service.ask("POST", self._url, _said(self._environment, subject, text))
        if not 200 <= answer.status < 300:
            raise self._service.refused(self._url, answer.status)


def notifier_of(
    notify: Notify | None,
    environment: str,
    *,
    secrets: Secrets,
    masked: Callable[[str], str],
    programs: Programs,
    operator: str,
    ca: Callable[[str], Path],
) -> Notifier | None:
    """What the manifest names; None when it names nobody."""
    if notify is None:
        return None
    if notify.command is not None:
        return CommandNotifier(notify.command, environment, programs, masked)
    if notify.http is not None:
        service = Service(
            "notify's service", notify.headers, secrets=secrets, operator=operator, ca=ca, authority=notify.ca
        )
        return HttpNotifier(notify.http, environment, service)
    return None


def _said(environment: str, subject: str, text: str) -> bytes:
    return canonical(
        {"environment": environment, "subject": clean_line(subject, SUBJECT_LIMIT), "text": clean(text, TEXT_LIMIT)}
    )
