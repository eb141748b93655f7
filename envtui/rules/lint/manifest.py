"""environment.yaml: credentials that fit their targets, policies that say enough."""

from __future__ import annotations

from collections.abc import Iterable

from envtui.core.environment import Environment, HttpTarget, Identity, SqlTarget, Target
from envtui.core.errors import Problem, UsageError
from envtui.core.tree import Path, Tree
from envtui.rules.lint.report import Report
from envtui.rules.lint.tracker import lint_incident, lint_notify
from envtui.rules.places import members
from envtui.rules.protection import LEVELS

MANIFEST = "environment.yaml"
_ALLOWED = {"ssh": ("user", "key", "sudo"), "sql": ("user", "secret"), "http": ("header", "secret")}


def kind_of(target: Target) -> str:
    """ssh, sql or http."""
    return str(target.__struct_config__.tag)


def lint_manifest(tree: Tree, last: bool) -> Iterable[Problem]:
    """The problems of the manifest and of who may sign."""
    environment = tree.environment
    report = Report(tree.file(MANIFEST), tree.positions)
    _credentials(environment, report)
    for name, target in environment.targets.items():
        _target(tree, name, target, report)
    for kind in LEVELS:
        identity = getattr(environment.identity, kind)
        if identity is not None:
            _identity(identity, kind, ("identity", kind), report)
        _level(kind, getattr(environment.protection, kind), ("protection", kind), report)
    _access(tree, last, report)
    _windows(environment, report)
    for name, each in environment.monitoring.items():
        path: Path = ("monitoring", name)
        if report.known((*path, "target"), "target", each.target, environment.targets):
            kind = kind_of(environment.targets[each.target])
            said = {"sql": each.query, "http": each.path}.get(kind)
            if kind == "ssh" or said is None or (each.query is not None and each.path is not None):
                report.error(path, f"a check on a target of kind {kind} needs exactly its own question.", _QUESTION)
    if any(kind_of(target) == "ssh" for target in environment.targets.values()) and not tree.known_hosts.strip():
        report.warning(("targets",), "known_hosts is missing or empty.", "Every SSH connection will be refused.")
    return [*report.problems, *_people(tree)]


_QUESTION = "sql: query; http: path."


def _credentials(environment: Environment, report: Report) -> None:
    for name, credential in environment.credentials.items():
        path: Path = ("credentials", name)
        for field in ("user", "key", "secret", "header", "sudo"):
            if getattr(credential, field) and field not in _ALLOWED[credential.kind]:
                message = f"{field} does not belong to a credential of kind {credential.kind}."
                report.error((*path, field), message, f"It takes: {', '.join(_ALLOWED[credential.kind])}.")
        if credential.kind != "http" and not credential.user:
            report.error(path, "user is missing.", "Name the account; ${me} stands for the operator.")
        if credential.kind == "http" and bool(credential.header) != bool(credential.secret):
            report.error(path, "header and secret go together.")
        if credential.key and credential.key.startswith("env:"):
            report.error((*path, "key"), "a key comes from an agent or a file.", "agent:SHA256:… or file:PATH.")
        if isinstance(credential.secret, str) and credential.secret.startswith("agent:"):
            report.error((*path, "secret"), "an agent holds keys, no passwords.", "file:PATH, env:NAME or cmd: […].")


def _target(tree: Tree, name: str, target: Target, report: Report) -> None:
    environment, path, kind = tree.environment, ("targets", name), kind_of(target)
    for field, access in (("read", "read"), ("write", "write")):
        wanted = getattr(target, field)
        if wanted is None or not report.known((*path, field), "credential", wanted, environment.credentials):
            continue
        credential = environment.credentials[wanted]
        if (credential.kind, credential.access) != (kind, access):
            message = f"{field} needs a credential of kind {kind} and access {access}."
            report.error((*path, field), message, f"{wanted} is {credential.kind}, {credential.access}.")
    if target.via is not None and report.known((*path, "via"), "target", target.via, environment.targets):
        _via(environment, name, report)
    try:
        members(name, target)
    except UsageError as error:
        report.error((*path, "hosts"), error.message, error.remedy)
    _level(kind, target.min_protection, (*path, "min_protection"), report)
    if target.identity is not None:
        _identity(target.identity, kind, (*path, "identity"), report)
    elif getattr(environment.identity, kind) is None:
        report.warning(
            path, "no identity: a wrong machine would not be noticed.", "Say identity, here or for its kind."
        )
    ca = None if not isinstance(target, SqlTarget | HttpTarget) else target.ca
    if ca is not None and ca not in tree.entries:
        report.error((*path, "ca"), f"there is no file {ca} in this tree.", "Paths begin at the tree: files/ca.pem.")
    if isinstance(target, SqlTarget) and target.tls.startswith("verify") and ca is None:
        report.error(path, f"tls {target.tls} needs ca.", "Name the CA's file, or say tls: disable.")


