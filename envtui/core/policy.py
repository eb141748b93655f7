"""A change of who may do what in an environment, and the owners' signatures over it, as values.

What is signed are digests: of the manifest's `access` section as it is meant, and of the roster's files byte for byte. The
state that the change leaves is signed too: a signature over an old policy cannot bring that policy back later.
"""

# No postponed annotations here: msgspec reads them, and each one that is text is compiled again at every start.

import msgspec

from .access import Party, Roster

OWNER = "owner"
"""The role in people.yaml of whoever may sign a policy."""


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """A policy and a roster, by their digests. Both empty: before anything was accepted."""

    policy_sha256: str = ""
    roster_sha256: str = ""


class PolicySignature(msgspec.Struct, frozen=True, kw_only=True):
    """What one owner signs, in the namespace `policy.v1.ENV@envtui`."""

    v: int = 1
    environment: str
    policy_sha256: str
    roster_sha256: str
    previous: Stand
    owner: Party
    signed_ms: int


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree would change for this user. `before` None: nothing was accepted, which is trust on first use.

    `needed` and `roster` are those of the policy that was accepted: whoever changes a policy cannot choose its judges. Where
    that one asks for nobody, `roster` is the tree's own, whose owners' signatures are shown and decide nothing.
    """

    environment: str
    before: Stand | None
    now: Stand
    needed: int
    roster: Roster
    revoked: frozenset[str] = frozenset()  # fingerprints, in the tree

    @property
    def changed(self) -> bool:
        return self.before != self.now


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the owners said of a change. `signed` are the people whose signature counts, `may` those who could still sign,
    `refused` why the other signatures do not count."""

    change: PolicyChange
    signed: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def lacking(self) -> int:
        """How many signatures lack; 0 where nothing that owners guard was changed."""
        return max(0, self.change.needed - len(self.signed)) if self.change.changed else 0
