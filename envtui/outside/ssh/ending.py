"""Finding and ending what a write started over SSH, by any process and at any time: the Ender of ssh targets.

It speaks to the state directory of the permit (`wrapper`) with the write credential, as the account of the act. What lies
there could have been written by anybody who is that account, so it is read strictly and proves little: alive is who the
kernel shows with the same boot, process group and start time; dead is what nobody of is left. A status is a hint.

- No directory: it never began there, because making it is the first thing; unless a process still carries the permit.
- The shell that waits for it lives: it runs. It is gone and there is a status: it ended.
- It is gone and there is none: gone, when the host was started again or nobody is left in its process group; running, while
  somebody there carries the permit in its environment; else unknown.
- A link, another owner, others let in, or nonsense in a file: unknown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import msgspec

from envtui.core.act import Act, Place
from envtui.core.errors import Refused
from envtui.core.ports import Fate, Sink, Started

from . import wrapper
from .bootstrap import Launch, nonce
from .following import Looked, Passage, ask, look, rest
from .links import Links, Opened, Setting
from .wrapper import State, Who

FIRST = 0.25
"""Seconds until it is looked again for the first time."""

SLOWEST = 1.0
"""Seconds between two looks, at most."""

POLL = 0.06
"""Seconds between two looks at a process group that was sent a signal."""

DEATH = 5.0
"""Seconds that the kernel has to take away what was killed."""

BEGINNING = 3
"""Looks at a directory in which it is not written yet who waits for the command, before that counts."""

_UNSOUND = {
    "hom": "The account has no home there.",
    "lnk": "Its state there is a link, or no regular file.",
    "own": "The directories of its state there belong to another account.",
    "mod": "The directories of its state there are open to others.",
}


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that a write left at a host. `age_seconds` by the host's clock, None where it does not say."""

    permit: str
    state: str
    exit: int | None = None
    age_seconds: int | None = None


