"""Logging in: from a key to a connection whose host is the right one and has shown who it is. Blocks; no event loop.

paramiko is imported when it is needed: a host is dialled, and prepares itself, while that takes its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from envtui.core.act import Place
from envtui.core.environment import Identity
from envtui.core.errors import AuthenticationFailed, ProtectionTooLow, TimedOut, Unreachable, WrongIdentity
from envtui.core.pattern import safe_pattern
from envtui.core.skew import skew

from .bootstrap import Behind, Command, launch, nonce
from .dial import Endpoint
from .known_hosts import KnownHosts
from .sandbox import send
from .standing import LOOK, ORDER, Account, Standing, account, standing

if TYPE_CHECKING:
    from envtui.core.ports import Reading

    from .connect import Link
    from .library import PKey

TIMEOUT = 15.0
"""Seconds for each of dialling, key exchange, authentication and the identity."""

HALF_A_SECOND = 500
"""Milliseconds: `date` tells whole seconds, so what it says is true to half of one around its middle."""

_CONNECTION = ("target", "kind", "member", "address", "user", "via", "credential")


class Who(msgspec.Struct, frozen=True):
    """Where to log in, and what must be found there. `environment` is for the message.

    `least`: the level of protection that reads there must have; '' where none is meant, because it is no read.
    """

    endpoint: Endpoint
    identity: Identity | None
    environment: str
    least: str = ""


def connection(place: Place) -> Place:
    """What of a place makes a connection: acts that differ in the rest share one."""
    return Place(**{name: getattr(place, name) for name in _CONNECTION})


def address(place: Place) -> tuple[str, int]:
    """Host and port of a place."""
    host, _, port = place.address.rpartition(":")
    return host.strip("[]"), int(port)


def key_of(credential: str, reference: str, key_file: Callable[[str], Path]) -> PKey:
    """The key that a credential names. Raises AuthenticationFailed, and what `key_file` raises."""
    from .connect import agent_key, load_key

    kind, _, what = reference.partition(":")
    if kind == "agent":
        return agent_key(what)
    if kind == "file":
        return load_key(key_file(reference))
    raise AuthenticationFailed(
        f"The credential {credential} names no key.", "Write `key: agent:SHA256:…` or `key: file:PATH`."
    )


def log_in(
    who: Who, known: KnownHosts, key: PKey, timeout: float, dialled: Callable[[], Any], again: Callable[[], Any]
) -> tuple[Link, Standing]:
    """The connection, and what it showed. `dialled` and `again` as `connect` takes them.

    Raises what `connect` raises, and WrongIdentity for a host that is not the one that is meant; nothing else was sent then.
    What holds reads there may be less than `who.least`: the standing says it, and nobody reads then.
    """
    from .connect import connect

    link = connect(who.endpoint, known, key, timeout, dialled, again)
    try:
        return link, _standing(link, who, timeout)
    except BaseException:
        link.close()
        raise


def look(link: Link, who: Who, shown: str, timeout: float) -> Standing:
    """The whole truth about what holds reads there, and what the host could do besides. Raises Unreachable."""
    found = _account(link, timeout)
    why = ""
    if found.gate is None:
        mark = nonce()
        try:
            _run(link, Command(argv=(b"true",), behind=sandbox(mark, timeout)), mark, timeout)
        except ProtectionTooLow as error:
            why = error.message
    return standing(shown, found, why, asked=_level(who) >= _level_of("kernel-enforced"))


def sandbox(mark: str, seconds: float, needs: tuple[str, ...] = (), dated: bool = False, code: str = "") -> Behind:
    """What a read is put behind; `mark` is its nonce. The rest is as `send.words` takes it."""
    return Behind(send.words(mark, seconds, needs, dated, code), send.ENV)


def _standing(link: Link, who: Who, timeout: float) -> Standing:
    level = _level(who)
    why = None
    if level == _level_of("kernel-enforced"):
        try:
            shown, code = _identity(link, who, timeout, held=True)
            return Standing(shown=shown, protection="kernel-enforced", behind="sandbox", code=code)
        except ProtectionTooLow as error:
            why = error.message
            found = _account(link, timeout)
            if found.gate is None:  # a gate would do that by itself; without one nothing of the manifest runs there
                return standing(f"host key {link.host_key.fingerprint}", found, why)
    shown, _ = _identity(link, who, timeout)
    return standing(shown, _account(link, timeout), why) if level else Standing(shown=shown)


def _level(who: Who) -> int:
    return _level_of(who.least) if who.least in ORDER else 0


def _level_of(name: str) -> int:
    return ORDER.index(name)


def _account(link: Link, timeout: float) -> Account:
    told = _run(link, Command(sh=LOOK.encode()), nonce(), timeout)
    found = account(told.stdout.decode("utf-8", "replace"))
    if found.gate is None:
        return found
    from .forwarding import forwards

    return msgspec.structs.replace(found, around=forwards(link, timeout))


def _run(link: Link, command: Command, mark: str, timeout: float) -> Reading:
    from .exchange import Discard, Exchange

    try:
        return Exchange(link, launch(command, mark, reads=False), b"", Discard(), timeout).run()
    except TimedOut as error:
        message = f"{link.endpoint} did not show its identity within {timeout:g} s."
        raise Unreachable(message, "The host hangs; look at it by another way.") from error


def _identity(link: Link, who: Who, timeout: float, held: bool = False) -> tuple[str, str]:
    """Ask the host who it is, before anything else: what it shows, and what it has compiled if it was `held`.

    Without an identity only that there is a shell is checked."""
    identity = who.identity
    asked = identity.argv if identity is not None else None
    words = tuple(word.encode() for word in asked or ("true",))
    mark = nonce()
    behind = sandbox(mark, timeout, dated=True) if held else None
    sent = wall_ms()
    reading = _run(link, Command(argv=words, dated=True, behind=behind), mark, timeout)
    date, _, code = reading.stderr.partition(b"\n")[0].decode("ascii", "replace").partition(" ")
    link.skew_ms = _skew(date, sent)
    code = send.compiled(code.strip()) if held else ""
    fingerprint = f"host key {link.host_key.fingerprint}"
    if identity is None or not asked:
        return fingerprint, code
    text = reading.stdout.decode("utf-8", "replace").strip()
    expected = identity.equals if identity.equals is not None else identity.matches
    if reading.exit != 0 or expected is None or not _is(text, identity):
        raise WrongIdentity(
            f"{link.endpoint} shows the identity {text[:200]!r} (exit {reading.exit}); "
            f"{who.environment} expects {expected!r}.",
            "It is not the host that the manifest means: another environment's, a clone, or renamed. Nothing else was sent.",
        )
    return f"{text}, {fingerprint}", code


def _skew(told: str, sent_ms: int) -> int | None:
    """How far the host's clock is ahead, from the date that it wrote first; None when it wrote none."""
    told = told.strip()
    if not (told.isascii() and told.isdigit()) or len(told) > 11:
        return None
    return skew(int(told) * 1000 + HALF_A_SECOND, sent_ms, wall_ms(), HALF_A_SECOND)


def wall_ms() -> int:
    """This machine's wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _is(text: str, identity: Identity) -> bool:
    if identity.equals is not None:
        return text == identity.equals
    return identity.matches is not None and len(text) <= 4096 and safe_pattern(identity.matches).fullmatch(text)
