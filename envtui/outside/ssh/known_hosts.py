"""known_hosts: which host keys an environment accepts. The format is sshd(8)'s, read stricter than ssh reads it.

Read once and linearly. A host is looked up as it is dialled: `address`, or `[address]:port` when the port is not 22; unlike
ssh, an entry without a port does not count for another port. Hashed names are compared on the first look-up only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable

import msgspec

from envtui.core.errors import InvalidFiles, Problem


class HostKey(msgspec.Struct, frozen=True):
    """A public host key as it travels: `type` is 'ssh-ed25519', 'ssh-rsa', …"""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


class Keys(msgspec.Struct, frozen=True):
    """What is said of one host: keys that it may show, and keys that nobody may show any more."""

    accepted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]

    def algorithms(self) -> tuple[str, ...]:
        """The signature algorithms to offer, so that the host shows a key that is known, in the file's order."""
        found: dict[str, None] = {}
        for key in self.accepted:
            for name in ("rsa-sha2-512", "rsa-sha2-256") if key.type == "ssh-rsa" else (key.type,):
                found[name] = None
        return tuple(found)


class KnownHosts:
    """The parsed file. Raises InvalidFiles with every line that is not understood: none is passed over in silence."""

    def __init__(self, content: bytes, source: str = "known_hosts") -> None:
        self.source = source
        self._exact: dict[str, list[tuple[bool, HostKey]]] = {}
        self._hashed: list[tuple[bytes, bytes, bool, HostKey]] = []
        self._patterns: list[tuple[tuple[str, ...], bool, HostKey]] = []
        self._found: dict[str, Keys] = {}
        problems: list[Problem] = []
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            text = line.strip()
            if text and not text.startswith("#"):
                try:
                    self._add(text)
                except ValueError as error:
                    problems.append(Problem(source, number, 1, str(error)))
        if problems:
            raise InvalidFiles(tuple(problems))

    def lookup(self, host: str, port: int = 22) -> Keys:
        """What the file says of `host` at `port`; nothing accepted when it says nothing."""
        name = host.lower() if port == 22 else f"[{host.lower()}]:{port}"
        if name not in self._found:
            self._found[name] = self._search(name)
        return self._found[name]

    def _search(self, name: str) -> Keys:
        entries = list(self._exact.get(name, ()))
        for salt, digest, revoked, key in self._hashed:
            if hmac.digest(salt, name.encode(), "sha1") == digest:
                entries.append((revoked, key))
        entries += [(revoked, key) for patterns, revoked, key in self._patterns if _matches(patterns, name)]
        revoked_keys = tuple(dict.fromkeys(key for revoked, key in entries if revoked))
        accepted = (key for revoked, key in entries if not revoked and key not in revoked_keys)
        return Keys(tuple(dict.fromkeys(accepted)), revoked_keys)

    def _add(self, line: str) -> None:
        fields = line.split()
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if marker == "@cert-authority":
            raise ValueError("Host certificate authorities are not supported: pin each host's own key instead.")
        if marker not in ("", "@revoked"):
            raise ValueError(f"The marker {marker} is not known: only @revoked is.")
        if len(fields) < 3:
            raise ValueError("A line is: names, key type, key.")
        names, type_, encoded = fields[:3]
        key, revoked = _key(type_, encoded), marker == "@revoked"
        if names.startswith("|"):
            salt, digest = _hashed(names)
            self._hashed.append((salt, digest, revoked, key))
            return
        patterns = tuple(name for name in names.lower().split(",") if name)
        if any(c in names for c in "*?!"):
            self._patterns.append((patterns, revoked, key))
            return
        for name in patterns:
            self._exact.setdefault(name, []).append((revoked, key))


def _key(type_: str, encoded: str) -> HostKey:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("The key is not base64.") from None
    length = int.from_bytes(blob[:4], "big")
    if len(blob) < 8 or blob[4 : 4 + length] != type_.encode():
        raise ValueError(f"The key is not of the type {type_} that the line says.")
    return HostKey(type_, blob)


def _hashed(name: str) -> tuple[bytes, bytes]:
    parts = name.split("|")
    try:
        if len(parts) != 4 or parts[1] != "1":
            raise ValueError
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
        if len(digest) != 20:
            raise ValueError
    except ValueError:  # binascii.Error is one
        raise ValueError("A hashed name is |1|salt|digest, one a line.") from None
    return salt, digest


def _matches(patterns: Iterable[str], name: str) -> bool:
    """ssh's rule: some pattern matches, and no negated one does."""
    matched = False
    for pattern in patterns:
        if _like(pattern.removeprefix("!"), name):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _like(pattern: str, name: str) -> bool:
    expression = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", pattern))
    return re.fullmatch(expression, name) is not None
