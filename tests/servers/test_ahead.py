"""Connections that a headless run begins while it is still importing: the same checks, the same errors, none too many."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, IdentityShown
from tests.servers.silent import serving
from tests.servers.world_kit import NAME, Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures

READ = "  - {id: a, kind: ssh, argv: [echo, hello]}\n"


class Door:
    """A host that counts who knocks, and hangs up."""

    def __init__(self) -> None:
        self.knocks = 0
        self._lock = threading.Lock()

    def __call__(self, client: object) -> None:
        with self._lock:
            self.knocks += 1
        client.close()  # type: ignore[attr-defined]


def logins(kit: Kit) -> int:
    return kit.one.log.read_text(errors="replace").count("Accepted publickey")


def test_the_run_takes_the_connection_that_was_begun(kit: Kit) -> None:
    kit.book(READ * 1 + "  - {id: b, kind: ssh, argv: [echo, again]}\n")
    before = logins(kit)
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert logins(kit) == before + 1
    assert len(kit.events(IdentityShown)) == 1
    assert [e.word for e in kit.events(ActEnded)] == ["OK", "OK"]


def test_an_unscripted_read_takes_it_too(kit: Kit) -> None:
    before = logins(kit)
    done = kit.cli("ask", NAME, "web", "--", "echo", "hello")
    assert (done.returncode, logins(kit)) == (0, before + 1), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("steps", "knocks"),
    [
        (READ, 2),
        ("  - {id: a, kind: ssh, host: any, argv: [echo, hello]}\n", 2),  # the second because the first gave no answer
        ("  - {id: a, kind: ssh, host: web2, argv: [echo, hello]}\n", 1),
        ("  - {id: a, kind: manual, instructions: look}\n" + READ.replace("id: a", "id: b"), 0),
        ("  - {id: a, kind: choose, question: go, options: {yes: b, no: end}}\n" + READ.replace("id: a", "id: b"), 0),
    ],
)
def test_only_hosts_that_the_first_step_reads_are_asked(kit: Kit, steps: str, knocks: int) -> None:
    door = Door()
    with serving(door) as first, serving(door) as second:
        kit.targets["web"] = f'kind: ssh, hosts: ["web1={first}", "web2={second}"], read: shell'
        ports = [address.rsplit(":", 1)[1] for address in (first, second)]
        kit.put("known_hosts", "".join(f"[127.0.0.1]:{port} {kit.servers.public('mallory')}\n" for port in ports))
        kit.manifest()
        kit.book(steps)
        done = kit.cli("run", NAME, "book")
    assert done.returncode != 0
    assert "fault in envtui" not in done.stderr
    assert door.knocks == knocks, done.stdout + done.stderr


@pytest.mark.parametrize("words", [("run", NAME, "book"), ("ask", NAME, "web", "--", "id")])
def test_nobody_is_asked_for_a_tree_that_is_not_accepted(kit: Kit, words: tuple[str, ...]) -> None:
    door = Door()
    with serving(door) as address:
        kit.book(READ)
        kit.targets["web"] = f'kind: ssh, hosts: ["web1={address}"], read: shell'
        kit.manifest()
        manifest = kit.tree / "environment.yaml"
        manifest.write_text(manifest.read_text() + "# changed\n")
        done = kit.cli(*words)
    assert (done.returncode, door.knocks) == (7, 0), done.stdout + done.stderr


@pytest.mark.parametrize("words", [("-p", "window=15m"), ("--answer", "a=yes"), ("--grant", "/nonexistent")])
def test_a_call_that_is_refused_leaves_no_connection(kit: Kit, words: tuple[str, ...], tmp_path: Path) -> None:
    """The connection may have been begun; nothing was sent on it, and the process does not wait for it."""
    kit.book(f"  - {{id: a, kind: ssh, argv: [touch, {tmp_path}/sent]}}\n")
    done = kit.cli("run", NAME, "book", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (tmp_path / "sent").exists()
