"""The lobby: a card for each environment. Nothing is opened, connected or resolved to draw it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from envtui.core.errors import EnvtuiError
from envtui.core.text import clean

from .. import actions
from ..framed import FramedScreen, words
from ..moments import ago, moment
from ..theme import TONE
from ..widgets.rows import BLANK, Rows, line, row

if TYPE_CHECKING:
    from envtui.engine.lobby import Card, Lobby
    from envtui.rules.break_glass import Debt


class CardView(Static, can_focus=True):
    """One environment: who it is, its rules, what happened last, what a write costs."""

    DEFAULT_CSS = """
    CardView { width: 1fr; height: 1fr; padding: 1 2; margin: 0 1 0 0; background: $tone-panel; border-title-style: bold; border-subtitle-color: $tone-dim; }
    CardView.light { border: round $tone-first; border-title-color: $tone-first; }
    CardView.double { border: double $tone-between; border-title-color: $tone-between; }
    CardView.heavy { border: heavy $tone-last; border-title-color: $tone-last; }
    CardView:focus { background: $tone-line 60%; }
    CardView:last-child { margin: 0; }
    .narrow CardView { height: auto; padding: 0 1; margin: 0; }
    """

    def __init__(self, card: Card, number: int) -> None:
        super().__init__(_card(card), classes=card.shape)
        self.card = card
        self.border_title = Content(clean(f" {number}  {card.name.upper()} "))
        self.border_subtitle = Content(f" {_state(card)} ")


class EnvironmentsScreen(FramedScreen):
    """Digits open an environment; so does Enter on its card."""

    name_ = "environments"
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings("environments"),
        ("left,up", "app.focus_previous", ""),
        ("right,down", "app.focus_next", ""),
    ]
    CSS = "EnvironmentsScreen #cards { height: 1fr; } EnvironmentsScreen.narrow #cards { layout: vertical; overflow-y: auto; }"

    _covered = False  # by another screen: not so when it is shown for the first time

    def body(self) -> ComposeResult:
        lobby = self.envtui.lobby
        names = ", ".join(name.upper() for name in self.envtui.names)
        yield Horizontal(*(_cards(lobby) if lobby else [Static(Content(clean(f"reading {names} …")))]), id="cards")

    def on_mount(self) -> None:
        super().on_mount()
        if self.envtui.lobby is None:
            # What reads the trees is imported and runs after the first frame, beside the screen.
            self.call_after_refresh(lambda: self.envtui.work(self._read_first()))
        else:
            self._shown()

    async def _read_first(self) -> None:
        try:
            await self._show(await asyncio.to_thread(lambda: self.envtui.world.lobby()))
        except EnvtuiError as error:
            self.envtui.failed = error
            self.envtui.exit(error.exit_code)

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self._covered:
            self._covered = False
            self.call_later(self._left)

    def on_screen_suspend(self) -> None:
        self._covered = True

    async def _left(self) -> None:
        """Back from an environment: it is closed, and the lobby looks again."""
        await self.envtui.close_environment()
        await self.read()

    async def read(self) -> None:
        """Read all trees and ledgers again."""
        await self._show(self.envtui.world.lobby())

    async def _show(self, lobby: Lobby) -> None:
        self.envtui.lobby = lobby
        cards = self.query_one("#cards")
        await cards.remove_children()
        await cards.mount_all(_cards(lobby))
        self._shown()

    def _shown(self) -> None:
        cards = self.query_one("#cards").children
        if cards:
            cards[0].focus()
        self.show_banner()
        if self.envtui.lobby is not None:
            self._say(self.envtui.lobby)

    def _say(self, lobby: Lobby) -> None:
        if lobby.in_doubt:
            name, run = lobby.in_doubt[0]
            self.now(
                "!",
                f"{len(lobby.in_doubt)} in doubt, {clean(run.title)} in {name} first: its outcome is not known. Open it before anything else.",
                "$tone-bad",
            )
        elif lobby.to_review:
            name, debt = lobby.to_review[0]
            self.now(
                "!",
                f"The break-glass of {clean(debt.person, 60)} in {name} is not reviewed: envtui review {name}",
                "$tone-bad",
            )
        elif lobby.problems:
            self.now(
                "check", f"{len(lobby.problems)} problems in the trees; `envtui check` names each place.", "$tone-bad"
            )
        else:
            self.now(
                "",
                words(
                    ("1", "bold $tone-text"),
                    ("–", "$tone-dim"),
                    (str(len(lobby.cards)), "bold $tone-text"),
                    (" opens an environment, read-only", "$tone-dim"),
                ),
            )

    def on_key(self, event: events.Key) -> None:
        if event.key.isdigit() and self.envtui.lobby is not None:
            at = int(event.key) - 1
            if 0 <= at < len(self.envtui.lobby.cards):
                event.stop()
                self.envtui.open_environment(self.envtui.lobby.cards[at].name)

    def action_open(self) -> None:
        if isinstance(self.focused, CardView):
            self.envtui.open_environment(self.focused.card.name)


def _cards(lobby: Lobby) -> list[CardView]:
    return [CardView(card, number) for number, card in enumerate(lobby.cards, 1)]


def _state(card: Card) -> str:
    """What matters before anything else, where it is seen in the smallest terminal too."""
    if card.in_doubt:
        return f"{len(card.in_doubt)} in doubt"
    if card.debts:
        return f"{len(card.debts)} break-glass to review"
    if card.problems:
        return f"{len(card.problems)} problems"
    return {"new": "not accepted yet", "changed": "changed: not accepted"}.get(card.trust, "read-only")


def _debt(debt: Debt) -> str:
    """A break-glass of one's own that nobody reviewed, and until when somebody has to."""
    now_ms = round(time.time() * 1000)
    due = f"{'OVERDUE since' if debt.overdue(now_ms) else 'due'} {moment(debt.due_ms)}"
    return clean(f"break-glass by {debt.person}, {due}", 120)


def _card(card: Card) -> Rows:
    facts: list[tuple[str, str, str]] = [
        ("data", card.data, "$tone-text"),
        ("runbooks", str(card.books), "$tone-text"),
        ("write", card.write, "$tone-text"),
    ]
    if card.trust != "trusted":
        facts.append(("trust", "not accepted yet" if card.trust == "new" else "changed", "$tone-wait"))
    if card.problems:
        facts.append(("check", f"{len(card.problems)} problems", "$tone-bad"))
    facts[:0] = [("in doubt", clean(run.title, 60), "bold $tone-bad") for run in card.in_doubt[:2]]
    facts[len(card.in_doubt[:2]) : 0] = [("to review", _debt(debt), "bold $tone-bad") for debt in card.debts[:2]]
    if card.runs:
        last = card.runs[0]
        facts.append(("last run", f"{clean(last.book, 40)} · {(last.word or 'open').lower()}", "$tone-text"))
        facts.append(("", ago(last.started_ms), "$tone-dim"))
    return Rows(
        (
            line((clean(card.purpose, 300), "bold $tone-text")),
            BLANK,
            *(row(f"{label:<9} ", value, tone) for label, value, tone in facts),
            BLANK,
            *(row("· ", clean(rule, 300), "$tone-dim", label_tone=TONE[card.shape]) for rule in card.rules),
        )
    )
