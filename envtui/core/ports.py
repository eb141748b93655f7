"""The doors to the outside, as Protocols. `outside/` implements them, `compose.py` hands them in, tests may hand others.

Everything that waits is async; everything that may block runs in the session's executor behind it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

from .act import Act
from .events import Entry, Event, Head
from .secret import Secret

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from .access import Incident, Permit
    from .environment import Command


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came back from one act. Matchers see `stdout` (at most 64 KiB) or `rows` (at most 1,000); the spool has all.

    `exit` is None when the remote ended without a status (killed by `signal`, or not an ssh act).
    """

    exit: int | None = None
    signal: str = ""
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    stdout: bytes = b""
    stderr: bytes = b""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    row_count: int | None = None
    affected: int | None = None
    truncated: bool = False
    seconds: float = 0.0
    running: bool = False  # a detached write: it was started, and goes on
    refused: tuple[str, ...] = ()  # what the sandbox of a read did not let it do, a clause each


HEAD_BYTES = 64 * 1024
HEAD_ROWS = 1_000


class Sink(Protocol):
    """Where output goes while it arrives. Called from any thread; never blocks longer than a disk write."""

    def out(self, data: bytes) -> None: ...
    def err(self, data: bytes) -> None: ...


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection showed of itself when it was made, and what protects reads on it."""

    target: str
    member: str
    shown: str
    protection: str
    skew_ms: int | None = None  # how far its clock is ahead; None: it did not tell
    lacks: tuple[str, ...] = ()  # what stands between it and the next level, a clause each


@runtime_checkable
class Probing(Protocol):
    """A reader that finds out more about what protects reads than the environment asks for."""

    async def probe(self, act: Act) -> Shown:
        """Like `open`, and the whole truth in `protection` and `lacks`. Raises what `open` raises."""
        ...


class Reader(Protocol):
    """Connections with read credentials. Opening one asserts host key and identity before anything else is sent."""

    async def open(self, act: Act) -> Shown:
        """Connect to the act's place (or reuse the connection). Raises Unreachable, AuthenticationFailed, WrongIdentity."""
        ...

    async def read(self, act: Act, sink: Sink) -> Reading:
        """Do one read. Raises TimedOut (partial output is in the sink), Refused, Unreachable, Unsound."""
        ...

    async def close(self) -> None: ...


Handle = Mapping[str, str]
"""What finds a write again at its target besides its permit: of SQL the backend, its start, the transaction's id; of SSH
nothing, because the permit names the directory there."""


Sent = Callable[[Handle], Awaitable[None]]
"""Writes a handle down; returns when it is durable."""


async def unsent(handle: Handle) -> None:
    """For writes whose handle nobody needs."""


class Writer(Protocol):
    """One connection with a write credential, for one permit. Cannot be constructed without one."""

    @property
    def seen(self) -> Mapping[str, int]:
        """How many bytes of `out` and `err` are in the sink: for whoever goes on listening after it was cut off."""
        ...

    async def write(self, permit: Permit, act: Act, sink: Sink, sent: Sent = unsent) -> Reading:
        """Do the permitted act. `sent` is awaited, where there is a handle, before anything of the act can remain.

        Raises InDoubt whenever it was sent and the outcome is not known; every other error only if it surely did not
        happen. A detached act returns as soon as it runs: `Reading.running`.
        """
        ...

    async def forget(self) -> None:
        """The outcome is durable: remove what the target keeps of it. Does nothing where nothing is kept."""
        ...

    async def close(self) -> None: ...


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A write that was sent: all that is needed to find it again, by any process, at any time."""

    act: Act
    permit: str
    attempt: int
    handle: Handle = {}


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a write that was sent, as its target tells it now.

    running: it is still at it. ended: by itself, with `exit` as the host has it, a hint and no proof. gone: proven dead,
    and nobody has a status. committed, aborted: the database says so (`pg_xact_status`), on the same system and timeline.
    unknown: not even whether it still runs can be proven; `why` says what is missing.
    """

    state: Literal["running", "ended", "gone", "committed", "aborted", "unknown"]
    exit: int | None = None
    why: str = ""

    @property
    def dead(self) -> bool:
        """Nothing of it goes on: what a probe finds now stays so."""
        return self.state in ("ended", "gone", "committed", "aborted")


