"""Trees from disk: read once, checked against the formats, frozen.

What is wrong across trees is said by `rules.isolation`, what is wrong within one that is well-formed by `rules.lint`.
Loading resolves no credential and runs nothing.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from envtui.core.canonical import digest
from envtui.core.environment import AccessPolicy, Environment, HttpTarget, People, SqlTarget
from envtui.core.errors import InvalidFiles, Problem, UsageError
from envtui.core.runbook import Runbook
from envtui.core.tree import Book, Entry, Tree, ordered
from envtui.outside.trees.files import Content, link, read_files, writable_by_others
from envtui.outside.trees.schema import shape
from envtui.outside.trees.signatures import SIGNATURES
from envtui.outside.trees.yaml import Document, Positions, parse

T = TypeVar("T")

MANIFEST = "environment.yaml"
KNOWN_HOSTS = "known_hosts"
NAME_IT = "Name the folder of your trees: --runbooks DIR, or ENVTUI_RUNBOOKS."
PEOPLE = "access/people.yaml"
SIGNERS = "access/allowed_signers"
REVOKED = "access/revoked_keys"
ROSTER = (SIGNERS, REVOKED, PEOPLE)


class Forest(msgspec.Struct, frozen=True):
    """All trees of one folder, by name in the order of promotion, and every problem that reading them met.

    A tree whose manifest is unfit is missing; a tree with an unfit book is there without it. Problems of the tree that is
    opened refuse it; those of its neighbours are shown.
    """

    root: str
    trees: dict[str, Tree]
    problems: tuple[Problem, ...]

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """The problems whose place is in the tree of that folder name."""
        folder = f"{self.root}/{name}/"
        return tuple(each for each in self.problems if f"{each.file}/".startswith(folder))


def load_tree(path: Path | str) -> Tree:
    """The tree in the folder `path`. Raises InvalidFiles with every problem of it."""
    with _without_collector():
        tree, problems = _load(_folder(path))
    if tree is None or errors(problems):
        raise InvalidFiles(tuple(problems))
    return tree


def load_trees(root: Path | str) -> dict[str, Tree]:
    """Every tree below `root`, by name. Raises InvalidFiles with the problems of all."""
    forest = read_forest(root)
    if errors(forest.problems):
        raise InvalidFiles(forest.problems)
    return forest.trees


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those that make a tree invalid, without the warnings."""
    return tuple(problem for problem in problems if problem.severity == "error")


def read_forest(root: Path | str) -> Forest:
    """Every tree below `root`, with what is wrong. Raises UsageError when there is no such folder or no tree in it."""
    top = _folder(root)
    names = _folders(top)
    problems: list[Problem] = []
    trees: dict[str, Tree] = {}
    if loose := writable_by_others(os.stat(top)):
        problems.append(Problem(top, 0, 0, f"{loose} may write this folder.", "chmod go-w it."))
    with _without_collector():
        for name in names:
            folder = os.path.join(top, name)
            if os.path.islink(folder):
                message = f"a symbolic link, to {link(folder)}."
                problems.append(Problem(folder, 0, 0, message, "An environment is a folder of its own."))
                continue
            tree, found = _load(folder)
            problems += found
            if tree is not None:
                trees[name] = tree
    problems += _orders(trees, names)
    in_order = {os.path.basename(tree.root): tree for tree in ordered(tuple(trees.values()))}
    return Forest(top, in_order, tuple(sorted(problems)))


def read_book(source: bytes, path: str, sha256: str, file: str) -> tuple[Book | None, tuple[Problem, ...]]:
    """One book from its bytes; `path` is relative to its tree, `file` is the name in problems."""
    document = parse(source, file)
    runbook, problems = shape(document, Runbook, file)
    if runbook is None:
        return None, problems
    folder = path.removeprefix("books/").rpartition("/")[0]
    return Book(runbook, path, folder, sha256, Positions(source)), problems


def _load(root: str) -> tuple[Tree | None, list[Problem]]:
    if not _has_manifest(root):  # whatever else is in it may be large, and is nothing to us
        return None, [Problem(f"{root}/{MANIFEST}", 0, 0, "this file is missing.")]
    files, problems = read_files(root)
    environment, manifest = _document(root, MANIFEST, Environment, files, problems)
    people = People(schema="envtui/people@1", people={})
    if PEOPLE in files:
        people = _document(root, PEOPLE, People, files, problems)[0] or people
    for text in (SIGNERS, REVOKED, KNOWN_HOSTS):
        if text in files and not _is_text(files[text].content):
            problems.append(Problem(f"{root}/{text}", 0, 0, "not UTF-8 text."))
    books = _books(root, files, problems)
    if environment is None or manifest is None:
        return None, problems
    if environment.name != os.path.basename(root):
        line, column = manifest.place(("name",))
        message = f"the name {environment.name!r} is not that of its folder, {os.path.basename(root)!r}."
        problems.append(Problem(f"{root}/{MANIFEST}", line, column, message, "Rename one of them."))
    # Signatures over a policy are no part of it: one more changes nothing that would have to be looked at again.
    access = {
        path: content.sha256 for path, content in files.items() if path.startswith("access/") and path != SIGNATURES
    }
    # Who may vouch for a server is as much as its host key.
    vouching = {target.ca for target in environment.targets.values() if isinstance(target, SqlTarget | HttpTarget)}
    vouching |= {environment.access.incident.ca, environment.notify.ca if environment.notify else None}
    pinned = {MANIFEST, KNOWN_HOSTS, *access, *vouching}
    trusted = {path: content for path, content in files.items() if path in pinned}
    tree = Tree(
        root=root,
        environment=environment,
        books=books,
        files={path: content.content for path, content in files.items() if path.startswith(("sql/", "files/"))},
        known_hosts=files[KNOWN_HOSTS].content if KNOWN_HOSTS in files else b"",
        allowed_signers=_text(files, SIGNERS),
        revoked_keys=_text(files, REVOKED),
        people=people,
        manifest_sha256=files[MANIFEST].sha256,
        policy_sha256=digest({"access": msgspec.to_builtins(environment.access), "files": access}),
        roster_sha256=digest({path: access[path] for path in ROSTER if path in access}),
        trust_sha256=digest({path: content.sha256 for path, content in trusted.items()}),
        trusted_texts={path: content.content.decode("utf-8", "backslashreplace") for path, content in trusted.items()},
        entries={path: Entry(content.sha256, content.size, content.inode) for path, content in files.items()},
        positions=Positions(files[MANIFEST].content),
        policy_signatures=_text(files, SIGNATURES),
    )
    return tree, problems


