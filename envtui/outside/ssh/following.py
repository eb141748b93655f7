"""What a write has said by now, asked for again and again: every byte once, whichever way it came.

Output lies in files at the host. It is read by short programs, one after the other, so that nothing stays behind there when
nobody asks any more; and the end of a write brings the beginning of it once more.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from envtui.core.act import Place
from envtui.core.errors import TimedOut, Unreachable
from envtui.core.ports import HEAD_BYTES, Sink

from . import wrapper
from .bootstrap import Launch, nonce
from .session import perform
from .wrapper import State

if TYPE_CHECKING:
    from .links import Links, Opened

ANSWER = 15.0
"""Seconds of silence after which a host that was asked does not answer."""

LONGEST = 3600.0
"""Seconds that one answer may take while it keeps coming."""


class Passage:
    """Passes the two streams of a write on to a sink from a byte on, each byte once, and keeps their beginning.

    Pieces may come from several threads, may overlap, and never leave a gap: what is past the next byte is left out. After
    `close` nothing is passed on any more, so that `seen` stays true.
    """

    def __init__(self, sink: Sink, out: int = 0, err: int = 0) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._sinks = {"out": sink.out, "err": sink.err}
        self._had = {"out": out, "err": err}
        self._kept = {"out": bytearray(), "err": bytearray()}

    @property
    def seen(self) -> dict[str, int]:
        """How many bytes of each stream are in the sink."""
        return dict(self._had)

    @property
    def out(self) -> int:
        return self._had["out"]

    @property
    def err(self) -> int:
        return self._had["err"]

    def kept(self, stream: str) -> bytes:
        """The beginning, at most HEAD_BYTES; complete only for who began at the first byte."""
        return bytes(self._kept[stream])

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def take(self, stream: str, at: int, data: bytes) -> None:
        """`data` begins at byte `at` of the stream."""
        with self._lock:
            had = self._had[stream]
            if self._closed or at > had or at + len(data) <= had:
                return
            data = data[had - at :]
            self._sinks[stream](data)
            self._had[stream] += len(data)
            kept = self._kept[stream]
            kept += data[: max(0, HEAD_BYTES - len(kept))]


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found: a state, or the word that the host said instead (`non`: nothing is there). Neither: nonsense."""

    state: State | None = None
    word: str = ""


class _Answer:
    """The sink of a look: two parts about the state, then the output from where the passage is."""

    def __init__(self, nonce: str, passage: Passage) -> None:
        self._mark = f"{nonce},".encode()
        self._held: bytes | None = b""
        self._passage = passage
        self._at = passage.seen
        self.state: State | None = None

    def out(self, data: bytes) -> None:
        if self._held is not None:
            *parts, rest = (self._held + data).split(self._mark, 2)
            if len(parts) < 2:
                self._held += data
                return
            self._held, data = None, rest
            self.state = wrapper.state(parts[0], parts[1])
        if self.state is not None:
            self._pass("out", data)

    def err(self, data: bytes) -> None:
        # Both streams come in order each, but not in order of each other: the state may not be there yet.
        self._pass("err", data)

    def _pass(self, stream: str, data: bytes) -> None:
        if data:
            self._passage.take(stream, self._at[stream], data)
            self._at[stream] += len(data)


async def look(
    links: Links, opened: Opened, place: Place, permit: str, passage: Passage, piece: int = wrapper.PIECE
) -> Looked:
    """Look once, with what came of its output since. Raises Unreachable, Refused."""
    mark = nonce()
    answer = _Answer(mark, passage)
    start = wrapper.look(place.member, permit, place.as_, mark, passage.out, passage.err, piece)
    status = (await ask(links, opened, start, answer))[0]
    return Looked(state=answer.state) if status == "000" else Looked(word=status)


async def rest(links: Links, opened: Opened, place: Place, permit: str, passage: Passage) -> None:
    """Read on until everything passed that was there when this was asked for first."""
    first = await look(links, opened, place, permit, passage)
    while first.state is not None and (passage.out < first.state.out or passage.err < first.state.err):
        before = passage.seen
        await look(links, opened, place, permit, passage)
        if passage.seen == before:
            break  # it became shorter meanwhile: somebody else writes there


async def ask(links: Links, opened: Opened, start: Launch, sink: Sink | None = None) -> tuple[str, bytes]:
    """Run one of the short programs: its status, and what it said. Raises Unreachable, Refused."""
    from .exchange import Discard, Exchange

    exchange = Exchange(opened.link, start, b"", sink or Discard(), LONGEST, ANSWER)
    try:
        reading = await perform(links, opened, exchange)
    except TimedOut as error:
        raise Unreachable(
            f"{opened.link.endpoint} did not answer within {ANSWER:g} s.", "Check the network, the VPN and the host."
        ) from error
    return exchange.status, reading.stdout
