"""Targets that do not serve, through `envtui run`: unknown, refusing, hanging, half-closed; over SSH, SQL and HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, PermitSpent, RunEnded
from tests.servers.silent import closing, hanging, refusing, serving
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

Way = Callable[[], AbstractContextManager[str]]


def broken_off() -> AbstractContextManager[str]:
    """Begins like an SSH server and goes away."""

    def talk(client: socket.socket) -> None:
        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        client.shutdown(socket.SHUT_RDWR)

    return serving(talk)


def speaking_http() -> AbstractContextManager[str]:
    return serving(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200))


WAYS: dict[str, Way] = {
    "unknown": lambda: nullcontext("nowhere.invalid:2"),
    "refusing": refusing,
    "hanging": hanging,
    "half-closed": closing,
    "broken-off": broken_off,
    "something-else": speaking_http,
}


def all_three(kit: Kit, address: str) -> None:
    """Targets of each kind at one address, in a book that looks at each in turn."""
    assert kit.db is not None
    kit.more["WEB_TOKEN"] = "a-token-of-the-tests"
    kit.credentials = '  web-look: {kind: http, access: read, header: X-Token, secret: "env:WEB_TOKEN"}\n'
    host = address.rsplit(":", 1)[0]
    port = address.rsplit(":", 1)[1]
    kit.targets["shell"] = f'kind: ssh, hosts: ["s1={address}"], read: shell, write: shell-write'
    kit.targets["base"] = (
        f'kind: sql, hosts: ["b1={address}"], dbname: {kit.db.name}, tls: disable, read: look, write: change'
    )
    kit.targets["api"] = (
        f'kind: http, base: "http://{host}:{port}", read: web-look, identity: {{path: /id, expect: {NAME}}}'
    )
    kit.put("known_hosts", kit.one.known() + "".join(kit.one.known().replace(str(kit.one.port), port)))
    kit.manifest()
    kit.book(
        "  - {id: shell, kind: ssh, target: shell, argv: [echo, hello], on_failure: 'goto:base'}\n"
        "  - {id: base, kind: sql, target: base, query: select 1, on_failure: 'goto:api'}\n"
        "  - {id: api, kind: http, target: api, path: /status}\n"
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_read_of_a_target_that_does_not_serve_fails_and_says_so(kit_sql: Kit, way: str) -> None:
    with WAYS[way]() as address:
        all_three(kit_sql, address)
        done = kit_sql.hurried("run", NAME, "book")
    ended = kit_sql.events(ActEnded)
    if way == "something-else":  # an HTTP service that is not ours is a wrong identity, or answers nonsense
        assert done.returncode in (1, 6), done.stdout + done.stderr
        assert [e.word for e in ended][:2] == ["FAILED", "FAILED"]
    else:
        assert done.returncode == 1, done.stdout + done.stderr
        silent = (
            "TIMED OUT" if way == "hanging" else "FAILED"
        )  # an HTTP service that takes the request and says nothing
        assert [e.word for e in ended] == ["FAILED", "FAILED", silent]
    for event in ended:
        assert event.why, event
        assert "Traceback" not in event.why
        assert "fault in envtui" not in event.why
        assert "WEB_TOKEN" not in event.why
    assert "fault in envtui" not in done.stderr
    assert kit_sql.events(RunEnded)
    assert kit_sql.sound()


@pytest.mark.parametrize("way", ["refusing", "hanging", "half-closed"])
def test_a_write_that_never_left_is_failed_and_not_in_doubt(kit_sql: Kit, way: str) -> None:
    with WAYS[way]() as address:
        all_three(kit_sql, address)
        kit_sql.book(
            "  - {id: shell, kind: ssh, target: shell, mode: write, repeatable: true, argv: [touch, /nonexistent/x], on_failure: 'goto:base'}\n"
            "  - {id: base, kind: sql, target: base, mode: write, repeatable: true, query: \"update orders set state = 'x'\"}\n"
        )
        done = kit_sql.hurried("run", NAME, "book", "--grant", str(kit_sql.request("book")))
    assert done.returncode == 1, done.stdout + done.stderr
    assert [e.word for e in kit_sql.events(ActEnded)] == ["FAILED", "FAILED"]
    assert len(kit_sql.events(PermitSpent)) == 2
    assert not kit_sql.run().in_doubt


def test_doctor_names_every_target_that_is_down_and_goes_on(kit_sql: Kit) -> None:
    with refusing() as address:
        all_three(kit_sql, address)
        done = kit_sql.hurried("doctor", NAME)
    assert done.returncode == 1, done.stdout + done.stderr
    said = {line.split()[2]: line.split()[0] for line in done.stdout.splitlines() if "/" in line[:20]}
    assert said == {"api/api": "BAD", "base/b1": "BAD", "shell/s1": "BAD", "db/db1": "ok", "web/web1": "ok"}


def test_a_host_that_goes_away_in_the_middle_of_a_read_fails_the_step(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        "  - {id: a, kind: ssh, sh: 'echo begun; p=$PPID; "
        'while [ "$(ps -o comm= -p $p)" != sshd ]; do p=$(ps -o ppid= -p $p | tr -d " "); done; kill -KILL $p; sleep 20\', '
        "on_failure: 'goto:b'}\n"
        "  - {id: b, kind: ssh, argv: [echo, again]}\n"
    )
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [e.word for e in kit.events(ActEnded)] == ["FAILED", "OK"]
    assert "closed the connection while the command ran" in kit.events(ActEnded)[0].why
    assert "| begun" in done.stdout
