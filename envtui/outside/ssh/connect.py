"""One verified, authenticated SSH connection, and every foreign error of it in our words.

The order is fixed: dial, key exchange, host key against the tree's own known_hosts, and only then authentication.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from envtui.core.errors import AuthenticationFailed, EnvtuiError, Unreachable, WrongIdentity

from .dial import KEEPALIVE, Endpoint, Line
from .known_hosts import HostKey, KnownHosts
from .library import (
    AuthenticationException,
    ChannelException,
    IncompatiblePeer,
    PasswordRequiredException,
    PKey,
    SecurityOptions,
    SSHException,
    Transport,
    UnknownKeyType,
)

if TYPE_CHECKING:
    from pathlib import Path

# A library that nobody configured logging for stays silent: what went wrong is in the error.
logging.getLogger("envtui").addHandler(logging.NullHandler())

WINDOW = 2 * 1024 * 1024
"""Bytes that a host may send ahead on one channel: also the memory bound. Throughput collapses at 16 MiB."""

_BROKEN = frozenset({"3des-cbc", "hmac-md5", "hmac-md5-96", "hmac-sha1-96"})


class Link:
    """A connection whose host key was verified and whose user was accepted."""

    def __init__(self, endpoint: Endpoint, transport: Transport, line: Any, host_key: HostKey) -> None:
        self.endpoint = endpoint
        self.transport = transport
        self.host_key = host_key
        self.skew_ms: int | None = None  # how far the host's clock is ahead, once it showed who it is
        self._line = line

    @property
    def alive(self) -> bool:
        return bool(self.transport.is_active())

    def settle(self) -> None:
        """The first command answered: no more special acknowledgements."""
        if isinstance(self._line, Line):
            self._line.settle()

    def cut(self) -> None:
        """End it at once, from any thread, without waiting for anybody."""
        with suppress(OSError, EOFError):
            self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.transport.close()


def connect(
    endpoint: Endpoint,
    known: KnownHosts,
    key: PKey,
    timeout: float,
    dialled: Callable[[], Any],
    again: Callable[[], Any],
) -> Link:
    """Verify and authenticate; `timeout` seconds for each of key exchange and authentication. Blocks.

    `dialled` gives the line, a socket or a channel of a jump host, and `again` another one to the same place. Raises
    Unreachable, WrongIdentity, AuthenticationFailed.
    """
    expected = known.lookup(endpoint.host, endpoint.port)
    algorithms = expected.algorithms()
    try:
        transport, line = _exchange_keys(endpoint, algorithms, timeout, dialled)
    except _NoCommonHostKey as error:
        # Of all the types that we know it has none: look at what it does show, to be able to say it.
        try:
            transport, line = _exchange_keys(endpoint, (), timeout, again)
        except _NoCommonHostKey:
            raise Unreachable(
                f"{endpoint} has no host-key algorithm in common with us; it may sign with ssh-rsa (SHA-1) only.",
                "Give it an ed25519 host key, or update its SSH server: SHA-1 signatures are not accepted.",
            ) from error
    try:
        raw = transport.get_remote_server_key()
        shown = HostKey(raw.get_name(), raw.asbytes())
        if shown not in expected.accepted:
            raise _wrong_key(endpoint, shown, expected.accepted, shown in expected.revoked, known.source)
        with translated(endpoint, "logging in"):
            transport.auth_timeout = timeout
            further = transport.auth_publickey(endpoint.user, key)
        if further:
            raise AuthenticationFailed(
                f"{endpoint} accepted the key for {endpoint.user} and asks for more: {', '.join(further)}.",
                "envtui logs in with one key; use an account for which that is enough.",
            )
        transport.set_keepalive(KEEPALIVE)
    except BaseException:
        transport.close()
        raise
    return Link(endpoint, transport, line, shown)


def load_key(path: Path) -> PKey:
    """The private key in a file, with the certificate beside it when there is one. Raises AuthenticationFailed."""
    try:
        return PKey.from_path(path)
    except (PasswordRequiredException, TypeError) as error:  # TypeError: cryptography misses a passphrase
        message, remedy = f"The key {path} has a passphrase.", "Add it to ssh-agent and name it as agent:SHA256:…"
        raise AuthenticationFailed(message, remedy) from error
    except OSError as error:
        message = f"The key {path} could not be read: {error.strerror or error}."
        raise AuthenticationFailed(message, "Check the credential's `key:` and the file's permissions.") from error
    except (SSHException, ValueError, UnknownKeyType) as error:
        raise AuthenticationFailed(
            f"{path} is no usable private key.", "OpenSSH keys are: ssh-keygen -t ed25519."
        ) from error


def agent_key(fingerprint: str) -> PKey:
    """The key with this fingerprint (SHA256:…) in the ssh-agent of this session. Raises AuthenticationFailed."""
    from paramiko.agent import Agent

    try:
        agent = Agent()
    except (OSError, SSHException) as error:
        raise AuthenticationFailed(f"ssh-agent does not answer: {error}.", "Check SSH_AUTH_SOCK.") from error
    keys = agent.get_keys()
    for key in keys:
        if HostKey("", key.asbytes()).fingerprint == fingerprint:
            return key
    agent.close()
    has = f"It has {len(keys)} other keys." if keys else "It has none, or there is no agent (SSH_AUTH_SOCK)."
    raise AuthenticationFailed(
        f"ssh-agent has no key {fingerprint}. {has}", "Add it: ssh-add FILE; compare: ssh-add -l."
    )


class _NoCommonHostKey(Exception):
    pass


def _exchange_keys(
    endpoint: Endpoint, algorithms: Sequence[str], timeout: float, dialled: Callable[[], Any]
) -> tuple[Transport, Any]:
    with translated(endpoint, "connecting"):
        line = dialled()
    transport: Transport | None = None
    try:
        with translated(endpoint, "agreeing on keys"):
            transport = Transport(line, default_window_size=WINDOW)
            transport.set_log_channel("envtui.ssh")
            transport.daemon = True
            transport.banner_timeout = transport.handshake_timeout = 2 * timeout  # start_client's own limit is the one
            _prefer(transport.get_security_options(), algorithms)
            until = time.monotonic() + timeout
            transport.start_client(timeout=timeout)
            if not transport.initial_kex_done and time.monotonic() >= until:
                raise TimeoutError if transport.remote_version else _silent(endpoint)
    except BaseException as error:
        if transport is not None:
            transport.close()
        line.close()
        if isinstance(error.__cause__, SSHException) and "no acceptable host key" in str(error.__cause__):
            raise _NoCommonHostKey from error
        raise
    return transport, line


def _prefer(options: SecurityOptions, algorithms: Sequence[str]) -> None:
    """Fast ones first, nothing taken away but what is broken; host keys only of types that are known for this host."""
    options.kex = _first(options.kex, lambda name: name.startswith("curve25519"))
    options.ciphers = _first(options.ciphers, lambda name: "gcm" in name)
    options.digests = _first(options.digests, lambda name: "sha2" in name)
    possible = tuple(name for name in algorithms if name in options.key_types)
    if possible:
        options.key_types = possible


def _first(names: Sequence[str], wanted: Callable[[str], bool]) -> tuple[str, ...]:
    kept = [name for name in names if name not in _BROKEN]
    return (*filter(wanted, kept), *(name for name in kept if not wanted(name)))


def _wrong_key(
    endpoint: Endpoint, shown: HostKey, accepted: Sequence[HostKey], revoked: bool, source: str
) -> WrongIdentity:
    what = f"{shown.type} {shown.fingerprint}"
    if revoked:
        return WrongIdentity(
            f"{endpoint} shows the host key {what}, which {source} revokes.",
            "Do not connect; ask the environment's owners.",
        )
    name = endpoint.host if endpoint.port == 22 else f"[{endpoint.host}]:{endpoint.port}"
    if not accepted:
        return WrongIdentity(
            f"{endpoint} shows the host key {what}, and {source} has none for {name}.",
            "If that fingerprint is right (ask whoever runs the host, not the network), add its line to the file.",
        )
    expected = ", ".join(f"{key.type} {key.fingerprint}" for key in accepted)
    return WrongIdentity(
        f"{endpoint} shows the host key {what}; {source} has {expected} for {name}.",
        "It is another machine, or was rebuilt, or someone is between. Nothing was sent; ask the environment's owners.",
    )


def _silent(endpoint: Endpoint) -> Unreachable:
    return Unreachable(
        f"{endpoint} accepts the connection and says nothing.", "The host hangs, or it is no SSH server."
    )


@contextmanager
def translated(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """The one place where paramiko's and the socket's errors become ours. Ours pass."""
    try:
        yield
    except EnvtuiError:
        raise
    except (SSHException, OSError, EOFError) as error:
        raise _translate(error, endpoint, doing) from error


def _translate(error: Exception, endpoint: Endpoint, doing: str) -> EnvtuiError:
    inner = error.__context__
    if isinstance(error, AuthenticationException):
        allowed = getattr(error, "allowed_types", None)
        offers = f" (it accepts {', '.join(allowed)})" if allowed else ""
        return AuthenticationFailed(
            f"{endpoint} did not accept the key for {endpoint.user}{offers}.",
            "Check the credential's user and key, and that the key or its certificate is allowed there and not expired.",
        )
    if isinstance(error, IncompatiblePeer):
        return Unreachable(
            f"{endpoint} and we have no algorithm in common: {error}.",
            "Update its SSH server; SHA-1 key exchange and ssh-rsa signatures are not accepted.",
        )
    if isinstance(error, ChannelException):
        return Unreachable(
            f"{endpoint}: {doing} was refused: {error.text}.",
            "For a jump host: AllowTcpForwarding and the address behind it; else MaxSessions.",
        )
    if "banner" in str(error) or "Indecipherable" in str(error):
        if isinstance(inner, EOFError | ConnectionError):
            return Unreachable(
                f"{endpoint} closed the connection before it said anything.",
                "It may be overloaded (MaxStartups) or not let this address in.",
            )
        return Unreachable(f"{endpoint} does not speak SSH.", "Check the port.")
    if isinstance(error, socket.gaierror):
        return Unreachable(f"{endpoint.host} is not known to the DNS.", "Check the name, the network and the VPN.")
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{endpoint} refused the connection.", "Check that sshd runs there and the port.")
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{endpoint} did not answer in time while {doing}.", "Check the network, the VPN and the host."
        )
    if isinstance(error, EOFError | ConnectionError) or "closed" in str(error):
        return Unreachable(
            f"{endpoint} closed the connection while {doing}.", "Look at its sshd's log, then try again."
        )
    return Unreachable(f"{endpoint}: {doing} failed: {str(error) or type(error).__name__}.", "Look at its sshd's log.")
