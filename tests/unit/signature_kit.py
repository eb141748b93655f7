"""Signatures seen from outside: ssh-keygen itself with a file of our making, a second verifier in this process, an ECDSA
security key in software, and alterations of bytes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from access_kit import armour, string
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from envtui.core.access import RosterLine
from envtui.core.errors import Refused
from envtui.outside import sshsig
from envtui.outside.ssh_keygen import Keygen, KeygenVerifier

CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}


def ssh_keygen_accepts(
    folder: Path, allowed: str, principal: str, name: str, message: bytes, armoured: str | bytes
) -> bool:
    """What `ssh-keygen -Y verify` says, with this text as allowed_signers."""
    (folder / "allowed_signers").write_text(allowed)
    data = armoured if isinstance(armoured, bytes) else armoured.encode()
    (folder / "signature").write_bytes(data)
    words = ["-Y", "verify", "-f", "allowed_signers", "-I", principal, "-n", name, "-s", "signature"]
    done = subprocess.run(["ssh-keygen", *words], cwd=folder, input=message, capture_output=True, timeout=60)
    return done.returncode == 0


def ssh_keygen_signs(path: Path, name: str, message: bytes, *options: str) -> str:
    words = ["ssh-keygen", "-Y", "sign", "-f", str(path), "-n", name, *options]
    return subprocess.run(words, input=message, capture_output=True, check=True, timeout=60).stdout.decode()


class EcdsaSecurityKey:
    """An sk-ecdsa-sha2-nistp256 key in software (openssh PROTOCOL.u2f), whose touch flag is as wished."""

    KIND = b"sk-ecdsa-sha2-nistp256@openssh.com"

    def __init__(self, *, flags: int = 0x01, application: bytes = b"ssh:") -> None:
        self.flags, self.application = flags, application
        self._private = ec.generate_private_key(ec.SECP256R1())
        point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.blob = string(self.KIND) + string(b"nistp256") + string(point) + string(application)

    @property
    def key(self) -> str:
        return f"{self.KIND.decode()} {base64.b64encode(self.blob).decode()}"

    async def sign(self, name: str, message: bytes, waiting: Callable[[str], None]) -> str:
        waiting("Touch the key.")
        presence = bytes([self.flags]) + struct.pack(">I", 7)
        made = self._private.sign(
            hashlib.sha256(self.application).digest() + presence + hashlib.sha256(signed_data(name, message)).digest(),
            ec.ECDSA(hashes.SHA256()),
        )
        r, s = decode_dss_signature(made)
        signature = string(self.KIND) + string(number(r) + number(s)) + presence
        return armour(
            b"SSHSIG" + struct.pack(">I", 1) + string(self.blob) + string(name.encode()) + string(b"")
            + string(b"sha512") + string(signature)
        )  # fmt: skip


def number(value: int) -> bytes:
    """A positive number in SSH's wire format."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def signed_data(name: str, message: bytes, hashed: str = "sha512") -> bytes:
    """What an SSHSIG signs (PROTOCOL.sshsig)."""
    digest = hashlib.new(hashed, message).digest()
    return b"SSHSIG" + string(name.encode()) + string(b"") + string(hashed.encode()) + string(digest)


def holds(armoured: str, message: bytes) -> bool:
    """Whether the mathematics of a signature that `sshsig.parse` takes apart are right, by `cryptography`."""
    said = sshsig.parse(armoured)
    blob = base64.b64decode("".join(armoured.splitlines()[1:-1]))
    reader = sshsig.Reader(blob[10:])
    key = sshsig.Reader(reader.string())
    for _ in range(3):
        reader.string()
    inner = sshsig.Reader(reader.string())
    inner.string()
    value = inner.string()
    data = signed_data(said.namespace, message)
    kind = key.string().decode()
    parts = _rest(key)
    if kind.startswith("sk-"):
        presence = inner.take(5)
        data = hashlib.sha256(parts[-1]).digest() + presence + hashlib.sha256(data).digest()
    try:
        if kind.endswith("ed25519") or kind.startswith("sk-ssh-ed25519"):
            ed25519.Ed25519PublicKey.from_public_bytes(parts[0]).verify(value, data)
        elif kind == "ssh-rsa":
            e, n = (int.from_bytes(part, "big") for part in parts)
            algorithm = hashes.SHA512() if said.algorithm == "rsa-sha2-512" else hashes.SHA256()
            size = (n.bit_length() + 7) // 8
            rsa.RSAPublicNumbers(e, n).public_key().verify(
                value.rjust(size, b"\0"), data, padding.PKCS1v15(), algorithm
            )
        else:
            curve, algorithm = CURVES[parts[0].decode()]
            numbers = sshsig.Reader(value)
            r, s = (int.from_bytes(numbers.string(), "big") for _ in range(2))
            numbers.end()
            public = ec.EllipticCurvePublicKey.from_encoded_point(curve, parts[1])
            public.verify(encode_dss_signature(r, s), data, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError, Refused):
        return False
    return True


def _rest(reader: sshsig.Reader) -> list[bytes]:
    parts = []
    with contextlib.suppress(Refused):  # the end
        while True:
            parts.append(reader.string())
    return parts


class InProcess(KeygenVerifier):
    """`KeygenVerifier`, whose one question to ssh-keygen is answered by `holds`: thousands of alterations in seconds. The
    answers that it gave are kept, so that a test can ask ssh-keygen for some of them too."""

    def __init__(self, roster: object, clock: object) -> None:
        super().__init__(roster, clock, Keygen())  # type: ignore[arg-type]
        self.asked: list[tuple[RosterLine, str, bytes, str, bool]] = []

    async def _holds(self, line: RosterLine, namespace: str, message: bytes, armoured: str) -> bool:
        answer = holds(armoured, message)
        self.asked.append((line, namespace, message, armoured, answer))
        return answer


def alterations(data: bytes, bits: int = 1) -> Iterator[tuple[str, bytes]]:
    """Every position: a bit flipped (`bits` of them in turn, the lowest first), a byte taken out, a byte put in; and cut off."""
    for at in range(len(data)):
        for bit in range(bits):
            yield f"bit {bit} of byte {at}", data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
        yield f"without byte {at}", data[:at] + data[at + 1 :]
        yield f"cut at {at}", data[:at]
    for at in range(len(data) + 1):
        for more in (b" ", b"0", b"A"):
            yield f"{more!r} before byte {at}", data[:at] + more + data[at:]
