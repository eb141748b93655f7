"""SSH public keys and SSHSIG signatures, taken apart (openssh PROTOCOL.sshsig, PROTOCOL.u2f). No cryptography here.

`ssh-keygen -Y verify` checks the mathematics; what it leaves open is read here: which key is inside, that nothing else is
said beside what we expect, and whether a security key was touched ([M] it accepts a signature that was made without).
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from envtui.core.errors import Refused

KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
RSA_BITS = 2048
"""The least that an RSA signer's key may have."""

_RSA_ALGORITHMS = ("rsa-sha2-256", "rsa-sha2-512")  # never ssh-rsa: that one is SHA-1
_ARMOUR = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,76}\n){1,400})-----END SSH SIGNATURE-----\n?"
)
_WIDTH = 70
_TOUCHED = 0x01
_KEY_FIELDS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


class Sshsig(msgspec.Struct, frozen=True):
    """What an armoured signature says. `key` is 'TYPE BASE64'; `touched` is None for a key that knows no touch."""

    key: str
    namespace: str
    algorithm: str
    touched: bool | None


def public_key(text: str) -> str:
    """'TYPE BASE64' of a public key line without its comment. Raises ValueError with what is wrong with it."""
    words = text.split()
    if len(words) < 2:
        raise ValueError("expected a key type and a key")
    kind, encoded = words[0], words[1]
    if kind not in KEY_TYPES:
        raise ValueError(f"keys of type {kind} do not sign here")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the key is not base64") from error
    if base64.b64encode(blob).decode() != encoded:
        raise ValueError("the key has a second spelling in base64")
    _check_blob(blob, kind)
    return f"{kind} {encoded}"


def is_security_key(key: str) -> bool:
    """A FIDO key, which may ask for a touch."""
    return key.startswith("sk-")


def parse(armoured: str) -> Sshsig:
    """Takes an armoured signature apart. Raises Refused for anything but version 1, sha512, nothing reserved, in the one
    spelling that `spelled` gives: what is written down of a signature cannot be altered and still hold."""
    blob = _blob(armoured)
    if _armour(blob) != armoured:
        raise _refused("it has a second spelling")
    reader = Reader(blob)
    if reader.take(6) != b"SSHSIG" or reader.number() != 1:
        raise _refused("it is not version 1 of SSHSIG")
    key_blob, name, reserved, hashed, signature = (reader.string() for _ in range(5))
    reader.end()
    if reserved or hashed != b"sha512":
        raise _refused("it must use sha512 and leave the reserved field empty")
    kind = _text(Reader(key_blob).string())
    try:
        key = public_key(f"{kind} {base64.b64encode(key_blob).decode()}")
    except ValueError as error:
        raise _refused(str(error)) from error
    inner = Reader(signature)
    algorithm = _text(inner.string())
    inner.string()
    if algorithm not in (_RSA_ALGORITHMS if kind == "ssh-rsa" else (kind,)):
        raise _refused(f"a key of type {kind} does not sign with {algorithm}")
    touched: bool | None = None
    if is_security_key(kind):
        touched = bool(inner.take(1)[0] & _TOUCHED)
        inner.number()  # the key's counter
    inner.end()
    return Sshsig(key=key, namespace=_text(name), algorithm=algorithm, touched=touched)


def spelled(armoured: str) -> str:
    """What ssh-keygen wrote, in the one spelling that counts: lines of 70. Raises Refused when it is no armoured signature."""
    return _armour(_blob(armoured.replace("\r\n", "\n")))


def _blob(armoured: str) -> bytes:
    matched = _ARMOUR.fullmatch(armoured)
    if matched is None:
        raise _refused("it is not an armoured SSH signature")
    try:
        return base64.b64decode(matched.group(1).replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("it is not base64") from error


def _armour(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = "\n".join(text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def _check_blob(blob: bytes, kind: str) -> None:
    reader = Reader(blob)
    try:
        if _text(reader.string()) != kind:
            raise ValueError(f"the key inside is not of type {kind}")
        fields = [reader.string() for _ in range(_KEY_FIELDS[kind])]
        reader.end()
    except Refused as error:
        raise ValueError("the key is cut off or has something behind it") from error
    if kind == "ssh-rsa" and int.from_bytes(fields[1], "big").bit_length() < RSA_BITS:
        raise ValueError(f"RSA keys need at least {RSA_BITS} bits")
    if is_security_key(kind) and not fields[-1].startswith(b"ssh:"):
        raise ValueError("a security key's application must begin with ssh:")


class Reader:
    """Fields of the SSH wire format, in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise _refused("it is cut off")
        self._at += count
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._at != len(self._data):
            raise _refused("something stands behind its end")


def _text(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise _refused("a name in it is not ASCII") from error


def _refused(why: str) -> Refused:
    return Refused(f"The signature cannot be used: {why}.", "Ask for it to be made again.")
