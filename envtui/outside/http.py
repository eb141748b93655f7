"""HTTP targets: GET and HEAD for reads, the other methods for one permit, nothing followed, nothing retried.

Each act makes one connection. Its first request asks for the identity, without the credential; the credential goes only to
a service that has shown the right one. What is refused to the client's environment: proxies, netrc, redirects, cookies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from envtui.core.access import Permit
from envtui.core.act import FRAMING, OTHER_METHOD, Act, HttpCall, Ref, SecretRef, Text
from envtui.core.environment import Credential, Environment, HttpTarget
from envtui.core.errors import EnvtuiError, InDoubt, Refused, TimedOut, Unreachable, Unsound, UsageError, WrongIdentity
from envtui.core.ports import HEAD_BYTES, Reading, Secrets, Sent, Shown, Sink, Tunnels, unsent

if TYPE_CHECKING:
    import ssl

    import httpx

PROTECTION = "method-enforced"
"""What reads claim: only GET and HEAD are sent. What a service does when it is asked so is its own affair."""

_READS = ("GET", "HEAD")
_IN_PATH = "/:@!$&'()*+,;=-._~%?"
_LOOK = "Look whether it happened (the step's probe) before anything else."


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class _Request(msgspec.Struct, frozen=True):
    method: str
    path: str  # encoded, with the query
    headers: dict[str, str]
    body: bytes | None


class _Connector:
    """Makes connections for one environment."""

    def __init__(
        self,
        environment: Environment,
        ca: Callable[[str], Path],
        secrets: Secrets,
        tunnels: Tunnels | None,
        seconds: float,
    ) -> None:
        self._environment = environment
        self._ca = ca
        self._secrets = secrets
        self._tunnels = tunnels
        self._seconds = seconds

    async def prepared(self, act: Act) -> _Request:
        """The request of an act, secrets and credential in place. Raises Refused, SecretMissing, Unsound."""
        call = act.call
        if not isinstance(call, HttpCall):
            raise Refused(f"{act.id} is no http act.", "Plan it again.")
        if (call.method in _READS) != (act.mode == "read"):
            raise Refused(f"{call.method} is no {act.mode}.", "GET and HEAD are reads; everything else is a write.")
        path = await self._filled(call.path, encode=True)
        if any(unquote(segment) in (".", "..") for segment in path.split("/")):
            raise Refused(f"{path} leads out of its place.", "Write the path without . and .. in it.")
        query = urlencode([(name, await self._filled(text)) for name, text in call.query], quote_via=quote)
        headers = {name: await self._filled(text) for name, text in call.headers}
        headers |= await self._credential(act)
        for name, value in headers.items():
            _check_header(name, value, act.mode == "read")
        body = None if call.body is None else (await self._filled(call.body)).encode()
        if body is not None and act.mode == "read":
            raise Refused(f"{act.id} is a read with a body, which a service may carry out.", "Put it into the query.")
        return _Request(call.method, path + (f"?{query}" if query else ""), headers, body)

    @asynccontextmanager
    async def connected(self, act: Act) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
        """A client whose service has shown its identity, and what it showed.

        Raises Unreachable, WrongIdentity, Unsound, TimedOut.
        """
        import httpx

        target = self._target(act)
        identity = target.identity or self._environment.identity.http
        if identity is None or identity.path is None or identity.expect is None:
            raise Unsound(
                f"{act.place.member} has no identity to compare with: nothing would tell it from another service.",
                "Give the target `identity: {path, expect}`.",
            )
        async with httpx.AsyncClient(
            base_url=act.place.address,
            verify=_trusted(self._ca, target),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(max(act.timeout, 0.001), connect=self._seconds),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers={"user-agent": "envtui", "accept-encoding": "identity"},
        ) as client:
            await self._tunnelled(client, act)
            shown = await self._shown(client, act, identity.path, identity.expect)
            yield client, shown

    async def _shown(self, client: httpx.AsyncClient, act: Act, path: str, expect: str) -> str:
        import httpx

        where = act.place.address
        try:
            async with asyncio.timeout(self._seconds), client.stream("GET", _url(client, path)) as response:
                body = b""
                async for piece in response.aiter_bytes():
                    body = (body + piece)[:HEAD_BYTES]
                    if len(body) == HEAD_BYTES:
                        break
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            raise _translated(error, where, act, sent=False) from error
        shown = body.decode(errors="replace").strip()
        if response.status_code != 200 or shown != expect.strip():
            raise WrongIdentity(
                f"{where} shows {shown[:80]!r} (status {response.status_code}) at {path}, expected {expect!r}.",
                "You may be about to work on another environment. Stop, and find out which it is.",
            )
        return shown

    async def _tunnelled(self, client: httpx.AsyncClient, act: Act) -> None:
        """Send the client through the tunnel; the name that TLS verifies and the Host header stay the service's own."""
        if not act.place.via:
            return
        if self._tunnels is None:
            raise Unsound(
                f"{act.place.member} is reached via {act.place.via}, and there is no way there.", "Correct `via`."
            )
        base = client.base_url
        port = base.port or (443 if base.scheme == "https" else 80)
        address, forwarded = await self._tunnels.forward(act.place.via, base.host, port)
        client.headers["host"] = base.netloc.decode()
        client.base_url = base.copy_with(host=address, port=forwarded)
        name = base.host

        async def verified_as(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = name

        client.event_hooks = {"request": [verified_as]}

    async def _credential(self, act: Act) -> dict[str, str]:
        if not act.place.credential:
            return {}
        credential = self._environment.credentials.get(act.place.credential)
        if credential is None or (credential.kind, credential.access) != ("http", act.mode):
            raise Unsound(f"{act.place.credential} is no http credential for {act.mode} access.", "Plan it again.")
        return await self._header(credential, act.place.credential)

    async def _header(self, credential: Credential, name: str) -> dict[str, str]:
        if credential.secret is None:
            return {}
        secret = await self._secrets.resolve(credential.secret, name)
        return {credential.header or "Authorization": secret.reveal()}

    async def _filled(self, text: Text, encode: bool = False) -> str:
        parts: list[str] = []
        for part in text:
            if isinstance(part, Ref):
                raise Refused(f"${{{part.name}}} has no value yet.", "Run the step that captures it.")
            if isinstance(part, SecretRef):
                value = (await self._secrets.resolve(part.reference, part.name)).reveal()
                parts.append(quote(value, safe="") if encode else value)
            else:
                parts.append(part)
        return "".join(parts)

    def _target(self, act: Act) -> HttpTarget:
        target = self._environment.targets.get(act.place.target)
        if not isinstance(target, HttpTarget):
            raise UsageError(f"{act.place.target} is no http target of {self._environment.name}.", "Plan it again.")
        return target


class HttpReader:
    """The Reader port for http targets.

    `ca` gives the file of that name in the tree, which vouches for the service; `tunnels` is needed for targets with `via`
    only; `seconds` is how long connecting and showing the identity may take.
    """

    def __init__(
        self,
        environment: Environment,
        ca: Callable[[str], Path],
        secrets: Secrets,
        tunnels: Tunnels | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._connector = _Connector(environment, ca, secrets, tunnels, seconds)
        self._shown: dict[tuple[str, str], Shown] = {}

    async def open(self, act: Act) -> Shown:
        """Ask the service who it is, once; each read asks again on its own connection."""
        key = (act.place.target, act.place.address)
        if key not in self._shown:
            async with self._connector.connected(act) as (_, shown):
                self._shown[key] = Shown(
                    target=act.place.target, member=act.place.member, shown=shown, protection=PROTECTION
                )
        return self._shown[key]

    async def read(self, act: Act, sink: Sink) -> Reading:
        """One GET or HEAD. A status of any kind is a reading; a redirect is shown and not followed.

        Raises Refused, TimedOut, Unreachable, WrongIdentity, Unsound, SecretMissing.
        """
        if act.mode != "read":
            raise Refused(f"{act.id} is no http read.", "Plan it again.")
        request = await self._connector.prepared(act)
        async with self._connector.connected(act) as (client, _):
            return await _sent(client, request, act, sink)

    async def close(self) -> None:
        self._shown.clear()


class HttpWriter:
    """The Writer port for http targets: for one permit, once. The other arguments are those of HttpReader."""

    def __init__(
        self,
        permit: Permit,
        environment: Environment,
        ca: Callable[[str], Path],
        secrets: Secrets,
        tunnels: Tunnels | None = None,
        seconds: float = 10.0,
    ) -> None:
        if not isinstance(permit, Permit):
            raise TypeError("a writer needs a permit")
        self.seen: dict[str, int] = {}
        self._permit = permit
        self._connector = _Connector(environment, ca, secrets, tunnels, seconds)
        self._used = False

    async def write(self, permit: Permit, act: Act, sink: Sink, sent: Sent = unsent) -> Reading:
        """Send the request once. Whatever status comes back is the outcome; the step's expectation judges it.

        Raises InDoubt when the answer did not arrive whole; everything else that is raised: it was not sent.
        """
        if permit is not self._permit or permit.act_digest != act.digest():
            raise Refused(
                f"The permit is for another act than {act.id}.", "Nothing was sent. Ask for write access again."
            )
        if self._used:
            raise Refused("This permit was used.", "A second attempt needs a permit of its own.")
        if act.mode != "write":
            raise Refused(f"{act.id} is no http write.", "Plan it again.")
        self._used = True
        request = await self._connector.prepared(act)
        async with self._connector.connected(act) as (client, _):
            return await _sent(client, request, act, sink)

    async def forget(self) -> None:
        """Nothing is kept there."""

    async def close(self) -> None:
        """Nothing is open between calls."""


async def _sent(client: httpx.AsyncClient, request: _Request, act: Act, sink: Sink) -> Reading:
    import httpx

    loop = asyncio.get_running_loop()
    began = loop.time()
    head = bytearray()
    size = 0
    try:
        async with (
            asyncio.timeout(act.timeout),
            client.stream(
                request.method, _url(client, request.path), headers=request.headers, content=request.body
            ) as response,
        ):
            sink.err(f"{response.status_code} {response.reason_phrase}\n".encode())
            if location := response.headers.get("location"):
                sink.err(f"Location (not followed): {location}\n".encode())
            async for piece in response.aiter_bytes():
                sink.out(piece)
                size += len(piece)
                head += piece[: HEAD_BYTES - len(head)]
    except (httpx.HTTPError, TimeoutError, ValueError) as error:
        raise _translated(error, act.place.address, act, sent=act.mode == "write") from error
    return Reading(
        status=response.status_code,
        headers=tuple(response.headers.multi_items()),
        stdout=bytes(head),
        truncated=size > len(head),
        seconds=loop.time() - began,
    )


def _translated(error: Exception, where: str, act: Act, sent: bool) -> EnvtuiError:
    """httpx's exceptions as ours: the one place. `sent`: a write may have gone out, unless no connection was ever made."""
    import httpx

    why = str(error) or type(error).__name__
    if isinstance(error, ValueError) and not sent:
        return Refused(f"This cannot be sent to {where}: {why}.", "Correct the step.")
    if isinstance(error, httpx.ConnectTimeout):
        return Unreachable(f"{where} did not answer in time.", "Is it up, and is the way to it open?")
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.PoolTimeout):
        return Unreachable(f"{where} cannot be reached: {why}.", "Is it up, and is the way to it open?")
    if sent:
        return InDoubt(f"The request was sent to {where} and its answer did not arrive: {why}.", _LOOK)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return TimedOut(f"{where} did not end its answer within {act.timeout:g} s.", "Raise the timeout.")
    return Unreachable(f"{where} broke off its answer: {why}.", "Try again.")


def _url(client: httpx.AsyncClient, path: str) -> httpx.URL:
    """Where a path of the target is. Put together here: httpx would take `/http://other/` for another host. Raises Refused."""
    import httpx

    base = client.base_url
    try:
        url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + quote(path, safe=_IN_PATH).encode())
    except httpx.InvalidURL as error:
        raise Refused(f"{path!r} is no path: {error}.", "Correct it.") from error
    if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port) or url.userinfo != base.userinfo:
        raise Refused(f"{path!r} leads to another service.", "A path stays with its target.")
    return url


def _check_header(name: str, value: str, reads: bool) -> None:
    """Raises Refused."""
    if not _TOKEN.fullmatch(name) or name.lower() in (FRAMING | OTHER_METHOD if reads else FRAMING):
        raise Refused(f"{name!r} is no header that a {'read' if reads else 'step'} may set.", "Leave it out.")
    if any(c in value for c in "\r\n\x00"):
        raise Refused(f"The value of header {name} has a line end in it.", "Remove it.")
    if not value.isascii():
        raise Refused(f"The value of header {name} is not ASCII, which a header has to be.", "Encode it.")


def _trusted(ca: Callable[[str], Path], target: HttpTarget) -> ssl.SSLContext | bool:
    """Who may vouch for the service: the target's own CA file, else the system's. Raises Unsound."""
    if urlsplit(target.base).scheme != "https":
        return False
    import ssl

    try:
        return ssl.create_default_context(cafile=str(ca(target.ca)) if target.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Unsound(f"The CA file {target.ca} cannot be used: {error}.", "Correct `ca` of the target.") from error
