"""A tree as it was read: one environment with its books and files, frozen.

Nothing is read again after it was taken: whoever needs a file's bytes later finds them here, under the digest that was
signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .environment import Environment, People
from .runbook import Runbook

Path = tuple[str | int, ...]
"""Where something stands in a file: ('steps', 2, 'argv')."""
Place = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True, slots=True)
class Content:
    """One file of a tree. `content` is empty for artifacts and evidence, which are hashed and not kept.

    `inode` is (device, number): two trees with the same one share a file.
    """

    sha256: str
    size: int
    content: bytes = field(repr=False)
    inode: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Book:
    """One runbook and where it came from. `path` is relative to the tree, `folder` to its books/ ('' at the top)."""

    runbook: Runbook
    path: str
    sha256: str
    folder: str
    positions: Mapping[Path, Place] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Tree:
    """One environment's tree.

    `root` is the folder as it is shown and opened. `files` holds every file by its path relative to the tree, with `/`.
    `manifest_sha256` is environment.yaml's, `policy_sha256` covers access/ and the manifest's access section,
    `roster_sha256` who may sign: allowed_signers, revoked_keys and people.yaml.
    """

    root: str
    environment: Environment
    people: People
    books: Mapping[str, Book]
    files: Mapping[str, Content] = field(repr=False)
    manifest_sha256: str
    policy_sha256: str
    roster_sha256: str
    positions: Mapping[Path, Place] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def known_hosts(self) -> bytes:
        """The only host keys that this environment accepts; empty when the tree has no such file."""
        return self._bytes("known_hosts")

    @property
    def allowed_signers(self) -> str:
        return self._bytes("access/allowed_signers").decode()

    @property
    def revoked_keys(self) -> str:
        return self._bytes("access/revoked_keys").decode()

    def file(self, path: str) -> str:
        """How a file of this tree is named in a problem."""
        return f"{self.root}/{path}"

    def _bytes(self, path: str) -> bytes:
        found = self.files.get(path)
        return found.content if found else b""


def place(positions: Mapping[Path, Place], path: Path) -> Place:
    """The place of `path`, or of the nearest thing around it that is written in the file."""
    while path and path not in positions:
        path = path[:-1]
    return positions.get(path, (1, 1))


@dataclass(frozen=True, slots=True)
class Summary:
    """What the lobby shows of an environment. Never a credential, a target's address or a key."""

    name: str
    root: str
    purpose: str
    rules: tuple[str, ...]
    data: str
    promotes_from: str | None
    order: int  # 0 for the first of a chain of promotions
    last: bool  # nothing promotes from it: what is called production
    books: int
    writing_books: int
    targets: tuple[str, ...]
    problems: int = 0
