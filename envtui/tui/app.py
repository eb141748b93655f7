"""The application: which environment is open, which screen shows it, and how it ends.

A run belongs to the session, never to a screen. At most one environment is open; leaving it for another closes it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.app import App
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.events import Key
from textual.filter import LineFilter

from envtui.core.errors import EnvtuiError, NotTrusted
from envtui.core.text import backstop, clean

from .banner import Banner, banner
from .drafts import Drafts
from .driver import TerminalDriver
from .hands import AtScreens
from .theme import PALETTES, theme

if TYPE_CHECKING:  # the first frame shows the lobby: no session is there yet
    from envtui.compose import World
    from envtui.engine.lobby import Lobby
    from envtui.engine.runner import RunTask
    from envtui.engine.session import EnvironmentSession
    from envtui.rules.countdown import Countdown

LOBBY = 2
"""Screens that are open in the lobby: Textual's own, and the environments."""


class _Backstop(LineFilter):
    """The last look at what reaches the terminal: no control character passes, whatever a widget let through."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.control or (safe := backstop(segment.text)) == segment.text
            else Segment(safe, segment.style)
            for segment in segments
        ]


class EnvtuiApp(App[int]):
    """`world` is where everything comes from, or makes it; `first` the environment to open at once, if any.

    The first frame says `names`, the environments that seem to be there, while the trees are read.
    `failed`: why they could not be read, when that ended it.
    """

    TITLE = "envtui"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    Input, Input:focus { border: none; height: 1; padding: 0 1; background: $tone-line; color: $tone-text; }
    * { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; }
    ToastRack { dock: top; align: right top; margin: 1 2; }
    Toast { background: $tone-panel; color: $tone-text; border-left: outer $tone-send; padding: 0 1; margin-bottom: 1; }
    Toast.-error { border-left: outer $tone-bad; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit", show=False),
        Binding("question_mark", "help", "help", show=False),
        Binding("t", "themes", "theme", show=False),
        Binding("g", "go", "go", show=False),
        Binding("ctrl+c", "interrupt", "stop", show=False, priority=True),
    ]

    def __init__(self, world: World | Callable[[], World], first: str | None = None, names: Sequence[str] = ()) -> None:
        super().__init__(driver_class=TerminalDriver)
        self._world = world
        self.names = tuple(names)
        self.failed: EnvtuiError | None = None
        self.first = first
        self.session: EnvironmentSession | None = None
        self.run_task: RunTask | None = None
        self.lobby: Lobby | None = None
        self.hands = AtScreens(self)
        self.drafts = Drafts()
        self._countdown: Countdown | None = None
        self._going = False
        self._working: set[asyncio.Task[None]] = set()
        for name in PALETTES:
            self.register_theme(theme(name))
        self.theme = next(iter(PALETTES))

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        if callable(self._world):
            self._world = self._world()
        return self._world

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme(next(iter(PALETTES))).variables

    def get_line_filters(self) -> list[LineFilter]:
        return [*super().get_line_filters(), _Backstop()]

    async def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._ended_from_outside)
        self.set_interval(1.0, self.tick)
        from .screens.environments import EnvironmentsScreen

        if self.first:
            self.lobby = self.world.lobby()
        self.push_screen(EnvironmentsScreen())
        if self.first:
            self.open_environment(self.first)

    def _ended_from_outside(self) -> None:
        """The terminal closed, or somebody asked us to end: leave in order. The ledger does not rely on it."""
        self.work(self._leave(143))

    async def _leave(self, code: int) -> None:
        await self.close_environment()
        self.exit(code)

    def _fatal_error(self) -> None:
        """A crash shows where, and never what was in the variables: a password was printed that way."""
        import traceback

        from rich.text import Text

        lines = clean(traceback.format_exc(), 20_000)
        self._exit_renderables.append(
            Text(f"envtui met an error that it did not expect.\n\n{lines}\nThe ledger has everything up to here.")
        )
        self._close_messages_no_wait()

    def work(self, job: Awaitable[None]) -> None:
        """Do something that waits, outside any screen: it goes on when the screen is left. Errors become a line."""

        async def guarded() -> None:
            try:
                await job
            except EnvtuiError as error:
                self.say(error)
            finally:
                self.changed()

        task = asyncio.create_task(guarded())
        self._working.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            try:
                raise error  # so that what is printed says where
            except Exception as raised:
                self._handle_exception(raised)

    def say(self, error: EnvtuiError | str) -> None:
        """A refusal or a failure, where the eye is; it stays until something else happens."""
        self.notify(clean(str(error), 1200), severity="error", timeout=20, markup=False)

    def tell(self, text: str) -> None:
        """Something worth knowing, for a moment."""
        self.notify(clean(text, 600), timeout=6, markup=False)

    def on_notify(self) -> None:
        """One message at a time: the newest takes the place of the one before."""
        self.clear_notifications()

    # -- environment ---------------------------------------------------------------------------------------------

    def banner(self) -> Banner:
        lobby = ""
        if self.lobby is not None:
            operator = self.world.operator
            books = sum(card.books for card in self.lobby.cards)
            state = "check passed" if not self.lobby.problems else f"{len(self.lobby.problems)} problems: envtui check"
            lobby = (
                f"{operator.name}@{operator.machine} · {len(self.lobby.cards)} environments, {books} runbooks, {state}"
            )
        run = self.run_task.run if self.run_task is not None else None
        needs = self.run_task.plan.needs if run is not None and run.word is None and self.run_task is not None else ()
        return banner(self.session, run, round(time.time() * 1000), clean(lobby, 200), needs)

    def open_environment(self, name: str) -> None:
        if self.session is not None and self.session.environment.name != name:
            self._when_left(lambda: self.work(self._open(name)))
        else:
            self.work(self._open(name))

    async def _open(self, name: str) -> None:
        if self.session is not None and self.session.environment.name != name:
            await self.close_environment()
        if self.session is None:
            try:
                self.session = await (await self.world.open(name)).__aenter__()
            except NotTrusted:
                from .screens.trust import TrustScreen

                self.push_screen(TrustScreen(name))
                return
            self.session.subscribe(self.changed)
            self.work(self._look())
        self.opened()

    def opened(self) -> None:
        """An environment was opened: show what there is to do in it."""
        from .screens.runbooks import RunbooksScreen

        self.push_screen(RunbooksScreen())

    async def _look(self) -> None:
        assert self.session is not None
        await self.session.verify_ledger()

    async def close_environment(self) -> None:
        """Back to the lobby: connections closed, write access given back."""
        session, self.session, self.run_task = self.session, None, None
        if session is not None:
            await session.close()

    def changed(self) -> None:
        """Something happened: the screen in front looks again, at most once a frame."""
        if not self._going and self.is_running:
            self._going = True
            self.call_later(self._refresh_front)

    def _refresh_front(self) -> None:
        self._going = False
        from .framed import FramedScreen

        for screen in reversed(self.screen_stack):
            if isinstance(screen, FramedScreen) and screen.is_mounted:
                screen.show_state()
                screen.show_banner()
            if not screen.is_modal:  # what is below it is not seen; it looks again when it is
                break

    def tick(self) -> None:
        """Once a second: the countdown and elapsed times."""
        if self.session is None:
            return
        self.changed()
        if self._countdown is None:
            from envtui.rules.countdown import Countdown

            self._countdown = Countdown()
        for task in self.session.tasks:
            for text in self._countdown.due(task.run, task.plan, self.session.ways.clock.wall_ms()):
                self.tell(f"{task.plan.book}: {text}")
                self.bell()

    # -- actions ---------------------------------------------------------------------------------------------------

    def action_go(self) -> None:
        """`g` and then a letter."""
        self._go_next = True
        self.tell("g …  e environments · b runbooks · r runs · l ledger")

    _go_next = False

    def on_key(self, event: Key) -> None:
        if self._go_next:
            self._go_next = False
            self.clear_notifications()
            went = {"e": "environments", "b": "runbooks", "r": "runs", "l": "ledger"}.get(event.key)
            if went:
                event.stop()
                event.prevent_default()
                self.go(went)

    def go(self, where: str) -> None:
        """Show one of the main screens."""
        if where == "environments":
            self._when_left(self._home)
            return
        if self.session is None:
            self.tell("Open an environment first.")
            return
        if where == "runbooks":
            from .screens.runbooks import RunbooksScreen

            self.push_screen(RunbooksScreen())
        elif where == "runs":
            from .screens.runs import RunsScreen

            self.push_screen(RunsScreen())
        else:
            from .screens.ledger import LedgerScreen

            self.push_screen(LedgerScreen())

    def back(self) -> None:
        """To the screen before; where that is the lobby, the environment is left."""
        if len(self.screen_stack) > LOBBY + 1:
            self.pop_screen()
        else:
            self._when_left(self._home)

    def _home(self) -> None:
        while len(self.screen_stack) > LOBBY:
            self.pop_screen()

    def action_help(self) -> None:
        from .screens.help import HelpScreen

        if isinstance(self.screen, HelpScreen):
            return
        self.push_screen(HelpScreen(getattr(self.screen, "name_", "")))

    def action_themes(self) -> None:
        names = list(PALETTES)
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]
        self.tell(self.theme.removeprefix("envtui-"))

    def action_interrupt(self) -> None:
        """ctrl+c: the selected text, else stop what runs, else how to leave."""
        selected = self.screen.get_selected_text()
        if selected:
            self.copy(selected)
        elif self.run_task is not None and self.run_task.busy:
            self.run_task.stop()
            self.tell("Stopping after the current act; polls and waits stop now. C ends the act itself.")
        else:
            self.tell("Press q to leave.")

    async def action_quit(self) -> None:
        self._when_left(lambda: self.work(self._leave(0)))

    def _when_left(self, go: Callable[[], None]) -> None:
        """Go, after a person said so when something is under way in the open environment."""
        tasks = self.session.tasks if self.session else ()
        busy = [task for task in tasks if task.busy]
        if any(task.run.detached for task in tasks) or any(_writes(task) for task in busy):
            self.work(self._leave_writes(go))
            return
        if not busy:
            go()
            return
        from .dialogs.prompt import Prompt

        def decide(typed: str | None) -> None:
            if typed is None:
                return
            if typed.strip() == "leave":
                self.tell("Leaving: a read stops now; a write has a few seconds to end, else it is in doubt.")
                go()
            else:
                self.tell("Nothing was left: type the word leave.")

        goes = "1 run is" if len(busy) == 1 else f"{len(busy)} runs are"
        said = f"{goes} in the middle of an act. A read is cancelled; a write that does not end at once is in doubt.\nType leave."
        self.push_screen(Prompt("Leave?", said), decide)

    async def _leave_writes(self, go: Callable[[], None]) -> None:
        """Say what the writes that go on do when they are left, and go when a person says so."""
        from .dialogs.stop import LEAVE, STOP, leave_dialog
        from .dialogs.typed import TypedDialog
        from .screens.under_way import under_way

        session = self.session
        if session is None or isinstance(self.screen, TypedDialog):
            return
        going = await under_way(session, [t for t in session.tasks if t.busy or t.run.detached])

        def decide(word: str | None) -> None:
            if word == LEAVE:
                self.tell("Leaving: a write has 5 s to end; then it goes on at its target, in doubt here.")
                go()
            elif word == STOP:
                self.tell("Ending it now; what became of it is looked for.")
                for task in session.tasks:
                    if task.busy:
                        task.cut(writes=True)
                        self.work(_settled(task))

        self.push_screen(leave_dialog(going), decide)

    def copy(self, text: str) -> None:
        """To the terminal's clipboard, cleaned and at most 64 KiB; not every terminal takes it."""
        self.copy_to_clipboard(clean(text, 64 * 1024))
        self.tell("Sent to the terminal's clipboard.")


def _writes(task: RunTask) -> bool:
    """Whether a write of the run is under way."""
    from .screens.under_way import running

    return any(act.mode == "write" for act in running(task.run))


async def _settled(task: RunTask) -> None:
    """Where a run that was cut off leads, written down."""
    await task.idle()
    await task.settle()
