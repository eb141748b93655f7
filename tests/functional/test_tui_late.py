"""Captured values in writes, by keyboard: what is sent, where it comes from, and that it is another one than was signed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))  # its kits name each other without a package

from textual.widgets import Input

from envtui.core.events import ActIntended, LateAccepted, StepEnded
from envtui.rules.proposals import NeedsAnswer, ReadyWrite
from envtui.tui.screens.run import RunScreen
from tests.functional.test_tui_mending import Desk, desk
from tests.servers.world_kit import Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures

BOOK = """\
  - {{id: read, kind: ssh, argv: [cat, {folder}/value], capture: {{v: {{from: stdout}}}}}}
  - {{id: sure, kind: choose, options: {{again: read, yes: put}}}}
  - id: put
    kind: ssh
    mode: write
    argv: [touch, "{folder}/made-${{vars.v}}"]
    late: [{{name: v, pattern: "[a-z]+", max_length: 8{more}}}]
    probe: {{argv: [test, -e, "{folder}/made-${{vars.v}}"], applied: {{exit: 0}}, absent: {{exit: 1}}}}
    undo: {{argv: [rm, "{folder}/made-${{vars.v}}"]}}
"""


async def changed(at: Desk, kit: Kit, more: str = "") -> None:
    """In front of the write, signed for `one`, while the value is `two` by now."""
    kit.book(BOOK.format(folder=kit.folder, more=more))
    kit.trust()
    (kit.folder / "value").write_text("one")
    await at.press("escape")
    await at.app.close_environment()
    at.app.open_environment("staging")
    await at.opened()
    session = at.app.session
    assert session is not None
    task = await session.start(session.plan("book", {}))
    at.app.run_task = task
    at.app.push_screen(RunScreen(task))
    await at.screen("RunScreen")
    assert isinstance(await task.run_on(), NeedsAnswer)
    await at.granted()
    (kit.folder / "value").write_text("two")
    await task.answer("sure", "again")
    assert isinstance(await task.run_on(), NeedsAnswer)
    assert isinstance(await task.answer("sure", "yes"), ReadyWrite)
    await at.pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_dialog_shows_the_command_as_it_is_sent_and_both_values(kit: Kit, size: tuple[int, int]) -> None:
    async with desk(kit, size) as at:
        await changed(at, kit)
        await at.press("w")
        await at.screen("WriteDialog")
        words = " ".join(at.shown.split())
        for said in ("made-two", "v = two", "found by read", "SIGNED WAS one"):
            assert said in words, at.shown
        assert "‹vars.v›" not in at.text("#text Static")
        await at.answer()
        await at.idle()
        assert sorted(path.name for path in kit.folder.glob("made-*")) == ["made-two"]
        await at.press("u")
        await at.screen("UndoDialog")
        assert "made-two" in " ".join(at.shown.split()), at.shown
        await at.answer()
        await at.idle()
        assert list(kit.folder.glob("made-*")) == []
    assert [e.values for e in kit.events(LateAccepted)] == [{"v": "two"}]


async def test_leaving_the_dialog_lets_nothing_pass(kit: Kit) -> None:
    async with desk(kit) as at:
        await changed(at, kit)
        await at.press("w")
        await at.screen("WriteDialog")
        await at.press("escape")
        await at.screen("RunScreen")
        await at.idle()
    assert not kit.events(LateAccepted)
    assert not [e for e in kit.events(ActIntended) if e.mode == "write"]


async def test_a_fixed_value_that_changed_is_said_and_not_offered(kit: Kit) -> None:
    async with desk(kit) as at:
        await changed(at, kit, ", fixed: true")
        assert "v is fixed: signed was 'one', and it is 'two' now" in " ".join(at.shown.split()), at.shown
        await at.press("w")
        await at.idle()
        assert at.where == "RunScreen"
        assert "v is fixed" in at.said
    assert not [e for e in kit.events(ActIntended) if e.mode == "write"]


async def test_a_required_read_is_waived_on_the_screen_that_asks_and_left_out(kit: Kit) -> None:
    kit.book(
        "  - {id: rate, kind: ssh, argv: ['false'], required: true}\n"
        f"  - {{id: put, kind: ssh, mode: write, repeatable: true, argv: [touch, {kit.folder}/made-it]}}\n"
    )
    kit.trust()
    async with desk(kit) as at:
        session = at.app.session
        assert session is not None
        task = await session.start(session.plan("book", {}))
        at.app.run_task = task
        at.app.push_screen(RunScreen(task))
        await at.screen("RunScreen")
        await at.press("s")
        assert "rate is required: e asks to waive it" in at.said
        await at.press("e")
        await at.screen("EscalateScreen")
        await at.press("f5")
        await at.screen("Choose")
        await at.press("enter")
        await at.screen("Prompt")
        await at.press(*"customers say it", "enter")
        await at.screen("EscalateScreen")
        assert "WAIVED  rate: customers say it" in at.shown, at.shown
        at.app.screen.query_one("#reason", Input).value = "the tests need it"
        at.app.screen.query_one("#ttl", Input).focus()
        await at.press("enter")
        await at.until(lambda: task.run.write_active, "write access")
        await at.press("escape")
        await at.screen("RunScreen")
        await at.press("s")
        await at.screen("Prompt")
        await at.press("enter")
        await at.idle()
        assert isinstance(task.next, ReadyWrite)
        assert not task.next.held
    assert [e.why for e in kit.events(StepEnded)] == ["waived: customers say it"]
