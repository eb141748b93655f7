"""Share nothing: what no two environments may have in common, proved over the loaded trees.

A pure function of the trees. A collision is a problem of both, so that neither opens. Facts in evidence/ and artifacts are
the exception: the first is what crosses, the second is named by its content. Prose may mention anything.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from envtui.core.environment import HttpTarget, SqlTarget, SshTarget
from envtui.core.errors import Problem, UsageError
from envtui.core.tree import Path, Tree, place
from envtui.rules.places import members

MANIFEST = "environment.yaml"
OWN = ("books/", "sql/", "files/", MANIFEST)
"""What may not be byte for byte a file of another tree."""
CROSSING = ("artifacts/", "evidence/")

_PROSE = frozenset(
    {"title", "doc", "example", "use_when", "instructions", "ask", "owner", "alerts", "tags", "links"}
    | {"options", "point_of_no_return", "estimate", "schema"}
)
_NAMESPACES = re.compile(r'(?:^|[\s,])namespaces="([^"]*)"')


def isolation(trees: Iterable[Tree]) -> tuple[Problem, ...]:
    """Everything that two of the trees share, and every signer who is not bound to one environment; sorted by place."""
    found = tuple(trees)
    problems = {
        *_equal_files(found),
        *_shared_facts(found),
        *foreign_addresses(found),
        *(problem for tree in found for problem in _signers(tree)),
    }
    return tuple(sorted(problems))


def _equal_files(trees: tuple[Tree, ...]) -> Iterator[Problem]:
    by_content: dict[str, list[tuple[Tree, str]]] = defaultdict(list)
    by_inode: dict[tuple[int, int], list[tuple[Tree, str]]] = defaultdict(list)
    for tree in trees:
        for path, entry in tree.entries.items():
            by_inode[entry.inode].append((tree, path))
            if entry.size and not path.startswith(CROSSING):
                by_content[entry.sha256].append((tree, path))
    for same, what, only in ((by_inode, "a hard link to", ()), (by_content, "byte for byte the same as", OWN)):
        for files in same.values():
            for tree, path in files:
                others = [f"{other.name}/{theirs}" for other, theirs in files if other is not tree]
                if others and (not only or path.startswith(only)):
                    message = f"it is {what} {', '.join(others)}."
                    yield Problem(tree.file(path), 0, 0, message, "Each environment has its own files.")


def _shared_facts(trees: tuple[Tree, ...]) -> Iterator[Problem]:
    """Addresses, host keys, accounts and database identities that appear in two trees."""
    seen: dict[tuple[str, Hashable], list[tuple[Tree, str, Path | int]]] = defaultdict(list)
    for tree in trees:
        for what, value, path in _facts(tree):
            seen[what, value].append((tree, MANIFEST, path))
        for line, key in _host_keys(tree):
            seen["host key", key].append((tree, "known_hosts", line))
    for (what, _), uses in seen.items():
        for tree, file, where in uses:
            others = dict.fromkeys(f"{other.name}/{theirs}" for other, theirs, _ in uses if other is not tree)
            if not others:
                continue
            line, column = (where, 1) if isinstance(where, int) else place(tree.positions, where)
            message = f"this {what} is also in {', '.join(others)}."
            yield Problem(tree.file(file), line, column, message, "An environment has its own.")


def _facts(tree: Tree) -> Iterator[tuple[str, Hashable, Path]]:
    """(what it is, its value, where) of all that belongs to one environment alone."""
    for name, target in tree.environment.targets.items():
        path: Path = ("targets", name)
        if isinstance(target, HttpTarget):
            yield "address", ("http", _host_port(target.base)), (*path, "base")
        elif isinstance(target, SqlTarget):
            for address in _addresses(name, target):
                yield "database", (address, target.dbname), (*path, "hosts")
        else:
            for address in _addresses(name, target):
                yield "address", ("ssh", address), (*path, "hosts")
        if target.identity is not None and target.identity.system_identifier:
            at = (*path, "identity", "system_identifier")
            yield "system_identifier", target.identity.system_identifier, at
    shared = tree.environment.identity.sql
    if shared is not None and shared.system_identifier:
        yield "system_identifier", shared.system_identifier, ("identity", "sql", "system_identifier")
    for name, credential in tree.environment.credentials.items():
        account = credential.key or credential.secret
        if account is not None:
            named = account if isinstance(account, str) else account.cmd
            yield "account (user and secret)", (credential.user, named), ("credentials", name)


def _host_keys(tree: Tree) -> Iterator[tuple[int, str]]:
    """(line, key) of the known hosts; a revoked key may be revoked everywhere."""
    for number, line in enumerate(tree.known_hosts.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#") or words[0] == "@revoked":
            continue
        if words[0].startswith("@"):
            words = words[1:]
        if len(words) > 2:
            yield number, words[2]


def foreign_addresses(trees: tuple[Tree, ...]) -> Iterator[Problem]:
    """Structured fields that name an address of another tree."""
    named = {tree.name: _names(tree) for tree in trees}
    for tree in trees:
        foreign = {
            address: other.name
            for other in trees
            if other is not tree
            for address in named[other.name]
            if address not in named[tree.name]
        }
        if not foreign:
            continue
        dotted = sorted((re.escape(address) for address in foreign if "." in address), key=len, reverse=True)
        inside = re.compile(rf"(?<![\w.-])(?:{'|'.join(dotted)})(?![\w.-])") if dotted else None
        for book in tree.books.values():
            for path, text in _texts(msgspec.to_builtins(book.runbook), ()):
                address = _foreign(text, foreign, inside)
                if address:
                    line, column = place(book.positions, path)
                    message = f"{address} is an address of {foreign[address]}."
                    yield Problem(
                        tree.file(book.path), line, column, message, "A book reaches its own environment only."
                    )


def _foreign(text: str, foreign: Mapping[str, str], inside: re.Pattern[str] | None) -> str:
    if text in foreign:
        return text
    # A dotted name is an address wherever it stands (http://db.prod:80/); a bare word only when it is all of the text.
    found = inside.search(text) if inside else None
    return found.group() if found else ""


def _texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text of a book that is not prose, and every word of a command in one string."""
    if isinstance(value, str):
        yield path, value
        if path[-1] == "argv":
            yield from ((path, word) for word in _words(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _PROSE:
                yield from _texts(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _names(tree: Tree) -> set[str]:
    """The tree's addresses as they could be written somewhere else: with port, without, as a URL."""
    names: set[str] = set()
    for name, target in tree.environment.targets.items():
        if isinstance(target, HttpTarget):
            host = urlsplit(target.base).hostname or ""
            names |= {target.base, target.base.rstrip("/"), _host_port(target.base), host}
        else:
            for address in _addresses(name, target):
                names |= {address, address.rpartition(":")[0].strip("[]")}
    return names - {""}


def _addresses(name: str, target: SshTarget | SqlTarget) -> tuple[str, ...]:
    try:
        return tuple(member.address.lower() for member in members(name, target))
    except UsageError:  # said by lint
        return ()


def _host_port(base: str) -> str:
    parts = urlsplit(base)
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{parts.hostname}:{port or (443 if parts.scheme == 'https' else 80)}"


def _signers(tree: Tree) -> Iterator[Problem]:
    """Every line of allowed_signers is bound to this environment: a yes for staging is no signature for production."""
    own = re.compile(rf"[a-z][a-z0-9-]*\.v[0-9]+\.{re.escape(tree.name)}@envtui")
    example = f'namespaces="request.v1.{tree.name}@envtui,approve.v1.{tree.name}@envtui"'
    for number, line in enumerate(tree.allowed_signers.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _NAMESPACES.search(line)
        foreign = [name for name in found[1].split(",") if not own.fullmatch(name)] if found else []
        if found is None:
            message = "this signer is not bound to the environment."
        elif foreign:
            message = f"this signer's namespace {foreign[0]!r} is not one of {tree.name}."
        else:
            continue
        yield Problem(tree.file("access/allowed_signers"), number, 1, message, f"Write {example}.")
