"""A tree of runbooks as it was read: once, whole, and never again while it is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .environment import Environment, People
from .runbook import Runbook

Path = tuple[str | int, ...]
"""Where something stands in a file: ('steps', 2, 'argv')."""
Place = tuple[int, int]
"""Line and column, from 1."""


class Book(msgspec.Struct, frozen=True):
    """A runbook with where it came from. `path` is relative to the tree, `folder` is its place on screen."""

    runbook: Runbook
    path: str
    folder: str
    sha256: str
    positions: Mapping[Path, Place] = msgspec.field(default_factory=dict)


class Entry(msgspec.Struct, frozen=True):
    """One file as it was found. Two trees with the same `inode` (device, number) share a file."""

    sha256: str
    size: int
    inode: tuple[int, int]


class Tree(msgspec.Struct, frozen=True):
    """One environment's files. Hashes are sha256 in hex.

    `files` are sql/ and files/ by relative path; `policy_sha256` covers access/ and the manifest's access section,
    `roster_sha256` allowed_signers, revoked_keys and people.yaml, `trust_sha256` everything that a user accepts.
    `entries` are all files by relative path, `positions` the places in environment.yaml.
    """

    root: str
    environment: Environment
    books: Mapping[str, Book]
    files: Mapping[str, bytes]
    known_hosts: bytes
    allowed_signers: str
    revoked_keys: str
    people: People
    manifest_sha256: str
    policy_sha256: str
    roster_sha256: str
    trust_sha256: str
    trusted_texts: Mapping[str, str]  # path -> text of what the trust screen shows
    entries: Mapping[str, Entry] = msgspec.field(default_factory=dict)
    positions: Mapping[Path, Place] = msgspec.field(default_factory=dict)
    policy_signatures: str = ""  # what owners signed; in none of the digests

    def __repr__(self) -> str:
        return f"Tree({self.root!r}, {len(self.books)} books)"  # not every file's text

    @property
    def name(self) -> str:
        return self.environment.name

    def file(self, path: str) -> str:
        """How a file of this tree is named in a problem."""
        return f"{self.root}/{path}"


def place(positions: Mapping[Path, Place], path: Path) -> Place:
    """The place of `path`, or of the nearest thing around it that is written in the file."""
    while path and path not in positions:
        path = path[:-1]
    return positions.get(path, (1, 1))


def ordered(trees: Sequence[Tree]) -> tuple[Tree, ...]:
    """Trees along `promotes_from`, those that promote from nobody first; names settle ties. A circle ends it."""
    by_name = {tree.environment.name: tree for tree in trees}

    def depth(tree: Tree) -> int:
        seen: set[str] = set()
        name: str | None = tree.environment.promotes_from
        while name in by_name and name not in seen:
            seen.add(name)
            name = by_name[name].environment.promotes_from
        return len(seen)

    return tuple(sorted(trees, key=lambda tree: (depth(tree), tree.environment.name)))
