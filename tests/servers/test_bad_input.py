"""What is wrong, through the front door: `envtui run` says so with the right exit code and sends nothing. The parts have
their own tests; this is the whole, one test for each thing that must not pass."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, PermitSpent, RunStarted
from tests.servers.sshd import Servers
from tests.servers.world_kit import NAME, PEOPLE, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


@pytest.fixture
def sent(kit: Kit, tmp_path: Path) -> Path:
    """A file that a book's only step makes on the target: whether anything was sent."""
    kit.book(f"  - {{id: a, kind: ssh, argv: [touch, {tmp_path}/sent]}}\n")
    return tmp_path / "sent"


def refused(kit: Kit, sent: Path, code: int, *says: str) -> None:
    done = kit.cli("run", NAME, "book")
    assert done.returncode == code, done.stdout + done.stderr
    for text in says:
        assert text in done.stdout + done.stderr
    assert "fault in envtui" not in done.stderr
    assert not sent.exists()


def neighbour(kit: Kit, name: str = "production") -> Path:
    """A second, sound tree beside it, by renaming everything that may not be shared."""
    folder = kit.folder / "runbooks" / name
    shutil.copytree(kit.tree, folder)
    port = str(kit.one.port)
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text().replace(NAME, name).replace(port, "1").replace("user: root", "user: other")
            if path.name == "known_hosts":
                text = f"[127.0.0.1]:1 {kit.servers.public('reader')}\n"
            path.write_text(text + "# another\n")
    return folder


def test_a_sound_neighbour_is_no_hindrance(kit: Kit, sent: Path) -> None:
    neighbour(kit)
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sent.exists()


@pytest.mark.parametrize("path", ["books/book.yaml", "files/payload", "known_hosts"])
def test_a_file_copied_between_trees(kit: Kit, sent: Path, path: str) -> None:
    kit.put("files/payload", "select 1\n")
    other = neighbour(kit)
    kit.trust()
    shutil.copy(kit.tree / path, other / path)
    refused(kit, sent, 2, path)


def test_a_host_in_two_trees(kit: Kit, sent: Path) -> None:
    other = neighbour(kit)
    manifest = other / "environment.yaml"
    manifest.write_text(manifest.read_text().replace("127.0.0.1:1", kit.one.address))
    refused(kit, sent, 2, "this address is also in production/environment.yaml")


@pytest.mark.parametrize("what", ["file", "folder", "tree"])
def test_a_symlink_out(kit: Kit, sent: Path, what: str) -> None:
    outside = kit.folder / "outside"
    outside.mkdir()
    (outside / "book.yaml").write_text((kit.tree / "books/book.yaml").read_text().replace("id: book", "id: other"))
    if what == "tree":
        kit.tree.rename(kit.folder / "real")
        os.symlink(kit.folder / "real", kit.tree)
    elif what == "folder":
        os.symlink(outside, kit.tree / "books/more")
    else:
        os.symlink(outside / "book.yaml", kit.tree / "books/other.yaml")
    refused(kit, sent, 2, "link")


def test_a_changed_signer_without_trust(kit: Kit, sent: Path) -> None:
    signers = kit.tree / "access/allowed_signers"
    signers.write_text(signers.read_text().replace(kit.servers.public("operator"), kit.servers.public("mallory")))
    refused(kit, sent, 7, "envtui trust")
    assert not kit.ledger.exists()


def test_a_changed_manifest_without_trust(kit: Kit, sent: Path) -> None:
    manifest = kit.tree / "environment.yaml"
    manifest.write_text(manifest.read_text().replace("min: 0", "min: 1"))
    refused(kit, sent, 7, "envtui trust")


def test_a_changed_known_host_without_trust(kit: Kit, sent: Path) -> None:
    kit.put("known_hosts", kit.one.known() + f"[127.0.0.1]:2 {kit.servers.public('mallory')}\n")
    refused(kit, sent, 7, "envtui trust")


