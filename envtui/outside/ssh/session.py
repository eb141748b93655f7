"""Reading over SSH, and what reading and writing share: a call in bytes, and one command carried out in a thread.

Writes are in `writing`: another type, with another credential, on other connections. Where the environment asks for it a
read is put behind the sandbox (`sandbox`), or the host has a gate that does it; elsewhere it is as harmless as its account.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from envtui.core.act import Act, Ref, SecretRef, SshCall, Text, texts
from envtui.core.errors import EnvtuiError, ProtectionTooLow, Refused, TimedOut, UsageError
from envtui.core.ports import Reading, Shown, Sink

from .bootstrap import Behind, Command, launch, nonce
from .links import Links, Opened, Setting
from .login import sandbox
from .sandbox.send import ENV, through_gate
from .standing import Standing

if TYPE_CHECKING:  # with paramiko behind them, which is imported with the first connection
    from .exchange import Exchange
    from .tunnel import Tunnel

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
        return _shown(act, opened, opened.standing)

    async def probe(self, act: Act) -> Shown:
        """The same, with the whole truth about what holds reads there. Raises what `open` raises."""
        return _shown(act, *await self._links.look(act.place))

    async def read(self, act: Act, sink: Sink) -> Reading:
        """Do one read. Raises what `open` raises, TimedOut, Refused, Failed when the step's directory is missing, and
        ProtectionTooLow when what was to hold it did not come up; nothing ran then."""
        if act.mode != "read":
            raise Refused(f"{act.id} is a write, and this connection is for reads.", "Ask for write access.")
        command, stdin = await filled(act, self._links.setting)
        opened = await self._links.get(act.place, "read")
        try:
            reading = await perform(self._links, opened, _exchange(opened, act, command, stdin, sink))
        except ProtectionTooLow:
            opened.retired = True  # what was found out about the host does not hold any more
            raise
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


def _exchange(opened: Opened, act: Act, command: Command, stdin: bytes, sink: Sink) -> Exchange:
    from .exchange import Exchange

    mark = nonce()
    start = launch(msgspec.structs.replace(command, behind=_behind(opened, act, mark)), mark, reads=bool(stdin))
    return Exchange(opened.link, start, stdin, sink, act.timeout, act.idle_timeout)


def _behind(opened: Opened, act: Act, mark: str) -> Behind | None:
    """What holds this read. Raises Refused where a gate does not give what the step needs."""
    standing = opened.standing
    if standing.behind == "gate":
        missing = [need for need in act.needs if need not in standing.allowed]
        if missing or act.place.as_:
            wanted = ", ".join(missing) or f"another account ({act.place.as_})"
            raise Refused(
                f"{act.id} needs {wanted}, and the gate of {act.place.member} does not give it to this key.",
                "Give the step's target a key for which the host's owner allows it: `envtui harden` prints how.",
            )
    if standing.behind != "sandbox":
        return None
    if act.place.as_:
        return Behind(through_gate(mark, act.timeout, act.needs), ENV)
    return sandbox(mark, act.timeout, act.needs, code=standing.code)


def _shown(act: Act, opened: Opened, standing: Standing) -> Shown:
    return Shown(
        target=act.place.target,
        member=act.place.member,
        shown=standing.shown,
        protection=standing.protection,
        skew_ms=opened.link.skew_ms,
        lacks=standing.lacks,
    )


async def perform(links: Links, opened: Opened, exchange: Exchange) -> Reading:
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


async def filled(act: Act, setting: Setting) -> tuple[Command, bytes]:
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
