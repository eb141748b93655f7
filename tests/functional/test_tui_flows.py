"""The screens by keyboard: what each key does, what is refused and why, and what no key alone can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from keyboard_kit import type_text
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static
from tui_kit import ScriptedWorld, Targets, grow, incident, world

from envtui.core.act import Act
from envtui.core.environment import IncidentPolicy
from envtui.core.events import GrantActivated, Noted, RunStarted, SignedOff
from envtui.core.ports import Reading, Sink
from envtui.engine.runner import RunTask
from envtui.tui import actions
from envtui.tui.app import EnvtuiApp
from envtui.tui.dialogs.choose import Choose
from envtui.tui.dialogs.prompt import Prompt
from envtui.tui.dialogs.write import WriteDialog
from envtui.tui.screens.help import MORE, HelpScreen
from envtui.tui.widgets.output import OutputView

PATIENCE = 20.0


class Sitting:
    """One person at the keyboard."""

    def __init__(self, pilot: Pilot[int], targets: Targets, made: ScriptedWorld) -> None:
        self.pilot = pilot
        self.targets = targets
        self.world = made

    @property
    def app(self) -> EnvtuiApp:
        assert isinstance(self.pilot.app, EnvtuiApp)
        return self.pilot.app

    @property
    def task(self) -> RunTask:
        assert self.app.run_task is not None
        return self.app.run_task

    @property
    def where(self) -> str:
        return type(self.app.screen).__name__

    @property
    def said(self) -> str:
        """Everything that the toasts say."""
        return "\n".join(str(n.message) for n in self.app._notifications)

    def text(self, selector: str) -> str:
        return str(self.app.screen.query_one(selector, Static).visual)

    @property
    def title(self) -> str:
        return str(self.app.screen.query_one("#frame").border_title)

    @property
    def now(self) -> str:
        return self.text("#now")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await type_text(self.pilot, text)

    async def until(self, true: Callable[[], bool], what: str) -> None:
        for _ in range(int(PATIENCE / 0.02)):
            if true():
                await self.pilot.pause()
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{what} never came: {self.where}; {self.said}; {self.task_said}")

    @property
    def task_said(self) -> str:
        task = self.app.run_task
        return f"{task.run.word} {task.run.why} {task.next}" if task is not None else "no run"

    async def screen(self, name: str) -> None:
        await self.until(lambda: self.where == name, name)

    async def idle(self) -> None:
        await self.pilot.pause()
        await self.until(lambda: not self.task.busy and not self.app._working, "idle")

    async def open(self, digit: str = "2", book: str = "locked") -> None:
        """To the start of a run."""
        await self.screen("EnvironmentsScreen")
        await self.until(lambda: self.app.lobby is not None, "lobby")
        await self.press(digit)
        await self.screen("RunbooksScreen")
        await self.press("slash")
        await self.type(book)
        await self.press("enter", "enter")
        await self.screen("PlanScreen")
        await self.press("enter")
        await self.screen("RunScreen")

    async def to_the_write(self) -> None:
        await self.open()
        await self.press("R")
        await self.idle()
        await self.press("a")
        await self.screen("Choose")
        await self.press("2")
        await self.idle()
        await self.press("a")
        await self.screen("Choose")
        await self.press("1")
        await self.idle()

    async def granted(self) -> None:
        """Write access, signed by meera beside."""
        await self.to_the_write()
        name = incident(self.world)
        await self.press("e")
        await self.screen("EscalateScreen")
        for field, value in (("incident", name), ("reason", "Go back to what worked")):
            self.app.screen.query_one(f"#{field}", Input).value = value
        self.app.screen.query_one("#ttl", Input).focus()
        await self.press("enter")
        await self.until(lambda: bool(self.task.run.requests) and not self.app._working, "the request")
        await self.press("f2")
        await self.until(lambda: self.where != "EscalateScreen", "who signs")
        self.app.screen.query_one(Input).value = f"file:{self.world.variables['HOME']}/.ssh/meera"
        await self.press("enter")
        await self.until(lambda: self.task.run.write_active, "write access")
        await self.press("escape")
        await self.screen("RunScreen")


@asynccontextmanager
async def sitting(
    folder: Path, *, trusted: bool = True, size: tuple[int, int] = (80, 24), **policy: object
) -> AsyncIterator[Sitting]:
    targets = Targets()
    made = world(grow(folder, **policy), targets, trusted=trusted)  # type: ignore[arg-type]
    app = EnvtuiApp(made)
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        yield Sitting(pilot, targets, made)
        await app.close_environment()


async def test_filter_plan_and_start_send_nothing(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        assert at.task.run.book == "revert"
        assert at.targets.read == at.targets.written == []
        assert "r does up" in at.now
        assert "PRODUCTION" in at.title
        assert "READ-ONLY" in at.title


async def test_a_filter_that_fits_nothing_says_so_and_enter_does_nothing(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.press("2")
        await at.screen("RunbooksScreen")
        await at.press("slash")
        await at.type("zzz")
        assert at.app.screen.query_one("#books", OptionList).option_count == 0
        assert "0 of 2" in at.now
        await at.press("enter", "enter")
        assert at.where == "RunbooksScreen"


async def test_reads_go_on_until_a_person_is_needed(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        await at.press("r")
        await at.idle()
        assert set(at.targets.read) == {"up@gw1-production", "up@gw2-production"}
        await at.press("R")
        await at.idle()
        assert "pick" in at.now
        await at.press("a")
        await at.screen("Choose")
        await at.press("down", "enter")
        await at.idle()
        assert at.task.run.captures[-1].rows[0][0] == "42"
        assert "a choose" in at.now


async def test_a_write_is_refused_with_the_reason_and_the_way(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.to_the_write()
        assert "needs write" in at.now
        await at.press("w")
        assert at.where == "RunScreen"
        assert "press e" in at.said
        assert at.targets.written == []


async def test_the_whole_way_to_a_write_and_back_to_reading(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.granted()
        assert "WRITE" in at.title
        assert "signed by meera" in at.title
        assert "2 acts left" in at.title
        await at.press("w")
        await at.screen("WriteDialog")
        await asyncio.sleep(0.35)
        await at.type(at.app.screen._word)  # type: ignore[attr-defined]
        await at.press("enter")
        await at.screen("RunScreen")
        await at.idle()
        assert at.targets.written == ["back@gw1-production", "back@gw2-production"]
        assert "READ-ONLY" in at.title
        entries = await at.app.session.entries()  # type: ignore[union-attr]
        assert [type(e.event) for e in entries].count(GrantActivated) == 1
        assert [e.event.person for e in entries if isinstance(e.event, SignedOff)] == ["meera"]


@pytest.mark.parametrize(
    "burst", [["r", "tab", "enter"], ["enter"], ["y", "enter"], ["w", "enter", "enter"]], ids=" ".join
)
async def test_no_burst_of_keys_confirms_a_write(tmp_path: Path, burst: list[str]) -> None:
    async with sitting(tmp_path) as at:
        await at.granted()
        await at.pilot.press("w", *burst)
        await at.pilot.pause()
        assert at.targets.written == []
        assert at.where == "WriteDialog"


async def test_the_right_letters_pasted_or_in_a_burst_confirm_nothing(tmp_path: Path) -> None:
    from textual.events import Paste

    async with sitting(tmp_path) as at:
        await at.granted()
        await at.press("w")
        await at.screen("WriteDialog")
        word: str = at.app.screen._word  # type: ignore[attr-defined]
        field = at.app.screen.query_one(Input)
        opened = at.app.screen._opened  # type: ignore[attr-defined]
        at.app.screen._opened = opened + 60  # type: ignore[attr-defined]  # as if it opened just now, however slow we are
        await at.pilot.press(*word, "enter")
        assert field.value == ""
        at.app.screen._opened = opened - 60  # type: ignore[attr-defined]
        field.post_message(Paste(f"{word}\n"))
        await at.pilot.pause()
        assert field.value == ""
        dialog = at.app.screen
        for letter in (*word, "enter"):  # as a terminal without bracketed paste hands them over
            from textual.events import Key

            at.app.post_message(Key(letter, letter if len(letter) == 1 else "\r"))
        await at.pilot.pause()
        await asyncio.sleep(0.1)
        assert at.app.screen is dialog
        assert at.targets.written == []
        await at.press("escape")
        await at.screen("RunScreen")
        assert at.targets.written == []


async def test_wrong_letters_send_nothing_and_say_so(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.granted()
        await at.press("w")
        await at.screen("WriteDialog")
        await asyncio.sleep(0.35)
        await at.type("111")
        await at.press("enter")
        assert "Nothing was sent" in at.text("#hint")
        assert at.targets.written == []


async def test_an_expired_grant_falls_back_to_reading_by_itself(tmp_path: Path) -> None:
    async with sitting(tmp_path, ttl="62s") as at:
        # An act's own timeout (60 s) must fit into what is left, so write access is refused two seconds in.
        await at.granted()
        grant = at.task.run.grant
        assert grant is not None
        await at.app.session.access.end(at.task, "EXPIRED")  # type: ignore[union-attr]
        await at.pilot.pause()
        at.app.tick()
        await at.pilot.pause()
        assert "READ-ONLY" in at.title
        await at.press("w")
        assert "ended" in at.said
        assert at.targets.written == []


async def test_write_access_can_be_given_back(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.granted()
        await at.press("x")
        await at.idle()
        assert "READ-ONLY" in at.title
        assert at.task.run.grant is not None
        assert at.task.run.grant.ended == "GIVEN_BACK"


async def test_skip_and_note_go_into_the_ledger_with_their_words(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        await at.press("n")
        await at.screen("Prompt")
        await at.type("began at nine")
        await at.press("enter")
        await at.until(lambda: bool(at.task.run.notes), "the note")
        await at.press("s")
        await at.screen("Prompt")
        await at.type("seen already")
        await at.press("enter")
        await at.idle()
        step = at.task.run.step("up")
        assert step is not None
        assert (step.word, step.why) == ("SKIPPED", "seen already")
        entries = await at.app.session.entries()  # type: ignore[union-attr]
        assert [e.event.text for e in entries if isinstance(e.event, Noted)] == ["began at nine"]


class Slow:
    """A target whose reads wait until they are let go; a cancelled one is gone."""

    def __init__(self, at: Sitting) -> None:
        self.gate = asyncio.Event()
        self.begun = 0
        reader = at.app.session.ways.readers["ssh"]  # type: ignore[union-attr]
        original = reader.read

        async def read(act: Act, sink: Sink) -> Reading:
            self.begun += 1
            await self.gate.wait()
            return await original(act, sink)

        reader.read = read  # type: ignore[method-assign]


@pytest.mark.parametrize("keys", [("q",), ("escape", "escape", "escape"), ("g", "e")], ids=" ".join)
async def test_leaving_while_an_act_is_under_way_asks_first(tmp_path: Path, keys: tuple[str, ...]) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        slow = Slow(at)
        await at.press("r")
        await at.until(lambda: slow.begun == 2, "the act")
        await at.press(*keys)
        await at.screen("Prompt")
        await at.press("escape")
        await at.screen("RunbooksScreen" if "escape" in keys else "RunScreen")
        await at.press(*keys[-2:] if keys[0] == "g" else keys[:1])
        await at.screen("Prompt")
        await at.type("yes")
        await at.press("enter")
        await at.until(lambda: "type the word leave" in at.said, "the word")
        assert at.app.is_running
        assert at.app.session is not None
        assert at.task.busy
        slow.gate.set()
        await at.idle()
        assert at.task.run.step("up").word == "OK"  # type: ignore[union-attr]


@pytest.mark.parametrize("keys", [("q",), ("escape", "escape", "escape"), ("g", "e")], ids=" ".join)
async def test_leaving_in_the_middle_ends_the_read_in_the_ledger(tmp_path: Path, keys: tuple[str, ...]) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        slow = Slow(at)
        task = at.task
        await at.press("R")
        await at.until(lambda: slow.begun == 2, "the act")
        await at.press(*keys)
        await at.screen("Prompt")
        await at.type("leave")
        await at.pilot.press("enter")
        await at.until(lambda: at.app.session is None, "closed")
        assert task.run.word == "CANCELLED"
        assert [act.word for act in task.run.steps[0].acts] == ["CANCELLED", "CANCELLED"]
        assert at.targets.read == []
        (run,) = at.world.runs("production")
        assert (run.word, run.in_doubt) == ("CANCELLED", ())


async def test_ctrl_c_stops_after_the_act_and_says_how_to_leave(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        await at.press("ctrl+c")
        assert "q" in at.said
        slow = Slow(at)
        await at.press("R")
        await at.until(lambda: slow.begun == 2, "the act")
        await at.press("ctrl+c")
        assert "after the current act" in at.said
        slow.gate.set()
        await at.idle()
        assert at.task.run.step("up").word == "OK"  # type: ignore[union-attr]
        assert at.targets.read == ["up@gw1-production", "up@gw2-production"]  # the next read did not begin
        assert at.app.is_running


async def test_one_message_at_a_time_and_the_hint_of_g_goes_with_its_letter(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        for _ in range(3):
            await at.press("t")
        assert len(at.app._notifications) == 1
        await at.press("g")
        assert "b runbooks" in at.said
        assert len(at.app._notifications) == 1
        await at.press("b")
        await at.screen("RunbooksScreen")
        assert at.said == ""


async def test_an_untrusted_tree_is_shown_and_its_name_typed_before_it_opens(tmp_path: Path) -> None:
    async with sitting(tmp_path, trusted=False) as at:
        await at.press("2")
        await at.screen("TrustScreen")
        assert at.app.session is None
        await at.press("a")
        await at.screen("Prompt")
        await at.type("dev")
        await at.press("enter")
        await at.screen("TrustScreen")
        assert at.world.trust(at.world.forest().trees["production"]).word == "new"
        await at.press("a")
        await at.screen("Prompt")
        await at.type("production")
        await at.press("enter")
        await at.screen("RunbooksScreen")
        assert at.world.trust(at.world.forest().trees["production"]).word == "trusted"


async def test_no_secret_is_on_the_screen_nor_copied_nor_offered(tmp_path: Path) -> None:
    known, shaped, wide = "quietly-known", "ghp_" + "a1" * 18, "ghp_" + "b2" * 18
    async with sitting(tmp_path) as at:
        at.targets.output = f"{known}\nremote: {shaped}\n{'x' * 40} {wide}\n".encode()
        at.targets.answer = lambda act, sink: Reading(
            exit=0, columns=("pid", "what"), rows=(("41", shaped), ("42", "b")), row_count=2
        ) if act.place.kind == "sql" else at.targets._say(act, sink)  # fmt: skip
        await at.open()
        # A secret that became known after this output was kept: the transcript has it, the screen must not.
        at.world.variables["production_SQL"] = known  # type: ignore[index]
        await at.press("r")
        await at.idle()
        await at.app.session.ways.secrets.resolve("env:production_SQL", "sql")  # type: ignore[union-attr]
        view = at.app.screen.query_one(OutputView)
        lines = [view.render_line(y).text for y in range(3)]
        assert lines[0].strip() == "*" * len(known)
        assert lines[1].strip() == "remote: " + "*" * min(len(shaped), view.size.width - 8)
        assert "ghp_" not in lines[2]  # begins on the screen, ends beyond it
        copied: list[str] = []
        at.app.copy_to_clipboard = copied.append  # type: ignore[method-assign]
        await at.press("y", "3")
        await at.screen("RunScreen")
        assert copied
        assert not {known, shaped, wide} & set(copied[0].split())
        await at.press("r")
        await at.idle()
        await at.press("a")
        await at.screen("Choose")
        offered = str(at.app.screen.query_one(OptionList).get_option_at_index(0).prompt)
        assert "****" in offered
        assert shaped not in offered


async def test_leaving_the_run_screen_leaves_the_run(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        task = at.task
        await at.press("escape")
        await at.screen("RunbooksScreen")
        await at.press("g", "r")
        await at.screen("RunsScreen")
        await at.press("enter")
        await at.screen("RunScreen")
        assert at.task is task
        entries = await at.app.session.entries()  # type: ignore[union-attr]
        assert [type(e.event) for e in entries].count(RunStarted) == 1


async def test_the_ledger_is_found_in_and_verified(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        await at.press("R")
        await at.idle()
        await at.press("g", "l")
        await at.screen("LedgerScreen")
        everything = at.app.screen.query_one(OptionList).option_count
        await at.press("slash")
        await at.type("gw2")
        await at.pilot.pause()
        assert 0 < at.app.screen.query_one(OptionList).option_count < everything
        await at.press("enter", "v")
        await at.until(lambda: "sound" in at.now, "verified")
        assert "unbroken" in at.now


async def test_an_unscripted_read_is_a_run_like_any_other(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.press("2")
        await at.screen("RunbooksScreen")
        await at.press("colon")
        await at.screen("Prompt")
        await at.type("gateway uptime")
        await at.press("enter")
        await at.screen("RunScreen")
        await at.idle()
        assert set(at.targets.read) == {"ask@gw1-production", "ask@gw2-production"}
        assert at.task.run.unscripted


async def test_a_target_that_is_down_is_an_outcome_not_a_crash(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        at.targets.down = True
        await at.press("r")
        await at.idle()
        assert at.task.run.word == "FAILED"
        assert "failed" in at.now
        for key in ("r", "R", "a", "w", "e"):
            at.app._notifications.clear()
            await at.press(key)
            assert at.said == "this run is over", key


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)], ids=str)
async def test_every_screen_stands_in_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with sitting(tmp_path, size=size) as at:
        await at.to_the_write()
        for keys, name in (
            (("o",), "RunScreen"),
            (("o",), "RunScreen"),
            (("y",), "Choose"),
            (("escape",), "RunScreen"),
            (("question_mark",), "HelpScreen"),
            (("escape",), "RunScreen"),
            (("e",), "EscalateScreen"),
            (("escape",), "RunScreen"),
            (("g", "r"), "RunsScreen"),
            (("g", "l"), "LedgerScreen"),
            (("g", "b"), "RunbooksScreen"),
            (("g", "e"), "EnvironmentsScreen"),
        ):
            await at.press(*keys)
            await at.screen(name)
            frame = at.app.screen.query("#frame")
            if frame:
                assert frame.first().region.right <= size[0]
                assert at.app.screen.query_one("#now").region.bottom <= size[1]
            await at.pilot.resize_terminal(60, 20)
            await at.pilot.resize_terminal(*size)


async def test_the_form_is_filled_and_asked_by_typing_alone(tmp_path: Path) -> None:
    """As the README says: the id, tab, why, enter. An empty reason asks for nothing."""
    async with sitting(tmp_path) as at:
        await at.to_the_write()
        name = incident(at.world)
        await at.press("e")
        await at.screen("EscalateScreen")
        await at.type(name)
        await at.press("tab", "enter")
        assert not at.task.run.requests
        assert at.app.screen.query_one("#ttl").has_focus
        await at.press("shift+tab")
        await at.type("Go back to what worked")
        await at.press("enter", "enter")
        await at.until(lambda: bool(at.task.run.requests) and not at.app._working, "the request")
        assert [(r.incident, r.reason) for r in at.task.run.requests] == [(name, "Go back to what worked")]


async def test_the_form_says_what_an_incident_looks_like_and_keeps_the_cursor_on_what_is_wrong(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.to_the_write()
        name = incident(at.world)
        nameless = incident(at.world, severity="")
        await at.press("e")
        await at.screen("EscalateScreen")
        await at.press("enter")
        assert "needs an incident" in at.text("#found")
        await at.type("INC-7")
        await at.press("enter")
        await at.until(lambda: "no incident 'INC-7'" in at.text("#found"), "the refusal")
        field = at.app.screen.query_one("#incident", Input)
        assert field.has_focus
        field.value = nameless
        await at.press("enter")
        await at.until(lambda: at.text("#found").startswith("open · 403 · "), "an incident without a severity")
        assert " ·  ·" not in at.text("#found")
        field.focus()
        field.value = name
        await at.press("enter")
        await at.until(lambda: at.text("#found").startswith("open · sev1 · 403 · "), "the incident")
        assert at.app.screen.query_one("#reason").has_focus
        (tmp_path / "registers").rename(tmp_path / "gone")  # it does not answer: one may ask, and more people sign
        field.focus()
        await at.press("enter")
        await at.until(lambda: "Unverified, which needs 2 signatures" in at.text("#found"), "no answer")
        assert "cannot be read" in at.text("#found")
        assert at.app.screen.query_one("#reason").has_focus
        at.app.screen.query_one("#ttl", Input).value = "soon"
        at.app.screen.query_one("#ttl", Input).focus()
        await at.press("enter")
        await at.until(lambda: "Write it like 30m." in at.said, "the length")
        assert "h or d. Write it" in at.said


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"INC-\d+", "INC-…"),
        (r"^CHG-[0-9]{4,6}$", "CHG-…"),
        (r"[A-Z][A-Z0-9]*-\d+", "the incident's id"),
        (r"(INC|CHG)-\d+", "the incident's id"),
    ],
)
def test_a_pattern_in_words(pattern: str, said: str) -> None:
    assert IncidentPolicy(pattern=pattern).looks == said


@pytest.mark.parametrize("screen", ["environments", "runbooks", "plan", "run", "escalate", "runs", "ledger", "trust"])
async def test_help_names_every_key_of_the_screen(tmp_path: Path, screen: str) -> None:
    async with sitting(tmp_path, size=(80, 60)) as at:
        at.app.push_screen(HelpScreen(screen))
        await at.screen("HelpScreen")
        await at.pilot.pause()
        lines = [strip.text for strip in at.app.screen._compositor.render_strips()]
        for action in actions.of(screen):
            assert any(actions.shown_key(action) in line and action.label in line for line in lines), action.id
        for key, _ in MORE.get(screen, ()):
            assert any(key in line for line in lines), key
        await at.press("question_mark")
        await at.press("escape")
        await at.screen("EnvironmentsScreen")


async def test_an_entry_of_the_ledger_is_read_in_full_and_closed(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.open()
        await at.press("g", "l")
        await at.screen("LedgerScreen")
        await at.until(lambda: at.app.screen.query_one(OptionList).option_count > 1, "entries")
        await at.press("enter")
        await at.screen("Read")
        assert '"run-started"' in at.text("VerticalScroll Static")
        await at.press("escape")
        await at.screen("LedgerScreen")


LONG = "\n".join(f"line {number} of what is to be known before" for number in range(60))


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)], ids=str)
@pytest.mark.parametrize("what", ["write", "prompt", "choose"])
async def test_what_is_typed_or_chosen_is_in_sight_however_long_the_text(
    tmp_path: Path, what: str, size: tuple[int, int]
) -> None:
    async with sitting(tmp_path, size=size) as at:
        await at.screen("EnvironmentsScreen")
        dialog = {
            "write": lambda: WriteDialog("back", LONG[:200], (), "abc", None, LONG, None),
            "prompt": lambda: Prompt("Do it", LONG),
            "choose": lambda: Choose("Which?", LONG, [f"row {number}" for number in range(40)], "head"),
        }[what]()
        at.app.push_screen(dialog)
        await at.screen(type(dialog).__name__)
        await at.pilot.pause()
        for selector in ("OptionList", "#hint") if what == "choose" else ("Input", "#hint"):
            widget = at.app.screen.query_one(selector)
            assert widget.region.height >= 1, selector
            assert widget.region.y >= 1, selector  # the frame's first line says where one is
            assert widget.region.bottom < size[1], selector
        scroll = at.app.screen.query_one("#text")
        if size != (200, 60) or what == "prompt":
            assert "reads on" in str(at.app.screen.query_one("Vertical").border_subtitle)
            assert scroll.max_scroll_y > 0
            dialog.action_read(1)  # by key the write dialog is deaf at first
            await at.until(lambda: scroll.scroll_offset.y > 0, "the rest")
        await at.press("escape")
        await at.screen("EnvironmentsScreen")
