"""A PostgreSQL to attack, and eyes outside of it: everything that an attack could change, read by a superuser.

The database `att` is made from the template `tpl` (tests/corpora/sql_template.sql) whenever an attack has left it useless;
what an attack does to the whole cluster (roles, slots, prepared transactions) is taken back by hand.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import yaml
from psycopg import sql

from envtui.lab.postgres import Cluster, Workspace, start_all
from tests.servers.postgres import PASSWORD, Database

CORPORA = Path(__file__).parents[1] / "corpora"
SYSTEMS_15 = Path("/usr/lib/postgresql/15/bin")
VERSIONS = {"18": None, "15": SYSTEMS_15}
"""The lab's server, and the one of Debian 12."""

_ROLES = """
create role app_owner login password {password};
create role through login password 'apppw' in role app_owner;
create role looker login password {password} in role pg_monitor;
create role attacker superuser login password {password};
create role victim_app login password {password};
create role rw_role;
create role ddl_target;
grant victim_app to app_owner
"""
_EXTENSIONS = (
    *("dblink", "postgres_fdw", "file_fdw", "adminpack", "pg_prewarm", "pg_surgery", "tablefunc", "xml2"),
    *("pg_stat_statements", "pgstattuple", "pg_buffercache", "pgrowlocks", "lo"),
)
_AGAIN = """
do $$ declare r record; begin
  for r in select slot_name from pg_replication_slots loop perform pg_drop_replication_slot(r.slot_name); end loop;
  for r in select roname from pg_replication_origin loop perform pg_replication_origin_drop(r.roname); end loop;
end $$
"""
_SETTINGS = {
    "wal_level": "logical",
    "max_prepared_transactions": "10",
    "autovacuum": "off",  # what changes by itself is nobody's attack
    "checkpoint_timeout": "1d",
    "max_wal_size": "8GB",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "off",
}

_LOOK = """
select 'sessions', string_agg(pid::text, ',' order by pid) from pg_stat_activity where application_name in ('victim_ro')
union all select 'locks', string_agg(locktype || ' ' || mode, ',' order by locktype, mode) from pg_locks
  where pid <> pg_backend_pid() and mode <> 'AccessShareLock' and locktype not in ('virtualxid', 'transactionid')
  and database = (select oid from pg_database where datname = 'att')
union all select 'prepared', string_agg(gid, ',' order by gid) from pg_prepared_xacts
union all select 'slots', string_agg(slot_name, ',' order by slot_name) from pg_replication_slots
union all select 'loaded', pg_conf_load_time()::text
union all select 'configuration', md5(string_agg(f::text, ',' order by seqno)) from pg_file_settings f
union all select 'wal', pg_walfile_name(pg_current_wal_lsn())
union all select 'checkpoint', checkpoint_lsn::text from pg_control_checkpoint()
union all select 'reset of database', stats_reset::text from pg_stat_database where datname = 'att'
union all select 'reset of bgwriter', stats_reset::text from pg_stat_bgwriter
union all select 'reset of wal', stats_reset::text from pg_stat_wal
union all select 'reset of archiver', stats_reset::text from pg_stat_archiver
union all select 'reset of slru', max(stats_reset)::text from pg_stat_slru
union all select 'large objects', string_agg(m.oid || md5(lo_get(m.oid)), ',' order by m.oid) from pg_largeobject_metadata m
"""


def corpus(name: str) -> list[dict[str, Any]]:
    """The attacks of a corpus, `sql` always a list."""
    found: list[dict[str, Any]] = yaml.safe_load((CORPORA / name).read_text())["attacks"]
    return [{**each, "sql": [each["sql"]] if isinstance(each["sql"], str) else each["sql"]} for each in found]


