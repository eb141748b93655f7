"""The engine against real servers, in this process and as `envtui run`: what is sent, what is not, and what is left behind."""

from __future__ import annotations

from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def test_a_read(kit: Kit) -> None:
    kit.book("  - {id: a, kind: ssh, argv: [echo, hello]}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello" in done.stdout
    assert kit.sound()


def test_a_granted_write(kit_sql: Kit) -> None:
    kit_sql.book('  - {id: a, kind: ssh, argv: [touch, "/tmp/x"], mode: write, repeatable: true}\n  - {id: b, kind: sql, target: db, query: "select 1"}\n')
    done = kit_sql.cli("run", NAME, "book")
    assert done.returncode == 3, done.stdout + done.stderr
    block = kit_sql.request("book")
    done = kit_sql.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 0, done.stdout + done.stderr
