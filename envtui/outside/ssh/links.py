"""The open connections of a reader or of a writer: each made once, shown to be the right host, and shared."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import msgspec

from envtui.core.act import Mode, Place
from envtui.core.environment import Environment, SshTarget
from envtui.core.errors import Refused, Unreachable
from envtui.core.ports import Secrets

from .ahead import Ahead
from .dial import Endpoint, dial, hang_up
from .known_hosts import KnownHosts
from .login import TIMEOUT, Who, address, connection, key_of, log_in, wall_ms
from .standing import Standing

if TYPE_CHECKING:  # paramiko takes its time to import: it is, in a thread, with the first connection
    from .connect import Link
    from .library import Channel, PKey

CHANNELS = 8
"""Commands at once on one connection; sshd allows 10 as shipped."""


class Opened(msgspec.Struct):
    """A connection that showed what it is."""

    link: Link
    standing: Standing
    slots: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(CHANNELS))
    users: int = 0
    retired: bool = False  # a command of it may still run: no new ones on it

    @property
    def usable(self) -> bool:
        return self.link.alive and not self.retired


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What connections of one environment are made of.

    `hosts` gives the read places of an ssh target by its name, for jump hosts. `timeout` in seconds, for each of dialling,
    key exchange, authentication and the identity. `ahead` has connections for reads that were begun already. `least` gives
    the level of protection that reads on an ssh target must have.
    """

    environment: Environment
    known_hosts: KnownHosts
    secrets: Secrets
    hosts: Callable[[str], Sequence[Place]]
    executor: Executor
    timeout: float = TIMEOUT
    ahead: Ahead | None = None
    wall_ms: Callable[[], int] = wall_ms
    least: Callable[[str], str] = lambda target: "advisory"


class Links:
    """Connections by place. `get` makes one when there is none that lives."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._opened: dict[Place, asyncio.Task[Opened]] = {}
        self._old: list[Opened] = []
        self._keys: dict[str, PKey] = {}
        self._closed = False

    async def get(self, place: Place, access: Mode) -> Opened:
        """Raises Unreachable, AuthenticationFailed, SecretMissing, WrongIdentity, Refused."""
        if self._closed:
            raise Refused("The connections of this session are closed already.", "Open the environment again.")
        place = connection(place)
        task = self._opened.get(place)
        if task is not None and task.done():
            if task.exception() is not None:
                task = None
            elif not task.result().usable:
                self._old.append(task.result())
                task = None
        if task is None:
            task = asyncio.create_task(self._open(place, access))
            task.add_done_callback(_retrieved)
            self._opened[place] = task
        return await asyncio.shield(task)

    async def look(self, place: Place) -> tuple[Opened, Standing]:
        """The connection for reads, and the whole truth about what holds them. Raises what `get` raises."""
        from .login import look

        opened = await self.get(place, "read")
        who = Who(opened.link.endpoint, None, self.setting.environment.name, self.setting.least(place.target))
        run = asyncio.get_running_loop().run_in_executor
        setting = self.setting
        return opened, await run(setting.executor, look, opened.link, who, opened.standing.shown, setting.timeout)

    async def through(self, via: str, host: str, port: int, trail: tuple[str, ...] = ()) -> Callable[[], Channel]:
        """What opens a channel to host:port on the first reachable member of the ssh target `via`; it blocks."""
        self._check_way(via)
        last: Unreachable | None = None
        for place in self.setting.hosts(via):
            try:
                jump = await self.get(place, "read")
            except Unreachable as error:
                last = error
                continue
            return functools.partial(_channel, jump.link, host, port, self.setting.timeout)
        raise last or Unreachable(f"The jump target {via} has no member.", "Correct environment.yaml.")

    def release(self, opened: Opened) -> None:
        """One user fewer; a retired connection that nobody uses is closed."""
        opened.users -= 1
        if opened.retired and not opened.users:
            opened.link.close()

    async def close(self) -> None:
        self._closed = True
        made = await asyncio.gather(*self._opened.values(), return_exceptions=True)
        # An opening that is still under way ends within its time limits.
        links = [opened.link for opened in (*self._old, *(m for m in made if isinstance(m, Opened)))]
        self._opened.clear()
        self._old.clear()
        for link in reversed(links):  # a jump host after what is behind it
            link.close()
        for key in self._keys.values():
            if (agent := getattr(key, "agent", None)) is not None:
                agent.close()
        self._keys.clear()

    async def _open(self, place: Place, access: Mode) -> Opened:
        setting = self.setting
        target = setting.environment.targets.get(place.target)
        if not isinstance(target, SshTarget):
            raise Refused(f"{setting.environment.name} has no ssh target {place.target}.", "Correct environment.yaml.")
        name = target.read if access == "read" else target.write
        if not name or place.credential != name or setting.environment.credentials[name].access != access:
            raise Refused(
                f"{place.target} is not reached for a {access} with the credential {place.credential or '(none)'}.",
                f"Its {access} credential is {name}." if name else f"It has no {access} credential.",
            )
        begun = setting.ahead.take(place) if setting.ahead is not None and access == "read" else None
        if begun is not None:
            return Opened(*await asyncio.wrap_future(begun))
        host, port = address(place)
        endpoint = Endpoint(place.member, host, port, place.user)
        dialling = functools.partial(dial, endpoint, setting.timeout)
        again = await self.through(place.via, host, port) if place.via else dialling
        line = setting.executor.submit(again)  # the host prepares itself while paramiko and the key are loaded
        run = asyncio.get_running_loop().run_in_executor
        try:
            await run(setting.executor, _import_paramiko)
            key = await self._key(name)
        except BaseException:
            line.add_done_callback(hang_up)
            raise
        least = setting.least(place.target) if access == "read" else ""
        who = Who(endpoint, target.identity or setting.environment.identity.ssh, setting.environment.name, least)
        link, standing = await run(
            setting.executor, log_in, who, setting.known_hosts, key, setting.timeout, line.result, again
        )
        return Opened(link, standing)

    def _check_way(self, via: str) -> None:
        """A way that leads in a circle would wait for itself."""
        way: list[str] = []
        step: str | None = via
        while step:
            if step in way:
                raise Refused(f"The way through {' and '.join(way)} leads back to {step}.", "Correct `via`.")
            way.append(step)
            step = getattr(self.setting.environment.targets.get(step), "via", None)

    async def _key(self, name: str) -> PKey:
        if name not in self._keys:
            reference = self.setting.environment.credentials[name].key or ""
            run = asyncio.get_running_loop().run_in_executor
            self._keys[name] = await run(self.setting.executor, key_of, name, reference, self.setting.secrets.key_file)
        return self._keys[name]


def _retrieved(task: asyncio.Task[Opened]) -> None:
    """Whoever waited for it may be gone: an error of it is not an error of the loop."""
    if not task.cancelled():
        task.exception()


def _import_paramiko() -> None:
    from . import connect  # noqa: F401  # in a thread: it takes its time


def _channel(link: Link, host: str, port: int, timeout: float) -> Channel:
    from .connect import WINDOW, translated

    with translated(link.endpoint, f"forwarding to {host}:{port}"):
        return link.transport.open_channel(
            "direct-tcpip", (host, port), ("127.0.0.1", 0), window_size=WINDOW, timeout=timeout
        )
