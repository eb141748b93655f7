"""The members of a target, and the places where an act can happen: address, account, credential, way."""

from __future__ import annotations

import re
from itertools import islice, product, repeat
from typing import Literal

import msgspec

from envtui.core.act import Place
from envtui.core.canonical import digest
from envtui.core.environment import Credential, Environment, HttpTarget, SqlTarget, SshTarget, Target
from envtui.core.errors import UsageError

MAX_MEMBERS = 1000
_RANGE = re.compile(r"\[([0-9]{1,6})-([0-9]{1,6})\]")
_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


class Member(msgspec.Struct, frozen=True):
    """`address` is host:port ([host]:port for IPv6), or the base of an HTTP service."""

    name: str
    address: str


def members(name: str, target: Target) -> tuple[Member, ...]:
    """The members of target `name`, in the manifest's order. Raises UsageError: no member, an unfit one, one named twice."""
    if isinstance(target, HttpTarget):
        return (Member(name, target.base.rstrip("/")),)
    found: dict[str, Member] = {}
    for entry in target.hosts:
        for member in _entry(name, entry, target.port):
            if member.name in found:
                raise UsageError(f"Target {name} names its member {member.name} twice.", "Leave one out.")
            found[member.name] = member
            if len(found) > MAX_MEMBERS:
                raise UsageError(f"Target {name} has more than {MAX_MEMBERS} members.", "Make several targets of it.")
    if not found:
        raise UsageError(f"Target {name} has no member.", "Name at least one host.")
    return tuple(found.values())


def places(
    environment: Environment, target: str, access: str, operator: str, as_: str | None = None
) -> tuple[Place, ...]:
    """Where acts on `target` happen, one place for each member. `access` is read or write; None: the target's own `as`.

    Raises UsageError when there is no such target or member, or no credential of that access.
    """
    described = environment.targets.get(target)
    if described is None:
        raise UsageError(
            f"{environment.name} has no target {target}.", f"There are: {', '.join(environment.targets) or 'none'}."
        )
    kind = _kind(described)
    assert kind is not None
    name = described.read if access == "read" else described.write
    if name is None:
        raise UsageError(
            f"Target {target} has no write credential: nothing can be changed through it.",
            "Its owner adds `write:` to environment.yaml.",
        )
    credential = environment.credentials.get(name)
    if credential is None or (credential.kind, credential.access) != (kind, access):
        raise UsageError(
            f"Target {target} needs a credential for {kind} with {access} access, and {name} is none.",
            "Correct environment.yaml.",
        )
    if described.via is not None and _kind(environment.targets.get(described.via)) != "ssh":
        raise UsageError(f"Target {target} is reached via {described.via}, which is no ssh target.", "Correct `via`.")
    user = (credential.user or "").replace("${me}", operator)
    account = _account(target, getattr(described, "as_", None) if as_ is None else as_, user, credential)
    terms = digest(_terms(environment, described, credential))
    return tuple(
        Place(
            target=target,
            kind=kind,
            member=member.name,
            address=member.address,
            user=user,
            as_=account,
            dbname=getattr(described, "dbname", ""),
            via=described.via or "",
            credential=name,
            terms=terms,
        )
        for member in members(target, described)
    )


def _terms(environment: Environment, target: Target, credential: Credential | None) -> dict[str, object]:
    """What the manifest says that changes which server answers, or as whom: an act that was signed means this one."""
    kind = _kind(target)
    assert kind is not None
    identity = target.identity or getattr(environment.identity, kind)
    via = environment.targets.get(target.via or "")
    said: dict[str, object] = {
        "hosts": () if isinstance(target, HttpTarget) else target.hosts,
        "port": getattr(target, "port", 0),
        "session": getattr(target, "session", ""),
        "tls": getattr(target, "tls", ""),
        "ca": getattr(target, "ca", None),
        "identity": msgspec.to_builtins(identity),
        "credential": msgspec.to_builtins(credential),
    }
    if via is not None and via is not target:
        said["via"] = _terms(_without(environment, target.via), via, environment.credentials.get(via.read))
    return said


def _without(environment: Environment, name: str | None) -> Environment:
    """The environment without one target: a way that leads in a circle ends."""
    targets = {each: target for each, target in environment.targets.items() if each != name}
    return msgspec.structs.replace(environment, targets=targets)


def _account(target: str, as_: str | None, user: str, credential: Credential) -> str:
    if not as_ or as_ == user:
        return ""
    if credential.kind != "ssh":
        raise UsageError(f"`as` is for ssh; target {target} is {credential.kind}.", "Leave it out.")
    if not credential.sudo:
        raise UsageError(
            f"Acts on {target} as {as_} need a credential that may use sudo.",
            "Its owner adds `sudo: true` to the credential, or the step does without `as` and `needs: [root]`.",
        )
    return as_


def _kind(target: Target | None) -> Literal["ssh", "sql", "http"] | None:
    match target:
        case SshTarget():
            return "ssh"
        case SqlTarget():
            return "sql"
        case HttpTarget():
            return "http"
        case None:
            return None


def _entry(target: str, entry: str, port: int) -> list[Member]:
    written, separator, address = entry.partition("=")
    names = _expanded(target, written)
    addresses = _expanded(target, address) if separator else names
    if len(addresses) == 1:
        addresses = list(repeat(addresses[0], len(names)))
    if len(names) != len(addresses):
        raise UsageError(
            f"Target {target}: {entry!r} has {len(names)} names and {len(addresses)} addresses.",
            "Both ranges need the same length.",
        )
    return [_member(target, name, at, port) for name, at in zip(names, addresses, strict=True)]


def _member(target: str, name: str, address: str, port: int) -> Member:
    host, number = address, str(port)
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        number = rest.removeprefix(":") or number
    elif address.count(":") == 1:
        host, _, number = address.partition(":")
    if not _MEMBER.fullmatch(name) or not _HOST.fullmatch(host):
        raise UsageError(f"Target {target}: {name}={address} is no host.", "Write NAME or NAME=ADDRESS[:PORT].")
    if not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        raise UsageError(f"Target {target}: {number[:20]!r} is no port.", "Write NAME=ADDRESS:PORT.")
    return Member(name, f"[{host}]:{int(number)}" if ":" in host else f"{host}:{int(number)}")


def _expanded(target: str, text: str) -> list[str]:
    """`app-[01-03]` as app-01, app-02, app-03; leading zeros keep their width."""
    parts = _RANGE.split(text)
    choices: list[list[str]] = [[parts[0]]]
    for low, high, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if int(low) > int(high) or int(high) - int(low) >= MAX_MEMBERS:
            raise UsageError(f"Target {target}: [{low}-{high}] is no range.", f"At most {MAX_MEMBERS}, upwards.")
        width = len(low) if low.startswith("0") or len(low) == len(high) else 0
        choices.append([str(n).zfill(width) for n in range(int(low), int(high) + 1)])
        choices.append([after])
    return ["".join(each) for each in islice(product(*choices), MAX_MEMBERS + 1)]