class Ender(Protocol):
    """The third capability: finds and ends what a permit started, and nothing else. Needs no grant and never expires.

    All raise Unreachable, AuthenticationFailed, WrongIdentity, Refused when the target cannot be asked.
    """

    async def look(self, started: Started) -> Fate:
        """What is known of it now."""
        ...

    async def attach(self, started: Started, sink: Sink, seen: Mapping[str, int], seconds: float) -> Fate:
        """Follow it until it is no longer running, or for `seconds` (then: running). Its output goes to the sink, from
        the byte that `seen` says for `out` and `err` on."""
        ...

    async def stop(self, started: Started, grace: float) -> Fate:
        """End it: politely, and by force after `grace` seconds. Returns what is left of it then."""
        ...

    async def forget(self, started: Started) -> None:
        """The outcome is durable: remove what the target keeps of it."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Tunnels(Protocol):
    """The way to a target through an ssh target of the same environment (`via`)."""

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        """A loopback address that leads to host:port for one connection. Raises Unreachable, WrongIdentity."""
        ...


class Transcript(Protocol):
    """The output of one act, growing. Line numbers count from 0; lines are raw bytes, cleaned by whoever shows them."""

    @property
    def lines(self) -> int: ...
    @property
    def size(self) -> int: ...
    def line(self, number: int) -> bytes: ...
    def search(self, text: str, start: int = 0) -> int | None: ...
    def close(self) -> None: ...


class Recording(Transcript, Sink, Protocol):
    """A transcript while it is written. `finish` gives (sha256, bytes, truncated)."""

    @property
    def name(self) -> str:
        """What `Spool.replay` finds it by: the name asked for, or that with a number when it was taken."""
        ...

    def finish(self) -> tuple[str, int, bool]: ...


class Spool(Protocol):
    """Output on disk first: 0600, capped, secrets overwritten at equal length on the way in."""

    def record(self, name: str, secrets: Sequence[Secret]) -> Recording: ...
    def replay(self, name: str) -> Transcript: ...
    def forget(self, name: str) -> None: ...


class Journal(Protocol):
    """The ledger of one environment. `append` returns after the entry is durable."""

    async def append(self, event: Event) -> Entry: ...
    async def append_all(self, events: Sequence[Event]) -> Sequence[Entry]:
        """Several in order, durable together."""
        ...

    async def read(self, run: str | None = None) -> Sequence[Entry]: ...
    async def find(self, text: str) -> Sequence[Entry]:
        """The entries of all runs whose canonical bytes hold `text`: for what is rare in a ledger that is long."""
        ...

    def follow(self, after: int = 0) -> AsyncIterator[Entry]: ...
    async def head(self) -> Head: ...
    async def close(self) -> None: ...


class Hold(Protocol):
    """A run, held by this process alone until it is released or the process ends."""

    def release(self) -> None: ...


class Tracker(Protocol):
    async def lookup(self, incident: str) -> Incident:
        """Raises Refused when it does not exist, Unreachable when the tracker does not answer."""
        ...

    async def note(self, incident: str, text: str) -> bool:
        """Write a line into the incident's own record. False: this tracker takes no notes. Raises as `lookup`."""
        ...


class Notifier(Protocol):
    """Calls people: a pager, a chat. What it could not deliver it says."""

    async def notify(self, subject: str, text: str) -> None:
        """Raises Unreachable, TimedOut or Refused when it was not delivered."""
        ...


@runtime_checkable
class Hands(Protocol):
    """Whoever sits here, for a signer that needs more of them than to be told what it waits for."""

    def __call__(self, text: str) -> None:
        """A person must touch or unlock something."""
        ...

    def terminal(self, why: str) -> AbstractContextManager[bool]:
        """Lends the plain terminal, with the sentence `why` on it, to a program that asks for a passphrase itself: what is
        typed there never enters this process. False: there is no terminal. It is taken back whatever happens."""
        ...


class Signer(Protocol):
    """Signs with one key of the operator's. `waiting` is called when a person must touch or unlock something; one that is
    `Hands` can also lend the terminal for a passphrase."""

    @property
    def key(self) -> str:
        """The public key: 'ssh-ed25519 AAAA…'."""
        ...

    async def sign(self, namespace: str, message: bytes, waiting: Callable[[str], None]) -> str:
        """An armoured SSHSIG. Raises Refused, TimedOut."""
        ...


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    principal: str
    key: str
    touched: bool | None  # None: not a security key


class Verifier(Protocol):
    async def verify(self, namespace: str, message: bytes, armoured: str) -> Signature:
        """Who signed. Raises Refused with the reason."""
        ...


class Secrets(Protocol):
    async def resolve(self, reference: str | Command, name: str) -> Secret:
        """Raises SecretMissing, or Refused when the user's configuration does not allow it."""
        ...

    def key_file(self, reference: str) -> Path:
        """The private key file of a `file:` reference. Raises SecretMissing, Refused."""
        ...


class Clock(Protocol):
    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC; can jump."""
        ...

    def boot_ms(self) -> int:
        """Milliseconds since boot, counting suspend; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...
    def randomness(self, count: int) -> bytes: ...
