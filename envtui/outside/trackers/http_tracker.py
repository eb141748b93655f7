"""A tracker over HTTP: one GET for each look, one request for each note, and whatever is no clear answer is none."""

from __future__ import annotations

import msgspec

from envtui.core.access import Incident
from envtui.core.environment import IncidentPolicy
from envtui.core.errors import Refused, Unreachable
from envtui.core.pointer import found
from envtui.core.ports import Clock
from envtui.outside.service import Answer, Service

from .answers import CHECK, URL_LIMIT, checked, moment, same, shown
from .presets import Api, api

GONE = (404, 410)
AGAIN_SECONDS = 1.0
QUICK_MS = 3_000
"""A service that failed within this time is asked once more: one fault of a gateway shall not end a grant."""

NOTE_LIMIT = 2_000


class HttpTracker:
    """The Tracker port. `environment` is the name of the one whose incidents count here."""

    def __init__(self, policy: IncidentPolicy, environment: str, service: Service, clock: Clock) -> None:
        self._policy = policy
        self._environment = environment
        self._service = service
        self._clock = clock
        self._api: Api = api(policy)
        self._name = policy.preset if policy.preset != "none" else "http"

    async def lookup(self, incident: str) -> Incident:
        """Raises Refused when there is none, Unreachable for whatever does not say clearly what its state is; SecretMissing
        and Refused for its secrets, Unsound for its CA file."""
        url = _filled(self._api.url, checked(incident, self._policy.pattern))
        answer = await self._asked(url)
        if answer.status in GONE:
            raise self._none(incident, url)
        if answer.status != 200:
            raise self._service.refused(url, answer.status)
        return self._read(incident, url, answer.body)

    async def note(self, incident: str, text: str) -> bool:
        """Write a line into the incident. False: nothing says how. Never sent twice. Raises as `lookup`."""
        note = self._api.note
        if note is None:
            return False
        url = _filled(note.url, checked(incident, self._policy.pattern))
        body = msgspec.json.decode(note.body)
        said = _in_texts(body, {"${incident}": incident, "${text}": text[:NOTE_LIMIT]})
        answer = await self._service.ask(note.method, url, msgspec.json.encode(said))
        if answer.status in GONE:
            raise self._none(incident, url)
        if not 200 <= answer.status < 300:
            raise self._service.refused(url, answer.status)
        return True

    async def _asked(self, url: str) -> Answer:
        began = self._clock.boot_ms()
        try:
            answer = await self._service.ask("GET", url)
            if answer.status != 429 and answer.status < 500:
                return answer
        except Unreachable:
            if self._clock.boot_ms() - began > QUICK_MS:
                raise
        await self._clock.sleep(AGAIN_SECONDS)
        return await self._service.ask("GET", url)

    def _read(self, incident: str, url: str, body: bytes) -> Incident:
        where, fields = self._service.where(url), self._api.fields
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unreachable(
                f"{where} answers with something that is not JSON.", f"A page to log in? {CHECK}"
            ) from None

        def fact(pointer: str | None, name: str) -> object:
            if pointer is None:
                raise Unreachable(f"Nothing says where the {name} stands in what {where} answers.", CHECK)
            try:
                value = found(answer, pointer)
            except KeyError:
                raise Unreachable(f"{where} answers without the {name}, at {pointer}.", CHECK) from None
            return self._service.masked(value) if isinstance(value, str) else value

        def also(pointer: str | None) -> str:
            try:
                value = found(answer, pointer) if pointer is not None else ""
            except KeyError:
                return ""
            return shown(self._service.masked(value) if isinstance(value, str) else "")

        same(incident, fact(fields.id, "id"), where)
        opened_ms = moment(fact(fields.opened, "time"), where, self._clock.wall_ms())
        state = _text(fact(fields.state, "state"), where, "state")
        environment = ""
        if fields.environment is not None:
            environment = self._of(_text(fact(fields.environment, "environment"), where, "environment"))
        return Incident(
            id=incident,
            state="open" if state in self._api.open else "closed",
            title=also(fields.title),
            severity=also(fields.severity),
            service=also(fields.service),
            environment=environment,
            opened_ms=opened_ms,
            checked_ms=self._clock.wall_ms(),
            tracker=self._name,
            url=also(fields.url)[:URL_LIMIT] or _filled(self._api.page, incident),
        )

    def _of(self, said: str) -> str:
        """The environment that an incident is of, in our words: this one's name only where it is meant."""
        if said in (self._policy.here or (self._environment,)):
            return self._environment
        return f"{shown(said)!r}" if said == self._environment else shown(said)

    def _none(self, incident: str, url: str) -> Refused:
        return Refused(
            f"{self._service.where(url)} knows no incident {incident!r}.", "Look there for the one that is going on."
        )


def _filled(template: str, incident: str) -> str:
    from urllib.parse import quote

    return template.replace("${incident}", quote(incident, safe=""))


def _in_texts(value: object, words: dict[str, str]) -> object:
    """`value` with `words` filled into its texts, in one pass: what is filled in is not looked at again."""
    import re

    if isinstance(value, str):
        return re.sub(r"\$\{(?:incident|text)\}", lambda match: words[match.group()], value)
    if isinstance(value, dict):
        return {key: _in_texts(item, words) for key, item in value.items()}
    return [_in_texts(item, words) for item in value] if isinstance(value, list) else value


def _text(value: object, where: str, name: str) -> str:
    """What decides, as text; true, false and numbers as JSON writes them. Raises Unreachable."""
    if isinstance(value, bool | int):
        return msgspec.json.encode(value).decode()
    if not isinstance(value, str) or not value.strip():
        raise Unreachable(f"{where} says nothing for the {name}.", CHECK)
    return value