def test_a_command_that_the_user_has_not_allowed(kit_sql: Kit, tmp_path: Path) -> None:
    kit, program = kit_sql, tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\necho secret\n")
    program.chmod(0o755)
    assert kit.db is not None
    kit.credentials = f"  asked: {{kind: sql, access: read, user: reader, secret: {{cmd: [{program}]}}}}\n"
    kit.targets["db"] = f'kind: sql, hosts: ["db1={kit.db.address}"], dbname: {kit.db.name}, tls: disable, read: asked'
    kit.manifest()
    kit.book("  - {id: a, kind: sql, target: db, query: select 1}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "commands" in done.stdout + done.stderr  # where to allow it
    assert not (tmp_path / "started").exists()


def test_a_wrong_host_key(kit: Kit, sent: Path, machines: Servers) -> None:
    port = str(kit.one.port)
    kit.put("known_hosts", f"[127.0.0.1]:{port} {kit.servers.public('mallory')}\n")
    kit.trust()
    refused(kit, sent, 6, "host key")
    assert [e.word for e in kit.events(ActEnded)] == ["REFUSED"]


def test_an_unknown_host_key(kit: Kit, sent: Path) -> None:
    kit.put("known_hosts", f"[127.0.0.1]:2 {kit.servers.public('mallory')}\n")
    kit.trust()
    refused(kit, sent, 6, "known_hosts")


def test_a_clone_of_a_host_with_the_same_identity_and_another_key(kit: Kit, sent: Path, machines: Servers) -> None:
    clone = machines.start("staging:one", accepts=("reader", "writer"))
    kit.targets["web"] = f'kind: ssh, hosts: ["web1={clone.address}"], read: shell, write: shell-write'
    kit.put("known_hosts", kit.one.known().replace(str(kit.one.port), str(clone.port)))
    kit.manifest()
    refused(kit, sent, 6, "host key")


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("what", ["marker", "cluster"])
def test_a_clone_of_a_database(kit_sql: Kit, what: str, mode: str) -> None:
    """Restored from another environment: its marker says so. Copied with its marker: then it is another cluster."""
    kit = kit_sql
    assert kit.db is not None
    if what == "marker":
        kit.db.admin("update envtui_identity set environment = 'production'")
    else:
        kit.targets["db"] += (
            ', identity: {query: "select environment from envtui_identity", equals: staging, system_identifier: "1"}'
        )
    kit.manifest()
    book = kit.book(
        f"  - {{id: a, kind: sql, target: db, mode: {mode}, "
        + (
            "repeatable: true, query: \"update orders set state = 'sent'\"}\n"
            if mode == "write"
            else "query: select 1}\n"
        )
    )
    more = ("--grant", str(kit.request(book))) if mode == "write" else ()
    done = kit.cli("run", NAME, book, *more)
    assert done.returncode == 6, done.stdout + done.stderr
    assert [e.word for e in kit.events(ActEnded)] == ["REFUSED"]
    assert kit.db.admin("select count(*) from orders where state = 'sent'") == [(0,)]


def test_a_tampered_ledger(kit: Kit, sent: Path) -> None:
    assert kit.cli("run", NAME, "book").returncode == 0
    sent.unlink()
    with sqlite3.connect(kit.ledger) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    data = bytearray(kit.ledger.read_bytes())
    at = data.index(b"A book of the tests")
    data[at] ^= 1
    kit.ledger.write_bytes(data)
    verified = kit.cli("ledger", "verify", NAME)
    assert verified.returncode == 6, verified.stdout + verified.stderr
    doctor = kit.cli("doctor", NAME)
    assert doctor.returncode == 6, doctor.stdout + doctor.stderr


@pytest.fixture
def two(kit: Kit, tmp_path: Path) -> Kit:
    """An environment in which another person, Meera, signs."""
    kit.put(
        "access/people.yaml", PEOPLE.replace("}}", "}, meera: {name: Meera, principals: [meera], roles: [on-call]}}")
    )
    signers(kit)
    kit.manifest(
        "  incident: {tracker: none, required: false}\n  signoff: {min: 1, same_machine: allowed}\n"
        "  grant: {activate_within: 1s}\n"
    )
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/sent]}}\n")
    return kit


