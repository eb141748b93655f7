"""What did not go well, by keyboard: ended now, in doubt, taken back, taken up again; against a real sshd."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from keyboard_kit import type_text
from textual.events import Key, Paste
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))  # its kits name each other without a package

from envtui.core.events import ActEnded, GrantEnded, Probed, Resolved, Resumed, UndoStarted
from envtui.engine.runner import RunTask
from envtui.rules.proposals import Doubt, ReadyWrite
from envtui.rules.run import fold_all
from envtui.tui.app import EnvtuiApp
from envtui.tui.dialogs.typed import TypedDialog
from envtui.tui.screens.run import RunScreen
from tests.servers.world_kit import NAME, Kit, kit, machines, one, until

__all__ = ["kit", "machines", "one"]  # fixtures


class Desk:
    """One person in front of the environment `staging`."""

    def __init__(self, pilot: Pilot[int], kit: Kit) -> None:
        self.pilot = pilot
        self.kit = kit

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
        return "\n".join(str(n.message) for n in self.app._notifications)

    @property
    def now(self) -> str:
        return self.text("#now")

    def text(self, selector: str) -> str:
        return str(self.app.screen.query_one(selector, Static).visual)

    @property
    def shown(self) -> str:
        """Everything that can be seen, as lines."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, true: Callable[[], bool], what: str) -> None:
        for _ in range(1500):
            if true():
                await self.pilot.pause()
                return
            await asyncio.sleep(0.02)
        run = self.app.run_task.run if self.app.run_task else None
        pytest.fail(f"{what} never came: {self.where}; {self.said}; {run and (run.word, run.why)}\n{self.shown}")

    async def screen(self, name: str) -> None:
        await self.until(lambda: self.where == name, name)

    async def idle(self) -> None:
        await self.pilot.pause()
        await self.until(lambda: not self.task.busy and not self.app._working, "idle")

    async def answer(self, word: str = "") -> None:
        """Type the dialog's word as a person does, and Enter."""
        await self.screen_of(TypedDialog)
        dialog = self.app.screen
        assert isinstance(dialog, TypedDialog)
        await asyncio.sleep(0.35)
        await type_text(self.pilot, word or dialog._word)
        await self.press("enter")
        await self.until(lambda: self.app.screen is not dialog, "the end of the dialog")

    async def screen_of(self, kind: type[object]) -> None:
        await self.until(lambda: isinstance(self.app.screen, kind), kind.__name__)

    async def opened(self) -> None:
        await self.until(lambda: self.app.session is not None and self.where == "RunbooksScreen", "the environment")

    async def started(self) -> None:
        """A run of the book, with write access where it writes."""
        await self.opened()
        session = self.app.session
        assert session is not None
        task = await session.start(session.plan("book", {}))
        self.app.run_task = task
        self.app.push_screen(RunScreen(task))
        await self.screen("RunScreen")
        if isinstance(task.next, ReadyWrite):
            await self.granted()

    async def granted(self) -> None:
        session = self.app.session
        assert session is not None
        await session.ask_write(self.task, "", "the tests need it")
        await session.access.activate(self.task)
        await self.pilot.pause()

    async def writing(self) -> None:
        """Until the write has begun at its target."""
        await self.press("w")
        await self.answer()
        await self.until((self.kit.folder / "pid").exists, "the write")

    async def runs(self) -> None:
        await self.press("g", "r")
        await self.screen("RunsScreen")
        await self.until(lambda: self.app.screen.query_one(OptionList).option_count > 0, "the runs")

    async def pasted(self, word: str) -> None:
        """Paste into the dialog that is open, both as a terminal with and without bracketed paste does it."""
        dialog = self.app.screen
        assert isinstance(dialog, TypedDialog)
        field = dialog.query_one(Input)
        field.post_message(Paste(f"{word}\n"))
        await self.pilot.pause()
        assert field.value == ""
        await asyncio.sleep(0.35)
        for letter in (*word, "enter"):
            self.app.post_message(Key("space" if letter == " " else letter, letter if len(letter) == 1 else "\r"))
        await self.pilot.pause()
        await asyncio.sleep(0.1)
        assert self.app.screen is dialog


@asynccontextmanager
async def desk(kit: Kit, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Desk]:
    app = EnvtuiApp(kit.world(), NAME)
    async with app.run_test(size=size, notifications=True) as pilot:
        at = Desk(pilot, kit)
        await at.opened()
        yield at
        await app.close_environment()