def _via(environment: Environment, name: str, report: Report) -> None:
    seen = [name]
    while (jump := environment.targets[seen[-1]].via) is not None and jump in environment.targets:
        path: Path = ("targets", seen[-1], "via")
        if kind_of(environment.targets[jump]) != "ssh":
            report.error(path, f"{jump} is no ssh target.", "One goes through ssh targets only.")
            return
        if jump in seen:
            report.error(("targets", name, "via"), f"the way leads in a circle: {' → '.join([*seen, jump])}.")
            return
        seen.append(jump)


def _identity(identity: Identity, kind: str, path: Path, report: Report) -> None:
    said = [field for field in identity.__struct_fields__ if getattr(identity, field) is not None]
    fitting = {
        "ssh": ({"argv", "equals"}, {"argv", "matches"}),
        "sql": ({"query", "equals"}, {"system_identifier"}, {"query", "equals", "system_identifier"}),
        "http": ({"path", "expect"},),
    }[kind]
    if set(said) not in fitting:
        words = " or ".join(" + ".join(sorted(each)) for each in fitting)
        found = ", ".join(said) or "nothing"
        report.error(path, f"the identity of a target of kind {kind} is {words}; found: {found}.")
    elif kind == "sql" and "query" not in said:
        report.warning(path, "a clone has the same system_identifier.", "Add query and equals: a marker in the data.")
    report.pattern((*path, "matches"), identity.matches)


def _level(kind: str, level: str | None, path: Path, report: Report) -> None:
    levels = tuple(each for each in LEVELS[kind] if each != "refused")
    if level is not None and level not in levels:
        report.error(path, f"{level!r} is no protection of {kind}.", f"Known: {', '.join(levels)}.")


def _access(tree: Tree, last: bool, report: Report) -> None:
    access = tree.environment.access
    lint_incident(tree, report)
    lint_notify(tree, report)
    writes = any(target.write for target in tree.environment.targets.values())
    if last and writes and access.write_gate is None:
        remedy = "Write write_gate: advisory, so that everybody knows what it is worth."
        report.error(("access",), "the last environment has to say its write_gate.", remedy)
    if access.break_glass is not None:
        for index, person in enumerate(access.break_glass.people):
            report.known(("access", "break_glass", "people", index), "person", person, tree.people.people)
        if access.break_glass.people and tree.environment.notify is None:
            remedy = "Say notify; without it each break-glass is recorded as NOT DELIVERED."
            report.warning(("access", "break_glass"), "nobody is called when the glass is broken.", remedy)
    able = _owners(tree)
    if access.owners > len(able):
        found = f"{len(able)} can: {', '.join(sorted(able))}" if able else "nobody can"
        remedy = f"An owner has the role owner in people.yaml, and policy.v1.{tree.name}@envtui on a line of allowed_signers."
        report.error(("access", "owners"), f"{access.owners} owners have to sign a change, and {found}.", remedy)
    roles = {role for person in tree.people.people.values() for role in person.roles}
    for index, role in enumerate(access.signoff.roles):
        if role not in roles:
            path: Path = ("access", "signoff", "roles", index)
            report.warning(path, f"nobody in people.yaml has the role {role!r}.", "Nobody can sign for it.")


def _owners(tree: Tree) -> set[str]:
    """People who may sign a change of policy, as far as their names tell; whether a key is fit, its own check says."""
    wanted = f"policy.v1.{tree.name}@envtui"
    lines = [line.split() for line in tree.allowed_signers.splitlines()]
    able = {line[0] for line in lines if len(line) > 1 and wanted in line[1].replace('"', ",").split(",")}
    people = tree.people.people.items()
    return {name for name, person in people if "owner" in person.roles and able.intersection(person.principals)}


def _windows(environment: Environment, report: Report) -> None:
    _zone(environment.timezone, ("timezone",), report)
    for index, window in enumerate(environment.windows):
        path: Path = ("windows", index)
        _zone(window.tz, (*path, "tz"), report)
        weekly = (window.from_ is not None, window.to is not None)
        once = (window.start is not None, window.end is not None)
        if weekly + once not in ((True, True, False, False), (False, False, True, True)):
            report.error(path, "a window is from and to, or start and end.")
        elif any(once) and window.days:
            report.error((*path, "days"), "days belong to from and to.")


def _zone(name: str, path: Path, report: Report) -> None:
    if name == "UTC":
        return
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        report.error(path, f"{name!r} is no time zone.", "Write one like Europe/Berlin, or UTC.")


def _people(tree: Tree) -> Iterable[Problem]:
    """Whoever can sign is a person, and a principal is one person's."""
    owners: dict[str, str] = {}
    file = tree.file("access/people.yaml")
    for name, person in tree.people.people.items():
        for principal in person.principals:
            if principal in owners:
                message = f"the principal {principal!r} is {owners[principal]}'s and {name}'s."
                yield Problem(file, 0, 0, message, "A principal is one person.")
            owners[principal] = name
    for number, line in enumerate(tree.allowed_signers.split("\n"), 1):
        principal = line.split(maxsplit=1)[0] if line.strip() else "#"
        if not principal.startswith("#") and principal not in owners:
            message = f"{principal!r} is nobody's principal in people.yaml."
            signers = tree.file("access/allowed_signers")
            yield Problem(signers, number, 1, message, "Their signature will not count.", "warning")
