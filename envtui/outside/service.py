"""One small exchange with a service that is no target: an incident's tracker, a pager.

Bounded in time and size; nothing is followed, and nothing of the client's environment (proxies, netrc, cookies) has a say.
What stands in a header as a secret is in no error, also when the service sends it back.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from envtui.core.environment import SecretHeader
from envtui.core.errors import Refused, Unreachable, Unsound
from envtui.core.ports import Secrets
from envtui.core.text import clean_line

if TYPE_CHECKING:
    import ssl

SIZE_LIMIT = 1024 * 1024
"""Bytes of an answer that are read; a longer one is none."""

MASK = "***"


class Answer(msgspec.Struct, frozen=True):
    """A status that is no redirect, and the whole body."""

    status: int
    body: bytes


class Service:
    """A service by what it is called in errors (`what`: "the tracker"), and the headers that it is sent.

    `ca` gives the file of that name in the tree; `authority` is the name of the one that vouches for the service, or the
    system's do. `operator` stands for `${me}`. `seconds` is how long one exchange may take.
    """

    def __init__(
        self,
        what: str,
        headers: Mapping[str, str | SecretHeader],
        *,
        secrets: Secrets,
        operator: str,
        ca: Callable[[str], Path],
        authority: str | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._what = what
        self._headers = headers
        self._secrets = secrets
        self._operator = operator
        self._ca = ca
        self._authority = authority
        self._seconds = seconds
        self._hidden: set[str] = set()

    async def ask(self, method: str, url: str, body: bytes | None = None) -> Answer:
        """Send one request. Raises Unreachable for whatever is no answer, SecretMissing and Refused for its secrets, Unsound
        for its CA file."""
        import asyncio

        import httpx

        where = self.where(url)
        headers = await self._filled()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpx.AsyncClient(
                    verify=self._trusted(url),
                    trust_env=False,
                    follow_redirects=False,
                    timeout=self._seconds,
                    headers={"user-agent": "envtui", "accept-encoding": "identity", "accept": "application/json"},
                ) as client,
                client.stream(method, url, headers=headers, content=body) as response,
            ):
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise Unreachable(f"{where} packs its answer, which was not asked for.", "Ask its owner.")
                found = b""
                async for piece in response.aiter_raw():
                    found += piece
                    if len(found) > SIZE_LIMIT:
                        raise Unreachable(
                            f"{where} answers with more than {SIZE_LIMIT >> 20} MiB.",
                            "Check its url in environment.yaml.",
                        )
        except TimeoutError as error:
            raise self._silent(where) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if isinstance(error, httpx.TimeoutException):
                raise self._silent(where) from error
            # `from None`: what the library quotes of the exchange may be the secret.
            why = self.masked(clean_line(str(error) or type(error).__name__, 160))
            raise Unreachable(f"{where} cannot be reached: {why}.", "Is it up, and is the way to it open?") from None
        if 300 <= response.status_code < 400:
            to = self.masked(clean_line(response.headers.get("location", "nowhere"), 120))
            raise Unreachable(
                f"{where} sends us elsewhere ({response.status_code}, {to}), which is not followed.",
                "Write the address that answers itself into environment.yaml.",
            )
        return Answer(response.status_code, found)

    def where(self, url: str) -> str:
        """The service and its host, to begin a sentence with."""
        return f"{self._what[:1].upper()}{self._what[1:]} {urlsplit(url).netloc.rpartition('@')[2]}"

    def masked(self, text: str) -> str:
        """`text` without what was sent as a secret."""
        for value in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(value, MASK)
        return text

    def refused(self, url: str, status: int) -> Unreachable:
        """What a status says that is no answer to the question."""
        where = self.where(url)
        if status in (401, 403):
            return Unreachable(
                f"{where} does not accept the credential (status {status}).", "Check the secret that its headers name."
            )
        if status == 429:
            return Unreachable(f"{where} is asked too often (status 429).", "Wait a minute, then try again.")
        return Unreachable(f"{where} answers with status {status}.", "Look at it in a browser, or ask its owner.")

    def _silent(self, where: str) -> Unreachable:
        return Unreachable(
            f"{where} does not answer within {self._seconds:g} s.", "Is it up, and is the way to it open?"
        )

    async def _filled(self) -> dict[str, str]:
        filled: dict[str, str] = {}
        for name, header in self._headers.items():
            if isinstance(header, str):
                filled[name] = header.replace("${me}", self._operator)
                continue
            secret = (await self._secrets.resolve(header.secret, f"{self._what}: {name}")).reveal()
            value = header.prefix + secret
            self._hidden.add(secret)
            if header.user is not None:
                user = header.user.replace("${me}", self._operator)
                packed = base64.b64encode(f"{user}:{secret}".encode()).decode()
                self._hidden.add(packed)
                value = f"{header.prefix or 'Basic '}{packed}"
            filled[name] = value
        for name, value in filled.items():
            if not (value.isascii() and value.isprintable()):
                raise Refused(
                    f"The header {name} for {self._what} has characters that no header may have.", "Correct its value."
                )
        return filled

    def _trusted(self, url: str) -> ssl.SSLContext | bool:
        """Who may vouch for it. Raises Unsound."""
        if urlsplit(url).scheme != "https":
            return False
        import ssl

        try:
            return ssl.create_default_context(cafile=str(self._ca(self._authority)) if self._authority else None)
        except (OSError, ssl.SSLError) as error:
            raise Unsound(
                f"The CA file {self._authority} of {self._what} cannot be used: {error}.", "Correct `ca`."
            ) from error