def book(kit: Kit, sh: str, more: str = "timeout: 60s, ", after: str = "") -> None:
    """A write that says when it has begun, whose probe is a file, and that can be taken back."""
    folder = kit.folder
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, {more}sh: 'echo $$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; {sh}', "
        f"probe: {{argv: [test, -e, {folder}/made], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{argv: [rm, {folder}/made]}}}}\n{after}"
    )
    kit.trust()


def reads(kit: Kit, steps: str, **more: str) -> None:
    kit.book(steps, **more)
    kit.trust()


def gone(folder: Path) -> bool:
    stat = Path("/proc", (folder / "pid").read_text().strip(), "stat")
    with suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def killed(kit: Kit, gate: Path, *words: str) -> str:
    """`envtui run …`, killed when the remote command has opened the gate. Returns the run's id."""
    os.mkfifo(gate)
    process = kit.popen("run", NAME, *words)
    reading = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([reading], [], [], 30)
        assert ready, process.communicate()
    finally:
        os.close(reading)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    return kit.run().id


async def test_a_long_write_is_ended_at_its_target_by_the_word(kit: Kit) -> None:
    book(kit, f"sleep 240 & wait; touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        assert "writing" in at.now
        await at.press("C")
        await at.screen_of(TypedDialog)
        assert "change@web1" in at.shown
        assert "TERM" in at.shown
        await at.pasted("stop")
        await at.press("escape")
        assert at.task.busy
        assert not gone(kit.folder)
        await at.press("C")
        await at.answer("stop")
        await at.idle()
        assert gone(kit.folder)
        assert at.task.run.word == "CANCELLED"
    [ended] = [e for e in kit.events(ActEnded) if e.act == "change@web1"]
    assert (ended.word, ended.untouched) == ("CANCELLED", True)
    assert [e.found for e in kit.events(Probed)] == ["absent"]


async def test_a_read_is_ended_now(kit: Kit) -> None:
    reads(
        kit,
        f"  - {{id: slow, kind: ssh, sh: 'echo $$ > {kit.folder}/pid.new; mv {kit.folder}/pid.new {kit.folder}/pid; sleep 240'}}\n",
    )
    async with desk(kit) as at:
        await at.started()
        await at.press("C")
        assert "nothing is under way" in at.said
        await at.press("R")
        await at.until((kit.folder / "pid").exists, "the read")
        await at.press("C")
        await at.screen_of(TypedDialog)
        assert "cancelled, and changes nothing" in at.shown
        await at.answer("stop")
        await at.idle()
        assert at.task.run.act("slow@web1").word == "CANCELLED"  # type: ignore[union-attr]


async def test_what_a_good_run_did_is_taken_back(kit: Kit) -> None:
    book(kit, f"touch {kit.folder}/made")
    async with desk(kit, (120, 40)) as at:
        await at.started()
        await at.press("u")
        assert "nothing to take back" in at.said
        await at.writing()
        await at.idle()
        assert at.task.run.word == "OK"
        assert "u takes it back" in at.now
        await at.press("u")
        await at.screen("UndoDialog")
        assert re.search(r"1 change on web1\s+rm ", at.shown)
        assert "undo is permitted until" in at.shown
        await at.pasted(at.app.screen._word)  # type: ignore[attr-defined]
        await at.press("escape")
        assert (kit.folder / "made").exists()
        await at.press("u")
        await at.answer()
        await at.until(lambda: at.task.run.word == "UNDONE", "the undo")
        await at.idle()
        assert "UNDONE" in at.text("#steps")
        assert "change on web1" in at.text("#steps")
        assert "undo web1" in at.text("#tabs")
    assert not (kit.folder / "made").exists()
    assert [e.cause for e in kit.events(UndoStarted)] == ["person"]
    assert kit.sound()


async def test_a_run_of_another_day_is_taken_back_from_the_runs(kit: Kit) -> None:
    book(kit, f"touch {kit.folder}/made")
    assert kit.cli("run", NAME, "book", "--grant", str(kit.request("book"))).returncode == 0
    async with desk(kit) as at:
        await at.runs()
        await at.press("u")
        await at.answer()
        await at.screen("RunScreen")
        await at.until(lambda: at.task.run.word == "UNDONE", "the undo")
    assert not (kit.folder / "made").exists()


async def test_what_the_book_takes_back_after_a_failure_is_seen(kit: Kit) -> None:
    book(kit, f"touch {kit.folder}/made", after="  - {id: healthy, kind: ssh, argv: ['false'], on_failure: undo}\n")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        await at.idle()
        await at.press("R")
        await at.until(lambda: at.task.run.word == "UNDONE", "the undo")
        await at.idle()
        assert "UNDONE" in at.text("#steps")
    assert [e.cause for e in kit.events(UndoStarted)] == ["on_failure"]


async def test_a_write_that_fails_half_way_is_taken_back_at_once(kit: Kit) -> None:
    book(kit, f"touch {kit.folder}/made; exit 3", more="timeout: 60s, on_failure: undo, ")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        await at.until(lambda: at.task.run.word == "UNDONE", "the undo")
    assert not (kit.folder / "made").exists()


@pytest.mark.parametrize("size", [(60, 20), (80, 24)], ids=str)
async def test_a_doubt_of_a_killed_process_is_looked_at_and_told(kit: Kit, size: tuple[int, int]) -> None:
    gate = kit.folder / "gate"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 60s, sh: 'echo > {gate}; sleep 240', "
        f"probe: {{argv: [test, -e, {kit.folder}/made], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{argv: [rm, {kit.folder}/made]}}}}\n"
    )
    kit.trust()
    run = killed(kit, gate, "book", "--grant", str(kit.request("book")))
    async with desk(kit, size) as at:
        await at.runs()
        assert "in doubt" in at.now
        await at.press("enter")
        await at.screen("ResumeDialog")
        assert "IN DOUBT" in at.shown
        await at.pasted("resume")
        await at.answer()
        await at.screen("RunScreen")
        assert at.task.run.id == run
        assert "IN DOUBT" in at.now
        assert "check before anything" in at.now
        await at.press("R")
        assert "in doubt" in at.said
        await at.press("l")
        await at.idle()
        proposed = at.task.next
        assert isinstance(proposed, Doubt)
        assert "halt" in proposed.choices
        await at.press("a")
        await at.screen("Choose")
        await at.press("2")  # end what still runs there
        await at.answer("stop")
        await at.idle()
        assert isinstance(at.task.next, Doubt)
        assert at.task.next.found == "absent"
        await at.press("a")
        await at.screen("Choose")
        await at.press("2")
        await at.screen_of(TypedDialog)
        await at.pasted("not done")
        await at.answer("not done")
        await at.idle()
        assert isinstance(at.task.next, ReadyWrite)
        assert not at.task.run.in_doubt
    assert [e.done for e in kit.events(Resolved)] == [False]
    assert [e.run for e in kit.events(Resumed)] == [run]


