"""Our verification and ssh-keygen's, compared both ways: what one signs the other believes; where we are stricter it is named;
and there is nothing that we believe and ssh-keygen does not.

Of altered signatures, every byte is tried: `sshsig.parse` and the roster refuse most of them, `cryptography` (in this process)
says of the rest whether the mathematics are right, and ssh-keygen itself is asked for a sample of them and must agree.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from access_kit import ENVIRONMENT, FakeClock, SoftwareSecurityKey, World, armour, make_keys, string, terms
from access_steps import asked
from signature_kit import EcdsaSecurityKey, InProcess, holds, ssh_keygen_accepts, ssh_keygen_signs

from envtui.core.access import Roster
from envtui.core.environment import People, Person
from envtui.core.errors import InvalidFiles, Refused
from envtui.outside import sshsig
from envtui.outside.allowed_signers import roster
from envtui.outside.ssh_keygen import Keygen, KeygenSigner, KeygenVerifier
from envtui.rules import paste
from envtui.rules.conditions import of_presence
from envtui.rules.grants import parse_request

NAME = "approve.v1.production@envtui"
MESSAGE = b'{"a":1,"b":"two"}'
FILES = {
    "ed25519": ("ed25519",),
    "ecdsa-256": ("ecdsa", "-b", "256"),
    "ecdsa-384": ("ecdsa", "-b", "384"),
    "ecdsa-521": ("ecdsa", "-b", "521"),
    "rsa-3072": ("rsa", "-b", "3072"),
}
DEVICES: dict[str, Callable[..., SoftwareSecurityKey | EcdsaSecurityKey]] = {
    "sk-ed25519": SoftwareSecurityKey,
    "sk-ecdsa": EcdsaSecurityKey,
}
EVERYONE = {"me@lab": "me", "other@lab": "other"}
PEOPLE = People(
    schema="envtui/people@1",
    people={person: Person(name=person, principals=(principal,)) for principal, person in EVERYONE.items()},
)


def quiet(_: str) -> None: ...


def known(key: str, options: str = f'namespaces="{NAME}"', principal: str = "me@lab") -> Roster:
    return roster(ENVIRONMENT, f"{principal} {options} {key}\n", "", PEOPLE)


def allowed(key: str, options: str = "") -> str:
    return f"me@lab {options}{' ' if options else ''}{key}\n"


async def we_accept(who: Roster, message: bytes, made: str, name: str = NAME) -> bool:
    try:
        await KeygenVerifier(who, FakeClock(), Keygen()).verify(name, message, made)
    except Refused:
        return False
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    for name, kind in FILES.items():
        subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-f", str(made / name)], check=True, timeout=120)
    return made


def public(folder: Path, name: str) -> str:
    return " ".join((folder / f"{name}.pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def devices() -> dict[str, SoftwareSecurityKey | EcdsaSecurityKey]:
    return {name: make() for name, make in DEVICES.items()}


# --- what one signs, the other believes -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
async def test_what_we_sign_ssh_keygen_believes_and_the_other_way_round(
    folder: Path, tmp_path: Path, name: str
) -> None:
    key = public(folder, name)
    ours = await KeygenSigner(Keygen(), key, folder / name).sign(NAME, MESSAGE, quiet)
    theirs = ssh_keygen_signs(folder / name, NAME, MESSAGE)
    for made in (ours, theirs):
        for message, space in (
            (MESSAGE, NAME),
            (MESSAGE + b" ", NAME),
            (b"", NAME),
            (MESSAGE, "request.v1.production@envtui"),
        ):
            good = message == MESSAGE and space == NAME
            assert ssh_keygen_accepts(tmp_path, allowed(key), "me@lab", space, message, made) is good
            assert await we_accept(known(key), message, made, space) is good
            assert holds(made, message) is (message == MESSAGE)  # the mathematics do not know what was asked for
    assert sshsig.spelled(theirs) == theirs, "ssh-keygen's own spelling is the one that counts"


@pytest.mark.parametrize("flags", [0x01, 0x05, 0x00, 0x04], ids=["touched", "touched and PIN", "neither", "PIN alone"])
@pytest.mark.parametrize("name", DEVICES)
async def test_security_keys_with_and_without_the_touch(
    tmp_path: Path, devices: dict[str, SoftwareSecurityKey | EcdsaSecurityKey], name: str, flags: int
) -> None:
    """ssh-keygen believes all four; we say of each whether it was touched, and `require_touch` asks for that."""
    device = DEVICES[name](flags=flags)
    made = await device.sign(NAME, MESSAGE, quiet)
    assert ssh_keygen_accepts(tmp_path, allowed(device.key), "me@lab", NAME, MESSAGE, made)
    by = await KeygenVerifier(known(device.key), FakeClock(), Keygen()).verify(NAME, MESSAGE, made)
    assert by.touched is bool(flags & 1)
    assert holds(made, MESSAGE)
    assert not ssh_keygen_accepts(tmp_path, allowed(device.key), "me@lab", NAME, MESSAGE + b" ", made)
    assert not await we_accept(known(device.key), MESSAGE + b" ", made)
    assert not holds(made, MESSAGE + b" ")


@pytest.mark.parametrize("name", DEVICES)
async def test_a_flag_that_is_set_afterwards_is_noticed_by_both(tmp_path: Path, name: str) -> None:
    device = DEVICES[name](flags=0x00)
    blob = taken_apart(await device.sign(NAME, MESSAGE, quiet))
    forged = armour(blob[:-5] + b"\x01" + blob[-4:])
    assert sshsig.parse(forged).touched is True
    assert not ssh_keygen_accepts(tmp_path, allowed(device.key), "me@lab", NAME, MESSAGE, forged)
    assert not await we_accept(known(device.key), MESSAGE, forged)
    assert not holds(forged, MESSAGE)


# --- where we are stricter, by name -----------------------------------------------------------------------------------


def taken_apart(made: str) -> bytes:
    return base64.b64decode("".join(made.splitlines()[1:-1]))


async def test_stricter_a_hash_of_256_bits(folder: Path, tmp_path: Path) -> None:
    key = public(folder, "ed25519")
    made = ssh_keygen_signs(folder / "ed25519", NAME, MESSAGE, "-O", "hashalg=sha256")
    assert ssh_keygen_accepts(tmp_path, allowed(key), "me@lab", NAME, MESSAGE, made)
    with pytest.raises(Refused, match="must use sha512"):
        sshsig.parse(made)


async def test_stricter_text_around_the_signature_and_other_spellings_of_it(folder: Path, tmp_path: Path) -> None:
    """What is written down of a signature is one text: else it could be altered, and be a new one, and still hold."""
    key = public(folder, "ed25519")
    made = ssh_keygen_signs(folder / "ed25519", NAME, MESSAGE)
    first, *lines, last = made.splitlines()
    for other in (
        made + "more\n",
        "\n".join([first, "".join(lines), last, ""]),
        "\n".join([first, *(line[:35] + "\n" + line[35:] for line in lines), last, ""]),
    ):
        assert ssh_keygen_accepts(tmp_path, allowed(key), "me@lab", NAME, MESSAGE, other)
        with pytest.raises(Refused, match="cannot be used"):
            sshsig.parse(other)


async def test_stricter_short_rsa(tmp_path: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", str(tmp_path / "short")]
    subprocess.run(words, check=True, timeout=120)
    key = public(tmp_path, "short")
    made = ssh_keygen_signs(tmp_path / "short", NAME, MESSAGE)
    assert ssh_keygen_accepts(tmp_path, allowed(key), "me@lab", NAME, MESSAGE, made)
    with pytest.raises(Refused, match="at least 2048 bits"):
        sshsig.parse(made)
    with pytest.raises(InvalidFiles, match="at least 2048 bits"):
        known(key)


@pytest.mark.parametrize("name", DEVICES)
async def test_stricter_a_security_key_for_web_pages(tmp_path: Path, name: str) -> None:
    """A page that the key is used for could have it sign; OpenSSH's agent refuses that for remote use, ssh-keygen does not look."""
    device = DEVICES[name](application=b"https://example.org")
    made = await device.sign(NAME, MESSAGE, quiet)
    assert ssh_keygen_accepts(tmp_path, allowed(device.key), "me@lab", NAME, MESSAGE, made)
    with pytest.raises(Refused, match="must begin with ssh:"):
        sshsig.parse(made)
    with pytest.raises(InvalidFiles, match="must begin with ssh:"):
        known(device.key)


