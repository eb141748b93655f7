"""Clients that keep calling: real HTTP requests with real tokens, none of which has the claim `tenant`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from envtui.lab.gateway import make_token
from envtui.lab.policies import ISSUER

CLIENTS = ("web", "android", "ios", "partner-api", "backoffice")
PATHS = ("/v1/orders", "/v1/cart", "/v1/profile", "/v1/search", "/v1/prices")
EXPIRED_SHARE = 0.01
"""The usual noise: clients that did not renew their token in time."""


class Traffic:
    """`rate` requests a second, spread over the gateways' ports."""

    def __init__(
        self,
        ports: Sequence[int],
        rate: int,
        secret: bytes,
        chance: random.Random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ports = ports
        self._rate = rate
        self._secret = secret
        self._chance = chance
        self._clock = clock
        self._calls: set[asyncio.Task[int]] = set()

    def token(self, client: str, expires_in: int = 3600) -> str:
        return make_token(self._secret, {"iss": ISSUER, "sub": client, "exp": int(self._clock()) + expires_in})

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            call = asyncio.create_task(self.call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) / self._rate)

    async def call(self) -> int:
        """One request. Returns the status, 0 when nobody answered."""
        client = self._chance.choice(CLIENTS)
        token = self.token(client, -60 if self._chance.random() < EXPIRED_SHARE else 3600)
        return await self.call_with(self._chance.choice(self._ports), token)

    async def call_with(self, port: int, token: str) -> int:
        return await get(port, self._chance.choice(PATHS), f"Bearer {token}")


async def get(port: int, path: str, authorization: str = "") -> int:
    """The status of a GET on loopback; 0 when nobody answered."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: {authorization}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return int(answer[9:12])
    except (OSError, ValueError):
        return 0