class Range:
    """The cluster, its database `att`, a victim's session and a listener's.

    `patience` is how many seconds a statement takes that got around its timeout of a fifth of that.
    """

    patience = 1.0

    def __init__(self, cluster: Cluster, version: str, folder: Path) -> None:
        self.cluster = cluster
        self.version = version
        self.folder = folder
        self.database = Database(cluster, "att")
        self._main = psycopg.connect(cluster.dsn(), autocommit=True)
        self._eyes: psycopg.Connection | None = None
        self._ears: psycopg.Connection | None = None
        self._victim: tuple[str, psycopg.Connection] | None = None
        self._build()

    def _build(self) -> None:
        for statement in _ROLES.split(";"):
            self._main.execute(sql.SQL(statement).format(password=sql.Literal(PASSWORD)))
        self._main.execute("create database tpl")
        with psycopg.connect(self.cluster.dsn("tpl"), autocommit=True) as admin:
            there = {name for (name,) in admin.execute("select name from pg_available_extensions")}
            for extension in _EXTENSIONS:
                if extension in there:
                    admin.execute(f"create extension {extension}")
            admin.execute(self.filled((CORPORA / "sql_template.sql").read_text()).encode())

    def filled(self, text: str) -> str:
        """Text of a corpus with its places filled in."""
        connect = f"host=127.0.0.1 port={self.cluster.port} dbname=att user=through password=apppw"
        text = text.replace("pg_sleep(4)", f"pg_sleep({self.patience * 1.2})")
        places = {"ROOT": str(self.folder), "FOLDER": str(self.folder), "PORT": str(self.cluster.port), "CONN": connect}
        return re.sub(r"@([A-Z]+)@", lambda found: places[found[1]], text)

    def fresh(self, hardened: bool = False) -> None:
        """`att` as its template is, and nothing left in the cluster of what an attack did there."""
        self.leave()
        for (gid,) in self._main.execute("select gid from pg_prepared_xacts where database = 'att'").fetchall():
            with psycopg.connect(self.cluster.dsn("att"), autocommit=True) as there:
                there.execute(sql.SQL("rollback prepared {}").format(sql.Literal(gid)))
        self._main.execute(_AGAIN.encode())
        self._main.execute("drop database if exists att with (force)")
        self._main.execute("drop role if exists evil_r")
        self._main.execute(sql.SQL("alter role attacker superuser login password {}").format(sql.Literal(PASSWORD)))
        self._main.execute("create database att template tpl")
        if hardened:
            self.database.admin((CORPORA / "sql_hardening.sql").read_text())
        for made in self.folder.iterdir():
            made.unlink()

    def leave(self) -> None:
        """End the sessions of ours in `att`."""
        for each in (self._eyes, self._ears, self._victim and self._victim[1]):
            if each is not None:
                each.close()
        self._eyes = self._ears = self._victim = None

    def close(self) -> None:
        self.leave()
        self._main.close()

    def look(self, query: str) -> str:
        """What a superuser gets for it, as text; an error is an answer too."""
        if self._eyes is None or self._eyes.closed:
            self._eyes = psycopg.connect(
                self.cluster.dsn("att"), autocommit=True, application_name="eyes", options="-c lock_timeout=100"
            )
        try:
            return repr(self._eyes.execute(query.encode()).fetchall())
        except psycopg.Error as error:
            return type(error).__name__

    def bystanders(self, role: str) -> None:
        """Make sure of a session of `role`'s that can be ended, and of one that hears every channel."""
        if self._victim is None or self._victim[0] != role or not _lives(self._victim[1]):
            if self._victim is not None:
                self._victim[1].close()
            made = psycopg.connect(
                self.cluster.dsn("att", role, PASSWORD), autocommit=True, application_name="victim_ro"
            )
            self._victim = (role, made)
        if self._ears is None or not _lives(self._ears):
            if self._ears is not None:
                self._ears.close()
            self._ears = psycopg.connect(self.cluster.dsn("att"), autocommit=True, application_name="ears")
            self._ears.execute("listen jobs")
            self._ears.execute("listen c")

    def heard(self) -> int:
        """Notifications since the last look."""
        return 0 if self._ears is None else len(list(self._ears.notifies(timeout=0)))

    def snapshot(self) -> dict[str, str]:
        """Everything that an attack could change: what it is -> a digest, or the thing itself."""
        found: dict[str, str] = {}
        rows = self._rows(_LOOK)
        found |= {str(name): str(value) for name, value in rows}
        tables = self._rows(
            "select format('%I.%I', n.nspname, c.relname), c.relkind::text from pg_class c join pg_namespace n"
            " on n.oid = c.relnamespace where c.relkind in ('r', 'm', 'S') and n.nspname <> 'information_schema'"
            " and n.nspname !~ '^pg_toast' and (c.relkind = 'r' or n.nspname <> 'pg_catalog') order by 1"
        )
        digests = " union all ".join(
            f"select '{name}', count(*) || ' ' || coalesce(sum({_of_row(str(name), str(kind))}), 0) from {name} x"
            for name, kind in tables
            if not str(name).startswith("pg_temp")
        )
        try:
            found |= {str(name): str(value) for name, value in self._rows(digests)}
        except psycopg.errors.LockNotAvailable:
            found["contents"] = "locked"
        found["tables"] = " ".join(str(name) for name, _ in tables)
        found["files"] = " ".join(
            sorted(f"{made.name}:{made.stat().st_size}:{made.stat().st_mtime_ns}" for made in self.folder.iterdir())
        )
        found["heard"] = str(self.heard())
        return found

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        self.look("select 1")
        assert self._eyes is not None
        return self._eyes.execute(query.encode()).fetchall()


