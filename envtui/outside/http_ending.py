"""The Ender of http targets: a request whose answer did not arrive can be neither found again nor stopped."""

from __future__ import annotations

from collections.abc import Mapping

from envtui.core.ports import Fate, Sink, Started

_UNKNOWN = Fate(
    state="unknown",
    why="The connection is closed, and HTTP has no way to ask whether the service still works on the request, or to stop it.",
)


class HttpEnder:
    """Knows nothing, and says so: that the connection is closed does not prove that the service has ended its work."""

    async def look(self, started: Started) -> Fate:
        return _UNKNOWN

    async def attach(self, started: Started, sink: Sink, seen: Mapping[str, int], seconds: float) -> Fate:
        """Returns at once: there is nothing to follow."""
        return _UNKNOWN

    async def stop(self, started: Started, grace: float) -> Fate:
        return _UNKNOWN

    async def forget(self, started: Started) -> None:
        """Nothing is kept there."""

    async def close(self) -> None:
        """Nothing is open."""
