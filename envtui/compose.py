"""Where the outside meets the engine: builds the lobby from paths, and hands both doors the same one.

What a session is made of is in `opening`, which is imported when the first environment is opened.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from envtui.core.access import Operator
from envtui.core.environment import SshTarget
from envtui.core.errors import InvalidFiles, Problem, UsageError
from envtui.core.events import Entry
from envtui.core.tree import Tree
from envtui.engine.lobby import Lobby, card, ordered
from envtui.outside import allowed_signers
from envtui.outside.config import UserConfig, load
from envtui.outside.paths import Paths
from envtui.outside.trees.load import Forest, errors, read_forest
from envtui.outside.trees.trust import Trust, TrustStatus
from envtui.rules.break_glass import owed
from envtui.rules.lint import check
from envtui.rules.run import fold_all
from envtui.rules.state import Run

if TYPE_CHECKING:
    from envtui.core.policy import Judgement
    from envtui.engine.session import EnvironmentSession
    from envtui.outside.ssh.ahead import Ahead


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
        recorded = [self._recorded(tree.environment.name) for tree in trees]
        cards = tuple(
            card(
                tree,
                order,
                last,
                self.trust(tree).word,
                fold_all(recorded[order]),
                [p for p in problems if p.file.startswith(f"{tree.root}/")],
                owed(recorded[order]),
            )
            for order, tree in enumerate(trees)
        )
        return Lobby(cards, errors(problems))

    def runs(self, environment: str) -> tuple[Run, ...]:
        """The runs in an environment's ledger, read without opening anything."""
        return fold_all(self._recorded(environment))

    def _recorded(self, environment: str) -> Sequence[Entry]:
        from envtui.outside.ledger import read_entries

        return read_entries(self.paths.ledger(environment))

    def trust(self, tree: Tree) -> TrustStatus:
        """How the tree compares with what this user accepted."""
        return Trust(self.paths.trust).status(tree)

    async def judge(self, tree: Tree) -> Judgement:
        """What the owners say of the tree's policy, against the one that this user accepted. Raises InvalidFiles, NotTrusted."""
        from envtui.outside.ssh_keygen import Keygen, KeygenVerifier
        from envtui.outside.system_clock import SystemClock
        from envtui.owning import change_of, judge

        clock, keygen = SystemClock(), Keygen(self.variables)
        change = change_of(Trust(self.paths.trust), tree)
        return await judge(change, tree, lambda roster: KeygenVerifier(roster, clock, keygen), clock)

    def accept(self, tree: Tree, judgement: Judgement | None = None) -> None:
        """Accept the tree as it was read and shown. Raises NotTrusted when its policy needs owners' signatures and `judgement`
        does not have them."""
        from envtui.owning import accept

        accept(Trust(self.paths.trust), tree, judgement)

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
        return self.session(*self.trusted(environment))

    def trusted(self, environment: str) -> tuple[Tree, int, int]:
        """`tree`, once this user has accepted it. Raises what `tree` raises, and NotTrusted."""
        tree, order, last = self.tree(environment)
        Trust(self.paths.trust).require(tree)
        return tree, order, last

    def session(self, tree: Tree, order: int, last: int, ahead: Ahead | None = None) -> EnvironmentSession:
        """The session of a tree that is trusted; it takes connections from `ahead`."""
        from envtui.opening import session

        return session(self.paths, self.config, self.variables, self.operator, tree, order, last, ahead)

    def ahead(self, tree: Tree, target: str, host: str) -> Ahead | None:
        """Log in to hosts of an ssh target of a trusted tree with its read credential, while the caller goes on importing:
        that takes as long. `host` is all, any or a member; one that a step will capture is nobody yet.

        None for a target of another kind. Whoever calls it closes what nobody took.
        """
        if not isinstance(tree.environment.targets.get(target), SshTarget):
            return None
        from envtui.outside.secrets import ReferencedSecrets
        from envtui.outside.ssh.ahead import Ahead
        from envtui.outside.ssh.known_hosts import KnownHosts
        from envtui.rules.places import places
        from envtui.rules.protection import minimum

        secrets = ReferencedSecrets(self.config.secret_folders, self.config.commands, environ=self.variables)
        known = KnownHosts(tree.known_hosts, f"{tree.root}/known_hosts")
        begun = Ahead(tree.environment, known, secrets.key_file, lambda name: minimum(tree.environment, name)[1])
        found = places(tree.environment, target, "read", self.operator.name)
        for place in found[:1] if host == "any" else found:
            if host in ("all", "any", place.member):
                begun.begin(place)
        # Before anything else is imported: the threads wait for it, and then for their hosts.
        from envtui.outside.ssh import exchange  # noqa: F401

        return begun
