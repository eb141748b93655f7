"""Break-glass by keyboard: red in words, border and colour; a reason and a typed name; nothing that one key could do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_tui_flows import Sitting, sitting
from textual.events import Key, Paste
from textual.widgets import Input
from tui_kit import ScriptedWorld, incident

from envtui.core.events import GrantActivated, Requested
from envtui.outside.incident_file import register_of
from envtui.tui.dialogs.break_glass import BreakGlassDialog
from envtui.tui.dialogs.write import WriteDialog
from envtui.tui.theme import PALETTES

WHY = "The gateway answers 403 to every customer and nobody answers"
GLASS = "  break_glass: {people: [asha], max: 10m, review_due: 2h}"


async def to_the_form(at: Sitting) -> str:
    """To the form that asks for write access, its incident filled in."""
    await at.to_the_write()
    name = incident(at.world)
    await at.press("e")
    await at.screen("EscalateScreen")
    at.app.screen.query_one("#incident", Input).value = name
    return name


async def to_the_dialog(at: Sitting) -> str:
    name = await to_the_form(at)
    await at.press("f4")
    await at.screen("BreakGlassDialog")
    return name


async def break_it(at: Sitting) -> None:
    await to_the_dialog(at)
    await at.type(WHY)
    await at.press("enter")
    await at.type("production")
    await at.press("enter")
    await at.until(lambda: at.task.run.write_active, "write access")


def seen(at: Sitting) -> str:
    """What the terminal shows."""
    return "\n".join(strip.text for strip in at.app.screen._compositor.render_strips())


def fits(at: Sitting, size: tuple[int, int]) -> bool:
    """Everything that must be typed is within the terminal."""
    fields = at.app.screen.query(Input)
    return all(f.region.height == 1 and f.region.bottom <= size[1] and f.region.right <= size[0] for f in fields)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 60)])
async def test_a_reason_and_the_typed_name_break_the_glass(tmp_path: Path, size: tuple[int, int]) -> None:
    async with sitting(tmp_path, size=size, more=GLASS) as at:
        await to_the_dialog(at)
        assert fits(at, size)
        shown = seen(at)
        assert "BREAK-GLASS: PRODUCTION" in shown
        assert "nobody else signs" in shown
        assert "0 of 30 letters" in shown
        assert "type  production" in shown
        await at.press("enter")  # no reason yet
        await at.type("Too few letters")
        assert "13 of 30 letters" in seen(at)
        await at.press("enter")
        assert at.where == "BreakGlassDialog"
        assert "fewer than 30 letters" in seen(at)
        at.app.screen.query_one("#reason", Input).value = WHY
        await at.press("enter")
        assert at.app.screen.query_one("#typed").has_focus
        await at.type("prod")
        await at.press("enter")
        assert "That is not it" in seen(at)
        assert not at.task.run.requests
        await at.type("production")
        await at.press("enter")
        await at.until(lambda: at.task.run.write_active, "write access")
        await at.screen("EscalateScreen")
        grant = at.task.run.grant
        assert grant is not None
        assert grant.break_glass
        assert grant.signed_by == ("asha",)
        entries = await at.app.session.entries() if at.app.session else ()
        asked = [e.event for e in entries if isinstance(e.event, Requested)]
        began = [e for e in entries if isinstance(e.event, GrantActivated)]
        assert [one.reason for one in asked] == [WHY]
        assert began[0].event.until_ms - began[0].at_ms <= 600_000
        await at.until(lambda: "BREAK-GLASS" in at.title, "the banner")
        assert "nobody else signed" in seen(at)
        if size[1] > 20:
            await at.until(lambda: "NOT DELIVERED: the manifest names nobody" in seen(at), "who was told")
        await at.until(lambda: "PEOPLE NOT TOLD" in seen(at), "who was told, in the frame")


async def test_the_frame_says_it_in_words_border_and_colour_until_it_ends(tmp_path: Path) -> None:
    async with sitting(tmp_path, more=GLASS) as at:
        await to_the_form(at)
        frame = at.app.screen.query_one("#frame")
        before = frame.styles.border.top[0]
        await at.press("escape")
        await at.screen("RunScreen")
        await at.press("e")
        await at.screen("EscalateScreen")
        at.app.screen.query_one("#incident", Input).value = incident(at.world)
        await at.press("f4")
        await at.screen("BreakGlassDialog")
        await at.type(WHY)
        await at.press("enter")
        await at.type("production")
        await at.press("enter")
        await at.until(lambda: at.task.run.write_active, "write access")
        await at.screen("EscalateScreen")
        await at.press("escape")
        await at.screen("RunScreen")
        await at.until(lambda: at.title.startswith(" PRODUCTION │ BREAK-GLASS 9:"), "the banner")
        frame = at.app.screen.query_one("#frame")
        line, colour = frame.styles.border.top
        assert line == "thick" != before
        assert colour.hex.lower() == PALETTES[at.app.theme].bad
        await at.press("w")
        await at.screen("WriteDialog")
        dialog = at.app.screen
        assert isinstance(dialog, WriteDialog)
        dialog._opened -= 60  # somebody has looked at it for a while
        await at.type(dialog._word)
        await at.press("enter")
        await at.screen("RunScreen")
        await at.idle()
        await at.until(lambda: "READ-ONLY" in at.title, "the end")
        assert "BREAK-GLASS" not in at.title
        assert frame.styles.border.top[0] == before
        assert at.targets.written == ["back@gw1-production", "back@gw2-production"]
        await at.press("g", "e")
        await at.screen("EnvironmentsScreen")
        await at.until(lambda: "break-glass by asha," in seen(at), "the card")
        assert "due " in seen(at)
        assert "1 break-glass to review" in seen(at)
        assert "The break-glass of asha in production is not reviewed: envtui review production" in at.now
        assert at.now.strip().startswith("!")


async def test_without_colour_words_and_border_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with sitting(tmp_path, more=GLASS) as at:
        assert at.app.no_color
        await break_it(at)
        await at.screen("EscalateScreen")
        await at.until(lambda: "BREAK-GLASS" in at.title, "the banner")
        await at.pilot.pause()
        shown = seen(at)
        assert "PRODUCTION │ BREAK-GLASS" in shown
        assert "█" in shown.splitlines()[1]  # thick: no environment's own border


async def test_nobody_but_whom_the_policy_names_sees_the_key(tmp_path: Path) -> None:
    for more, says in (("", "has no break-glass"), (GLASS.replace("asha", "meera"), "is not for asha")):
        async with sitting(tmp_path / str(len(more)), more=more) as at:
            await to_the_form(at)
            assert "break glass" not in seen(at)
            await at.press("f4")
            await at.until(lambda says=says: says in at.said, "the refusal")
            assert at.where == "EscalateScreen"


async def test_where_it_is_possible_the_key_is_shown_also_while_a_request_waits(tmp_path: Path) -> None:
    async with sitting(tmp_path, more=GLASS) as at:
        name = await to_the_form(at)
        assert "F4 break glass" in seen(at)
        at.app.screen.query_one("#reason", Input).value = "Go back to what worked"
        at.app.screen.query_one("#ttl", Input).focus()
        await at.press("enter")
        await at.until(lambda: bool(at.task.run.requests) and not at.app._working, "the request")
        assert "F4 break glass" in seen(at)
        await at.press("f4")
        await at.screen("BreakGlassDialog")
        assert at.app.screen.query_one("#reason", Input).value == "Go back to what worked"
        assert name in seen(at)
        await at.press("escape")
        await at.screen("EscalateScreen")
        assert len(at.task.run.requests) == 1


@pytest.mark.parametrize("hand", ["burst", "paste"])
async def test_no_burst_and_no_paste_types_the_name(tmp_path: Path, hand: str) -> None:
    async with sitting(tmp_path, more=GLASS) as at:
        await to_the_dialog(at)
        dialog = at.app.screen
        assert isinstance(dialog, BreakGlassDialog)
        dialog.query_one("#reason", Input).value = WHY
        await at.press("enter")
        assert dialog.query_one("#typed").has_focus
        if hand == "burst":
            for letter in (*"production", "enter"):  # as a terminal without bracketed paste hands them over
                at.app.post_message(Key(letter, letter if len(letter) == 1 else "\r"))
        else:
            dialog.query_one("#typed").post_message(Paste("production"))
            await at.pilot.pause()
            await at.press("enter")
        await at.pilot.pause()
        assert at.where == "BreakGlassDialog"
        assert not at.task.run.requests


async def test_what_hinders_is_said_before_anything_is_typed(tmp_path: Path) -> None:
    async with sitting(tmp_path, more=GLASS) as at:
        await break_it(at)
        assert at.app.session is not None
        await at.app.session.access.end(at.task, "GIVEN_BACK", "over")
        await at.until(lambda: not at.task.run.write_active, "the end")
        await at.press("f4")
        await at.until(lambda: "Nobody has reviewed the break-glass" in at.said, "the refusal")
        assert at.where == "EscalateScreen"


async def test_an_incident_that_is_not_there_is_said_before_anything_is_typed(tmp_path: Path) -> None:
    async with sitting(tmp_path, more=GLASS) as at:
        await at.to_the_write()
        await at.press("e")
        await at.screen("EscalateScreen")
        closed = incident(at.world)
        close(at.world, closed)
        for typed, says in (("", "needs an incident"), ("INC-77", "no incident 'INC-77'"), (closed, "is closed")):
            at.app.screen.query_one("#incident", Input).value = typed
            await at.press("f4")
            await at.until(_says(at, says), says)
            assert at.where == "EscalateScreen"


def close(made: ScriptedWorld, name: str) -> None:
    tree = made.forest().trees["production"]
    register_of(tree.environment.access.incident, tree.root).close(name, by="meera", now_ms=int(time.time() * 1000))


def _says(at: Sitting, text: str) -> Callable[[], bool]:
    return lambda: text in at.said