@pytest.mark.parametrize(
    ("options", "principal"),
    [
        ("", "me@lab"),
        ('namespaces="file,*"', "me@lab"),
        ('namespaces="approve.*"', "me@lab"),
        (f'namespaces="{NAME}"', "*"),
        (f'namespaces="{NAME}"', "me*"),
        (f'namespaces="{NAME}"', "other@lab,me@lab"),
    ],
    ids=["no namespaces", "any namespace", "a pattern of namespaces", "anyone", "a beginning", "a list"],
)
async def test_stricter_lines_that_stand_for_more_than_they_name(
    folder: Path, tmp_path: Path, options: str, principal: str
) -> None:
    key = public(folder, "ed25519")
    made = ssh_keygen_signs(folder / "ed25519", NAME, MESSAGE)
    line = f"{principal} {options}{' ' if options else ''}{key}\n"
    assert ssh_keygen_accepts(tmp_path, line, "me@lab", NAME, MESSAGE, made)
    with pytest.raises(InvalidFiles):
        known(key, options, principal)


async def test_stricter_require_touch(tmp_path: Path) -> None:
    """ssh-keygen has no word for it in allowed_signers: there a signature without a touch is as good."""
    device = SoftwareSecurityKey(flags=0x00)
    made = await device.sign(NAME, MESSAGE, quiet)
    assert ssh_keygen_accepts(tmp_path, allowed(device.key), "me@lab", NAME, MESSAGE, made)
    by = await KeygenVerifier(known(device.key), FakeClock(), Keygen()).verify(NAME, MESSAGE, made)
    assert by.touched is False
    (tmp_path / "keys").mkdir()
    world = World(make_keys(tmp_path / "keys"))
    world.tracker.open()
    request = parse_request(paste.read(await asked(world), "request").body.encode())
    wanted = terms(known(device.key), signoff={"require_touch": True})
    assert [each.code for each in of_presence(request, "me", "laptop-b", by.touched, wanted)] == ["touch"]
    assert of_presence(request, "me", "laptop-b", True, wanted) == ()


