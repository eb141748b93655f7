"""The secret of a write credential: resolved only while a permit is spent, let go after, and nowhere but on its way to its target."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, PermitSpent
from envtui.engine.session import EnvironmentSession
from tests.servers.sshd import Server, Servers
from tests.servers.world_kit import NAME, Kit, cluster, database, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit_sql", "machines", "one"]  # fixtures
pytestmark = pytest.mark.servers

WRITES = "wr1te-only-6f3c9a"

FAULTY = """
import sys
from envtui.__main__ import main
from envtui.outside.sql import writer

async def faulty(self, statements, values):
    handed = self._wire
    raise RuntimeError("a fault in the middle of a write")

writer._Writing.do = faulty
sys.exit(main())
"""


@pytest.fixture
def kit(kit_sql: Kit) -> Iterator[Kit]:
    """The database's write role has a password of its own, in a file."""
    db = kit_sql.db
    assert db is not None
    role = f"only_{db.name}"
    db.admin(f"create role {role} login password '{WRITES}' in role writer")
    secret = kit_sql.folder / "write-password"
    secret.write_text(WRITES + "\n")
    secret.chmod(0o600)
    kit_sql.credentials = f'  alone: {{kind: sql, access: write, user: {role}, secret: "file:{secret}"}}\n'
    kit_sql.targets["db"] = kit_sql.targets["db"].replace("write: change", "write: alone")
    kit_sql.manifest()
    kit_sql.book(
        '  - {id: look, kind: sql, target: db, query: "select count(*) from orders"}\n'
        "  - id: change\n    kind: sql\n    target: db\n    mode: write\n    timeout: 60s\n"
        f"    query: \"update orders set state = 'x'; select '{WRITES[:6]}' || '{WRITES[6:]}' as said, pg_sleep(1.5)\"\n"
        "    undo: {query: \"update orders set state = 'new'\"}\n"
        '    probe: {query: "select state from orders where id = 1", applied: {value: x}, absent: {value: new}}\n'
    )
    yield kit_sql
    db.admin(f"drop role {role}")


def known(session: EnvironmentSession) -> bool:
    return any(secret.reveal() == WRITES for secret in session.ways.resolved())


def children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            for child in thread.read_text().split():
                found += [int(child), *children(int(child))]
    return found


def of_processes(*pids: int) -> bytes:
    """Command lines and environments, as `ps` shows them."""
    said = b""
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                said += Path(f"/proc/{pid}/{name}").read_bytes()
    return said


def on_disk(kit: Kit) -> bytes:
    """All that is kept of a run: ledger and spool."""
    return b"".join(file.read_bytes() for file in (kit.folder / "state").rglob("*") if file.is_file())


async def test_it_is_known_while_a_permit_is_spent_and_at_no_other_time(kit: Kit) -> None:
    assert kit.db is not None
    busy = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    async with kit.open() as session:
        await session.look()
        task = await session.start(session.plan("book", {}))
        await task.run_on()
        await session.ask_write(task, "", "the tests need it")
        await session.access.activate(task)
        assert not known(session)
        writing = asyncio.create_task(session.write(task, "change"))
        await until(lambda: kit.db.admin(busy) == [(1,)] or writing.done())  # type: ignore[union-attr]
        assert known(session)
        assert WRITES.encode() not in of_processes(os.getpid(), *children(os.getpid()))
        await writing
        assert task.run.word == "OK", task.run
        assert not known(session)
        await task.mending.undo("the tests need it")
        await task.run_on()
        assert not known(session)
    permits = [event.permit for event in kit.events(PermitSpent)]
    assert len(permits) == 2
    kept = on_disk(kit)
    assert b"*" * len(WRITES) in kept  # the database said it, and the spool knew it
    assert WRITES.encode() not in kept


def test_a_fault_in_the_middle_of_a_write_shows_it_nowhere(kit: Kit) -> None:
    block = kit.request("book")
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, "run", NAME, "book", "--grant", str(block)],
        env={**kit.variables, "ENVTUI_DEBUG": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "a fault in the middle of a write" in done.stderr
    assert "in faulty" in done.stderr
    assert WRITES not in done.stdout + done.stderr
    assert WRITES.encode() not in on_disk(kit)
    assert not [event for event in kit.events(ActEnded) if event.act.startswith("change")]


TOKEN = "t0ken-of-writes-8d1e"


class Echo(BaseHTTPRequestHandler):
    """Says who it is, and gives back whatever it was told, the token too: the worst that a service can do."""

    state = "before"
    seen: list[str]

    def do_GET(self) -> None:
        self.answer("staging" if self.path == "/identity" else type(self).state)

    def do_PUT(self) -> None:
        token = self.headers.get("Authorization", "")
        type(self).seen.append(token)
        type(self).state = "after"
        self.answer(f"thank you for {token}, that is {base64.b64encode(token.encode()).decode()}")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *said: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def kit_http(tmp_path: Path, machines: Servers, one: Server) -> Iterator[Kit]:
    """A service whose write token is in a file, and that gives it back."""
    Echo.seen, Echo.state = [], "before"
    service = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    serving = threading.Thread(target=service.serve_forever, daemon=True)
    serving.start()
    kit = Kit(tmp_path, machines, one)
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    secret.chmod(0o600)
    kit.credentials = (
        "  told: {kind: http, access: read, header: X-Nobody, secret: env:NOBODY}\n"
        f'  tells: {{kind: http, access: write, header: Authorization, secret: "file:{secret}"}}\n'
    )
    kit.more["NOBODY"] = "nobody"
    kit.targets["api"] = (
        f'kind: http, base: "http://127.0.0.1:{service.server_port}", read: told, write: tells,'
        " identity: {path: /identity, expect: staging}"
    )
    kit.manifest()
    kit.book(
        "  - id: change\n    kind: http\n    target: api\n    mode: write\n    method: PUT\n    path: /state\n"
        "    undo: {kind: http, method: PUT, path: /state}\n"
        "    probe: {path: /state, applied: {value: after}, absent: {value: before}}\n"
    )
    yield kit
    service.shutdown()
    service.server_close()
    serving.join(30)


def test_the_token_of_a_service_is_on_its_way_to_it_and_nowhere_else(kit_http: Kit) -> None:
    block = kit_http.request("book")
    argv = kit_http.argv("run", NAME, "book", "--grant", str(block), "--json")
    done = subprocess.run(argv, env=kit_http.variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Echo.seen == [TOKEN]
    for kept in (done.stdout.encode(), done.stderr.encode(), on_disk(kit_http)):
        assert TOKEN.encode() not in kept
        assert base64.b64encode(TOKEN.encode()) not in kept
    assert b"thank you for" in on_disk(kit_http)