async def test_without_a_probe_a_persons_word_needs_a_reason(kit: Kit) -> None:
    gate = kit.folder / "gate"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 60s, repeatable: true, sh: 'echo > {gate}', point_of_no_return: none}}\n"
    )
    kit.trust()
    killed(kit, gate, "book", "--grant", str(kit.request("book")))
    async with desk(kit) as at:
        await at.runs()
        await at.press("enter")
        await at.answer()
        await at.screen("RunScreen")
        await at.press("l")
        await at.idle()
        if not at.task.run.in_doubt:
            pytest.skip("THE HOST HAD ITS STATUS: a person's word was not needed, and NOT TESTED")
        await at.press("a")
        await at.screen("Choose")
        proposed = at.task.next
        assert isinstance(proposed, Doubt)
        await at.press(str(proposed.choices.index("done") + 1))
        await at.screen("Prompt")
        for letter in "seen":
            await at.press(letter)
        await at.press("enter")
        await at.answer("done")
        await at.idle()
        assert at.task.run.word == "OK"
    assert [(e.done, e.why) for e in kit.events(Resolved)] == [(True, "seen")]


async def test_a_failed_read_is_picked_up_in_a_new_terminal(kit: Kit) -> None:
    reads(
        kit,
        f"  - {{id: there, kind: ssh, argv: [test, -e, {kit.folder}/there]}}\n  - {{id: then, kind: ssh, argv: ['true']}}\n",
    )
    async with desk(kit) as at:
        await at.started()
        await at.press("R")
        await at.idle()
        assert at.task.run.word == "FAILED"
        assert "P goes on" in at.now
        run = at.task.run.id
    (kit.folder / "there").touch()
    async with desk(kit) as at:
        await at.runs()
        await at.press("enter")
        await at.screen("ResumeDialog")
        assert "FAILED" in at.shown
        await at.press("escape")
        await at.screen("LedgerScreen")  # what it did, below the question
        await at.press("escape")
        await at.screen("RunsScreen")
        await at.until(lambda: at.app.screen.query_one(OptionList).option_count > 0, "the runs")
        await at.press("P")
        await at.answer("resume")
        await at.screen("RunScreen")
        assert at.task.run.id == run
        await at.press("R")
        await at.idle()
        assert at.task.run.word == "OK"


