"""Where the outside meets the engine: builds the lobby and the sessions from paths, and hands both doors the same ones.

The libraries for SSH, SQL and HTTP are imported when the first act of their kind runs, not before.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envtui.core.access import Permit, Terms
from envtui.core.act import Act
from envtui.core.environment import Command
from envtui.core.errors import InvalidFiles, LedgerBroken, Problem, UsageError
from envtui.core.ports import Reader, Tunnels, Writer
from envtui.core.redact import Redactor
from envtui.core.secret import Secret
from envtui.core.tree import Tree
from envtui.engine.lobby import Lobby, card, ordered
from envtui.engine.session import EnvironmentSession, Operator
from envtui.engine.ways import Ways
from envtui.outside import allowed_signers
from envtui.outside.config import UserConfig, load
from envtui.outside.incident_file import tracker_of
from envtui.outside.paths import Paths
from envtui.outside.secrets import ReferencedSecrets
from envtui.outside.ssh_keygen import Keygen, KeygenVerifier, open_signer
from envtui.outside.system_clock import SystemClock
from envtui.outside.trees.files import unchanged
from envtui.outside.trees.load import Forest, errors, read_forest
from envtui.outside.trees.trust import Trust, TrustStatus
from envtui.rules.lint import check
from envtui.rules.places import places
from envtui.rules.run import Run, fold_all

if TYPE_CHECKING:
    from envtui.outside.sql.connect import Connector
    from envtui.outside.ssh.links import Setting as SshSetting

THREADS = 24
"""Of one session: connections drain their streams in them (measured: 16 to 32 serve 300 hosts)."""


class World(msgspec.Struct, frozen=True):
    """The trees, this user's state and configuration, and the way into an environment."""

    paths: Paths
    config: UserConfig
    variables: Mapping[str, str]

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> World:
        """Raises InvalidFiles for a configuration that cannot be used."""
        paths = Paths.from_environment(variables)
        return cls(paths, load(paths.config), dict(variables))

    @property
    def operator(self) -> Operator:
        return Operator(self.config.operator, socket.gethostname())

    # -- looking, without opening --------------------------------------------------------------------------------

    def forest(self) -> Forest:
        """Every tree, read afresh. Raises UsageError when there is none."""
        return read_forest(self.paths.runbooks)

    def problems(self, forest: Forest) -> tuple[Problem, ...]:
        """Everything `check` says of the trees, alone and together."""
        trees = tuple(forest.trees.values())
        return tuple(sorted({*forest.problems, *check(trees), *allowed_signers.problems_of(trees)}))

    def lobby(self) -> Lobby:
        """The summaries of all environments. No credential, no connection, no secret."""
        forest = self.forest()
        problems = self.problems(forest)
        trees = ordered(tuple(forest.trees.values()))
        last = len(trees) - 1
        cards = tuple(
            card(
                tree,
                order,
                last,
                self.trust(tree).word,
                self.runs(tree.environment.name),
                [p for p in problems if p.file.startswith(f"{tree.root}/")],
            )
            for order, tree in enumerate(trees)
        )
        return Lobby(cards, errors(problems))

    def runs(self, environment: str) -> tuple[Run, ...]:
        """The runs in an environment's ledger, read without opening anything."""
        from envtui.outside.ledger import read_entries

        return fold_all(read_entries(self.paths.ledger(environment)))

    def trust(self, tree: Tree) -> TrustStatus:
        """How the tree compares with what this user accepted."""
        return Trust(self.paths.trust).status(tree)

    def accept(self, tree: Tree) -> None:
        """Accept the tree as it was read and shown."""
        Trust(self.paths.trust).accept(tree)

    def tree(self, environment: str) -> tuple[Tree, int, int]:
        """(tree, order, last) of an environment that may be opened: sound, alone and with its neighbours.

        Raises UsageError when there is none of that name, InvalidFiles when it has problems.
        """
        forest = self.forest()
        trees = ordered(tuple(forest.trees.values()))
        names = [tree.environment.name for tree in trees]
        folder = f"{forest.root}/{environment}/"
        bad = tuple(p for p in errors(self.problems(forest)) if f"{p.file}/".startswith(folder))
        if bad:
            raise InvalidFiles(bad)
        if environment not in names:
            known = ", ".join(names) or "none that can be read"
            raise UsageError(f"There is no environment {environment!r}.", f"There are: {known}.")
        order = names.index(environment)
        return trees[order], order, len(trees) - 1

    # -- opening -------------------------------------------------------------------------------------------------

    async def open(self, environment: str) -> EnvironmentSession:
        """Open one environment. Raises UsageError, InvalidFiles, and NotTrusted before anything of it is believed."""
        tree, order, last = self.tree(environment)
        Trust(self.paths.trust).require(tree)
        return self.session(tree, order, last)

    def session(self, tree: Tree, order: int, last: int) -> EnvironmentSession:
        """The session of a tree that is trusted."""
        from envtui.outside.ledger import SqliteJournal
        from envtui.outside.spool import DiskSpool

        name = tree.environment.name
        clock = SystemClock()
        executor = ThreadPoolExecutor(THREADS, thread_name_prefix=f"envtui-{name}")
        secrets = _Remembering(
            ReferencedSecrets(self.config.secret_folders, self.config.commands, environ=self.variables)
        )
        roster = allowed_signers.roster(
            name, tree.allowed_signers, tree.revoked_keys, tree.people, f"{tree.root}/access/"
        )
        doors = _Doors(tree, self.config.operator, secrets, executor, clock)
        keygen = Keygen(self.variables)
        terms = Terms(
            environment=name,
            policy=tree.environment.access,
            roster=roster,
            manifest_sha256=tree.manifest_sha256,
            machine=self.operator.machine,
        )
        bundle = Ways(
            journal=SqliteJournal(self.paths.ledger(name), clock),
            spool=DiskSpool(self.paths.spool(name)),
            readers=doors,
            writer=doors.writer,
            secrets=secrets,
            resolved=secrets.resolved,
            masked=secrets.masked,
            shown=secrets.shown,
            check=_check,
            clock=clock,
            tracker=tracker_of(tree.environment.access.incident, tree.root, clock),
            signer=lambda reference: open_signer(reference or self.config.signing_key, keygen),
            verifier=KeygenVerifier(roster, clock, keygen),
            executor=executor,
            verify=lambda: _verified(self.paths.ledger(name)),
        )
        return EnvironmentSession(tree, order, last, self.operator, bundle, terms)


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


