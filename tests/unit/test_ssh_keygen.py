"""Signing and verifying with the real ssh-keygen and a real agent; what it leaves open is closed here."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
from envtui.outside import key_file, sshsig
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


class Lending:
    """Hands that lend a terminal which is not there, or say that there is none."""

    def __init__(self, lends: bool) -> None:
        self.lends, self.said, self.why = lends, list[str](), list[str]()

    def __call__(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def terminal(self, why: str) -> Iterator[bool]:
        self.why.append(why)
        yield self.lends


async def test_a_passphrase_is_never_asked_for_where_nobody_lends_a_terminal(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret phrase", "-f", str(path)], check=True)
    public = path.with_name("locked.pub")
    said = public.read_text()
    for _ in range(2):  # with its public half beside it, and without: its own file tells it
        signer = await open_signer(f"file:{path}", Keygen(environment_without_agent()))
        assert said.startswith(signer.key)
        for hands in (quiet, Lending(False)):
            with pytest.raises(Refused, match=r"has a passphrase, and there is no terminal here.*ssh-add"):
                await signer.sign(NAME, MESSAGE, hands)
        public.unlink(missing_ok=True)


async def test_a_key_whose_device_asks_for_a_pin_is_never_tried_without(keys: Keys, tmp_path: Path) -> None:
    """Each wrong PIN counts at the device, and after a few it locks: the first call is the one that may ask."""
    called = tmp_path / "called"
    spying = program(tmp_path, f'echo "$SSH_ASKPASS_REQUIRE $SSH_ASKPASS" >> {called}; exec false')
    path = tmp_path / "device"
    for flags, times in ((0x05, 0), (0x01, 1)):
        path.write_text(handle_file(keys.security, flags))
        path.chmod(0o600)
        keygen = Keygen(environment_without_agent(), spying)
        keygen._probed = True
        signer = await open_signer(f"file:{path}", keygen)
        assert signer.key == keys.security.key
        with pytest.raises(Refused):
            await signer.sign(NAME, MESSAGE, Lending(False))
        assert (called.read_text().splitlines() if called.exists() else []) == ["force /bin/false"] * times
    called.unlink()
    path.write_text(handle_file(keys.security, 0x05))
    signer = await open_signer(f"file:{path}", keygen)
    hands = Lending(True)
    with pytest.raises(Refused):
        await signer.sign(NAME, MESSAGE, hands)
    assert called.read_text().splitlines() == ["never "]  # and no other program asks in its place
    assert "asks for the PIN" in hands.why[0]


def handle_file(key: SoftwareSecurityKey, flags: int) -> str:
    """The file of a security key, as ssh-keygen writes it (PROTOCOL.key): a handle and its flags, not encrypted."""
    fields = sshsig.Reader(key.blob)
    kind, raw, application = (fields.string() for _ in range(3))
    handle = string(b"h" * 64) + string(b"")
    inner = b"\0" * 8 + string(kind) + string(raw) + string(application) + bytes([flags]) + handle + string(b"c")
    inner += bytes(range(1, 1 + -len(inner) % 8))
    blob = b"openssh-key-v1\0" + string(b"none") * 2 + string(b"") + struct.pack(">I", 1)
    text = base64.b64encode(blob + string(key.blob) + string(inner)).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "kind", [("ed25519",), ("ecdsa", "-b", "521"), ("rsa", "-b", "2048")], ids=lambda kind: kind[0]
)
@pytest.mark.parametrize("phrase", ["", "secret phrase"], ids=["open", "locked"])
def test_a_key_file_tells_its_public_half(tmp_path: Path, kind: tuple[str, ...], phrase: str) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", phrase, "-f", str(path)], check=True)
    public = " ".join(path.with_name("key.pub").read_text().split()[:2])
    assert key_file.look(path) == key_file.KeyFile(public, False)
    whole = path.read_text()
    for cut in range(0, len(whole), 97):
        path.write_text(whole[:cut])
        assert key_file.look(path).public in ("", public)


def test_files_that_are_no_key_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key"
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----\n", "-----END OPENSSH PRIVATE KEY-----\n"
    junk = base64.b64encode(b"openssh-key-v1\0" + b"\xff" * 300).decode()
    for text in (
        "",
        "hello",
        begin,
        begin + end,
        begin + "%%%%\n" + end,
        begin + junk + "\n" + end,
        begin + "A" * 99_999,
    ):
        path.write_text(text)
        assert key_file.look(path) == key_file.KeyFile()
    assert key_file.look(tmp_path / "none") == key_file.KeyFile()


async def test_an_old_key_file_with_a_passphrase_needs_its_public_half(tmp_path: Path) -> None:
    path = tmp_path / "old"
    made = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret phrase", "-f", str(path)]
    subprocess.run(made, check=True)
    public = path.with_name("old.pub")
    signer = await open_signer(f"file:{path}", Keygen(environment_without_agent()))
    assert signer.key == " ".join(public.read_text().split()[:2])
    public.unlink()
    with pytest.raises(Refused, match="ssh-keygen -y -f"):
        await open_signer(f"file:{path}", Keygen(environment_without_agent()))


@pytest.mark.parametrize("answer", [0, 1])
async def test_an_agent_that_asks_before_it_signs_is_waited_for_and_obeyed(
    keys: Keys, tmp_path: Path, answer: int
) -> None:
    """`ssh-add -c`: the agent's own askpass asks; whom we wait for is said meanwhile."""
    said_it, go = tmp_path / "asked", tmp_path / "go"
    os.mkfifo(go)
    asks = tmp_path / "askpass"
    asks.write_text(f'#!/bin/sh\necho "$1" > {said_it}\ncat {go} > /dev/null\nexit {answer}\n')
    asks.chmod(0o755)
    socket = tmp_path / "s"
    variables = {**os.environ, "SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":none"}
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, env=variables)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        mine = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        adding = ["ssh-add", "-q", "-c", str(keys.path("asha"))]
        subprocess.run(adding, env=mine, check=True, stderr=subprocess.DEVNULL)
        signer = await open_signer(f"agent:{fingerprint(keys.public('asha'))}", Keygen(mine))
        waited = asyncio.Event()
        told: list[str] = []

        def tell(text: str) -> None:
            told.append(text)
            waited.set()

        signing = asyncio.create_task(signer.sign(NAME, MESSAGE, tell))
        await asyncio.wait_for(waited.wait(), 30)
        assert told == [f"Waiting for the key {fingerprint(keys.public('asha'))}: answer its agent, or touch it."]
        assert not signing.done()
        await asyncio.to_thread(go.write_text, "now")
        if answer == 0:
            assert (await verifier(keys).verify(NAME, MESSAGE, await signing)).principal == "asha@lab"
        else:
            with pytest.raises(Refused, match="agent refused to sign"):
                await signing
        assert "Allow use of key" in said_it.read_text()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


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
