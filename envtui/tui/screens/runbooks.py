"""The books of the open environment as a tree, and what the chosen one is for."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from envtui.core.runbook import Step
from envtui.core.text import clean
from envtui.core.tree import Book

from .. import actions
from ..dialogs.prompt import Prompt
from ..framed import FramedScreen, words
from ..moments import ago
from ..widgets.rows import BLANK, Rows, line, paragraphs, row


class RunbooksScreen(FramedScreen):
    """Enter opens a book's plan; it never runs anything."""

    name_ = "runbooks"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("runbooks")  # type: ignore[assignment]
    CSS = """
    RunbooksScreen #left { width: 40%; min-width: 26; max-width: 54; border-right: solid $tone-line; padding: 0 1 0 0; }
    RunbooksScreen #right { width: 1fr; padding: 0 0 0 2; }
    RunbooksScreen #filter { height: 1; border: none; background: $tone-ground; padding: 0; margin: 0 0 1 0; }
    RunbooksScreen #filter:focus { background: $tone-line; border: none; }
    RunbooksScreen OptionList { height: 1fr; border: none; background: $tone-ground; background-tint: transparent; padding: 0; }
    RunbooksScreen OptionList > .option-list--option-highlighted { background: $tone-line; text-style: bold; }
    RunbooksScreen.narrow #right { display: none; }
    RunbooksScreen.narrow #left { width: 1fr; max-width: 100%; border-right: none; }
    """

    def body(self) -> ComposeResult:
        with Horizontal():
            with VerticalScroll(id="left", can_focus=False):
                yield Input(placeholder="/ filters: id, alert, tag", id="filter")
                yield OptionList(id="books")
            with VerticalScroll(id="right", can_focus=False):
                yield Static("", id="about")

    def on_mount(self) -> None:
        super().on_mount()
        self._books: list[Book | None] = []
        self.query_one(Input).cursor_blink = False
        self._list("")
        self.query_one("#books").focus()

    def _list(self, text: str) -> None:
        session = self.envtui.session
        if session is None:
            return
        books = sorted(session.tree.books.values(), key=lambda b: (b.folder, b.runbook.id))
        shown = [b for b in books if matches(b, text)]
        options = self.query_one("#books", OptionList)
        options.clear_options()
        self._books = []
        folder = None
        for book in shown:
            if book.folder != folder:
                folder = book.folder
                options.add_option(Option(words((f"▾ {clean(folder) or 'books'}", "$tone-label")), disabled=True))
                self._books.append(None)
            writes = any(s.mode == "write" for s in book.runbook.steps)
            options.add_option(
                Option(
                    words(
                        ("R", "$tone-good"),
                        ("W " if writes else "  ", "$tone-bad"),
                        (clean(book.runbook.id), "$tone-text"),
                    )
                )
            )
            self._books.append(book)
        first = next((i for i, b in enumerate(self._books) if b is not None), None)
        if first is not None:
            options.highlighted = first
        count = f"{len(shown)} of {len(books)}" if text else f"{len(books)} runbooks"
        self.now(
            "",
            words(
                (count, "$tone-dim"),
                ("   enter", "bold $tone-text"),
                (" opens the plan; nothing runs by opening", "$tone-dim"),
            ),
        )
        self._about(self._books[first] if first is not None else None)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._about(self._books[event.option_index] if event.option_index < len(self._books) else None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._open(event.option_index)

    def action_open(self) -> None:
        at = self.query_one("#books", OptionList).highlighted
        if at is not None:
            self._open(at)

    def _open(self, at: int) -> None:
        book = self._books[at]
        if book is not None:
            from .plan import PlanScreen

            self.app.push_screen(PlanScreen(book))

    def _about(self, book: Book | None) -> None:
        self.query_one("#about", Static).update(_about(book, self) if book is not None else "")

    def action_find(self) -> None:
        field = self.query_one("#filter", Input)
        self.set_focus(field)  # at once: the next letter is the first of the filter

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list(event.value)

    def on_input_submitted(self) -> None:
        self.set_focus(self.query_one("#books"))

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and isinstance(self.focused, Input):
            self.query_one("#books").focus()

    def action_back(self) -> None:
        field = self.query_one("#filter", Input)
        if field.value or field.has_focus:
            field.value = ""
            self.query_one("#books").focus()
        else:
            self.envtui.back()

    def action_look(self) -> None:
        session = self.envtui.session
        if session is not None:

            async def look() -> None:
                for one in await session.look():
                    if one.error:
                        self.envtui.say(f"{one.target}/{one.member}: {one.error}")

            self.envtui.work(look())
            self.envtui.tell("Connecting to every target with read credentials.")

    def action_ask(self) -> None:
        ask_unscripted(self)

    def action_propose(self) -> None:
        from .propose import ProposeScreen

        self.app.push_screen(ProposeScreen())


def ask_unscripted(screen: FramedScreen) -> None:
    """`TARGET command…`, run as a read of one step."""
    session = screen.envtui.session
    if session is None:
        return

    async def done(typed: str | None) -> None:
        if not typed:
            return
        target, _, rest = typed.strip().partition(" ")
        needs: list[str] = []
        if rest.startswith("--needs "):
            said, _, rest = rest.removeprefix("--needs ").lstrip().partition(" ")
            needs = [need for need in said.split(",") if need]

        async def start() -> None:
            import shlex

            described = session.environment.targets.get(target)
            is_ssh = type(described).__name__ == "SshTarget"
            try:
                words_ = shlex.split(rest) if is_ssh else [rest]
            except ValueError:
                words_ = [rest]
            task = await session.ask(target, words_, needs)
            screen.envtui.run_task = task
            from .run import RunScreen

            screen.app.push_screen(RunScreen(task))
            await task.run_on()

        screen.envtui.work(start())

    names = ", ".join(session.environment.targets)
    screen.app.push_screen(
        Prompt(
            "An unscripted read",
            f"Targets: {names}\nWrite the target, then the command, the query or the path. "
            "A command may need more than to read files: gateway --needs sockets systemctl status nginx",
            "gateway uptime",
        ),
        done,
    )


def matches(book: Book, text: str) -> bool:
    """Every word of `text` is somewhere in what a person would look for."""
    r = book.runbook
    hay = " ".join((r.id, r.title, r.use_when, *r.alerts, *r.tags, book.folder)).lower()
    return all(word in hay for word in text.lower().split())


def _about(book: Book, screen: FramedScreen) -> Rows:
    r = book.runbook
    about = f" · about {clean(r.estimate)}" if r.estimate else ""
    rows = [
        line((clean(r.title, 300), "bold $tone-text")),
        line((f"{clean(r.id)} · {clean(r.owner, 80)}{about}", "$tone-dim")),
        BLANK,
    ]
    if r.use_when:
        rows += [row("when    ", paragraphs(clean(r.use_when, 600))), BLANK]
    if r.alerts:
        rows += [row("alerts  ", clean(", ".join(r.alerts), 300), "$tone-dim"), BLANK]
    steps: list[tuple[str, str]] = []
    for step in (*r.before, *r.steps):
        mark, tone = _mark(step)
        needs = "".join(f"\u00a0+{need}" for need in getattr(step, "needs", ()))
        name = clean(step.id).replace("-", "\u2011")
        steps += [(f"{mark}\u00a0", tone), (name, "$tone-dim"), (needs + "   ", "$tone-wait")]
    rows += [row("steps   ", words(*steps)), BLANK]
    if r.change != "none":
        rows += [row("change  ", r.change, "$tone-wait"), BLANK]
    cards = screen.envtui.lobby.cards if screen.envtui.lobby else ()
    last = next((run for card in cards for run in card.runs if card.name == r.environment and run.book == r.id), None)
    if last is not None:
        said = f"{(last.word or 'open').lower()}, {ago(last.started_ms)} by {clean(last.operator, 60)}"
        rows += [row("last    ", said), BLANK]
    if r.doc:
        rows.append(line((paragraphs(clean(r.doc, 3000)), "$tone-dim")))
    return Rows(rows)


def _mark(step: Step) -> tuple[str, str]:
    if step.mode == "write":
        return "W", "$tone-bad"
    kind = type(step).__name__
    return ("you", "$tone-send") if kind in ("ManualStep", "ChooseStep") else ("R", "$tone-good")
