"""What happened, as it is written: the timeline of a run or of the environment, found, verified, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from envtui.core.events import Entry
from envtui.core.redact import shapes
from envtui.core.text import clean
from envtui.rules.words import in_words

from .. import actions
from ..dialogs.prompt import Prompt
from ..dialogs.read import Read
from ..framed import FramedScreen, words
from ..moments import moment

SHOWN = 2_000
"""Entries on screen, the newest; the count says how many there are, `envtui ledger show` has all."""


class LedgerScreen(FramedScreen):
    """The entries of one run, or of all, the newest last."""

    name_ = "ledger"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("ledger")  # type: ignore[assignment]
    CSS = """
    LedgerScreen OptionList { height: 1fr; border: none; background: $tone-ground; background-tint: transparent; padding: 0; }
    LedgerScreen OptionList > .option-list--option-highlighted { background: $tone-line; }
    LedgerScreen #filter { height: 1; border: none; background: $tone-ground; padding: 0; margin: 0 0 1 0; }
    LedgerScreen #filter:focus { background: $tone-line; border: none; }
    """

    def __init__(self, run: str | None = None) -> None:
        super().__init__()
        self._of = run
        self._entries: list[Entry] = []

    def body(self) -> ComposeResult:
        yield Static("", id="head")
        yield Input(placeholder="/ filters: incident, host, book, person", id="filter")
        yield OptionList(id="entries")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).cursor_blink = False
        self.query_one(OptionList).focus()
        self.call_later(self.read)

    async def read(self) -> None:
        """Read the ledger again."""
        session = self.envtui.session
        if session is not None:
            self._entries = list(await session.entries(self._of))
        self._show("")

    def _show(self, text: str) -> None:
        found = [e for e in self._entries if all(w in _hay(e) for w in text.lower().split())]
        options = self.query_one(OptionList)
        options.clear_options()
        room = max(20, self.size.width - 7)  # without frame, padding and scroll bar
        options.add_options([Option(_line(entry, room, self._masked)) for entry in found[-SHOWN:]])
        if found:
            options.highlighted = options.option_count - 1
        which = f"run {self._of}" if self._of else "this environment"
        shown = f"{min(len(found), SHOWN)} of {len(self._entries)} entries of {which}"
        self.query_one("#head", Static).update(words(("ledger  ", "bold $tone-text"), (shown, "$tone-dim")))
        self.now(
            "",
            words(
                ("v", "bold $tone-text"),
                (" recomputes every entry   ", "$tone-dim"),
                ("enter", "bold $tone-text"),
                (" shows one in full", "$tone-dim"),
            ),
        )
        self._found = found[-SHOWN:]

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        entry = self._found[event.option_index]
        text = msgspec.json.format(msgspec.json.encode(entry.event), indent=2).decode()
        said = f"{moment(entry.at_ms)}\n{self._masked(clean(text, 6000))}\n\n{entry.hash}"
        self.app.push_screen(Read(f"entry {entry.seq}", said))

    def _masked(self, text: str) -> str:
        session = self.envtui.session
        return session.ways.masked(text) if session is not None else shapes(text)

    def action_open(self) -> None:
        self.query_one(OptionList).action_select()

    def action_find(self) -> None:
        field = self.query_one("#filter", Input)
        self.set_focus(field)  # at once: the next letter is the first of the filter

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def on_input_submitted(self) -> None:
        self.set_focus(self.query_one(OptionList))

    def action_verify(self) -> None:
        session = self.envtui.session
        if session is None:
            return

        async def verify() -> None:
            said = await session.verify_ledger()
            self.now("sound", said, "$tone-good")

        self.envtui.work(verify())

    def action_export(self) -> None:
        run = self._of
        if run is None:
            self.envtui.tell("Open a run first (g r, enter): a report is about one run.")
            return

        def done(name: str | None) -> None:
            session = self.envtui.session
            if not name or session is None:
                return
            from envtui.rules.report import report

            try:
                with Path(name).expanduser().open("x", encoding="utf-8") as file:
                    file.write(report(session.environment.name, self._entries, run))
            except OSError as error:
                self.envtui.say(f"{name}: {error.strerror}")
            else:
                self.envtui.tell(f"The report is in {name}")

        self.app.push_screen(Prompt("Report as Markdown", "A new file:", value=f"{run}.md"), done)

    def action_back(self) -> None:
        field = self.query_one("#filter", Input)
        if field.value or field.has_focus:
            field.value = ""
            self.query_one(OptionList).focus()
        else:
            self.app.pop_screen()


def _hay(entry: Entry) -> str:
    return msgspec.json.encode(entry.event).decode().lower()


def _line(entry: Entry, width: int, masked: Callable[[str], str]) -> Content:
    """One entry on one line of at most `width` columns: its number, its time, and what happened in words."""
    said = masked(clean(in_words(entry.event), 600)).replace("\n", " ⏎ ")
    word = getattr(entry.event, "word", "")
    tone = "$tone-bad" if word in ("FAILED", "IN DOUBT", "REFUSED", "TIMED OUT") else "$tone-text"
    return words(
        (f"{entry.seq:>5} ", "$tone-label"),
        (f"{moment(entry.at_ms).split(' (')[0]:<9} ", "$tone-label"),
        (said, tone),
    ).truncate(width, ellipsis=True)
