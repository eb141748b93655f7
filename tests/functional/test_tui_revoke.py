"""Write access that ends before its time, at the screens: given back by a key and a word, and revoked by a block; against a real
sshd."""

from __future__ import annotations

import sys
from pathlib import Path

from textual.events import Paste

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))  # its kits name each other without a package

from envtui.core.events import ActEnded, GrantEnded, Noted, SignedOff
from envtui.rules import paste
from envtui.rules.outside import NOTHING_LEFT
from tests.functional.test_tui_mending import book, desk, gone
from tests.servers.world_kit import NAME, Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures


async def test_x_gives_it_back_at_once_while_nothing_is_written(kit: Kit) -> None:
    book(kit, f"touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        assert at.task.run.write_active
        await at.press("x")
        await at.until(lambda: not at.task.run.write_active, "the end of write access")
        await at.press("x")
        assert "no write access to give back" in at.said
    assert [event.reason for event in kit.events(GrantEnded)] == ["GIVEN_BACK"]


async def test_x_asks_for_a_word_while_a_write_is_under_way_and_ends_it(kit: Kit) -> None:
    book(kit, f"sleep 240 & wait; touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        await at.press("x")
        await at.until(lambda: "GIVE WRITE ACCESS BACK" in at.shown, "the question")
        assert "change@web1" in at.shown
        await at.pasted("stop")
        await at.press("escape")
        assert at.task.run.write_active
        assert not gone(kit.folder)
        await at.press("x")
        await at.answer("stop")
        await at.idle()
        assert gone(kit.folder)
        assert not at.task.run.write_active
        assert at.task.run.word == "CANCELLED"
    assert [event.reason for event in kit.events(GrantEnded)] == ["GIVEN_BACK"]


async def test_a_revoke_that_is_pasted_on_the_run_ends_the_write(kit: Kit) -> None:
    book(kit, f"sleep 240 & wait; touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        request = at.task.run.requests[-1]
        block = paste.block(paste.unbundle(request.bundle))
        signed = kit.cli("revoke", NAME, "--reason", "wrong gateway", stdin=block)
        assert signed.returncode == 0, signed.stderr
        await at.writing()
        at.app.screen.post_message(Paste("look what meera sent:\n" + signed.stdout))
        await at.until(lambda: at.task.run.word is not None, "the end of the run")
        await at.idle()
        assert gone(kit.folder)
        assert "asha revoked it" in at.said
        await at.until(lambda: bool(kit.events(Noted)), "what is left")
        assert "Looked at after write access ended" in " ".join(at.text("#notes").split())
    [ended] = [event for event in kit.events(ActEnded) if event.act == "change@web1"]
    assert ended.word == "CANCELLED"
    assert [event.verdict for event in kit.events(SignedOff)] == ["revoke"]
    assert [event.why for event in kit.events(GrantEnded)] == ["revoked by asha: wrong gateway"]
    assert [event.text for event in kit.events(Noted)] == [NOTHING_LEFT]


async def test_a_revoke_from_another_terminal_is_seen_on_the_screen(kit: Kit) -> None:
    book(kit, f"sleep 240 & wait; touch {kit.folder}/made")
    async with desk(kit) as at:
        await at.started()
        await at.writing()
        other = kit.popen("revoke", NAME, at.task.run.id, "--reason", "wrong gateway")
        await at.until(lambda: at.task.run.word is not None, "the end of the run")
        await at.until(lambda: other.poll() is not None, "the other terminal")
        said = other.communicate()[1]
        assert NOTHING_LEFT in said
        assert gone(kit.folder)
        await at.idle()
        assert "write access ended: revoked" in " ".join(at.shown.lower().split())
