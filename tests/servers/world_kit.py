"""One environment with a real sshd and (when asked for) a real PostgreSQL, trusted, and the two ways into it: the engine
in this process and `envtui` as a process of its own.

Import the fixtures by name: `from tests.servers.world_kit import cluster, database, kit, kit_sql, machines, one`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from envtui.compose import World
from envtui.core.events import Entry
from envtui.engine.session import EnvironmentSession
from envtui.outside.ledger import read_entries
from envtui.outside.ledger_verify import verify
from envtui.rules.run import fold_all
from envtui.rules.state import Run
from tests.servers.postgres import PASSWORD, Database, cluster, database
from tests.servers.sshd import ME, SSHD, Server, Servers, servers

__all__ = ["NAME", "Kit", "cluster", "database", "kit", "kit_sql", "machines", "one", "until"]

E = TypeVar("E")

ROOT = Path(__file__).parent.parent.parent
NAME = "staging"

MANIFEST = """\
schema: envtui/environment@1
name: staging
purpose: "Tests of the engine"
data: synthetic
credentials:
  shell: {{kind: ssh, access: read, user: {me}, key: "file:{reader}"}}
  shell-write: {{kind: ssh, access: write, user: {me}, key: "file:{writer}"}}
{sql_credentials}{credentials}targets:
{targets}
identity:
  ssh: {{argv: [printenv, ENVTUI_TEST_ID], equals: "staging:one"}}
  sql: {{query: "select environment from envtui_identity", equals: staging}}
access:
{access}
  write_gate: advisory
"""
SQL_CREDENTIALS = """\
  look: {kind: sql, access: read, user: reader, secret: "env:DB_PASSWORD"}
  change: {kind: sql, access: write, user: writer, secret: "env:DB_PASSWORD"}
"""
ALONE = """\
  incident: {tracker: none, required: false}
  signoff: {min: 0}
"""
"""Access on one's own signature."""

PEOPLE = "schema: envtui/people@1\npeople: {asha: {name: Asha, principals: [asha], roles: [on-call]}}\n"
HEAD = 'schema: envtui/runbook@1\nid: {id}\nenvironment: staging\ntitle: "A book of the tests"\nowner: team\n'

HURRIED = """
import sys
from functools import partial
from envtui.__main__ import main
from envtui.outside import http
from envtui.outside.sql import connect
from envtui.outside.ssh import ahead, links

http.HttpReader = partial(http.HttpReader, seconds=1.0)
http.HttpWriter = partial(http.HttpWriter, seconds=1.0)
connect.Connector = partial(connect.Connector, seconds=1.0)
links.Setting = partial(links.Setting, timeout=1.0)
ahead.TIMEOUT = 1.0
sys.exit(main())
"""


