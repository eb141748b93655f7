"""A loopback address that leads through a jump host, for exactly one connection."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

CHUNK = 64 * 1024


class Tunnel:
    """Listens on a port of 127.0.0.1, takes one connection within `wait` seconds, and passes its bytes on both ways."""

    def __init__(self, channel: paramiko.Channel, wait: float) -> None:
        self._channel = channel
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(wait)
        self._client: socket.socket | None = None
        host, port = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        threading.Thread(target=self._serve, name="ssh-tunnel", daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, self._client):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
                end.close()
        with suppress(OSError, EOFError):
            self._channel.close()

    def _serve(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # nobody came, or it was closed
            self.close()
            return
        self._listener.close()
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        back = threading.Thread(target=self._back, args=(client,), name="ssh-tunnel-back", daemon=True)
        back.start()
        with suppress(OSError, EOFError):
            while data := client.recv(CHUNK):
                self._channel.sendall(data)
            self._channel.shutdown_write()
        back.join()
        self.close()

    def _back(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError):
            while data := self._channel.recv(CHUNK):
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR if self._channel.eof_received else socket.SHUT_RDWR)
