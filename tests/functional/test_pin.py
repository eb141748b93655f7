"""A security key with a PIN: a device in software, behind ssh-keygen's own door for devices (openssh PROTOCOL.u2f, sk-api.h).

It counts the PINs that it is shown, as a real one does before it locks itself.
"""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from test_passphrase import ONLY, PATIENCE, REASON, processes
from test_tui_terminal import ROOT
from tui_kit import Targets, grow, incident, world

PIN = "pin-20481-of-the-device"
KIND = b"sk-ssh-ed25519@openssh.com"

DEVICE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>

struct sk_enroll_response;
struct sk_option;
struct sk_resident_key;
struct sk_sign_response {
	uint8_t flags; uint32_t counter;
	uint8_t *sig_r; size_t sig_r_len;
	uint8_t *sig_s; size_t sig_s_len;
};

uint32_t sk_api_version(void) { return API; }
int sk_enroll(uint32_t alg, const uint8_t *c, size_t cl, const char *a, uint8_t f, const char *pin,
    struct sk_option **o, struct sk_enroll_response **r) { return -2; }
int sk_load_resident_keys(const char *pin, struct sk_option **o, struct sk_resident_key ***k, size_t *n) { return -2; }

static void hash(const void *data, size_t size, uint8_t *out) {
	EVP_Digest(data, size, out, NULL, EVP_sha256(), NULL);
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t size, const char *application, const uint8_t *handle,
    size_t handle_size, uint8_t flags, const char *pin, struct sk_option **options, struct sk_sign_response **out) {
	uint8_t all[69], counter[4] = {0, 0, 0, 7};
	size_t length = 64;
	FILE *log = fopen(LOG, "a");
	int good = pin != NULL && strcmp(pin, PIN) == 0;
	fprintf(log, "%s\n", pin == NULL ? "none" : good ? "right" : "wrong");
	fclose(log);
	if (!good) return -3;
	struct sk_sign_response *made = calloc(1, sizeof *made);
	made->flags = 0x05;
	made->counter = 7;
	made->sig_r = malloc(64);
	made->sig_r_len = 64;
	hash(application, strlen(application), all);
	all[32] = made->flags;
	memcpy(all + 33, counter, 4);
	hash(data, size, all + 37);
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, handle, handle_size);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_DigestSignInit(context, NULL, NULL, NULL, key);
	EVP_DigestSign(context, made->sig_r, &length, all, sizeof all);
	*out = made;
	return 0;
}
"""


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@dataclass
class Desk:
    folder: Path
    variables: dict[str, str]
    incident: str
    shown: Path

    @property
    def pins(self) -> list[str]:
        """What the device was shown."""
        return self.shown.read_text().split() if self.shown.exists() else []

    @property
    def words(self) -> list[str]:
        return ["-m", "envtui", "request", "production", "only", "--incident", self.incident, "--reason", REASON]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    if shutil.which("cc") is None or not Path("/usr/include/openssl/evp.h").exists():
        pytest.skip("NO C COMPILER OR NO OPENSSL HEADERS: A SECURITY KEY WITH A PIN WAS NOT TRIED")
    variables = grow(tmp_path)
    (tmp_path / "runbooks/production/books/only.yaml").write_text(ONLY)
    private = Ed25519PrivateKey.generate()
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    handle = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    blob = string(KIND) + string(raw) + string(b"ssh:")
    inner = b"\0" * 8 + blob + b"\x05" + string(handle) + string(b"") + string(b"device")
    inner += bytes(range(1, 1 + -len(inner) % 8))
    head = b"openssh-key-v1\0" + string(b"none") * 2 + string(b"") + struct.pack(">I", 1)
    text = base64.b64encode(head + string(blob) + string(inner)).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    key = tmp_path / "home/.ssh/asha"
    key.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n")
    public = f"{KIND.decode()} {base64.b64encode(blob).decode()}"
    before = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    key.with_suffix(".pub").write_text(f"{public} asha\n")
    signers = tmp_path / "runbooks/production/access/allowed_signers"
    signers.write_text(signers.read_text().replace(before, public))
    source, library, shown = tmp_path / "device.c", tmp_path / "device.so", tmp_path / "shown"
    source.write_text(DEVICE)
    probe = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    version = "0x000a0000"  # OpenSSH 9.0 and later; the helper says when it wants another
    define = [f'-DLOG="{shown}"', f'-DPIN="{PIN}"', f"-DAPI={version}"]
    subprocess.run(["cc", "-shared", "-fPIC", *define, "-o", library, source, "-lcrypto"], check=True)
    if not probe.startswith("OpenSSH_9") and not probe.startswith("OpenSSH_1"):
        pytest.skip(f"{probe}: THIS OPENSSH SPEAKS ANOTHER sk-api: A SECURITY KEY WITH A PIN WAS NOT TRIED")
    own = {**variables, "SSH_SK_PROVIDER": str(library), "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    return Desk(tmp_path, own, incident(world(variables, Targets())), shown)


@pytest.mark.parametrize("typed", [PIN, "1234"], ids=["right", "wrong"])
def test_the_device_is_shown_what_is_typed_and_nothing_else(desk: Desk, typed: str) -> None:
    child = pexpect.spawn(sys.executable, desk.words, env=desk.variables, timeout=PATIENCE)
    try:
        child.expect_exact("Touch the security key")
        child.expect_exact("ssh-keygen asks for the PIN of")
        child.expect(r"Enter PIN for[^\r\n]*: ")
        assert child.waitnoecho(PATIENCE)
        assert desk.pins == []  # each wrong one counts: nothing was tried before somebody typed
        child.send(typed)
        assert not [one for one, said in processes().items() if PIN.encode() in said]
        child.send("\n")
        child.expect(pexpect.EOF)
        child.wait()
        said = child.before.decode()
        assert PIN not in said
        assert desk.pins == ["right" if typed == PIN else "wrong"]
        if typed == PIN:
            assert child.exitstatus == 0, said
            assert "-----END ENVTUI REQUEST-----" in said
        else:
            assert child.exitstatus == 1
            assert "That was not the PIN of" in said
        kept = [path for path in (desk.folder / "state").rglob("*") if path.is_file()]
        assert kept
        assert not [path for path in kept if PIN.encode() in path.read_bytes()]
    finally:
        child.close(force=True)


def test_without_a_terminal_the_device_is_shown_nothing(desk: Desk) -> None:
    done = subprocess.run(
        [sys.executable, *desk.words], env=desk.variables, capture_output=True, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "has a PIN, and there is no terminal here to ask for it." in done.stderr
    assert desk.pins == []