async def until(there: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so; patient, because the machine may be busy."""
    for _ in range(round(seconds * 100)):
        if there():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


@dataclass
class Kit:
    """The environment `staging` of one operator, asha. Change it, then `trust()` it, then go in."""

    folder: Path
    servers: Servers
    one: Server
    db: Database | None = None
    more: dict[str, str] = field(default_factory=dict)  # further variables of the processes
    targets: dict[str, str] = field(default_factory=dict)
    access: str = ALONE
    user: str = ME
    credentials: str = ""  # more of them, as lines of YAML

    def __post_init__(self) -> None:
        self.tree = self.folder / "runbooks" / NAME
        self.servers.key("operator")
        self.targets["web"] = f'kind: ssh, hosts: ["web1={self.one.address}"], read: shell, write: shell-write'
        if self.db is not None:
            self.targets["db"] = (
                f'kind: sql, hosts: ["db1={self.db.address}"], dbname: {self.db.name}, tls: disable, '
                "read: look, write: change"
            )
        config = self.folder / "config.toml"
        secrets = self.servers.folder
        config.write_text(
            f'operator = "asha"\nsigning_key = "file:{self.servers.key("operator")}"\n'
            f'secret_dirs = ["{secrets}", "{self.folder}"]\n'
        )
        config.chmod(0o600)
        self.put("known_hosts", self.one.known())
        self.put("access/people.yaml", PEOPLE)
        spaces = f"request.v1.{NAME}@envtui,approve.v1.{NAME}@envtui"
        self.put("access/allowed_signers", f'asha namespaces="{spaces}" {self.servers.public("operator")}\n')
        self.manifest()

    @property
    def variables(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ENVTUI_RUNBOOKS": str(self.folder / "runbooks"),
            "ENVTUI_STATE": str(self.folder / "state"),
            "ENVTUI_CONFIG": str(self.folder / "config.toml"),
            "DB_PASSWORD": PASSWORD,
            **self.more,
        }

    @property
    def ledger(self) -> Path:
        return self.folder / "state" / NAME / "ledger.sqlite3"

    def put(self, path: str, text: str) -> Path:
        """A file of the tree."""
        file = self.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def manifest(self, access: str = "") -> None:
        """Write environment.yaml again, for `targets` as they are now, and trust it."""
        self.access = access or self.access
        self.put(
            "environment.yaml",
            MANIFEST.format(
                me=self.user,
                reader=self.servers.key("reader"),
                writer=self.servers.key("writer"),
                targets="\n".join(f"  {name}: {{{text}}}" for name, text in self.targets.items()),
                sql_credentials=SQL_CREDENTIALS if self.db is not None else "",
                credentials=self.credentials,
                access=self.access.rstrip(),
            ),
        )
        self.trust()

    def trust(self) -> None:
        world = self.world()
        world.accept(world.forest().trees[NAME])

    def book(self, steps: str, name: str = "book", more: str = "") -> str:
        """A book of these steps (YAML list items, indented by two). Returns its id."""
        self.put(f"books/{name}.yaml", HEAD.format(id=name) + more + f"defaults: {{target: web}}\nsteps:\n{steps}")
        return name

    def world(self) -> World:
        return World.of(self.variables)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EnvironmentSession]:
        async with await self.world().open(NAME) as session:
            yield session

    # -- processes -------------------------------------------------------------------------------------------------

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "envtui", *words]

    def cli(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`envtui WORDS` to its end."""
        return subprocess.run(
            self.argv(*words), env=self.variables, input=stdin, capture_output=True, text=True, timeout=120
        )

    def hurried(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As `cli`, with a second's patience for connections instead of many."""
        argv = [sys.executable, "-c", HURRIED, *words]
        return subprocess.run(
            argv, env=self.variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """`envtui WORDS`, going on."""
        return subprocess.Popen(
            self.argv(*words),
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def request(self, book: str, *more: str) -> Path:
        """Ask for write access and keep the block in a file, for `run --grant`."""
        asked = self.cli("request", NAME, book, "--reason", "the tests need it", *more)
        assert asked.returncode == 0, asked.stderr
        file = self.folder / f"{book}.block"
        file.write_text(asked.stdout)
        return file

    # -- looking ---------------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        return list(read_entries(self.ledger))

    def events(self, kind: type[E]) -> list[E]:
        """The ledger's events of one kind, in order."""
        return [entry.event for entry in self.entries() if isinstance(entry.event, kind)]

    def sound(self) -> bool:
        return verify(self.ledger).sound

    def run(self) -> Run:
        """The newest run, as the ledger tells it."""
        return fold_all(self.entries())[0]


@pytest.fixture(scope="session")
def machines() -> Iterator[Servers]:
    if SSHD is None:
        pytest.skip("NO sshd ON THIS MACHINE: the engine WAS NOT TESTED against real servers")
    with servers() as made:
        yield made


@pytest.fixture(scope="session")
def one(machines: Servers) -> Server:
    return machines.start("staging:one", accepts=("reader", "writer"))


@pytest.fixture
def kit(tmp_path: Path, machines: Servers, one: Server) -> Kit:
    """Over SSH alone."""
    return Kit(tmp_path, machines, one)


@pytest.fixture
def kit_sql(tmp_path: Path, machines: Servers, one: Server, database: Database) -> Kit:
    """Over SSH and SQL."""
    return Kit(tmp_path, machines, one, database)
