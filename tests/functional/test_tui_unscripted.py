"""Leaving the book at the screens: `W` proposes a write that is in none, `E` edits a copy of one. At 80 columns and 24 lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_tui_flows import Sitting, sitting
from test_tui_terminal import ALTERNATE_OFF, terminal
from textual.widgets import Input
from tui_kit import incident

from envtui.core.events import GrantActivated, RunStarted
from envtui.tui.dialogs.choose import Choose
from envtui.tui.hands import AtScreens
from envtui.tui.screens.plan import PlanScreen


@contextmanager
def _lent(self: AtScreens, why: str) -> Iterator[bool]:
    yield True


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An editor that runs the sed scripts in a file, one for each time; the copies it was given are listed beside it."""
    script, turns = tmp_path / "editor", tmp_path / "turns"
    script.write_text(
        f'#!/bin/sh\nset -e\nstat -c "%a %n" "$1" >> {tmp_path}/copies\nsed -i "$(head -n 1 {turns})" "$1"\nsed -i 1d {turns}\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(
        AtScreens, "terminal", _lent
    )  # a pilot has no terminal to lend; test_passphrase lends a real one
    return turns


async def ask(at: Sitting) -> None:
    """Ask on the Escalate screen that is open, and have meera sign beside."""
    await at.screen("EscalateScreen")
    name = incident(at.world)
    for field, value in (("incident", name), ("reason", "Go back to what worked")):
        at.app.screen.query_one(f"#{field}", Input).value = value
    at.app.screen.query_one("#ttl", Input).focus()
    before = len(at.task.run.requests)
    await at.press("enter")
    await at.until(lambda: len(at.task.run.requests) > before and not at.app._working, "the request")
    await at.press("f2")
    await at.until(lambda: at.where != "EscalateScreen", "who signs")
    at.app.screen.query_one(Input).value = f"file:{at.world.variables['HOME']}/.ssh/meera"
    await at.press("enter")
    await at.until(lambda: at.task.run.write_active, "write access")
    await at.press("escape")
    await at.screen("RunScreen")


def dialog(at: Sitting) -> str:
    assert isinstance(at.app.screen, Choose)
    return at.app.screen._text


