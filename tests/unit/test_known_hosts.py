from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from envtui.core.errors import InvalidFiles
from envtui.outside.ssh.known_hosts import HostKey, Keys, KnownHosts


def key(seed: str, type_: str = "ssh-ed25519") -> HostKey:
    body = hashlib.sha256(seed.encode()).digest()
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (type_.encode(), body))
    return HostKey(type_, blob)


def line(names: str, k: HostKey, marker: str = "") -> str:
    return f"{marker} {names} {k.type} {base64.b64encode(k.blob).decode()} a comment".strip() + "\n"


def hashed(name: str, salt: bytes = b"0123456789abcdefghij") -> str:
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def known(*lines: str) -> KnownHosts:
    return KnownHosts("".join(lines).encode())


A, B, RSA = key("a"), key("b"), key("r", "ssh-rsa")


def test_a_host_is_known_by_each_of_its_names_and_case_does_not_matter() -> None:
    hosts = known("# comment\n", "\n", line("Gw1,10.0.0.1", A))
    assert hosts.lookup("gw1").accepted == hosts.lookup("GW1").accepted == hosts.lookup("10.0.0.1").accepted == (A,)
    assert hosts.lookup("gw2") == Keys((), ())


def test_a_port_other_than_22_is_part_of_the_name() -> None:
    hosts = known(line("gw", A), line("[gw]:2222", B))
    assert hosts.lookup("gw").accepted == (A,)
    assert hosts.lookup("gw", 2222).accepted == (B,)
    assert hosts.lookup("gw", 2223).accepted == ()


@pytest.mark.parametrize(("name", "host", "port"), [("gw", "GW", 22), ("[127.0.0.1]:2201", "127.0.0.1", 2201)])
def test_hashed_names_are_found(name: str, host: str, port: int) -> None:
    hosts = known(line(hashed(name), A), line(hashed("other"), B))
    assert hosts.lookup(host, port).accepted == (A,)


def test_a_real_hash_by_ssh_keygen() -> None:
    # made by `ssh-keygen -H`, OpenSSH 9.2
    hosts = known(line("|1|Afd+qLmOsB2nXsjbJ5MYK6VGGhc=|nYFeB2u45Kyr3CqQjCmiYWxpz7A=", A))
    assert hosts.lookup("gw.example").accepted == (A,)


def test_several_types_restrict_and_order_the_algorithms() -> None:
    assert known(line("gw", RSA), line("gw", A)).lookup("gw").algorithms() == (
        "rsa-sha2-512",
        "rsa-sha2-256",
        "ssh-ed25519",
    )


def test_wildcards_and_negation() -> None:
    hosts = known(line("*.prod.example,!db?.prod.example", A))
    assert hosts.lookup("gw1.prod.example").accepted == (A,)
    assert hosts.lookup("db1.prod.example").accepted == ()
    assert hosts.lookup("db12.prod.example").accepted == (A,)
    assert hosts.lookup("prod.example").accepted == ()
    assert known(line("!gw", A)).lookup("other").accepted == ()


def test_a_revoked_key_is_not_accepted_even_where_it_is_also_listed() -> None:
    keys = known(line("gw", A), line("gw", B), line("*", A, "@revoked")).lookup("gw")
    assert keys == Keys((B,), (A,))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (line("*.example", A, "@cert-authority"), "certificate authorities are not supported"),
        (line("gw", A, "@trusted"), "marker @trusted"),
        ("gw ssh-ed25519\n", "names, key type, key"),
        ("gw ssh-ed25519 %%%\n", "not base64"),
        (line("gw", A).replace("ssh-ed25519", "ssh-rsa"), "not of the type ssh-rsa"),
        (line("|2|x|y", A), r"\|1\|salt\|digest"),
        (line("|1|AAAA|AAAA", A), r"\|1\|salt\|digest"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_line(bad: str, says: str) -> None:
    with pytest.raises(InvalidFiles, match=says) as caught:
        known(line("fine", A), bad)
    assert [(p.file, p.line) for p in caught.value.problems] == [("known_hosts", 2)]


def test_all_errors_come_at_once() -> None:
    with pytest.raises(InvalidFiles) as caught:
        known("a\n", line("fine", A), "b\n")
    assert [p.line for p in caught.value.problems] == [1, 3]


def test_the_fingerprint_is_as_ssh_shows_it() -> None:
    blob = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
    # github.com's published fingerprint
    assert HostKey("ssh-ed25519", blob).fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


def test_ten_thousand_lines_are_read_once_each() -> None:
    hosts = known(*(line(f"h{n}", A) for n in range(5000)), *(line(hashed(f"x{n}"), B) for n in range(5000)))
    assert hosts.lookup("h4999").accepted == (A,)
    assert hosts.lookup("x4999").accepted == (B,)
