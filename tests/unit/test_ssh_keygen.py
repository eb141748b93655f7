"""Signing and verifying with the real ssh-keygen and a real agent; what it leaves open is closed here."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from access_kit import (
    ENVIRONMENT,
    PEOPLE,
    FakeClock,
    Keys,
    SoftwareSecurityKey,
    armour,
    environment_without_agent,
    make_keys,
    signers_text,
    string,
)

from envtui.core.access import fingerprint
from envtui.core.errors import Failed, Refused, TimedOut
from envtui.outside import sshsig
from envtui.outside.allowed_signers import roster
from envtui.outside.ssh_keygen import Keygen, KeygenSigner, KeygenVerifier, open_signer

NAME = "approve.v1.production@envtui"
MESSAGE = b'{"a":1}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def agent(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    socket = tmp_path_factory.mktemp("agent") / "s"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it listens before it says where
    variables = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
    subprocess.run(["ssh-add", "-q", str(keys.path("meera"))], env=variables, check=True, stderr=subprocess.DEVNULL)
    yield variables
    process.terminate()
    process.wait()
    process.stdout.close()


def verifier(keys: Keys, text: str = "", revoked: str = "", clock: FakeClock | None = None) -> KeygenVerifier:
    who = roster(ENVIRONMENT, text or signers_text(keys), revoked, PEOPLE)
    return KeygenVerifier(who, clock or FakeClock(), Keygen())


def quiet(_: str) -> None: ...


@pytest.mark.parametrize(
    ("who", "principal"),
    [("asha", "asha@lab"), ("tom", "tom@lab"), ("ines", "ines@lab")],
    ids=["ed25519", "rsa", "ecdsa"],
)
async def test_what_was_signed_verifies_and_nothing_else_does(keys: Keys, who: str, principal: str) -> None:
    made = await keys.signer(who).sign(NAME, MESSAGE, quiet)
    by = await verifier(keys).verify(NAME, MESSAGE, made)
    assert (by.principal, by.key, by.touched) == (principal, keys.public(who), None)
    with pytest.raises(Refused, match="altered"):
        await verifier(keys).verify(NAME, MESSAGE + b" ", made)
    with pytest.raises(Refused, match="is for"):
        await verifier(keys).verify("request.v1.production@envtui", MESSAGE, made)


async def test_ssh_keygen_by_hand_agrees(keys: Keys, tmp_path: Path) -> None:
    made = await keys.signer("asha").sign(NAME, MESSAGE, quiet)
    (tmp_path / "allowed").write_text(signers_text(keys))
    (tmp_path / "sig").write_text(made)
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "asha@lab", "-n", NAME, "-s", "sig"]
    assert subprocess.run(command, input=MESSAGE, cwd=tmp_path, capture_output=True).returncode == 0


async def test_the_touch_flag_is_read_which_ssh_keygen_does_not(keys: Keys, tmp_path: Path) -> None:
    for flags, touched in ((0x01, True), (0x05, True), (0x00, False), (0x04, False)):
        keys.security.flags = flags
        try:
            made = await keys.security.sign(NAME, MESSAGE, quiet)
        finally:
            keys.security.flags = 0x01
        by = await verifier(keys).verify(NAME, MESSAGE, made)  # ssh-keygen says good to all four
        assert by.touched is touched
        assert by.principal == "meera-sk@lab"


def test_a_security_key_for_web_pages_does_not_sign_here() -> None:
    with pytest.raises(ValueError, match="ssh:"):
        sshsig.public_key(SoftwareSecurityKey(application=b"https://example.org").key)


async def test_unknown_and_revoked_keys(keys: Keys) -> None:
    made = await keys.signer("stranger").sign(NAME, MESSAGE, quiet)
    with pytest.raises(Refused, match="nobody's"):
        await verifier(keys).verify(NAME, MESSAGE, made)
    made = await keys.signer("meera").sign(NAME, MESSAGE, quiet)
    for line in (keys.public("meera"), fingerprint(keys.public("meera"))):
        with pytest.raises(Refused, match="revoked"):
            await verifier(keys, revoked=line).verify(NAME, MESSAGE, made)


async def test_a_line_counts_in_its_namespaces_and_its_time_only(keys: Keys) -> None:
    made = await keys.signer("asha").sign(NAME, MESSAGE, quiet)
    only = f'asha@lab namespaces="request.v1.production@envtui" {keys.public("asha")}'
    with pytest.raises(Refused, match="may not sign"):
        await verifier(keys, only).verify(NAME, MESSAGE, made)
    for window, words in (('valid-before="20250101"', "any more"), ('valid-after="20300101"', "not valid yet")):
        text = f'asha@lab namespaces="{NAME}",{window} {keys.public("asha")}'
        with pytest.raises(Refused, match=words):
            await verifier(keys, text).verify(NAME, MESSAGE, made)


def taken_apart(made: str) -> bytes:
    return base64.b64decode("".join(made.splitlines()[1:-1]))


async def test_armour_that_says_more_than_it_should(keys: Keys) -> None:
    blob = taken_apart(await keys.signer("asha").sign(NAME, MESSAGE, quiet))
    fields = [b"SSHSIG" + struct.pack(">I", 1)]
    key = base64.b64decode(keys.public("asha").split()[1])
    signature = blob[-(4 + 11 + 4 + 64) :]
    for bad in (
        blob + b"\0",
        blob[:-1],
        b"SSHSIX" + blob[6:],
        blob[:6] + struct.pack(">I", 2) + blob[10:],
        fields[0] + string(key) + string(NAME.encode()) + string(b"x") + string(b"sha512") + string(signature),
        fields[0] + string(key) + string(NAME.encode()) + string(b"") + string(b"sha256") + string(signature),
        fields[0] + string(b"") + string(NAME.encode()) + string(b"") + string(b"sha512") + string(signature),
        fields[0] + string(key) + string(b"\xff") + string(b"") + string(b"sha512") + string(signature),
        b"",
    ):
        with pytest.raises(Refused, match="cannot be used"):
            sshsig.parse(armour(bad))
    for text in ("", "hello", armour(blob) + "more", "x" + armour(blob), armour(blob).replace("\n", " ")):
        with pytest.raises(Refused):
            sshsig.parse(text)


async def test_rsa_with_sha1_is_refused(keys: Keys) -> None:
    made = taken_apart(await keys.signer("tom").sign(NAME, MESSAGE, quiet))
    old = made.replace(string(b"rsa-sha2-512"), string(b"ssh-rsa"))
    at = old.rindex(string(b"ssh-rsa"))
    resized = old[: at - 4] + struct.pack(">I", len(old) - at) + old[at:]
    with pytest.raises(Refused, match="does not sign with ssh-rsa"):
        sshsig.parse(armour(resized))


async def test_a_key_in_the_agent_signs(keys: Keys, agent: dict[str, str]) -> None:
    signer = await open_signer(f"agent:{fingerprint(keys.public('meera'))}", Keygen(agent))
    made = await signer.sign(NAME, MESSAGE, quiet)
    assert (await verifier(keys).verify(NAME, MESSAGE, made)).principal == "meera@lab"
    with pytest.raises(Refused, match="no key"):
        await open_signer(f"agent:{fingerprint(keys.public('asha'))}", Keygen(agent))


async def test_without_an_agent_and_with_one_that_is_locked(keys: Keys, agent: dict[str, str]) -> None:
    with pytest.raises(Refused, match="No SSH agent"):
        await open_signer("agent:SHA256:x", Keygen(environment_without_agent()))
    signer = KeygenSigner(Keygen(agent), keys.public("asha"), None)  # its private key is not there
    with pytest.raises(Refused, match="private key"):
        await signer.sign(NAME, MESSAGE, quiet)


async def test_a_passphrase_is_never_asked_for(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret phrase", "-f", str(path)], check=True)
    signer = await open_signer(f"file:{path}", Keygen(environment_without_agent()))
    with pytest.raises(Refused, match="ssh-add"):
        await signer.sign(NAME, MESSAGE, quiet)
    path.with_name("locked.pub").unlink()
    with pytest.raises(Refused, match="passphrase"):
        await open_signer(f"file:{path}", Keygen(environment_without_agent()))


async def test_the_public_key_is_derived_when_its_file_is_missing(keys: Keys, tmp_path: Path) -> None:
    shutil.copy(keys.path("asha"), tmp_path / "only")
    assert (await open_signer(f"file:{tmp_path}/only", Keygen())).key == keys.public("asha")


async def test_a_public_key_that_is_not_its_privates_is_noticed(keys: Keys, tmp_path: Path) -> None:
    shutil.copy(keys.path("asha"), tmp_path / "mixed")
    (tmp_path / "mixed.pub").write_text(keys.public("meera"))
    signer = await open_signer(f"file:{tmp_path}/mixed", Keygen(environment_without_agent()))
    with pytest.raises(Refused):
        await signer.sign(NAME, MESSAGE, quiet)


async def test_references_that_name_no_key(tmp_path: Path) -> None:
    for reference in ("", "file:", "agent:", "~/.ssh/id", f"file:{tmp_path}/none"):
        with pytest.raises(Refused):
            await open_signer(reference, Keygen(environment_without_agent()))


async def test_a_missing_and_an_old_ssh_keygen_are_named(keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cannot be started"):
        await Keygen(program=str(tmp_path / "none")).probe()
    old = program(tmp_path, "echo 'unknown option -- Y' >&2; exit 1")
    with pytest.raises(Failed, match="too old"):
        await Keygen(program=old).probe()
    older = program(tmp_path, "echo 'Unsupported operation for -Y: \"find-principals\"' >&2; exit 1")
    with pytest.raises(Failed, match="too old"):
        await Keygen(program=older).probe()


async def test_whom_we_wait_for_is_said_and_the_wait_ends(keys: Keys, tmp_path: Path) -> None:
    fifo = tmp_path / "never"
    os.mkfifo(fifo)
    slow = program(tmp_path, f'[ "$2" = sign ] && cat {fifo}; exec ssh-keygen "$@"')
    said: list[str] = []
    signer = KeygenSigner(Keygen(program=slow), keys.public("asha"), keys.path("asha"), limit=0.8)
    with pytest.raises(TimedOut, match=r"0\.8 s"):
        await signer.sign(NAME, MESSAGE, said.append)
    assert said == [f"Waiting for the key {fingerprint(keys.public('asha'))}: answer its agent, or touch it."]


async def test_a_security_key_is_announced_at_once(keys: Keys, tmp_path: Path) -> None:
    said: list[str] = []
    signer = KeygenSigner(Keygen(environment_without_agent()), keys.security.key, None)
    with pytest.raises(Refused):  # it is in no agent
        await signer.sign(NAME, MESSAGE, said.append)
    assert said == [f"Touch the security key {fingerprint(keys.security.key)}."]


async def test_ssh_keygen_sees_one_line_that_only_we_can_read(keys: Keys, tmp_path: Path) -> None:
    copied = tmp_path / "seen"
    spying = program(
        tmp_path, f'[ "$2" = verify ] && {{ stat -c %a "$4"; cat "$4"; }} > {copied}; exec ssh-keygen "$@"'
    )
    made = await keys.signer("asha").sign(NAME, MESSAGE, quiet)
    who = roster(ENVIRONMENT, signers_text(keys), "", PEOPLE)
    await KeygenVerifier(who, FakeClock(), Keygen(program=spying)).verify(NAME, MESSAGE, made)
    assert copied.read_text() == f'600\nasha@lab namespaces="{NAME}" {keys.public("asha")}\n'


def program(folder: Path, script: str) -> str:
    path = folder / f"keygen{len(list(folder.iterdir()))}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