class _Remembering:
    """The Secrets port, remembering what it resolved: all of it is redacted wherever text leaves."""

    def __init__(self, inner: ReferencedSecrets) -> None:
        self._inner = inner
        self._known: dict[str, Secret] = {}
        self._redactor = Redactor(())

    async def resolve(self, reference: str | Command, name: str) -> Secret:
        secret = await self._inner.resolve(reference, name)
        if self._known.get(name) is None or self._known[name].reveal() != secret.reveal():
            self._known[name] = secret
            self._redactor = Redactor(self.resolved())
        return secret

    def key_file(self, reference: str) -> Path:
        return self._inner.key_file(reference)

    def resolved(self) -> tuple[Secret, ...]:
        return tuple(self._known.values())

    def masked(self, text: str) -> str:
        return self._redactor.masked(text)

    def shown(self, line: bytes) -> str:
        return self._redactor.shown(line)


class _Doors(Mapping[str, Reader]):
    """Readers by kind, each made (and its library imported) when it is first asked for. Iterates over those made."""

    def __init__(
        self, tree: Tree, operator: str, secrets: _Remembering, executor: ThreadPoolExecutor, clock: SystemClock
    ) -> None:
        self._tree = tree
        self._operator = operator
        self._secrets = secrets
        self._executor = executor
        self._clock = clock
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
            from envtui.outside.ssh.session import SshWriter

            return SshWriter(permit, self._ssh())
        if act.place.kind == "sql":
            from envtui.outside.sql.writer import SqlWriter

            return SqlWriter(permit, self._sql(permit.run))
        from envtui.outside.http import HttpWriter

        return HttpWriter(permit, self._tree.environment, self._ca, self._secrets, self)

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
        )

    def _sql(self, label: str) -> Connector:
        from envtui.outside.sql.connect import Connector

        return Connector(self._tree.environment, self._ca, self._secrets, self, label)

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        """The Tunnels port: through this session's own verified SSH connections."""
        ssh = self["ssh"]
        assert isinstance(ssh, Tunnels)
        return await ssh.forward(via, host, port)
