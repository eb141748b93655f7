"""Who may change who may do what: a tree's policy against the one that this user accepted, and the owners' signatures on it.

The judges are those of the policy that was accepted, whose texts are kept outside the checkout: what a pull request brings
has no say in who must sign it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from envtui.core.access import Party, Roster, Signed, fingerprint, namespace
from envtui.core.canonical import digest
from envtui.core.environment import AccessPolicy, People
from envtui.core.errors import EnvtuiError, InvalidFiles, NotTrusted, Refused, UsageError
from envtui.core.policy import Judgement, PolicyChange, Stand
from envtui.core.ports import Clock, Signer, Verifier
from envtui.core.tree import Tree
from envtui.outside import allowed_signers
from envtui.outside.trees import load
from envtui.outside.trees.trust import Accepted, Trust
from envtui.rules import owners, paste


def change_of(trust: Trust, tree: Tree) -> PolicyChange:
    """What the tree changes of the policy and the roster that were accepted.

    Raises InvalidFiles when the tree's roster cannot be used, NotTrusted when what was accepted cannot be read any more.
    """
    name = tree.environment.name
    own = _roster(name, tree.allowed_signers, tree.revoked_keys, tree.people, f"{tree.root}/access/")
    now = Stand(policy_sha256=_digest(tree.environment.access), roster_sha256=tree.roster_sha256)
    accepted = trust.accepted(name)
    if accepted is None:
        return PolicyChange(environment=name, before=None, now=now, needed=0, roster=own)
    policy, people = _accepted(accepted, name, trust)
    texts = accepted.texts
    before = Stand(policy_sha256=_digest(policy), roster_sha256=_roster_digest(texts))
    judges = own
    if policy.owners:
        try:
            judges = _roster(name, texts.get(load.SIGNERS, ""), texts.get(load.REVOKED, ""), people, "accepted/access/")
        except InvalidFiles as error:
            raise _unreadable(name, trust) from error
    return PolicyChange(
        environment=name, before=before, now=now, needed=policy.owners, roster=judges, revoked=own.revoked
    )


async def judge(change: PolicyChange, tree: Tree, verifier: Callable[[Roster], Verifier], clock: Clock) -> Judgement:
    """Which of the tree's signatures count for this change, and who could still sign it. Nothing is believed of the others."""
    signed: dict[str, None] = {}
    refused: list[str] = []
    try:
        found = paste.blocks(tree.policy_signatures)
    except EnvtuiError as error:
        found, refused = (), [str(error)]
    for each in found if change.changed else ():
        try:
            person = await _signer_of(each, change, verifier(change.roster))
            if person in signed:
                raise Refused(f"{person} signed twice; it counts once.", "")
            signed[person] = None
        except Refused as error:
            refused.append(str(error))
    may = owners.owners(change.roster, change.revoked, clock.wall_ms())
    return Judgement(change=change, signed=tuple(signed), may=may, refused=tuple(refused))


def accept(trust: Trust, tree: Tree, judgement: Judgement | None) -> None:
    """Accept the tree as it was read, judged and shown. Raises NotTrusted when owners' signatures lack, or nobody looked at
    them for this very change."""
    change = change_of(trust, tree)
    if change.needed and change.changed:
        if judgement is None or judgement.change != change:
            raise NotTrusted(
                f"The owners' signatures over {change.environment} were not looked at.", "Look at it again."
            )
        owners.refuse_unsigned(judgement, str(trust.file(change.environment)))
    trust.accept(tree)


def owner_of(judgement: Judgement, signer: Signer) -> str:
    """The owner whose key it is. Raises Refused with the reason when they cannot sign this change."""
    change = judgement.change
    which, person = fingerprint(signer.key), change.roster.person(signer.key)
    line = change.roster.line(signer.key)
    if not change.changed:
        raise UsageError(
            f"Nothing that owners sign changed in {change.environment} since you accepted it.",
            f"Accept the rest, where there is any: envtui trust {change.environment}",
        )
    if person in judgement.signed:
        raise UsageError(f"{person} signed this already.", "Once is enough.")
    wanted = namespace("policy", change.environment)
    if line is None or person not in judgement.may or wanted not in line.namespaces:
        may = owners.people_and(judgement.may) or "nobody"
        raise Refused(
            f"The key {which} may not sign the policy of {change.environment}.",
            f"May: {may}, with the role owner and {wanted} on their line.",
        )
    return person


async def sign(judgement: Judgement, signer: Signer, clock: Clock, waiting: Callable[[str], None]) -> str:
    """An owner's signature over the change, as a block of text. Raises Refused, UsageError, TimedOut."""
    person = owner_of(judgement, signer)
    change = judgement.change
    said = owners.statement(change, Party(person=person, key=fingerprint(signer.key)), clock.wall_ms())
    body = owners.policy_bytes(said)
    signature = await signer.sign(namespace("policy", change.environment), body, waiting)
    return paste.block(Signed(kind="policy", body=body.decode(), signature=signature))


async def _signer_of(signed: Signed, change: PolicyChange, verifier: Verifier) -> str:
    if signed.kind != "policy":
        raise Refused("A block in it is no signature over a policy.", "")
    body = signed.body.encode()
    said = owners.parse_policy(body)
    by = await verifier.verify(namespace("policy", change.environment), body, signed.signature)
    return owners.refuse_foreign(said, by, change)


def _accepted(accepted: Accepted, name: str, trust: Trust) -> tuple[AccessPolicy, People]:
    try:
        return load.policy_of(accepted.texts, str(trust.file(name)))
    except InvalidFiles as error:
        raise _unreadable(name, trust) from error


def _unreadable(name: str, trust: Trust) -> NotTrusted:
    return NotTrusted(
        f"The policy of {name} that you accepted cannot be read by this version, so that nobody can judge a change of it.",
        f"To trust it as if for the first time, on your own judgement: remove {trust.file(name)}.",
    )


def _roster(name: str, signers: str, revoked: str, people: People, prefix: str) -> Roster:
    return allowed_signers.roster(name, signers, revoked, people, prefix)


def _digest(policy: AccessPolicy) -> str:
    """As it is meant: comments and order do not count, and a field that a later version has, unused, does not either."""
    return digest(msgspec.to_builtins(policy))


def _roster_digest(texts: Mapping[str, str]) -> str:
    """The same as `Tree.roster_sha256`, of texts that were kept."""
    return digest({path: hashlib.sha256(texts[path].encode()).hexdigest() for path in load.ROSTER if path in texts})
