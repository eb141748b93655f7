"""Owners' signatures over a new policy: the bytes, whose signature counts, and what is said when they lack. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from envtui.core import canonical
from envtui.core.access import Party, Roster, fingerprint, namespace
from envtui.core.errors import NotTrusted, Refused
from envtui.core.policy import OWNER, Judgement, PolicyChange, PolicySignature, Stand
from envtui.core.ports import Signature

from .reading import people

_OTHER = "Look at the difference and sign it yourself: it is made by `envtui trust ENV --sign` alone."


def policy_bytes(signature: PolicySignature) -> bytes:
    """What an owner signs."""
    return canonical.canonical(msgspec.to_builtins(signature))


def parse_policy(data: bytes) -> PolicySignature:
    """The signature's body of canonical bytes. Raises Refused for anything that would not be written in exactly these bytes."""
    try:
        said = msgspec.convert(canonical.parse(data), PolicySignature)
    except msgspec.ValidationError as error:
        raise Refused("This is no signature over a policy.", _OTHER) from error
    if policy_bytes(said) != data:
        raise Refused("It has fields that this version does not know.", "Use the same version on all sides.")
    return said


def statement(change: PolicyChange, owner: Party, now_ms: int) -> PolicySignature:
    """What `owner` says by signing this change."""
    return PolicySignature(
        environment=change.environment,
        policy_sha256=change.now.policy_sha256,
        roster_sha256=change.now.roster_sha256,
        previous=change.before or Stand(),
        owner=owner,
        signed_ms=now_ms,
    )


def refuse_foreign(said: PolicySignature, by: Signature, change: PolicyChange) -> str:
    """The person whose signature it is. Raises Refused when it does not count for this change, with the reason."""
    which = fingerprint(by.key)
    person = change.roster.person(by.key)
    if said.environment != change.environment:
        raise Refused(f"It is for {said.environment}, not for {change.environment}.", "")
    if said.owner != Party(person=person, key=which):
        raise Refused(f"It says {said.owner.person} and was signed by {person}.", "")
    if not change.roster.may(person, (OWNER,)):
        raise Refused(f"{person} was no owner when you accepted {change.environment}.", "")
    if which in change.revoked:
        raise Refused(f"The key {which} of {person} is revoked by the very change that it signs.", "")
    if Stand(policy_sha256=said.policy_sha256, roster_sha256=said.roster_sha256) != change.now:
        raise Refused(f"What {person} signed is another policy or another roster than these.", "")
    if change.needed and said.previous != change.before:
        raise Refused(f"{person} signed the change of another policy than the one that you accepted.", "")
    return person


def owners(roster: Roster, revoked: frozenset[str], now_ms: int) -> tuple[str, ...]:
    """People who may sign a policy by this roster: the role, and a key for it that is valid now and not in `revoked`."""
    wanted = namespace("policy", roster.environment)
    able = {
        roster.person_of(line.principal)
        for line in roster.lines
        if wanted in line.namespaces
        and fingerprint(line.key) not in roster.revoked | revoked
        and line.valid_after_ms <= now_ms
        and not (line.valid_before_ms and now_ms >= line.valid_before_ms)
    }
    return tuple(person for person in roster.people if person in able and roster.may(person, (OWNER,)))


def refuse_unsigned(judgement: Judgement, forget: str) -> None:
    """Raises NotTrusted when a change lacks signatures: how many, who may give them. `forget`: the file of what was accepted."""
    if judgement.lacking:
        change = judgement.change
        first, *more = words(judgement)
        raise NotTrusted("\n".join([first, *more]), _way_out(judgement, forget, change.environment))


def words(judgement: Judgement) -> Iterator[str]:
    """What the owners said of a change, a sentence each; nothing where they have nothing to say."""
    change = judgement.change
    if not change.changed:
        return
    signed = people_and(judgement.signed)
    if change.needed:
        count = "1 signature" if change.needed == 1 else f"{change.needed} signatures"
        did = f"{signed} signed" if judgement.signed else "nobody signed"
        lacks = f", {judgement.lacking} lacking" if judgement.lacking else ""
        yield (
            f"{change.environment}: who may do what changes ({what(change)}). The policy that you accepted asks for {count} "
            f"of its owners; {did}{lacks}."
        )
    elif change.before is None:
        yield f"Its owners, by its own word: {people(judgement.may)}. Ask one of them whether this is theirs."
        if judgement.signed:
            yield f"Signed by {signed}, by its own roster: nothing that you accepted before says who they are."
    elif judgement.signed:
        yield f"Signed by {signed}; the policy that you accepted asks for no signature."
    for why in judgement.refused:
        yield f"Not counted: {why}"


def what(change: PolicyChange) -> str:
    """Which part differs."""
    before = change.before or Stand()
    parts = {
        "access in environment.yaml": before.policy_sha256 != change.now.policy_sha256,
        "the roster": before.roster_sha256 != change.now.roster_sha256,
    }
    return " and ".join(part for part, differs in parts.items() if differs)


def people_and(names: Sequence[str]) -> str:
    """`asha`, `asha and meera`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _way_out(judgement: Judgement, forget: str, environment: str) -> str:
    able = tuple(person for person in judgement.may if person not in judgement.signed)
    if len(able) >= judgement.lacking:
        return (
            f"May still sign: {people(able)}, by `envtui trust {environment} --sign` in a checkout of this change; then "
            "access/policy.signatures is committed with it. Changes that you skipped are accepted one after the other."
        )
    left = f"only {people_and(able)}" if able else "nobody"
    return (
        f"Of the owners that you accepted {left} can still sign. What remains is to trust it as if for the first time, on your "
        f"own judgement: ask the people by another way, remove {forget}, then `envtui trust {environment}`."
    )
