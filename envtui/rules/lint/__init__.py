"""What is well-formed and still wrong: names that lead nowhere, fields that do not fit, writes without a way back.

`lint(tree, last)` is the whole of it, pure; a file for each thing that is looked at. May import: core, rules.
"""

from __future__ import annotations

from collections.abc import Iterable

from envtui.core.errors import Problem
from envtui.core.tree import Tree
from envtui.rules.isolation import isolation
from envtui.rules.lint.book import lint_book
from envtui.rules.lint.manifest import lint_manifest

__all__ = ["check", "lint"]


def lint(tree: Tree, last: bool) -> tuple[Problem, ...]:
    """Every problem of one tree, sorted by place. `last`: nothing promotes from it, it is what others call production."""
    found = list(lint_manifest(tree, last))
    for book in tree.books.values():
        found += lint_book(tree, book)
    return tuple(sorted(found))


def check(trees: Iterable[Tree]) -> tuple[Problem, ...]:
    """Isolation of all trees and lint of each, sorted by place."""
    every = tuple(trees)
    sources = {tree.environment.promotes_from for tree in every}
    found = set(isolation(every))
    for tree in every:
        found |= set(lint(tree, last=tree.name not in sources))
    return tuple(sorted(found))
