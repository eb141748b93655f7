"""Connections for reads, begun before there is an event loop: hosts answer while the rest of a run is still imported.

Nothing is sent on one but the question who the host is. Whoever wants such a connection takes it, error included; what
nobody took is closed.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envtui.core.act import Place
from envtui.core.environment import Environment, SshTarget

from .dial import Endpoint, dial, hang_up
from .known_hosts import KnownHosts
from .login import TIMEOUT, Who, address, connection, key_of, log_in

if TYPE_CHECKING:
    from .connect import Link
    from .standing import Standing

MOST = 8
"""Hosts at once: as many as a step reads side by side."""


class Ahead:
    """`key_file` opens the way to a key's file, or refuses it. `least`: the protection that reads on a target must have."""

    def __init__(
        self, environment: Environment, known: KnownHosts, key_file: Callable[[str], Path], least: Callable[[str], str]
    ) -> None:
        self._environment = environment
        self._least = least
        self._known = known
        self._key_file = key_file
        self._begun: dict[Place, Future[tuple[Link, Standing]]] = {}

    def begin(self, place: Place) -> None:
        """Log in there. A host behind a jump host is left alone, and so is one too many."""
        place = connection(place)
        if place.via or place in self._begun or len(self._begun) == MOST:
            return
        future: Future[tuple[Link, Standing]] = Future()
        future.set_running_or_notify_cancel()  # nobody can cancel it: it ends within its time limits
        self._begun[place] = future
        threading.Thread(target=self._run, args=(place, future), name="ssh-ahead", daemon=True).start()

    def take(self, place: Place) -> Future[tuple[Link, Standing]] | None:
        """The connection to `place`, once; None when none was begun."""
        return self._begun.pop(connection(place), None)

    def close(self) -> None:
        """End what nobody took."""
        while self._begun:
            self._begun.popitem()[1].add_done_callback(_end)

    def _run(self, place: Place, future: Future[tuple[Link, Standing]]) -> None:
        try:
            future.set_result(self._logged_in(place))
        except BaseException as error:
            future.set_exception(error)

    def _logged_in(self, place: Place) -> tuple[Link, Standing]:
        target = self._environment.targets[place.target]
        assert isinstance(target, SshTarget)
        host, port = address(place)
        endpoint = Endpoint(place.member, host, port, place.user)
        identity = target.identity or self._environment.identity.ssh
        who = Who(endpoint, identity, self._environment.name, self._least(place.target))
        again = functools.partial(dial, endpoint, TIMEOUT)
        line: Future[Any] = Future()
        try:
            line.set_result(again())
        except OSError as error:
            line.set_exception(error)
        try:
            reference = self._environment.credentials[place.credential].key or ""
            key = key_of(place.credential, reference, self._key_file)
        except BaseException:
            hang_up(line)
            raise
        return log_in(who, self._known, key, TIMEOUT, line.result, again)


def _end(begun: Future[tuple[Link, Standing]]) -> None:
    if begun.exception() is None:
        begun.result()[0].close()