class SshEnder:
    """The Ender of ssh targets. One connection for each member and write credential."""

    def __init__(self, setting: Setting) -> None:
        self._links = Links(setting)
        self._attached: tuple[str, Sink, Passage] | None = None

    async def look(self, started: Started) -> Fate:
        """What is known of it now."""
        return (await self._find(_Target.of(started), Passage(_Nowhere()), 0))[0]

    async def attach(self, started: Started, sink: Sink, seen: Mapping[str, int], seconds: float) -> Fate:
        """Follow it until it is no longer running, or for `seconds`. Asked again with the same sink, after the connection
        was lost, it goes on where that one ended."""
        target = _Target.of(started)
        passage = self._passage(started.permit, sink, seen)
        clock = asyncio.get_running_loop().time
        until, pause = clock() + seconds, FIRST
        while True:
            before = passage.seen
            fate, state = await self._find(target, passage, wrapper.PIECE)
            if fate.state != "running":
                if state is not None and (passage.out < state.out or passage.err < state.err):
                    await rest(self._links, await self._opened(target), target.place, target.permit, passage)
                return fate
            if clock() >= until:
                return fate
            if state is not None and passage.seen != before and (passage.out < state.out or passage.err < state.err):
                continue  # there was more than one piece
            await asyncio.sleep(max(0.0, min(pause, until - clock())))
            pause = min(SLOWEST, pause * 2)

    async def stop(self, started: Started, grace: float) -> Fate:
        """TERM to its process group, KILL after `grace` seconds, and nobody is left of it; or what is."""
        target = _Target.of(started)
        fate, state = await self._find(target, Passage(_Nowhere()), 0)
        if state is None or state.who is None or not state.who.group:
            return fate
        left = await self._end(target, state.who, grace)
        fate, _ = await self._find(target, Passage(_Nowhere()), 0)
        if not left or not fate.dead:
            return fate
        why = "In its process group are processes that this account cannot end, or cannot tell to be of it."
        return Fate(state="unknown", exit=fate.exit, why=why)

    async def forget(self, started: Started) -> None:
        """Remove its directory there."""
        target = _Target.of(started)
        await self._ask(target, wrapper.forget(target.member, target.permit, target.account, nonce()))

    async def leftovers(self, place: Place) -> tuple[Leftover, ...]:
        """What writes left at a member, of the account of `place` (with the write credential); at most 500, by name.

        Raises Refused where what lies there cannot be trusted, and what every question raises.
        """
        _writes(place)
        nobody = _Target(place, "-")
        status, said = await self._ask(nobody, wrapper.listing(place.member, place.as_, nonce()))
        if status == wrapper.NOTHING:
            return ()
        if status != "000":
            why = _UNSOUND.get(status, "The host did not answer as it should.")
            raise Refused(f"{place.member} does not show what writes left there. {why}", "Look at $HOME/.envtui there.")
        now, *lines = said.decode("utf-8", "replace").splitlines() or [""]
        found: list[Leftover] = []
        for line in lines:
            name, _, since = line.rpartition(".")
            if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
                continue
            fate, _ = await self._find(_Target(place, name), Passage(_Nowhere()), 0)
            age = int(now) - int(since) if now.isdecimal() and since.isdecimal() else None
            found.append(Leftover(permit=name, state=fate.state, exit=fate.exit, age_seconds=age))
        return tuple(found)

    async def close(self) -> None:
        await self._links.close()

    async def _find(self, target: _Target, passage: Passage, piece: int) -> tuple[Fate, State | None]:
        for again in range(BEGINNING):
            if again:
                await asyncio.sleep(POLL)
            looked = await look(self._links, await self._opened(target), target.place, target.permit, passage, piece)
            if looked.state is None or looked.state.who is not None:
                break
        return await self._fate(target, looked), looked.state

    async def _fate(self, target: _Target, looked: Looked) -> Fate:
        state = looked.state
        if looked.word == wrapper.NOTHING:
            return await self._without(target)
        if looked.word:
            return Fate(state="unknown", why=_UNSOUND.get(looked.word, "The host did not answer as it should."))
        if state is None:
            return Fate(state="unknown", why="What lies in its directory there was not written by envtui.")
        if state.who is None:
            return Fate(state="unknown", why="It was about to begin, and nothing says whether it did.")
        again = "-" not in (state.boot, state.who.boot) and state.boot != state.who.boot
        if state.leads and not again:
            return Fate(state="running")
        if state.exit is not None:
            return Fate(state="ended", exit=state.exit)
        if again:
            return Fate(state="gone", why="The host was started again since.")
        if state.leads is None or not state.who.group:
            return Fate(state="unknown", why="The host does not show its processes (no /proc).")
        status, said = await self._ask(target, wrapper.group(state.who, target.permit, target.account, nonce()))
        if status == "boo":
            return Fate(state="gone", why="The host was started again since.")
        if status != "000":
            return Fate(state="unknown", why="The host does not show its processes (no /proc).")
        if b"l" in said or b"m" in said:
            return Fate(state="running", why="The shell that waited for it is gone; nobody will have its status.")
        if said:
            return Fate(state="unknown", why="Its process group has processes that cannot be told to be of it, or not.")
        return Fate(state="gone", why="Nothing of it runs any more, and it left no status.")

    async def _without(self, target: _Target) -> Fate:
        """There is no directory: never made, or removed by somebody."""
        status, said = await self._ask(target, wrapper.marked(target.permit, target.account, nonce()))
        if status == "000" and said.strip() not in (b"0", b""):
            return Fate(state="running", why="Its directory there was removed, and a process of it still runs.")
        return Fate(state="gone", why="It never began there: it would have left its directory.")

    async def _end(self, target: _Target, who: Who, grace: float) -> str:
        """Signals; who is left of the group in the end."""
        clock = asyncio.get_running_loop().time
        left = await self._signal(target, who, "TERM")
        # Others are waited for at last: what sudo left of itself ends by itself.
        for signal, seconds, whose in (("-", grace, "lm"), ("KILL", DEATH, "lm"), ("-", DEATH / 5, "lmop")):
            until = clock() + seconds
            while set(left) & set(whose):
                left = await self._signal(target, who, signal)
                if clock() >= until:
                    break
                await asyncio.sleep(POLL)
        return left

    async def _signal(self, target: _Target, who: Who, signal: str) -> str:
        """Send it where the group is proven to be ours; who was in it. A host that was started again has nobody."""
        status, said = await self._ask(target, wrapper.group(who, target.permit, target.account, nonce(), signal))
        return said.decode("ascii", "replace") if status == "000" else ""

    def _passage(self, permit: str, sink: Sink, seen: Mapping[str, int]) -> Passage:
        if self._attached is not None and self._attached[0] == permit and self._attached[1] is sink:
            return self._attached[2]
        passage = Passage(sink, seen.get("out", 0), seen.get("err", 0))
        self._attached = permit, sink, passage
        return passage

    async def _opened(self, target: _Target) -> Opened:
        return await self._links.get(target.place, "write")

    async def _ask(self, target: _Target, start: Launch) -> tuple[str, bytes]:
        return await ask(self._links, await self._opened(target), start)


class _Target(msgspec.Struct, frozen=True):
    place: Place
    permit: str

    @classmethod
    def of(cls, started: Started) -> _Target:
        act: Act = started.act
        if act.mode != "write":
            raise Refused(f"{act.id} is a read; nothing of it is kept at its target.", "This is an error of envtui.")
        _writes(act.place)
        return cls(act.place, started.permit)

    @property
    def member(self) -> str:
        return self.place.member

    @property
    def account(self) -> str:
        return self.place.as_


class _Nowhere:
    """A sink for who only wants to know the state."""

    def out(self, data: bytes) -> None:
        pass

    def err(self, data: bytes) -> None:
        pass


def _writes(place: Place) -> None:
    if place.kind != "ssh":
        raise Refused(f"{place.target} is no ssh target.", "This is an error of envtui.")
