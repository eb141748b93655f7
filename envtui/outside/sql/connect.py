"""A connection to the right database: made, asked who it is, and asked what its role may do, before anything else.

Where it goes, as whom and how it is encrypted comes from the manifest alone: each setting that libpq would otherwise look
up in PG* variables, a password file or the user's certificates is said here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from envtui.core.act import Act, Place
from envtui.core.environment import Credential, Environment, Identity, SqlTarget
from envtui.core.errors import ProtectionTooLow, Unreachable, Unsound, UsageError, WrongIdentity
from envtui.core.ports import Secrets, Tunnels
from envtui.core.skew import check_write, skew

from .errors import of_connecting, of_statement
from .probe import POWERS, Reach, reach
from .statements import check_read
from .wire import Lost, ServerSaid, Wire

_ADDED = 5.0  # seconds for the questions after the connection stands
_NAME_LIMIT = 63  # bytes of application_name that PostgreSQL keeps

# Text means the same to our parser and to the server, and values print the same whatever the database's defaults are.
# Given at connect: ALTER DATABASE … SET does not win over these, and RESET ALL does not undo them.
_SETTINGS = {
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
}
_WATCH = {"client_connection_check_interval": "2s"}
"""For reads: a backend whose client is gone ends, whatever it does. A write's may have to go on."""

_REPORTED = {"standard_conforming_strings": "on", "client_encoding": "UTF8"}

_NONE = os.path.join(os.devnull, "none")  # a path that cannot exist: libpq looks into no file of the user's

_PROBE = """
select pg_catalog.pg_is_in_recovery()::text, pg_catalog.current_database()::text, current_user::text,
       pg_catalog.pg_backend_pid()::text, pg_catalog.current_setting('server_version'),
       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint::text,
       pg_catalog.concat_ws(', ',
         case when r.rolsuper then 'superuser' end,
         case when r.rolreplication then 'replication' end,
         case when r.rolbypassrls and not r.rolsuper then 'bypasses row security' end,
         (select pg_catalog.string_agg(g.rolname::text, ', ' order by g.rolname) from pg_catalog.pg_roles g
          where g.rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
            and not r.rolsuper and pg_catalog.pg_has_role(session_user, g.oid, 'member')))
from pg_catalog.pg_roles r where r.rolname = session_user
"""


class Server(msgspec.Struct, frozen=True):
    """What a connection showed of itself."""

    where: str
    standby: bool
    dbname: str
    role: str
    pid: int
    version: str
    powers: str  # what makes a role unfit for reads; '' for none
    marker: str = ""
    system_identifier: str = ""
    reach: Reach = Reach(powers="not asked")  # of a connection for reads
    skew_ms: int = 0  # how far its clock is ahead

    @property
    def shown(self) -> str:
        parts = [
            f"{self.dbname} as {self.role}",
            f"PostgreSQL {self.version}",
            "standby" if self.standby else "primary",
        ]
        parts += [self.marker] if self.marker else []
        parts += [f"system {self.system_identifier}"] if self.system_identifier else []
        return ", ".join(parts)


