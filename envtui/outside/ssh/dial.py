"""The socket of an SSH connection: ours, because paramiko never sets TCP_NODELAY, which costs 40 ms a command.

Until the first command has answered TCP_QUICKACK is armed again after each read, because sshd waits for our delayed ACK
just as long. It knows no paramiko: a host is dialled, and prepares itself, while that is still imported.
"""

from __future__ import annotations

import socket
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec

KEEPALIVE = 15
"""Seconds between keepalives; a peer that does not acknowledge for twice this long is gone."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where to connect and as whom. `member` is the name on screen."""

    member: str
    host: str
    port: int
    user: str

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.member} ({self.address})"


class Line:
    """A socket that acknowledges at once until `settle` is called. The rest of it is the socket's own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._quick = hasattr(socket, "TCP_QUICKACK")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2 * KEEPALIVE * 1000)

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        if self._quick:
            with suppress(OSError):  # closed meanwhile
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def settle(self) -> None:
        self._quick = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def dial(endpoint: Endpoint, timeout: float) -> Line:
    """Connect within `timeout` seconds. Blocks. Raises OSError."""
    # Bytes, where they say the same: for text Python loads its tables of international names first.
    host: Any = endpoint.host.encode() if endpoint.host.isascii() else endpoint.host
    return Line(socket.create_connection((host, endpoint.port), timeout))


def hang_up(line: Future[Any]) -> None:
    """Close what was dialled, if anything was."""
    if not line.cancelled() and line.exception() is None:
        line.result().close()