def policy_of(texts: Mapping[str, str], file: str) -> tuple[AccessPolicy, People]:
    """The policy and the people of texts that were kept (`Tree.trusted_texts`). Raises InvalidFiles."""
    found: list[Problem] = []
    environment, said = shape(parse(texts.get(MANIFEST, "").encode(), file), Environment, file)
    found += said
    people: People | None = People(schema="envtui/people@1", people={})
    if PEOPLE in texts:
        people, said = shape(parse(texts[PEOPLE].encode(), file), People, file)
        found += said
    if environment is None or people is None:
        raise InvalidFiles(tuple(found))
    return environment.access, people


def _document(
    root: str, path: str, kind: type[T], files: dict[str, Content], problems: list[Problem]
) -> tuple[T | None, Document | None]:
    if path not in files:  # why it could not be read was said
        return None, None
    document = parse(files[path].content, f"{root}/{path}")
    value, found = shape(document, kind, f"{root}/{path}")
    problems += found
    return value, document


def _books(root: str, files: dict[str, Content], problems: list[Problem]) -> dict[str, Book]:
    books: dict[str, Book] = {}
    for path, content in files.items():
        if not path.startswith("books/"):
            continue
        file = f"{root}/{path}"
        if not path.endswith(".yaml"):
            severity = "error" if path.endswith(".yml") else "warning"
            problems.append(Problem(file, 0, 0, "not a book.", "Books are named *.yaml.", severity))
            continue
        book, found = read_book(content.content, path, content.sha256, file)
        problems += found
        if book is None:
            continue
        first = books.setdefault(book.runbook.id, book)
        if first is not book:
            line, column = book.positions[("id",)]
            message = f"the id {book.runbook.id!r} is that of {first.path} already."
            problems.append(Problem(file, line, column, message, "An id names one book of an environment."))
    return books


def _orders(trees: dict[str, Tree], folders: list[str]) -> Iterator[Problem]:
    """`promotes_from` names a tree, and nobody promotes from itself in the end."""
    for tree in trees.values():
        source = tree.environment.promotes_from
        if source is None or (source not in trees and source in folders):  # that one has problems of its own
            continue
        line, column = tree.positions[("promotes_from",)]
        if source not in trees:
            known = ", ".join(sorted(set(trees) - {tree.name}))
            message, remedy = f"promotes_from: no environment {source!r} here.", f"Known: {known}."
        elif _order(tree.name, trees) < 0:
            message, remedy = "promotes_from leads back to this environment.", "One of the circle is the first."
        else:
            continue
        yield Problem(tree.file(MANIFEST), line, column, message, remedy)


def _order(name: str, trees: dict[str, Tree]) -> int:
    """How many environments come before; -1 in a circle."""
    seen = [name]
    while (source := trees[seen[-1]].environment.promotes_from) in trees:
        assert source is not None
        if source in seen:
            return -1
        seen.append(source)
    return len(seen) - 1


def _folder(path: Path | str) -> str:
    found = os.path.realpath(path)
    if not os.path.isdir(found):
        raise UsageError(
            f"{str(path)[:300]} is no folder{'' if os.path.lexists(found) else ': nothing is there'}.", NAME_IT
        )
    return found


def _folders(top: str) -> list[str]:
    """The names of the folders in `top`. Raises UsageError when none of them can be a tree."""
    try:
        with os.scandir(top) as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and os.path.isdir(entry.path))
    except OSError as error:
        raise UsageError(f"{top} cannot be read: {error.strerror}.", NAME_IT) from error
    if not any(_has_manifest(os.path.join(top, name)) for name in names):
        if _has_manifest(top):
            raise UsageError(f"{top} is one environment.", f"Name the folder of all of them: {os.path.dirname(top)}.")
        raise UsageError(f"{top} holds no environment: none of its folders has an {MANIFEST}.", NAME_IT)
    return names


def _has_manifest(folder: str) -> bool:
    """Whether the folder may be a tree; one that cannot be looked into may."""
    try:
        os.lstat(os.path.join(folder, MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _text(files: dict[str, Content], path: str) -> str:
    return files[path].content.decode("utf-8", "replace") if path in files else ""


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def _without_collector() -> Iterator[None]:
    """Thousands of small frozen objects and no rubbish: collecting meanwhile triples the time (measured)."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