def _wall_ms() -> int:
    """This machine's wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Connector:
    """Makes connections for one environment. `ca` gives the file of that name in its tree, `label` stands in application_name.

    `seconds` is how long one host may take to connect. `tunnels` is needed for targets with `via` only.
    """

    def __init__(
        self,
        environment: Environment,
        ca: Callable[[str], Path],
        secrets: Secrets,
        tunnels: Tunnels | None = None,
        label: str = "",
        seconds: float = 10.0,
        wall_ms: Callable[[], int] = _wall_ms,
    ) -> None:
        self._environment = environment
        self._wall_ms = wall_ms
        self._ca = ca
        self.secrets = secrets
        self._tunnels = tunnels
        self._label = label
        self._seconds = seconds

    def check_clock(self, server: Server, until_ms: int) -> None:
        """Raises Refused when a write may not start by the server's own clock."""
        check_write(server.where, server.skew_ms, self._wall_ms(), until_ms)

    def application_name(self, step: str, label: str = "") -> str:
        """`envtui:<run>:<step>`, the run cut so that the step is whole."""
        run = (label or self._label).encode()
        end = f":{step}".encode() if step else b""
        return (b"envtui:" + run[: max(0, _NAME_LIMIT - 7 - len(end))] + end)[:_NAME_LIMIT].decode(errors="ignore")

    async def connect(self, act: Act, label: str = "") -> tuple[Wire, Server]:
        """A connection to the act's place that showed what it must.

        An address may be several, separated by commas: the first that answers and is of the kind that the target's
        `session` asks for is taken. Raises Unreachable, AuthenticationFailed, WrongIdentity, ProtectionTooLow (reads by a
        role that READ ONLY does not hold), Unsound, SecretMissing, Refused.
        """
        target = self._target(act.place)
        credential = self._credential(act)
        password = ""
        if credential.secret is not None:
            password = (await self.secrets.resolve(credential.secret, act.place.credential)).reveal()
        failures: list[Unreachable | WrongIdentity] = []
        for host, port in _hosts(act.place.address):
            settings = self._settings(act, target, credential, password, label)
            try:
                return await self._one(act, target, host, port, settings)
            except _WrongKind as error:
                failures.append(WrongIdentity(str(error), "Correct `session`, or the host; perhaps it failed over."))
            except Unreachable as error:
                failures.append(error)
        raise next((error for error in failures if isinstance(error, WrongIdentity)), failures[0])

    async def _one(
        self, act: Act, target: SqlTarget, host: str, port: int, settings: Mapping[str, str]
    ) -> tuple[Wire, Server]:
        where = f"{act.place.member} ({host}:{port})"
        wire = await self._wire(act.place, host, port, settings, where)
        try:
            async with asyncio.timeout(self._seconds + _ADDED):
                server = await self._questioned(wire, act, target, where)
        except BaseException as error:
            await wire.close()
            if isinstance(error, TimeoutError | Lost):
                raise Unreachable(f"{where} does not answer: {error or 'no reply'}.", "Look at the server.") from error
            if isinstance(error, ServerSaid):
                raise of_statement(error.said, f"{where} was asked who it is.") from error
            raise
        return wire, server

    async def _wire(self, place: Place, host: str, port: int, settings: Mapping[str, str], where: str) -> Wire:
        import psycopg

        known = {**settings, "host": host, "hostaddr": "", "port": str(port)}
        try:
            async with asyncio.timeout(self._seconds):
                if place.via:
                    if self._tunnels is None:
                        raise Unsound(
                            f"{where} is reached via {place.via}, and there is no way there.", "Correct `via`."
                        )
                    address, forwarded = await self._tunnels.forward(place.via, host, port)
                    known |= {"hostaddr": address, "port": str(forwarded)}  # `host` stays: it is what TLS verifies
                connection = await psycopg.AsyncConnection.connect(
                    psycopg.conninfo.make_conninfo("", **known), autocommit=True, prepare_threshold=None
                )
        except TimeoutError as error:
            raise Unreachable(
                f"{where} did not answer within {self._seconds:g} s.", "Is it up, and is the way to it open?"
            ) from error
        except psycopg.Error as error:
            raise of_connecting(error, where) from None  # the original may carry the connection's parameters
        return Wire(connection)

    async def _questioned(self, wire: Wire, act: Act, target: SqlTarget, where: str) -> Server:
        check_settings(wire, where)
        identity = target.identity or self._environment.identity.sql
        await wire.ours(f"BEGIN READ ONLY; SET LOCAL statement_timeout = {round(self._seconds * 1000)}; SELECT 1")
        asked = self._wall_ms()
        row = [value or "" for value in await wire.value_row(_PROBE)]
        if len(row) != 7:
            raise Unsound(f"{where} does not know its own session's role.", "Look at the server.")
        server = Server(
            where=where,
            standby=row[0] == "true",
            dbname=row[1],
            role=row[2],
            pid=int(row[3]),
            version=row[4].split(" ")[0],
            powers=row[6],
            skew_ms=skew(int(row[5]), asked, self._wall_ms()),
        )
        if act.place.dbname and server.dbname != act.place.dbname:
            raise WrongIdentity(
                f"{where} connected to database {server.dbname}, not {act.place.dbname}.", "A pooler may rewrite names."
            )
        marker, system = await self._identity(wire, identity, where)
        found = reach(await wire.our_row(POWERS)) if act.mode == "read" and not server.powers else server.reach
        await wire.ours("ROLLBACK")
        if target.session != "any" and server.standby != (target.session == "standby"):
            raise _WrongKind(f"{where} is a {'standby' if server.standby else 'primary'}, not a {target.session}.")
        if act.mode == "read" and server.powers:
            raise ProtectionTooLow(
                f"The role {server.role} on {where} is too powerful for reads ({server.powers}): a READ ONLY transaction"
                " does not stop it from writing files or starting programs.",
                "Give the read credential a role without these.",
            )
        return replace(server, marker=marker, system_identifier=system, reach=found)

    async def _identity(self, wire: Wire, identity: Identity | None, where: str) -> tuple[str, str]:
        if identity is None or (identity.query is None and identity.system_identifier is None):
            raise Unsound(
                f"{where} has no identity to compare with: nothing would tell it from another database.",
                "Give the target `identity: {query, equals}` and system_identifier.",
            )
        marker = system = ""
        if identity.query is not None:
            if identity.equals is None:
                raise Unsound(f"The identity of {where} has a query and nothing that it must equal.", "Add `equals`.")
            statement = check_read(identity.query)
            row = await wire.value_row(statement.text)
            marker = (row[0] or "").strip() if row else ""
            if not row or marker != identity.equals.strip():
                raise WrongIdentity(
                    f"{where} shows {marker[:80]!r}, and this environment's mark is {identity.equals!r}.",
                    "You may be about to work on another environment, or on a copy. Stop, and find out which it is.",
                )
        if identity.system_identifier is not None:
            row = await wire.value_row("select system_identifier::text from pg_catalog.pg_control_system()")
            system = (row[0] or "") if row else ""
            if system != identity.system_identifier:
                raise WrongIdentity(
                    f"{where} has the system identifier {system or 'none'}, expected {identity.system_identifier}.",
                    "It is another cluster, or was initialised anew. Stop, and find out which it is.",
                )
        return marker, system

    def _settings(
        self, act: Act, target: SqlTarget, credential: Credential, password: str, label: str
    ) -> dict[str, str]:
        place = act.place
        verified = target.tls.startswith("verify")
        root = str(self._ca(target.ca)) if target.ca else "system" if verified else _NONE
        if target.tls == "verify-ca" and not target.ca:
            raise Unsound(f"{place.target} has tls verify-ca and no `ca`.", "Name the CA's file, or use verify-full.")
        return {
            "user": place.user or credential.user or "",
            "password": password,
            "dbname": place.dbname or target.dbname,
            "sslmode": target.tls,
            "sslrootcert": root,
            "sslcertmode": "disable",
            "gssencmode": "disable",
            # Whoever answers without having proven who they are does not get the password in clear text.
            "require_auth": "none,scram-sha-256,md5,password" if verified else "!password",
            "passfile": _NONE,
            "target_session_attrs": "any",
            "load_balance_hosts": "disable",
            "connect_timeout": str(max(2, round(self._seconds))),
            "application_name": self.application_name(act.step, label),
            "client_encoding": "UTF8",
            "options": " ".join(
                f"-c {name}={value}" for name, value in (_SETTINGS | (_WATCH if act.mode == "read" else {})).items()
            ),
            "keepalives": "1",
            "keepalives_idle": "15",
            "keepalives_interval": "5",
            "keepalives_count": "3",
            "tcp_user_timeout": "30000",
        }

    def _target(self, place: Place) -> SqlTarget:
        target = self._environment.targets.get(place.target)
        if not isinstance(target, SqlTarget):
            raise UsageError(f"{place.target} is no sql target of {self._environment.name}.", "Plan it again.")
        return target

    def _credential(self, act: Act) -> Credential:
        credential = self._environment.credentials.get(act.place.credential)
        if credential is None or (credential.kind, credential.access) != ("sql", act.mode):
            raise Unsound(
                f"{act.place.credential or 'no credential'} is no sql credential for {act.mode} access.",
                "Plan it again.",
            )
        return credential


class _WrongKind(Exception):
    """A primary where a standby was asked for, or the other way round; another host may be right."""


def check_settings(wire: Wire, where: str) -> None:
    """What the parser takes for granted, as the server reports it now. Raises Unsound."""
    for name, value in _REPORTED.items():
        if (found := wire.setting(name)) != value:
            raise Unsound(
                f"{where} has {name} = {found or 'unknown'}, not {value}: it would read SQL differently than we do.",
                "Nothing was sent. A pooler or a login hook may have changed it.",
            )


def _hosts(address: str) -> list[tuple[str, int]]:
    hosts: list[tuple[str, int]] = []
    for one in address.split(","):
        host, _, port = one.strip().rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"{address} is no address of a database.", "Write HOST:PORT.")
        hosts.append((host.removeprefix("[").removesuffix("]"), int(port)))
    return hosts
