"""`envtui sign` at the screens: a request is pasted, read, and answered by another person's key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from keyboard_kit import type_text
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, Static
from tui_kit import MARKUP, ScriptedWorld, Targets, grow, incident, world

from envtui.core.access import Signed
from envtui.core.act import Plan
from envtui.rules import grants, paste
from envtui.tui.dialogs.prompt import Prompt
from envtui.tui.dialogs.typed import TypedDialog
from envtui.tui.screens.sign import SignScreen
from envtui.tui.signing import SignApp

PATIENCE = 20.0
HOSTILE = f"403s {MARKUP} for everyone since 09:38"


async def asked(made: ScriptedWorld, limit: int = paste.PART_LIMIT) -> str:
    """What asha asks for, as a block."""
    async with await made.open("production") as session:
        plan: Plan = session.plan("revert", {}, incident(made))
        _, block = await session.access.ask(plan, plan.incident, HOSTILE, 0)
    return paste.block(paste.read(block, "request"), limit)


class Signing:
    """The approver at the keyboard."""

    def __init__(self, pilot: Pilot[int]) -> None:
        self.pilot = pilot
        assert isinstance(pilot.app, SignApp)
        self.app = pilot.app

    @property
    def screen(self) -> SignScreen:
        return next(each for each in self.app.screen_stack if isinstance(each, SignScreen))

    def text(self, selector: str) -> str:
        return str(self.screen.query_one(selector, Static).visual)

    @property
    def said(self) -> str:
        return "\n".join(str(n.message) for n in self.app._notifications)

    async def paste(self, text: str) -> None:
        self.screen.post_message(events.Paste(text))
        await self.pilot.pause()

    async def until(self, holds: object, what: str) -> None:
        assert callable(holds)
        for _ in range(int(PATIENCE / 0.02)):
            if holds():
                await self.pilot.pause()
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{what} never came: {self.app.screen} {self.said}")

    async def type(self, text: str) -> None:
        await type_text(self.pilot, text)

    async def approve(self, word: str) -> None:
        await self.pilot.press("f2")
        await self.until(lambda: isinstance(self.app.screen, TypedDialog), "the dialog")
        await asyncio.sleep(0.35)
        await self.type(word)
        await self.pilot.press("enter")
        await self.pilot.pause()


@asynccontextmanager
async def signing(
    folder: Path, size: tuple[int, int] = (100, 30), who: str = "meera"
) -> AsyncIterator[tuple[Signing, ScriptedWorld]]:
    variables = grow(folder)
    made = world(variables, Targets())
    app = SignApp(made, "production", f"file:{variables['HOME']}/.ssh/{who}")
    async with app.run_test(size=size) as pilot:
        at = Signing(pilot)
        await at.until(lambda: any(isinstance(each, SignScreen) for each in app.screen_stack), "the screen")
        yield at, made


def verdict(answer: str) -> str:
    signed: Signed = paste.read(answer, "approve")
    return grants.parse_signoff(signed.body.encode()).verdict


async def test_a_request_is_read_and_approved_by_its_typed_name(tmp_path: Path) -> None:
    async with signing(tmp_path) as (at, made):
        await at.paste(await asked(made))
        await at.until(lambda: at.screen.review is not None, "the review")
        shown = at.text("#text")
        for part in ("Asked by", HOSTILE, "Incident", "Plan", "Writes", "Undo"):
            assert part in shown
        assert "approves exactly this" in at.text("#now")
        await at.approve("production")
        await at.until(lambda: at.app.answer, "the answer")
        assert verdict(at.app.answer) == "approve"
        assert "BEGIN ENVTUI SIGN-OFF" in at.text("#text")
        assert "F1" in at.text("#keys")


async def test_another_word_and_escape_sign_nothing(tmp_path: Path) -> None:
    async with signing(tmp_path) as (at, made):
        await at.pilot.press("f2")
        assert "Paste the request first" in at.said
        await at.paste(await asked(made))
        await at.until(lambda: at.screen.review is not None, "the review")
        await at.approve("staging")
        assert isinstance(at.app.screen, TypedDialog)
        await at.pilot.press("escape")
        await at.until(lambda: at.app.screen is at.screen, "the screen")
        assert at.app.answer == ""
        assert at.screen.review is not None


async def test_no_is_said_with_its_reason(tmp_path: Path) -> None:
    async with signing(tmp_path) as (at, made):
        await at.paste(await asked(made))
        await at.until(lambda: at.screen.review is not None, "the review")
        await at.pilot.press("f3")
        await at.until(lambda: isinstance(at.app.screen, Prompt), "the question")
        at.app.screen.query_one(Input).value = "not while the job runs"
        await at.pilot.press("enter")
        await at.until(lambda: at.app.answer, "the answer")
        assert verdict(at.app.answer) == "deny"
        assert "not while the job runs" in paste.read(at.app.answer, "approve").body


async def test_nobody_approves_their_own(tmp_path: Path) -> None:
    async with signing(tmp_path, who="asha") as (at, made):
        await at.paste(await asked(made))
        await at.until(lambda: at.screen.review is not None, "the review")
        await at.approve("production")
        await at.until(lambda: "cannot approve it" in at.said, "the refusal")
        assert at.app.answer == ""


async def test_what_speaks_against_it_stands_first_and_offers_no_approval(tmp_path: Path) -> None:
    async with signing(tmp_path) as (at, made):
        block = await asked(made)
        book = tmp_path / "runbooks" / "production" / "books" / "revert.yaml"
        book.write_text(book.read_text().replace("title:", "doc: changed since\ntitle:", 1))
        at.app.session.tree = made.forest().trees["production"]  # type: ignore[union-attr]
        await at.paste(block)
        await at.until(lambda: at.screen.review is not None, "the review")
        assert at.text("#text").startswith("NOT POSSIBLE")
        assert "F2" not in at.text("#keys")
        await at.pilot.press("f2")
        assert "is not the one here" in at.said
        assert not isinstance(at.app.screen, TypedDialog)


async def test_parts_come_one_after_the_other_and_garbage_is_told(tmp_path: Path) -> None:
    async with signing(tmp_path, size=(60, 20)) as (at, made):
        await at.paste("hello \x1b[2J, no block at all")
        await at.until(lambda: "no request block" in at.said, "what is wrong")
        first, *rest = (await asked(made, 700)).split("\n\n")
        assert rest
        for part in reversed(rest):
            await at.paste(f"> meera 10:32\n{part}")
            await at.until(lambda: "missing" in at.said, "what is missing")
        assert at.screen.review is None
        await at.paste(first)
        await at.until(lambda: at.screen.review is not None, "the review")
        assert HOSTILE in at.text("#text")
        assert all("\x1b" not in line for line in at.text("#text").splitlines())
