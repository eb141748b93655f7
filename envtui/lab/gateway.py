"""A small real gateway: an HTTP server on loopback that checks JWTs against an XML policy and logs every request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envtui.lab.policies import Policy

WINDOW = 20
"""Seconds that the share of refused requests looks back."""

UNHEALTHY = 0.05
"""From this share of refused requests on, the gateway calls itself unhealthy…"""

HANDFUL = 5
"""…unless they are fewer than this: an expired token among the first ten requests is no outage."""

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Access:
    """One line of the access log. `at` is wall time in seconds."""

    at: float
    status: int
    path: str
    client: str
    host: str


def make_token(secret: bytes, claims: dict[str, object]) -> str:
    """A JWT signed with HS256."""
    parts = [_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    message = ".".join(parts)
    return f"{message}.{_encode(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def read_token(secret: bytes, token: str) -> dict[str, object]:
    """The claims of a token with a good signature. Raises ValueError for every other."""
    message, _, signature = token.rpartition(".")
    header, _, claims = message.partition(".")
    expected = hmac.digest(secret, message.encode(), hashlib.sha256)
    try:
        if json.loads(_decode(header)).get("alg") != "HS256" or not hmac.compare_digest(_decode(signature), expected):
            raise ValueError("the signature does not fit")
        parsed = json.loads(_decode(claims))
    except (binascii.Error, AttributeError) as error:
        raise ValueError("not a token") from error
    if not isinstance(parsed, dict):
        raise ValueError("the claims are no object")
    return parsed


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class PolicyStore:
    """The numbered policies of one host, as `gatewayctl` keeps them.

    policies/N.xml; before/N: the version that N replaced; current; kept/ID.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] = (0, 0)
        self._loaded: tuple[str, Policy | None] = ("", None)

    def reset(self, *texts: str, first: int = 40) -> None:
        """Forget everything; `texts` become the versions from `first` on, the last one is in force."""
        for folder in ("policies", "before", "kept"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
            for old in (self.path / folder).iterdir():
                old.unlink()
        for number, text in enumerate(texts, first):
            self._write(self.path / "policies" / f"{number}.xml", text)
        self._write(self.path / "current", f"{first + len(texts) - 1}\n")

    def apply(self, text: str) -> str:
        """Install a policy as the newest version and put it in force. Returns its version."""
        number = 1 + max(int(file.stem) for file in (self.path / "policies").glob("*.xml"))
        self._write(self.path / "policies" / f"{number}.xml", text)
        self._write(self.path / "before" / str(number), (self.path / "current").read_text())
        self._write(self.path / "current", f"{number}\n")
        return str(number)

    def current(self) -> tuple[str, Policy | None]:
        """Version and policy in force; the policy is None when its file is none. Read again only when it changed."""
        try:
            stat = os.stat(self.path / "current")
            seen = (stat.st_ino, stat.st_mtime_ns)
            if seen != self._seen:
                version = (self.path / "current").read_text().strip()
                self._loaded = (version, Policy.parse((self.path / "policies" / f"{version}.xml").read_text()))
                self._seen = seen
        except (OSError, ValueError):
            self._loaded = (self._loaded[0], None)
        return self._loaded

    def _write(self, path: Path, text: str) -> None:
        """Beside and renamed; the owner of the folder owns the file, so that the host's write account may replace it."""
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(new, owner.st_uid, owner.st_gid)
        new.replace(path)


class Gateway:
    """One gateway. `log` takes every decided request; `clock` is wall time in seconds."""

    def __init__(
        self,
        environment: str,
        host: str,
        store: PolicyStore,
        *,
        jwt_secret: bytes,
        status_token: str,
        log: Callable[[Access], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.environment = environment
        self.host = host
        self.store = store
        self.port = 0
        self._jwt_secret = jwt_secret
        self._status_token = status_token
        self._log = log
        self._clock = clock
        self._recent: deque[tuple[float, bool]] = deque()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def forget(self) -> None:
        """Start counting afresh."""
        self._recent.clear()

    def decide(self, authorization: str) -> tuple[int, str]:
        """Status and client of a call with this Authorization header, under the policy in force."""
        _, policy = self.store.current()
        if policy is None:
            return 503, "-"
        try:
            claims = read_token(self._jwt_secret, authorization.removeprefix("Bearer "))
        except ValueError:
            return 401, "-"
        client = str(claims.get("sub", "-"))
        expires = claims.get("exp", 0)
        if claims.get("iss") != policy.issuer or not isinstance(expires, int) or expires < self._clock():
            return 401, client
        if any(not claims.get(name) for name in policy.claims):
            return policy.missing_status, client
        return 200, client

    def status(self) -> dict[str, object]:
        """What /status answers: the last WINDOW seconds."""
        since = self._clock() - WINDOW
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()
        requests = len(self._recent)
        refused = sum(1 for _, ok in self._recent if not ok)
        share = refused / requests if requests else 0.0
        version, policy = self.store.current()
        healthy = policy is not None and requests > 0 and (share < UNHEALTHY or refused < HANDFUL)
        return {
            "gateway": self.host,
            "environment": self.environment,
            "state": "healthy" if healthy else "unhealthy" if requests else "idle",
            "policy": version,
            "window_seconds": WINDOW,
            "requests": requests,
            "refused": refused,
            "refused_share": round(share, 4),
        }

    def status_text(self) -> str:
        """The same for `gatewayctl status`: a word and its value on a line."""
        now = self.status()
        return (
            f"gateway {now['gateway']}\nstate {now['state']}\npolicy version {now['policy']}\n"
            f"requests {now['requests']} in the last {WINDOW} s\nrefused {100 * float(str(now['refused_share'])):.1f} %\n"
        )

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                writer.write(self._answer(head))
                await writer.drain()
        writer.close()

    def _answer(self, head: str) -> bytes:
        first, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = first.split()
        if len(words) != 3:
            return _response(400, {"error": "bad request"})
        method, path = words[0], words[1].partition("?")[0]
        authorization = headers.get("authorization", "")
        if path == "/identity":
            answer = _response(200, f"{self.environment}\n")
        elif path == "/health":
            healthy = self.status()["state"] == "healthy"
            answer = _response(200 if healthy else 503, {"healthy": healthy})
        elif path == "/status":
            allowed = hmac.compare_digest(authorization.encode(), self._status_token.encode())
            answer = _response(200, self.status()) if allowed else _response(401, {"error": "unknown token"})
        else:
            status, client = self.decide(authorization)
            now = self._clock()
            self._recent.append((now, status == 200))
            self._log(Access(now, status, path, client, self.host))
            answer = _response(status, {"status": status, "client": client})
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else answer


def _response(status: int, body: dict[str, object] | str) -> bytes:
    text, kind = (body, "text/plain") if isinstance(body, str) else (json.dumps(body), "application/json")
    content = text.encode()
    head = f"HTTP/1.1 {status} {REASONS.get(status, 'Answer')}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
