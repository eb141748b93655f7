"""What stands in the open in the file of a private key (openssh PROTOCOL.key): its public half, and whether it asks for a PIN.

The private half is not read: nothing of a key that signs by itself comes further than its file's first lines. A security
key's file holds no key, only the handle that the device knows, and its flags.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

import msgspec

from envtui.core.errors import Refused
from envtui.outside import sshsig

_BEGIN: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END: Final = b"-----END"
_MAGIC: Final = b"openssh-key-v1\0"
_LONGEST: Final = 16 * 1024
_STEP: Final = 128
_WANTS_PIN: Final = 0x04


class KeyFile(msgspec.Struct, frozen=True):
    """`public` is 'TYPE BASE64', '' when the file does not tell (another format). `pin`: its device asks for one."""

    public: str = ""
    pin: bool = False


def look(path: Path) -> KeyFile:
    """What the file says of itself without its passphrase; nothing when it is not there. Raises Refused when it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            data = b""
            while len(data) < _LONGEST and (more := file.read(_STEP)):
                data += more
                if not data.startswith(_BEGIN[: len(data)]):
                    return KeyFile()
                found = _read(data)
                if found is not None:
                    return found
    except FileNotFoundError:
        return KeyFile()
    except OSError as error:
        raise Refused(f"The key {path} cannot be read.", "Check its owner and mode.") from error
    return KeyFile()


def _read(data: bytes) -> KeyFile | None:
    """None: more of the file is needed."""
    body, ended, _ = data[len(_BEGIN) :].partition(_END)
    text = b"".join(body.split())
    try:
        blob = base64.b64decode(text[: len(text) // 4 * 4], validate=True)
    except binascii.Error:
        return KeyFile()
    try:
        reader = sshsig.Reader(blob)
        if reader.take(len(_MAGIC)) != _MAGIC:
            return KeyFile()
        cipher, _, _ = (reader.string() for _ in range(3))
        reader.number()
        public = reader.string()
        kind = sshsig.Reader(public).string().decode("ascii", "replace")
        key = f"{kind} {base64.b64encode(public).decode()}"
        if cipher != b"none" or not sshsig.is_security_key(kind):
            return KeyFile(key)
        inner = sshsig.Reader(reader.string())
    except Refused:
        return KeyFile() if ended else None
    return KeyFile(key, _flags(inner, kind) & _WANTS_PIN != 0)


def _flags(inner: sshsig.Reader, kind: str) -> int:
    """Of a security key, whose handle is not encrypted. One that cannot be read asks for nothing."""
    try:
        inner.take(8)  # two numbers that tell a wrong passphrase
        for _ in range(4 if kind.startswith("sk-ecdsa") else 3):
            inner.string()
        return inner.take(1)[0]
    except Refused:
        return 0
