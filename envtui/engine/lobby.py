"""The lobby: public summaries of all trees and ledgers. It opens nothing: no credential, no connection, no secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from envtui.core.environment import AccessPolicy
from envtui.core.errors import Problem
from envtui.core.tree import Tree
from envtui.core.tree import ordered as ordered
from envtui.rules.break_glass import Debt
from envtui.rules.state import Run

Shape = Literal["light", "double", "heavy"]
TrustWord = Literal["trusted", "new", "changed"]

LATEST_RUNS = 5


class Card(msgspec.Struct, frozen=True):
    """One environment, as the lobby shows it. `order` counts from 0 along `promotes_from`; `last` is the highest."""

    name: str
    order: int
    last: int
    purpose: str
    rules: tuple[str, ...]
    data: str
    books: int
    write: str
    trust: TrustWord
    runs: tuple[Run, ...]  # the latest
    in_doubt: tuple[Run, ...]
    open: tuple[Run, ...]
    problems: tuple[Problem, ...]
    debts: tuple[Debt, ...] = ()  # break-glasses that nobody reviewed

    @property
    def shape(self) -> Shape:
        return shape(self.order, self.last)


class Lobby(msgspec.Struct, frozen=True):
    """All environments, in the order of promotion."""

    cards: tuple[Card, ...]
    problems: tuple[Problem, ...]  # of the trees together: what they share

    def card(self, name: str) -> Card | None:
        return next((card for card in self.cards if card.name == name), None)

    @property
    def in_doubt(self) -> tuple[tuple[str, Run], ...]:
        """(environment, run) of everything that must be looked at before anything else."""
        return tuple((card.name, run) for card in self.cards for run in card.in_doubt)

    @property
    def to_review(self) -> tuple[tuple[str, Debt], ...]:
        """(environment, break-glass) of everything that nobody reviewed, the most urgent first."""
        found = ((card.name, debt) for card in self.cards for debt in card.debts)
        return tuple(sorted(found, key=lambda each: each[1].due_ms))


def shape(order: int, last: int) -> Shape:
    """The border of an environment: light for the first, heavy for the last, double between; never colour alone."""
    return "heavy" if order == last and last > 0 else "light" if order == 0 else "double"


def card(
    tree: Tree,
    order: int,
    last: int,
    trust: TrustWord,
    runs: Sequence[Run],
    problems: Sequence[Problem],
    debts: Sequence[Debt] = (),
) -> Card:
    """The summary of one tree and its ledger."""
    environment = tree.environment
    return Card(
        name=environment.name,
        order=order,
        last=last,
        purpose=environment.purpose,
        rules=environment.rules,
        data=environment.data,
        books=len(tree.books),
        write=write_words(environment.access),
        trust=trust,
        runs=tuple(runs[:LATEST_RUNS]),
        in_doubt=tuple(run for run in runs if run.in_doubt),
        open=tuple(run for run in runs if run.word is None and not run.in_doubt),
        problems=tuple(problems),
        debts=tuple(debts),
    )


def write_words(policy: AccessPolicy) -> str:
    """What a write costs here, in a few words."""
    who = (
        "own signature"
        if policy.signoff.min == 0
        else "1 other"
        if policy.signoff.min == 1
        else f"{policy.signoff.min} others"
    )
    return f"incident + {who}" if policy.incident.required else who