class Outcome(msgspec.Struct):
    """What became of an attack without protection, seen from its own side."""

    rows: int = 0
    true: bool = False
    error: str = ""
    seconds: float = 0.0


def unprotected(here: Range, statements: list[str]) -> tuple[psycopg.Connection, Outcome]:
    """Run them as a superuser, each by itself, as a plain program does. The connection stays open for the eyes."""
    import time

    connection = psycopg.connect(
        here.cluster.dsn("att", "attacker", PASSWORD),
        autocommit=True,
        options=f"-c statement_timeout={here.patience * 200:.0f}",
    )
    outcome = Outcome()
    if any(each.startswith("SAVEPOINT") for each in statements):
        statements = ["BEGIN", *statements, "COMMIT"]
    began = time.monotonic()
    for statement in statements:
        try:
            cursor = connection.cursor()
            if statement.upper().startswith("COPY") and "STDIN" in statement.upper():
                with cursor.copy(statement.encode()) as copy:
                    copy.write("copied\n")
                continue
            cursor.execute(statement.encode())
            if cursor.description:
                rows = cursor.fetchall()
                outcome.rows += len(rows)
                outcome.true |= any(True in row for row in rows)
        except psycopg.Error as error:
            outcome.error = f"{statement[:60]}: {error}".strip()
            break
    outcome.seconds = time.monotonic() - began
    return connection, outcome


@contextlib.contextmanager
def ranges(version: str, bindir: Path | None) -> Iterator[Range]:
    """A running server of this version and its range."""
    workspace = Workspace(bindir)
    cluster = Cluster(workspace, f"range{version}", _SETTINGS)
    folder = workspace.path / "written"
    folder.mkdir()
    folder.chmod(0o777)
    try:
        start_all([cluster])
        here = Range(cluster, version, folder)
        try:
            yield here
        finally:
            here.close()
    finally:
        cluster.stop()
        workspace.remove()


def _of_row(name: str, kind: str) -> str:
    """A number that is another one when the row is: of a catalog's the transaction that wrote it, which is quick, but for
    the two whose rows are also changed in place."""
    if name.startswith("pg_catalog.") and name not in ("pg_catalog.pg_class", "pg_catalog.pg_database"):
        return "x.xmin::text::bigint"
    return f"hashtextextended({'row(x.last_value, x.is_called)' if kind == 'S' else 'x'}::text, 0)"


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What two snapshots say differently."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _lives(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("select 1")
    except psycopg.Error:
        return False
    return True