# --- where ssh-keygen refuses, we do ----------------------------------------------------------------------------------


async def test_both_refuse_sha_1(folder: Path, tmp_path: Path) -> None:
    key = public(folder, "rsa-3072")
    blob = taken_apart(ssh_keygen_signs(folder / "rsa-3072", NAME, MESSAGE))
    old = blob.replace(string(b"rsa-sha2-512"), string(b"ssh-rsa"))
    at = old.rindex(string(b"ssh-rsa"))
    made = armour(old[: at - 4] + struct.pack(">I", len(old) - at) + old[at:])
    assert not ssh_keygen_accepts(tmp_path, allowed(key), "me@lab", NAME, MESSAGE, made)
    assert not await we_accept(known(key), MESSAGE, made)


@pytest.mark.parametrize("name", [*FILES, *DEVICES])
async def test_nothing_that_was_altered_is_believed(
    folder: Path, tmp_path: Path, devices: dict[str, SoftwareSecurityKey | EcdsaSecurityKey], name: str
) -> None:
    """Every byte of the signature's blob, one bit each in turn (all eight of ed25519), and every byte left out."""
    if name in devices:
        key, made = devices[name].key, await devices[name].sign(NAME, MESSAGE, quiet)
    else:
        key, made = public(folder, name), ssh_keygen_signs(folder / name, NAME, MESSAGE)
    blob, verifier, line = taken_apart(made), InProcess(known(key), FakeClock()), allowed(key)
    altered = [
        blob[:at] + bytes([blob[at] ^ (1 << bit)]) + blob[at + 1 :]
        for at in range(len(blob))
        for bit in (range(8) if name == "ed25519" else ((at % 8),))
    ]
    altered += [blob[:at] + blob[at + 1 :] for at in range(len(blob))]
    believed = []
    for one in altered:
        try:
            await verifier.verify(NAME, MESSAGE, armour(one))
            believed.append(one)
        except Refused:
            continue
    assert believed == []
    came_through = [text for _, _, _, text, _ in verifier.asked]
    assert len(came_through) >= 50, "so many were left to the mathematics"
    for text in came_through[:: max(1, len(came_through) // 12)]:
        assert not ssh_keygen_accepts(tmp_path, line, "me@lab", NAME, MESSAGE, text)
        assert not await we_accept(known(key), MESSAGE, text)
    stopped = [armour(one) for one in altered[:: max(1, len(altered) // 12)]]
    for text in stopped:
        assert not await we_accept(known(key), MESSAGE, text)


async def test_the_armour_is_altered_at_every_letter(folder: Path, tmp_path: Path) -> None:
    """Flipped, left out or doubled: nothing that ssh-keygen refuses is believed, and nothing at all is but the text as it was."""
    key = public(folder, "ed25519")
    made = ssh_keygen_signs(folder / "ed25519", NAME, MESSAGE)
    verifier = InProcess(known(key), FakeClock())
    texts = [made[:at] + chr(ord(made[at]) ^ 1) + made[at + 1 :] for at in range(len(made))]
    texts += [made[:at] + made[at + 1 :] for at in range(len(made))]
    texts += [made[:at] + more + made[at:] for at in range(len(made) + 1) for more in ("\n", "A", "=", " ", "\r")]
    believed = []
    for text in texts:
        try:
            await verifier.verify(NAME, MESSAGE, text)
            believed.append(text)
        except Refused:
            continue
    assert set(believed) <= {made}
    sample = texts[::25]
    answers = await asyncio.gather(*(we_accept(known(key), MESSAGE, text) for text in sample))
    for text, ours in zip(sample, answers, strict=True):
        assert not ours or text == made
