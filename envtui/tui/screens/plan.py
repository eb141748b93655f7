"""The plan before the run: every act, for every member, as it would be sent. Enter writes the start down; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from envtui.core.act import Plan
from envtui.core.errors import EnvtuiError
from envtui.core.text import clean
from envtui.core.tree import Book
from envtui.rules.protection import of_plan
from envtui.rules.shows import shows

from .. import actions
from ..framed import FramedScreen, words
from ..widgets.rows import Row, Rows, row


class PlanScreen(FramedScreen):
    """Parameters at the top, the acts below; both are what would be written down and signed."""

    name_ = "plan"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("plan")  # type: ignore[assignment]
    CSS = """
    PlanScreen Input { border: none; background: $tone-line; height: 1; padding: 0 1; margin: 0 0 1 0; }
    PlanScreen #acts { height: 1fr; }
    PlanScreen .ask { color: $tone-label; height: auto; }
    """

    def __init__(self, book: Book, text: str = "") -> None:
        """`text`: of the book as it was edited; '' is the checkout's."""
        super().__init__()
        self._book = book
        self._text = text
        self._plan: Plan | None = None

    def body(self) -> ComposeResult:
        r = self._book.runbook
        edited = [(" · EDITED", "bold $tone-bad")] if self._text else []
        yield Static(words((clean(r.title, 300), "bold $tone-text"), (f"  {clean(r.id)} · plan", "$tone-dim"), *edited))
        with VerticalScroll(id="acts"):
            for name, param in r.params.items():
                label = f"{name} ({param.type}{', required' if param.required else ''})  {param.ask}"
                yield Static(words((clean(label, 200), "$tone-label")), classes="ask")
                field = Input(value=param.default or "", id=f"param-{name}")
                field.cursor_blink = False
                yield field
            yield Static("", id="plan")

    def on_mount(self) -> None:
        super().on_mount()
        self._make()
        fields = self.query(Input)
        (fields.first() if fields else self.query_one("#acts")).focus()

    def on_input_changed(self) -> None:
        self._make()

    def on_input_submitted(self) -> None:
        self.action_begin()

    def _given(self) -> dict[str, str]:
        params = self._book.runbook.params
        values = {name: self.query_one(f"#param-{name}", Input).value for name in params}
        return {n: v for n, v in values.items() if v and v != (params[n].default or "")}

    def _make(self) -> None:
        session = self.envtui.session
        shown = self.query_one("#plan", Static)
        if session is None:
            return
        try:
            self._plan = session.plan(self._book.runbook.id, self._given(), text=self._text)
        except EnvtuiError as error:
            self._plan = None
            shown.update(words((clean(str(error), 3000), "$tone-bad")))
            self.now("no plan", clean(error.remedy, 200), "$tone-bad")
            return
        probed: dict[str, list[str]] = {}
        for one in session.status().connections:
            if one.protection:
                probed.setdefault(one.target, []).append(one.protection)
        shown.update(describe(self._plan, of_plan(self._plan, session.environment, probed)))
        writes = len(self._plan.writes)
        said = f"{len(self._plan.steps)} steps, {writes or 'no'} write{'' if writes == 1 else 's'}"
        self.now(
            "",
            words(
                (said, "$tone-text"),
                (f" · plan {self._plan.digest()[:12]} · ", "$tone-dim"),
                ("enter", "bold $tone-text"),
                (" starts the run; nothing is sent yet", "$tone-dim"),
            ),
        )

    def action_begin(self) -> None:
        session, plan = self.envtui.session, self._plan
        if session is None or plan is None:
            return
        self._plan = None  # one start for one plan, however often the key is pressed

        async def start() -> None:
            task = await session.start(plan)
            self.envtui.run_task = task
            from .run import RunScreen

            self.app.switch_screen(RunScreen(task))

        self.envtui.work(start())

    def action_edit(self) -> None:
        self.envtui.work(self._edit())

    async def _edit(self) -> None:
        from ..editing import edit_book

        session, book = self.envtui.session, self._book.runbook.id
        assert session is not None
        text = self._text or session.bringing.checkout(book) or ""

        async def judge(now: str) -> tuple[Book, Sequence[str]]:
            run = session.begin()[0]
            found = session.bringing.take(now, book, run, f"{book}.yaml").book
            brought = session.bringing.of(run, found.sha256)
            return found, session.bringing.difference(brought) if brought else ("as the checkout has it",)

        taken = await edit_book(self.envtui, book, text, judge)
        if taken is not None:
            found, now = taken
            same = found.sha256 == session.book(book).sha256
            self.app.switch_screen(PlanScreen(found, "" if same else now))

    def action_back(self) -> None:
        self.app.pop_screen()


def describe(plan: Plan, reads: Sequence[str] = ()) -> Rows:
    """Every act of a plan with its masked command; undo and probe are signed with it. `reads`: what protects them."""
    rows: list[Row] = []
    names: list[str] = [clean(step.id) for step in plan.steps]
    names += ["  " + clean(act.place.member) for step in plan.steps for act in step.acts]
    names += ["  undo, by hand" for step in plan.steps if step.by_hand]
    wide = min(24, max(map(len, names), default=0))
    for step in plan.steps:
        word, tone = (
            ("WRITE", "bold $tone-bad")
            if step.mode == "write"
            else ("read", "$tone-good")
            if step.acts
            else ("you", "$tone-send")
        )
        said = words((f"{word:<6}", tone), (clean(step.title, 200), "$tone-dim"))
        rows.append(row(f"{clean(step.id):<{wide}}  ", said, label_tone="bold $tone-text"))
        seen: dict[str, list[str]] = {}
        for act in step.acts:
            seen.setdefault(shows(act), []).append(act.place.member)
        for command, members in seen.items():
            rows.append(row(f"  {_members(members, wide - 2):<{wide - 2}}  ", clean(command, 600), "$tone-send"))
        for label, group in (("probe", step.probe), ("undo", step.undo)):
            for command in dict.fromkeys(shows(act) for act in group):
                rows.append(row(f"  {label:<{wide - 2}}  ", clean(command, 400), "$tone-dim"))
        if step.by_hand:
            rows.append(row(f"  {'undo, by hand':<{wide - 2}}  ", clean(step.by_hand, 400), "$tone-dim"))
    if reads:
        rows.insert(0, row("reads  ", clean(" · ".join(reads), 600), "$tone-dim", label_tone="$tone-label"))
    return Rows(rows)


def _members(names: list[str], width: int) -> str:
    """All of them where they fit, else the first and how many more."""
    said = clean(", ".join(names), 400)
    return said if len(said) <= width else f"{clean(names[0])[: width - 5]} +{len(names) - 1}"
