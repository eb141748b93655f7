"""Servers that do not serve: addresses that refuse, that hang, and that half-close."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.sshd import free_port

Talk = Callable[[socket.socket], None]


@contextmanager
def serving(talk: Talk) -> Iterator[str]:
    """`talk` has each connection; what it leaves open stays open until the end."""
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                clients.append(client)
                talk(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in clients:
                client.close()


@contextmanager
def refusing() -> Iterator[str]:
    """Nobody listens there."""
    yield f"127.0.0.1:{free_port()}"


@contextmanager
def hanging() -> Iterator[str]:
    """Takes connections and never says a word."""
    with serving(lambda client: None) as address:
        yield address


@contextmanager
def closing() -> Iterator[str]:
    """Half-closed: nothing will ever come from there, and it still listens."""
    with serving(lambda client: client.shutdown(socket.SHUT_WR)) as address:
        yield address