async def test_w_proposes_a_write_that_is_in_no_book(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.press("2")
        await at.screen("RunbooksScreen")
        await at.press("W")
        await at.screen("ProposeScreen")
        await at.type("gateway")
        await at.press("enter")
        await at.type("gw1-production")
        await at.press("enter")
        await at.type("touch /tmp/x")
        await at.press("f1")
        await at.until(lambda: "A write needs a probe" in at.said, "what lacks")
        assert at.where == "ProposeScreen"
        at.app.screen.query_one("#check", Input).value = "Is it there?"
        at.app.screen.query_one("#no_undo", Input).value = "nobody needs that"
        await at.press("f1")
        await at.screen("EscalateScreen")
        assert at.targets.written == []
        assert "UNSCRIPTED" in at.title
        await ask(at)
        assert "UNSCRIPTED" in at.title
        started = [e.event for e in await at.app.session.entries() if isinstance(e.event, RunStarted)]  # type: ignore[union-attr]
        assert [(e.unscripted, "touch" in e.book_text) for e in started] == [(True, True)]
        assert at.task.plan.writes[0].place.member == "gw1-production"


async def test_e_on_a_plan_edits_a_private_copy(tmp_path: Path, editor: Path) -> None:
    editor.write_text("s/argv: /freely: 1, argv: /\ns/freely: 1, argv: .uptime/argv: [who/\n")
    async with sitting(tmp_path) as at:
        await at.press("2")
        await at.screen("RunbooksScreen")
        await at.press("slash")
        await at.type("look")
        await at.press("enter", "enter")
        await at.screen("PlanScreen")
        await at.press("E")
        await at.screen("Choose")
        assert "look.yaml:" in dialog(at)
        assert "freely" in dialog(at)
        await at.press("1")  # edit again: what was typed is still there
        await at.until(lambda: at.where == "Choose" and "+  - {id: one" in dialog(at), "the difference")
        assert "-  - {id: one, kind: ssh, target: gateway, argv: [uptime]}" in dialog(at)
        await at.press("1")
        await at.until(lambda: at.where == "PlanScreen", "the plan")
        await at.until(lambda: getattr(at.app.screen, "_text", "") != "", "the edited plan")
        await at.press("enter")
        await at.screen("RunScreen")
        await at.press("R")
        await at.idle()
        assert "EDITED" in at.title
        assert at.task.run.edited
        assert at.task.plan.steps[0].acts[0].call.argv == (("who",),)  # type: ignore[union-attr]
    copies = (tmp_path / "copies").read_text().split()
    assert copies[0] == copies[2] == "600"
    assert not any(Path(each).parent.exists() for each in copies[1::2])
    assert "argv: [uptime]" in (tmp_path / "runbooks/production/books/look.yaml").read_text()


async def test_what_was_signed_before_an_edit_covers_nothing_after_it(tmp_path: Path, editor: Path) -> None:
    editor.write_text("s/\\[gatewayctl, revert\\]/[gatewayctl, revert, --hard]/\n")
    async with sitting(tmp_path) as at:
        await at.granted()
        before = at.task
        await at.press("E")
        await at.screen("Choose")
        assert "+    argv: [gatewayctl, revert, --hard]" in dialog(at)
        await at.press("1")
        await at.until(lambda: at.task is not before, "the run as it goes on")
        await at.screen("RunScreen")
        await at.idle()
        assert not at.task.run.write_active
        assert "EDITED" in at.title
        assert "READ-ONLY" in at.title
        while at.task.run.again or at.task.run.current.mode != "write":  # type: ignore[union-attr]
            await at.press("R")
            await at.idle()
            if "pick" in at.now or "choose" in at.now:
                await at.press("a")
                await at.screen("Choose")
                await at.press("1" if "choose" in at.now else "2")
                await at.idle()
        await at.press("w")
        await at.until(lambda: "write access ended" in at.said, "the refusal")
        assert at.targets.written == []
        await at.press("e")
        await ask(at)
        grants = [e.event for e in await at.app.session.entries() if isinstance(e.event, GrantActivated)]  # type: ignore[union-attr]
        assert len(grants) == 2
        assert grants[0].plan_digest != grants[1].plan_digest


async def test_an_edit_is_put_aside_or_thrown_away(tmp_path: Path, editor: Path) -> None:
    editor.write_text("s/uptime/first/\ns/first/second/\ns/x/x/\n")
    async with sitting(tmp_path) as at:
        await at.press("2")
        await at.screen("RunbooksScreen")
        await at.press("slash")
        await at.type("look")
        await at.press("enter", "enter")
        await at.screen("PlanScreen")
        await at.press("E")
        await at.screen("Choose")
        await at.press("escape")
        await at.until(lambda: "Put aside" in at.said, "what became of it")
        await at.press("E")
        await at.screen("Choose")
        assert "second" in dialog(at)
        await at.press("3")
        await at.screen("PlanScreen")
        await at.press("E")
        await at.until(lambda: "Nothing was changed" in at.said, "nothing")
        assert isinstance(at.app.screen, PlanScreen)
        assert at.app.screen._text == ""


def test_fast_typing_lands_in_the_field_that_it_is_meant_for(tmp_path: Path) -> None:
    with terminal(tmp_path / "world") as shown:
        shown.until("PRODUCTION")
        shown.keys("2")
        shown.until("/ find")
        shown.keys("W")
        shown.until("F1 makes the plan")
        shown.rest()
        os.write(shown.fd, b"gateway\rgw1-production\rtouch /tmp/x\r\r\rIs it there?\r\rnobody\r")
        shown.until("Ask for write access")
        shown.until("UNSCRIPTED")
        shown.until("touch /tmp/x")


def test_the_real_terminal_is_lent_to_the_editor_and_comes_back(tmp_path: Path) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\nprintf "EDITOR HAS IT: "; read word; sed -i "s/uptime/$word/" "$1"\n')
    script.chmod(0o755)
    with terminal(tmp_path / "world", EDITOR=str(script), VISUAL="") as shown:
        shown.until("PRODUCTION")
        shown.keys("2")
        shown.until("/ find")
        shown.keys("/look")
        shown.until("1 of 2")
        shown.keys("\r")
        shown.rest()
        shown.keys("\r")
        shown.until("starts the run")
        seen = len(shown.raw)
        shown.keys("E")
        shown.until("EDITOR HAS IT")
        assert ALTERNATE_OFF in shown.raw[seen:]
        shown.keys("who\n")
        shown.until("use it for this run")
        shown.until("+  - {id: one, kind: ssh, target: gateway, argv: [who]}")
        shown.keys("1")
        shown.until("plan · EDITED")
        shown.until("starts the run")
        shown.rest()
        shown.keys("\r")
        shown.until("does one")
        shown.until("PRODUCTION │ EDITED │ READ-ONLY")


async def test_an_unscripted_read_says_what_it_needs_before_its_command(tmp_path: Path) -> None:
    async with sitting(tmp_path) as at:
        await at.press("2")
        await at.screen("RunbooksScreen")
        for typed, needs in (("nets", None), ("network,sockets", ("network", "sockets"))):
            await at.press("colon")
            await at.screen("Prompt")
            at.app.screen.query_one(Input).value = f"gateway --needs {typed} uptime"
            await at.press("enter")
            if needs is None:
                await at.until(lambda: "nothing that a read can need" in at.said, "the refusal")
                assert at.where == "RunbooksScreen"
            else:
                await at.screen("RunScreen")
                await at.idle()
                assert at.task.plan.needs == needs
                assert [act.shows for act in at.task.run.steps[0].acts][:1] == ["[with network, sockets] uptime"]
