"""Reading and writing over SSH: different types, with different credentials, on different connections.

Nothing is sandboxed: a read is as harmless as its account makes it, so the protection that is claimed is 'advisory'.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from envtui.core.access import Permit
from envtui.core.act import Act, Ref, SecretRef, SshCall, Text, texts
from envtui.core.errors import EnvtuiError, InDoubt, Refused, TimedOut, Unreachable, UsageError
from envtui.core.ports import Reading, Sent, Shown, Sink, unsent

from .bootstrap import Command, launch, nonce
from .links import Links, Opened, Setting

if TYPE_CHECKING:  # with paramiko behind them, which is imported with the first connection
    from .exchange import Exchange
    from .tunnel import Tunnel

PROTECTION = "advisory"

GRACE = 10.0
"""Seconds that a command's thread may be late; then its connection is cut, because the network hangs."""

_SUDO = (b"sudo: a password is required", b"sudo: a terminal is required", b"sudo: unknown user", b"Sorry, user ")


class SshReader:
    """The Reader of ssh targets, and the Tunnels of an environment. One connection for each member and credential."""

    def __init__(self, setting: Setting) -> None:
        self._links = Links(setting)
        self._tunnels: list[Tunnel] = []

    async def open(self, act: Act) -> Shown:
        """Connect, or reuse. Raises Unreachable, AuthenticationFailed, SecretMissing, WrongIdentity, Refused."""
        opened = await self._links.get(act.place, "read")
        return Shown(target=act.place.target, member=act.place.member, shown=opened.shown, protection=PROTECTION)

    async def read(self, act: Act, sink: Sink) -> Reading:
        """Do one read. Raises what `open` raises, TimedOut, Refused, and Failed when the step's directory is missing."""
        if act.mode != "read":
            raise Refused(f"{act.id} is a write, and this connection is for reads.", "Ask for write access.")
        command, stdin = await _filled(act, self._links.setting)
        opened = await self._links.get(act.place, "read")
        reading = await _perform(self._links, opened, _exchange(opened, act, command, stdin, sink))
        if act.place.as_ and reading.exit == 1 and not reading.stdout and reading.stderr.startswith(_SUDO):
            said = reading.stderr.decode("utf-8", "replace").strip().splitlines()[0][:200]
            raise Refused(
                f"{act.place.member} does not let {act.place.user} act as {act.place.as_}: {said}",
                "sudoers there must allow this command without a password.",
            )
        return reading

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        """A loopback address that leads to host:port through the ssh target `via`, for one connection."""
        from .tunnel import Tunnel

        through = await self._links.through(via, host, port)
        executor = self._links.setting.executor
        channel = await asyncio.get_running_loop().run_in_executor(executor, through)
        tunnel = Tunnel(channel, self._links.setting.timeout)
        self._tunnels.append(tunnel)
        return tunnel.address

    async def close(self) -> None:
        for tunnel in self._tunnels:
            tunnel.close()
        self._tunnels.clear()
        await self._links.close()


class SshWriter:
    """The Writer of ssh targets: one permit, one act, one connection of its own, closed after it."""

    def __init__(self, permit: Permit, setting: Setting) -> None:
        if not isinstance(permit, Permit):
            raise TypeError("a writer needs a permit")
        self._permit = permit
        self._spent = False
        self._links = Links(setting)

    async def write(self, permit: Permit, act: Act, sink: Sink, sent: Sent = unsent) -> Reading:
        """Do the permitted act, once.

        Raises InDoubt when the command was sent and its outcome is not known. Every other error means that it did not
        happen: Unreachable, AuthenticationFailed, SecretMissing, WrongIdentity, Refused, Failed.
        """
        if permit is not self._permit or self._spent or act.mode != "write" or act.digest() != permit.act_digest:
            raise Refused(f"The permit is not for {act.id}, or it was used already.", "Nothing was sent.")
        self._spent = True
        try:
            command, stdin = await _filled(act, self._links.setting)
            opened = await self._links.get(act.place, "write")
            exchange = _exchange(opened, act, command, stdin, sink)
            try:
                reading = await _perform(self._links, opened, exchange)
            except (TimedOut, Unreachable) as error:
                if not exchange.sent:
                    raise
                raise _in_doubt(act, error.message) from error
            if reading.exit is None:
                raise _in_doubt(act, "The command ended without a status.")
            return reading
        finally:
            await self._links.close()

    async def forget(self) -> None:
        """Nothing is kept there."""

    async def close(self) -> None:
        await self._links.close()


def _exchange(opened: Opened, act: Act, command: Command, stdin: bytes, sink: Sink) -> Exchange:
    from .exchange import Exchange

    return Exchange(opened.link, launch(command, nonce(), reads=bool(stdin)), stdin, sink, act.timeout)


async def _perform(links: Links, opened: Opened, exchange: Exchange) -> Reading:
    """Run it in a thread. When the waiting task is cancelled the channel is closed first; the remote command may go on."""
    loop = asyncio.get_running_loop()
    opened.users += 1
    watch: asyncio.TimerHandle | None = None

    def late() -> None:
        nonlocal watch
        if exchange.overdue(GRACE):
            opened.link.cut()
        else:
            watch = loop.call_later(GRACE, late)

    try:
        async with opened.slots:
            work = loop.run_in_executor(links.setting.executor, exchange.run)
            watch = loop.call_later(GRACE, late)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                opened.retired = True
                exchange.stop()
                with suppress(EnvtuiError):
                    await work
                raise
            except TimedOut:
                opened.retired = True
                raise
            finally:
                watch.cancel()
    finally:
        links.release(opened)


async def _filled(act: Act, setting: Setting) -> tuple[Command, bytes]:
    """The call in bytes, secrets in their places. A command with a secret in it goes by stdin, never on a command line."""
    call = act.call
    if not isinstance(call, SshCall):
        raise UsageError(f"{act.id} is no ssh act.", "This is an error of envtui.")
    if act.place.as_ and any(isinstance(part, SecretRef) for _, text in call.env for part in text):
        raise Refused(
            f"{act.id} gives a secret in env to sudo, which would show it to every account there.", "Give it by stdin."
        )
    env = [(name, await _bytes(text, setting)) for name, text in call.env]
    command = Command(
        argv=tuple([await _bytes(text, setting) for text in call.argv]),
        sh=call.sh.encode() if call.sh is not None else None,
        env=tuple(env),
        cwd=call.cwd.encode(),
        account=act.place.as_,
        hidden=any(isinstance(part, SecretRef) for text in texts(call) for part in text),
    )
    if call.stdin_text is not None:
        return command, await _bytes(call.stdin_text, setting)
    return command, call.stdin.content if call.stdin is not None else b""


async def _bytes(text: Text, setting: Setting) -> bytes:
    words: list[str] = []
    for part in text:
        if isinstance(part, Ref):
            raise UsageError(f"The place {part.name} was not filled.", "This is an error of envtui.")
        words.append(
            (await setting.secrets.resolve(part.reference, part.name)).reveal() if isinstance(part, SecretRef) else part
        )
    return "".join(words).encode("utf-8", "surrogateescape")


def _in_doubt(act: Act, why: str) -> InDoubt:
    return InDoubt(
        f"{act.id} was sent and its outcome is not known. {why}", "Look at the host before anything else is done."
    )
