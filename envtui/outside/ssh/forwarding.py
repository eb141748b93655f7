"""Whether a server lets a key reach other services through itself. A forced command says nothing about that: `restrict` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .connect import translated
from .library import ChannelException

if TYPE_CHECKING:
    from .connect import Link

PROHIBITED = 1
"""SSH_OPEN_ADMINISTRATIVELY_PROHIBITED of RFC 4254, 5.1."""

_NOWHERE = ("127.0.0.1", 0)


def forwards(link: Link, timeout: float) -> tuple[str, ...]:
    """A clause when the way is open: it is asked for one to port 0. Blocks; raises Unreachable.

    Only ports can be asked for: of UNIX sockets OpenSSH gives one answer whether they are prohibited or not there. `restrict`
    closes both.
    """
    with translated(link.endpoint, "asking what the key may reach"):
        try:
            link.transport.open_channel("direct-tcpip", _NOWHERE, _NOWHERE, timeout=timeout).close()
        except ChannelException as error:
            if error.code == PROHIBITED:
                return ()
    return ("this key may reach other services through the host: `restrict` is missing before it",)
