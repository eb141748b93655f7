"""An environment opened: every port of a session gets what stands behind it.

The libraries for SSH, SQL and HTTP are imported when the first act of their kind runs, not before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from envtui.core.access import Operator, Permit, Terms
from envtui.core.act import Act
from envtui.core.environment import Command
from envtui.core.errors import LedgerBroken, Problem
from envtui.core.ports import Ender, Notifier, Reader, Tunnels, Writer
from envtui.core.redact import Redactor
from envtui.core.secret import Secret
from envtui.core.tree import Book, Tree
from envtui.engine.session import EnvironmentSession
from envtui.engine.ways import Ways
from envtui.outside import allowed_signers
from envtui.outside.config import UserConfig
from envtui.outside.hold import hold
from envtui.outside.ledger import SqliteJournal
from envtui.outside.paths import Paths
from envtui.outside.secrets import ReferencedSecrets
from envtui.outside.spool import DiskSpool
from envtui.outside.ssh_keygen import Keygen, KeygenVerifier, open_signer
from envtui.outside.system_clock import SystemClock
from envtui.outside.trackers.of import tracker_of
from envtui.outside.trees.files import unchanged
from envtui.rules.places import places
from envtui.rules.protection import minimum

if TYPE_CHECKING:
    from envtui.outside.sql.connect import Connector
    from envtui.outside.ssh.ahead import Ahead
    from envtui.outside.ssh.links import Setting as SshSetting

THREADS = 24
"""Of one session: connections drain their streams in them (measured: 16 to 32 serve 300 hosts)."""


def session(
    paths: Paths,
    config: UserConfig,
    variables: Mapping[str, str],
    operator: Operator,
    tree: Tree,
    order: int,
    last: int,
    ahead: Ahead | None = None,
) -> EnvironmentSession:
    """The session of a tree that is trusted."""
    name = tree.environment.name
    clock = SystemClock()
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix=f"envtui-{name}")
    secrets = _Remembering(ReferencedSecrets(config.secret_folders, config.commands, environ=variables))
    roster = allowed_signers.roster(name, tree.allowed_signers, tree.revoked_keys, tree.people, f"{tree.root}/access/")
    doors = _Doors(tree, config.operator, secrets, executor, clock, ahead)
    keygen = Keygen(variables)
    terms = Terms(
        environment=name,
        policy=tree.environment.access,
        roster=roster,
        manifest_sha256=tree.manifest_sha256,
        machine=operator.machine,
    )
    bundle = Ways(
        journal=SqliteJournal(paths.ledger(name), clock),
        spool=DiskSpool(paths.spool(name)),
        readers=doors,
        writer=doors.writer,
        ender=doors.ender,
        secrets=secrets,
        resolved=secrets.resolved,
        masked=secrets.masked,
        shown=secrets.shown,
        check=_check,
        clock=clock,
        tracker=tracker_of(
            tree.environment.access.incident,
            name,
            tree.root,
            clock,
            secrets=secrets,
            masked=secrets.masked,
            commands=config.commands,
            environ=variables,
            operator=config.operator,
            ca=functools.partial(unchanged, tree),
        ),
        notifier=_notifier(tree, config, variables, secrets),
        signer=lambda reference: open_signer(reference or config.signing_key, keygen),
        verifier=KeygenVerifier(roster, clock, keygen),
        executor=executor,
        verify=lambda: _verified(paths.ledger(name)),
        read_book=_read_book,
        book_file=lambda path: unchanged(tree, path).read_bytes().decode(),
        trees=lambda: _trees(paths.runbooks),
        hold=lambda run: hold(paths.ledger(name).parent / "held", run, f"{operator.name}@{operator.machine}"),
    )
    return EnvironmentSession(tree, order, last, operator, bundle, terms)


def _read_book(source: bytes, path: str, sha256: str) -> tuple[Book | None, tuple[Problem, ...]]:
    from envtui.outside.trees.load import read_book

    return read_book(source, path, sha256, path)


def _trees(folder: Path) -> Sequence[Tree]:
    from envtui.outside.trees.load import read_forest

    return tuple(read_forest(folder).trees.values())


def _notifier(tree: Tree, config: UserConfig, variables: Mapping[str, str], secrets: _Remembering) -> Notifier | None:
    notify = tree.environment.notify
    if notify is None:
        return None
    from envtui.outside.notifying import notifier_of
    from envtui.outside.programs import Programs

    return notifier_of(
        notify,
        tree.environment.name,
        secrets=secrets,
        masked=secrets.masked,
        programs=Programs(config.commands, variables),
        operator=config.operator,
        ca=functools.partial(unchanged, tree),
    )


def _check(act: Act) -> None:
    if act.place.kind == "sql":
        from envtui.outside.sql.statements import check_act

        check_act(act)


def _verified(path: Path) -> str:
    from envtui.outside.ledger_verify import verify

    verdict = verify(path)
    if not verdict.sound:
        raise LedgerBroken(verdict.why, "Keep the file as it is and tell the owners of this environment.")
    return f"{verdict.entries} {'entry' if verdict.entries == 1 else 'entries'}, unbroken"


class _Lent(msgspec.Struct):
    users: int = 0
    secret: Secret | None = None


class _Remembering:
    """The Secrets port, remembering what it resolved: all of it is redacted wherever text leaves.

    What is `lent` is the secret of a write credential. It is known, and redacted, from the first writer or ender that asks
    for it until the last one is closed: a permit is spent meanwhile, or what it started is ended.
    """

    def __init__(self, inner: ReferencedSecrets) -> None:
        self._inner = inner
        self._known: dict[str, Secret] = {}
        self._lent: dict[tuple[str, str | Command], _Lent] = {}
        self._redactor = Redactor(())

    def lend(self, reference: str | Command, name: str) -> Callable[[], None]:
        """From now on it is lent; returns what ends that."""
        key = (name, reference)
        self._lent.setdefault(key, _Lent()).users += 1

        def give_back() -> None:
            lent = self._lent[key]
            lent.users -= 1
            if not lent.users:
                del self._lent[key]
                self._redactor = Redactor(self.resolved())

        return give_back

    async def resolve(self, reference: str | Command, name: str) -> Secret:
        lent = self._lent.get((name, reference))
        if lent is not None and lent.secret is not None:
            return lent.secret  # asked for once: it may be a program that asks a person
        secret = await self._inner.resolve(reference, name)
        if lent is not None:
            lent.secret = secret
            self._redactor = Redactor(self.resolved())
            return secret
        if self._known.get(name) is None or self._known[name].reveal() != secret.reveal():
            self._known[name] = secret
            self._redactor = Redactor(self.resolved())
        return secret

    def key_file(self, reference: str) -> Path:
        return self._inner.key_file(reference)

    def resolved(self) -> tuple[Secret, ...]:
        return (*self._known.values(), *(lent.secret for lent in self._lent.values() if lent.secret is not None))

    def masked(self, text: str) -> str:
        return self._redactor.masked(text)

    def shown(self, line: bytes) -> str:
        return self._redactor.shown(line)


class _Borrowing:
    """A writer or an ender that gives the secret of its credential back when it is closed, once."""

    def __init__(self, inner: Writer | Ender, give_back: Callable[[], None]) -> None:
        self._inner = inner
        self._give_back: Callable[[], None] | None = give_back

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def close(self) -> None:
        give_back, self._give_back = self._give_back, None
        try:
            await self._inner.close()
        finally:
            if give_back is not None:
                give_back()


class _Doors(Mapping[str, Reader]):
    """Readers by kind, each made (and its library imported) when it is first asked for. Iterates over those made."""

    def __init__(
        self,
        tree: Tree,
        operator: str,
        secrets: _Remembering,
        executor: ThreadPoolExecutor,
        clock: SystemClock,
        ahead: Ahead | None,
    ) -> None:
        self._tree = tree
        self._operator = operator
        self._secrets = secrets
        self._executor = executor
        self._clock = clock
        self._ahead = ahead
        self._made: dict[str, Reader] = {}
        self._ca = functools.partial(unchanged, tree)

    def __getitem__(self, kind: str) -> Reader:
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._made))

    def __len__(self) -> int:
        return len(self._made)

    def writer(self, permit: Permit, act: Act) -> Writer:
        """The one way to write: a connection with the write credential, for this permit and this act."""
        if act.place.kind == "ssh":
            from envtui.outside.ssh.writing import SshWriter

            return SshWriter(permit, self._ssh())
        if act.place.kind == "sql":
            from envtui.outside.sql.writer import SqlWriter

            return cast(Writer, self._borrowing(SqlWriter(permit, self._sql(permit.run)), act))
        from envtui.outside.http import HttpWriter

        made = HttpWriter(permit, self._tree.environment, self._ca, self._secrets, self)
        return cast(Writer, self._borrowing(made, act))

    def ender(self, act: Act) -> Ender:
        """What finds and ends a write that was sent, with the write credential and without a permit."""
        if act.place.kind == "ssh":
            from envtui.outside.ssh.ending import SshEnder

            return SshEnder(self._ssh())
        if act.place.kind == "sql":
            from envtui.outside.sql.ending import SqlEnder

            return cast(Ender, self._borrowing(SqlEnder(self._sql("")), act))
        from envtui.outside.http_ending import HttpEnder

        return HttpEnder()

    def _borrowing(self, made: Writer | Ender, act: Act) -> object:
        credential = self._tree.environment.credentials.get(act.place.credential)
        if credential is None or credential.secret is None:
            return made
        return _Borrowing(made, self._secrets.lend(credential.secret, act.place.credential))

    def _make(self, kind: str) -> Reader:
        if kind == "ssh":
            from envtui.outside.ssh.session import SshReader

            return SshReader(self._ssh())
        if kind == "sql":
            from envtui.outside.sql.session import SqlReader

            return SqlReader(self._sql(""))
        from envtui.outside.http import HttpReader

        return HttpReader(self._tree.environment, self._ca, self._secrets, self)

    def _ssh(self) -> SshSetting:
        from envtui.outside.ssh.known_hosts import KnownHosts
        from envtui.outside.ssh.links import Setting

        environment = self._tree.environment
        return Setting(
            environment=environment,
            known_hosts=KnownHosts(self._tree.known_hosts, f"{self._tree.root}/known_hosts"),
            secrets=self._secrets,
            hosts=lambda target: places(environment, target, "read", self._operator),
            executor=self._executor,
            ahead=self._ahead,
            least=lambda target: minimum(environment, target)[1],
        )

    def _sql(self, label: str) -> Connector:
        from envtui.outside.sql.connect import Connector

        return Connector(self._tree.environment, self._ca, self._secrets, self, label)

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        """The Tunnels port: through this session's own verified SSH connections."""
        ssh = self["ssh"]
        assert isinstance(ssh, Tunnels)
        return await ssh.forward(via, host, port)