async def test_a_failed_read_is_picked_up_where_it_failed(kit: Kit) -> None:
    reads(kit, f"  - {{id: there, kind: ssh, argv: [test, -e, {kit.folder}/there]}}\n")
    async with desk(kit) as at:
        await at.started()
        await at.press("R")
        await at.idle()
        (kit.folder / "there").touch()
        await at.press("P")
        await at.answer("resume")
        await at.press("R")
        await at.idle()
        assert at.task.run.word == "OK"


async def test_a_changed_book_is_accepted_by_its_word_and_a_changed_reading_by_an_answer(kit: Kit) -> None:
    steps = (
        "  - {{id: go, kind: choose, options: {{'yes': look}}}}\n  - {{id: look, kind: ssh, argv: [echo, '{word}']}}\n"
    )
    version = kit.folder / "version"
    version.write_text("7")
    before = f"before:\n  - {{id: version, kind: ssh, target: web, argv: [cat, {version}], capture: {{version: {{from: stdout}}}}}}\n"
    reads(kit, steps.format(word="old"), more=before)
    async with desk(kit) as at:
        await at.started()
        await at.press("R")
        await at.idle()
    reads(kit, steps.format(word="new[/oops]"), more=before)
    version.write_text("8")
    async with desk(kit, (120, 40)) as at:
        await at.runs()
        await at.press("enter")
        await at.screen("ResumeDialog")
        assert re.search(r"- look on web1: .*old", at.shown)
        assert re.search(r"\+ look on web1: .*new\[/oops\]", at.shown)
        await at.pasted("accept")
        await at.answer("accept")
        await at.screen("RunScreen")
        await at.press("R")
        await at.idle()
        assert "version was '7' and is '8'" in at.now
        await at.press("a")
        await at.screen("Choose")
        await at.press("1")
        await at.idle()
        assert "a choose" in at.now


async def test_leaving_while_a_write_runs_says_what_happens_and_can_end_it_instead(kit: Kit) -> None:
    book(kit, f"sleep 240 & wait; touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        await at.press("q")
        await at.screen_of(TypedDialog)
        assert "IN DOUBT" in at.shown
        assert "5 s to end" in at.shown
        await at.pasted("leave")
        await at.press("escape")
        assert at.task.busy
        await at.press("q")
        await at.answer("stop")
        await at.idle()
        assert at.app.is_running
        assert at.task.run.word == "CANCELLED"
        assert gone(kit.folder)


async def test_a_write_that_is_left_goes_on_and_is_picked_up(kit: Kit) -> None:
    book(kit, f"while ! test -e {kit.folder}/enough; do sleep 0.05; done; touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        await at.press("q")
        await at.screen_of(TypedDialog)
        await asyncio.sleep(0.35)
        await type_text(at.pilot, "leave")
        await at.pilot.press("enter")
        for _ in range(1500):
            if kit.events(GrantEnded):
                break
            await asyncio.sleep(0.02)
    (run,) = fold_all(kit.entries())
    assert run.in_doubt
    (kit.folder / "enough").touch()
    await until((kit.folder / "made").exists)
    async with desk(kit) as at:
        await at.runs()
        await at.press("enter")
        await at.answer()
        await at.screen("RunScreen")
        await at.press("l")
        await at.idle()
        proposed = at.task.next
        assert isinstance(proposed, Doubt)
        assert proposed.found == "applied"
        await at.press("a")
        await at.press(str(proposed.choices.index("done") + 1))
        await at.answer("done")
        await at.idle()
        assert at.task.run.word == "OK"


async def test_a_run_that_another_process_has_is_refused(kit: Kit) -> None:
    reads(kit, "  - {id: go, kind: choose, options: {'yes': look}}\n  - {id: look, kind: ssh, argv: ['true']}\n")
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        async with desk(kit) as at:
            await at.runs()
            await at.press("enter")
            await at.answer()
            await at.until(lambda: bool(at.said), "the refusal")
            assert str(os.getpid()) in at.said or "process" in at.said
            assert task.run.word is None