def signers(kit: Kit, meera: str = "meera", spaces: str = "") -> None:
    both = f"request.v1.{NAME}@envtui,approve.v1.{NAME}@envtui"
    kit.put(
        "access/allowed_signers",
        f'asha namespaces="{both}" {kit.servers.public("operator")}\n'
        f'{meera} namespaces="{spaces or both}" {kit.servers.public("meera")}\n',
    )


def answered(kit: Kit, block: Path, key: str = "meera") -> str:
    signed = kit.cli("sign", NAME, "--yes", "--key", f"file:{kit.servers.key(key)}", stdin=block.read_text())
    assert signed.returncode == 0, signed.stdout + signed.stderr
    return signed.stdout


def no_write(kit: Kit, block: Path, *codes: int) -> str:
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode in codes, done.stdout + done.stderr
    assert not (kit.folder / "sent").exists()
    assert not kit.events(PermitSpent)
    assert "fault in envtui" not in done.stderr
    return done.stderr


def test_an_expired_sign_off(two: Kit) -> None:
    block = two.request("book")
    block.write_text(block.read_text() + answered(two, block))
    time.sleep(1.2)  # activate_within is 1 s
    said = no_write(two, block, 1, 3)
    assert "signed" in said
    assert not two.events(RunStarted)


def test_a_foreign_sign_off(two: Kit) -> None:
    """For another request of the same book."""
    first = two.request("book")
    answer = answered(two, first)
    second = two.request("book")
    second.write_text(second.read_text() + answer)
    no_write(two, second, 1, 3)


def test_a_self_made_sign_off(two: Kit) -> None:
    block = two.request("book")
    own = two.cli("sign", NAME, "--yes", stdin=block.read_text())
    assert own.returncode == 1, own.stdout + own.stderr
    no_write(two, block, 3)


def test_an_altered_sign_off(two: Kit) -> None:
    block = two.request("book")
    answer = answered(two, block).splitlines()
    middle = len(answer) // 2
    line = answer[middle]
    answer[middle] = line[:-1] + ("A" if line[-1] != "A" else "B")
    block.write_text(block.read_text() + "\n".join(answer) + "\n")
    no_write(two, block, 1, 2, 3)


@pytest.mark.parametrize("pattern", ["*", "me*", "meera,*", "!asha"])
def test_a_patterned_signer(two: Kit, pattern: str) -> None:
    block = two.request("book")
    signers(two, pattern)
    done = two.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "allowed_signers" in done.stderr


def test_a_signer_of_the_wrong_namespace(two: Kit) -> None:
    """Who may ask may not therefore sign, and who may sign elsewhere may not sign here."""
    signers(two, spaces=f"request.v1.{NAME}@envtui")
    two.trust()
    block = two.request("book")
    own = two.cli("sign", NAME, "--yes", "--key", f"file:{two.servers.key('meera')}", stdin=block.read_text())
    assert own.returncode == 1, own.stdout + own.stderr
    no_write(two, block, 3)
    signers(two, spaces="approve.v1.production@envtui")
    done = two.cli("check", str(two.folder / "runbooks"))
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("trap", "says"),
    [  # every trap: tests/unit/test_yaml.py
        ("a: &x 1\nb: *x\n", "anchor"),
        ("title: !!python/object:os.system x\n", "tag"),
        ("title: one\ntitle: two\n", "second time"),
        ("owner: null\n", ""),
        ("---\nx: 1\n", "document"),
        ("t\tx: 1\n", ""),
        ("surprise: 1\n", "surprise"),
    ],
)
def test_a_yaml_trap_in_a_book(kit: Kit, sent: Path, trap: str, says: str) -> None:
    path = kit.tree / "books/book.yaml"
    path.write_text(path.read_text() + trap)
    refused(kit, sent, 2, "book.yaml:", says)
