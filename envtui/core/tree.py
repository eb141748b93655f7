"""A tree of runbooks as it was read: once, whole, and never again while it is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .environment import Environment, People
from .runbook import Runbook


@dataclass(frozen=True, slots=True)
class Book:
    """A runbook with where it came from. `path` is relative to the tree, `folder` is its place on screen."""

    runbook: Runbook
    path: str
    folder: str
    sha256: str
    positions: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # "steps.2.argv" -> (line, column), from 1


@dataclass(frozen=True, slots=True)
class Tree:
    """One environment's files. Hashes are sha256 in hex.

    `files` are sql/ and files/ by relative path; `policy_sha256` covers access/ and the manifest's access section,
    `roster_sha256` allowed_signers, revoked_keys and people.yaml, `trust_sha256` everything that a user accepts.
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
