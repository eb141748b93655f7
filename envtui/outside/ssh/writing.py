"""Writing over SSH: one permit, one act, one connection of its own.

The act runs in a wrapper (`wrapper`) that outlives the connection. Nothing is stopped here and nothing looked for again: when
the outcome is not known the channel is closed and that is said, and `ending` finds out.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from envtui.core.access import Permit
from envtui.core.act import Act
from envtui.core.errors import EnvtuiError, InDoubt, Refused, TimedOut, Unreachable
from envtui.core.ports import HEAD_BYTES, Reading, Sent, Sink, unsent
from envtui.core.skew import check_write

from . import wrapper
from .bootstrap import Launch, nonce
from .following import Passage, ask, look, rest
from .links import Links, Opened, Setting
from .session import filled, perform

if TYPE_CHECKING:
    from .exchange import Exchange

FIRST = 0.25
"""Seconds until it is asked for the first time what a write has said."""

SLOWEST = 1.0
"""Seconds between two such questions, at most."""

ALONE = 10.0
"""Seconds after its timeout in which a write is ended by this client; a host that was left alone with it ends it then."""


class SshWriter:
    """The Writer of ssh targets: one permit, one act. `seen`: how many bytes of each stream are in its sink."""

    def __init__(self, permit: Permit, setting: Setting) -> None:
        if not isinstance(permit, Permit):
            raise TypeError("a writer needs a permit")
        self._permit = permit
        self._spent = False
        self._links = Links(setting)
        self._ended: tuple[Opened, Act] | None = None
        self._following: asyncio.Task[None] | None = None
        self.seen: dict[str, int] = {"out": 0, "err": 0}

    async def write(self, permit: Permit, act: Act, sink: Sink, sent: Sent = unsent) -> Reading:
        """Do the permitted act, once. A detached one is `running` as soon as it was started.

        Raises InDoubt when the command was sent and its outcome is not known. Every other error means that it did not
        happen: Unreachable, AuthenticationFailed, SecretMissing, WrongIdentity, Refused, Failed.
        """
        if permit is not self._permit or self._spent or act.mode != "write" or act.digest() != permit.act_digest:
            raise Refused(f"The permit is not for {act.id}, or it was used already.", "Nothing was sent.")
        self._spent = True
        passage = Passage(sink)
        try:
            command, stdin = await filled(act, self._links.setting)
            detach = act.timeout if act.detach else 0.0
            limit = act.timeout + ALONE
            start = wrapper.start(command, act.place.member, permit.id, stdin, nonce(), detach, limit)
            opened = await self._links.get(act.place, "write")
            check_write(act.place.member, opened.link.skew_ms, self._links.setting.wall_ms(), permit.until_ms)
            return await self._wrapped(_Sending(self._links, opened, act, permit.id, passage), start, stdin)
        finally:
            passage.close()
            self.seen = passage.seen

    async def forget(self) -> None:
        """The outcome is durable: remove its directory there. What cannot be removed now is a leftover (`doctor`)."""
        if self._ended is None or not self._ended[0].usable:
            return
        opened, act = self._ended
        start = wrapper.forget(act.place.member, self._permit.id, act.place.as_, nonce())
        with suppress(EnvtuiError):
            await ask(self._links, opened, start)

    async def close(self) -> None:
        await self._links.close()
        if self._following is not None:
            await asyncio.wait([self._following])

    async def _wrapped(self, sending: _Sending, start: Launch, stdin: bytes) -> Reading:
        from .exchange import Discard, Exchange

        act, passage, opened = sending.act, sending.passage, sending.opened
        exchange = Exchange(opened.link, start, stdin, Discard(), act.timeout)
        following = self._following = None if act.detach else asyncio.create_task(sending.follow(exchange))
        try:
            try:
                reading = await perform(self._links, opened, exchange)
            except BaseException:
                passage.close()
                if following is not None:
                    following.cancel()  # it may hang in the network until the connection is closed
                raise
            sending.over.set()
            if following is not None:
                await asyncio.wait([following])
        except (TimedOut, Unreachable) as error:
            if not exchange.sent:
                raise
            raise sending.in_doubt(error) from error
        said = reading.stderr.decode("utf-8", "replace").strip()
        refused = wrapper.refusal(
            exchange.status, act.id, act.place.as_ or opened.link.endpoint.user, act.place.member, said
        )
        if refused is not None:
            raise refused
        if act.detach and exchange.status == wrapper.STARTED:
            return Reading(running=True, seconds=reading.seconds)
        if reading.exit is None:
            raise sending.in_doubt("The command ended without a status.")
        passage.take("out", 0, reading.stdout)
        passage.take("err", 0, reading.stderr)
        if len(reading.stdout) >= wrapper.HEAD or len(reading.stderr) >= wrapper.HEAD:
            try:
                await rest(self._links, opened, act.place, self._permit.id, passage)
            except EnvtuiError as error:
                raise sending.in_doubt(f"It ended, and its output did not come whole: {error.message}") from error
        self._ended = opened, act
        return Reading(
            exit=reading.exit,
            stdout=passage.kept("out"),
            stderr=passage.kept("err"),
            truncated=max(passage.out, passage.err) > HEAD_BYTES,
            seconds=reading.seconds,
        )


class _Sending:
    """A write on its way: what it says meanwhile, and the error for when nobody knows what became of it."""

    def __init__(self, links: Links, opened: Opened, act: Act, permit: str, passage: Passage) -> None:
        self.opened = opened
        self.act = act
        self.passage = passage
        self.over = asyncio.Event()
        self._links = links
        self._permit = permit

    def in_doubt(self, error: TimedOut | EnvtuiError | str) -> InDoubt:
        why = error if isinstance(error, str) else error.message
        return InDoubt(
            f"{self.act.id} was sent and its outcome is not known. {why}",
            "Look at the host before anything else is done.",
            self.passage.seen,
            isinstance(error, TimedOut),
        )

    async def follow(self, exchange: Exchange) -> None:
        """Bring what it says until it is over, and stop waiting for it (no more than that) when it was silent too long.

        Where nothing can be asked (one channel at once is all that the host gives) nothing comes before the end.
        """
        clock = asyncio.get_running_loop().time
        idle = self.act.idle_timeout
        heard, pause = clock(), FIRST
        while not await self._pause(min(pause, idle / 4) if idle else pause):
            before, asked = self.passage.seen, clock()
            try:
                found = await look(self._links, self.opened, self.act.place, self._permit, self.passage)
            except EnvtuiError:
                if not self.opened.usable:
                    return
                found = None
            if self.passage.seen != before:
                heard = clock()
            elif found is not None and idle and asked - heard >= idle:
                exchange.stop(f"said nothing for {idle:g} s")
                return
            pause = min(SLOWEST, pause * 2)

    async def _pause(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return self.over.is_set()
