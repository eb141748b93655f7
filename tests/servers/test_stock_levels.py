"""What doctor claims of servers as Debian ships them: its sshd with its own configuration, its PostgreSQL with its defaults."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from ssh_house import House
from sshd import SSHD, Server, Servers, _wait_for, free_port, servers
from test_ssh_sandbox import LANDLOCK

from envtui.core.environment import Identity
from envtui.core.errors import ProtectionTooLow
from envtui.core.ports import Shown
from envtui.lab.postgres import Cluster, Workspace, start_all
from envtui.outside.sql.session import SqlReader
from tests.servers.postgres import PASSWORD, Database, connector, read_act
from tests.servers.sql_attacks_kit import SYSTEMS_15

STOCK = Path("/usr/share/openssh/sshd_config")
pytestmark = [pytest.mark.servers]


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    if SSHD is None or os.getuid() != 0 or not STOCK.exists():
        pytest.skip("NO sshd OF DEBIAN's, OR NOT ROOT: its own configuration WAS NOT TESTED")
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def stock(world: Servers) -> Server:
    """Debian's configuration, but for the port, keys of its own, and where the tests' keys lie."""
    port = free_port()
    host_key = world.key("stock-host")
    accepted = world.folder / "stock-authorized"
    accepted.write_text(world.public("reader") + "\n")
    accepted.chmod(0o644)
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": host_key, "AuthorizedKeysFile": accepted, "PidFile": "none",
        "PermitRootLogin": "prohibit-password", "StrictModes": "no",
    }  # fmt: skip
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    assert SSHD is not None
    words = [
        SSHD,
        "-D",
        "-e",
        "-f",
        str(STOCK),
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
    ]
    log = world.folder / "stock-log"
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=file)
    world.stack.callback(process.wait, 10)
    world.stack.callback(process.terminate)
    _wait_for(port, process, log)
    public = world.public("stock-host")
    return Server(port, "", {public.split()[0]: public}, process.pid, log, world.folder)


@pytest.fixture
async def house(world: Servers) -> AsyncIterator[House]:
    made = House(world)
    yield made
    await made.close()


async def probed(house: House, server: Server, user: str) -> Shown:
    hostname = Identity(argv=("cat", "/proc/sys/kernel/hostname"), matches=".+")
    house.target("web", server, user=user, identity=hostname)
    shown = await house.reader.probe(house.act("web", "true"))
    assert isinstance(shown, Shown)
    return shown


async def test_a_stock_sshd_is_what_its_accounts_are(house: House, world: Servers, stock: Server) -> None:
    bash = shutil.which("bash") or "/bin/sh"
    plain = world.account("plain", bash)
    shown = await probed(house, stock, plain)
    assert shown.protection == "account-enforced"
    assert any("`protection: {ssh: kernel-enforced}`" in lack for lack in shown.lacks) or LANDLOCK < 3
    near_root = world.account("near-root", bash)
    subprocess.run(["usermod", "-aG", "disk", near_root], check=True)
    shown = await probed(house, stock, near_root)
    assert (shown.protection, [lack for lack in shown.lacks if "group" in lack]) == (
        "advisory",
        ["the read account is in the group disk"],
    )
    shown = await probed(house, stock, "root")
    assert shown.protection == "advisory"
    assert "the read account is root" in shown.lacks


async def test_a_stock_sshd_holds_reads_in_the_sandbox(house: House, world: Servers, stock: Server) -> None:
    if LANDLOCK < 3:
        pytest.skip("NO LANDLOCK: the sandbox on a stock sshd WAS NOT TESTED")
    house.least = "kernel-enforced"
    for user in (world.account("held", shutil.which("bash") or "/bin/sh"), "root"):
        shown = await probed(house, stock, user)
        assert shown.protection == "kernel-enforced"
        assert [lack.partition(":")[0] for lack in shown.lacks] == ["a gate"]
    programs = world.folder / "programs"
    programs.mkdir()
    for name in ("cat", "id", "mkdir", "date", "sh", "tr"):
        (programs / name).symlink_to(shutil.which(name) or "")
    without = world.account("without", shutil.which("bash") or "/bin/sh", {".bashrc": f"PATH={programs}\n"})
    shown = await probed(house, stock, without)
    assert shown.protection == "account-enforced"
    assert any("python3" in lack for lack in shown.lacks)


@pytest.fixture(scope="module")
def debians() -> Iterator[Database]:
    if not SYSTEMS_15.is_dir():
        pytest.skip("NO POSTGRESQL 15 ON THIS MACHINE: its defaults WERE NOT TESTED")
    workspace = Workspace(SYSTEMS_15)
    cluster = Cluster(workspace, "stock")
    try:
        start_all([cluster])
        database = Database(cluster, "app")
        with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
            for role in ("owner", "looker", "boss superuser", "stranger"):
                words = sql.SQL(f"create role {role} login password {{}}")
                admin.execute(words.format(sql.Literal(PASSWORD)))
            admin.execute("create database app owner owner")
        for statement in (
            "set role owner; create table envtui_identity (environment text); insert into envtui_identity values ('staging')",
            "set role owner; grant select on envtui_identity to looker, stranger",
            "grant create on schema public to stranger",
        ):
            database.admin(statement)
        yield database
    finally:
        cluster.stop()
        workspace.remove()


@pytest.mark.parametrize(
    ("role", "level", "lacks"),
    [
        ("looker", "role-enforced, 1 side channel: temporary tables", ()),
        ("owner", "session-enforced", ("table",)),
        ("stranger", "session-enforced", ("schema",)),
    ],
)
async def test_a_stock_postgresql_15_is_what_its_roles_are(
    debians: Database, role: str, level: str, lacks: tuple[str, ...]
) -> None:
    reader = SqlReader(connector(debians))
    try:
        act = read_act(debians, "select 1", user=role)
        shown = await reader.open(act)
    finally:
        await reader.close()
    assert shown.protection == level
    assert "PostgreSQL 15." in shown.shown
    assert all(any(lack in said for said in shown.lacks) for lack in lacks), shown.lacks


async def test_a_superuser_reads_nothing(debians: Database) -> None:
    reader = SqlReader(connector(debians))
    try:
        with pytest.raises(ProtectionTooLow, match="superuser"):
            await reader.open(read_act(debians, "select 1", user="boss"))
    finally:
        await reader.close()
