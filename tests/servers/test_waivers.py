"""Required reads and their waivers, as processes and in the engine, against a real sshd: what may be left out, and what not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from envtui.core.access import Waiver
from envtui.core.errors import Refused
from envtui.core.events import ActIntended, GrantActivated, Requested, StepEnded
from envtui.rules import grants, paste
from envtui.rules.proposals import Done, NeedsAnswer, ReadyRead, ReadyWrite
from tests.servers.world_kit import NAME, Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures

WHY = "the metrics are down, the customers say it"


def book(kit: Kit, folder: Path, how: str = "", put: str = "") -> None:
    """A required read that fails until the file `there` is, and a write behind it."""
    kit.book(
        f"  - {{id: rate, kind: ssh, argv: [test, -e, {folder}/there], required: true{how}}}\n"
        "  - {id: other, kind: ssh, argv: ['true']}\n"
        f"  - {{id: put, kind: ssh, mode: write, repeatable: true, argv: [touch, {folder}/made]{put}}}\n"
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def writes(kit: Kit) -> list[str]:
    return [event.act for event in kit.events(ActIntended) if event.mode == "write"]


def test_a_required_read_that_failed_is_passed_over_under_a_signed_waiver(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    failed = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")))
    assert failed.returncode == 1, said(failed)
    block = kit.request("book", "--waive", f"rate={WHY}")
    shown = kit.cli("sign", NAME, "--yes", "--deny", stdin=block.read_text())
    assert f"WAIVED the required read rate: {WHY}" in " ".join(shown.stderr.split())
    done = kit.cli("run", NAME, "book", "--grant", str(block), "--answer", "rate=skip")
    assert done.returncode == 0, said(done)
    assert "WITHOUT the required rate" in done.stdout
    assert (tmp_path / "made").exists()
    ended = [(e.step, e.word) for e in kit.events(StepEnded)][-4:]
    assert ended == [("rate", "FAILED"), ("rate", "SKIPPED"), ("other", "OK"), ("put", "OK")]
    assert next(e.why for e in kit.events(StepEnded) if e.word == "SKIPPED").startswith(f"waived: {WHY}")
    assert kit.events(GrantActivated)[-1].waived == ("rate",)
    assert "WAIVED" in said(kit.cli("sign", NAME, "--yes", "--deny", stdin=block.read_text()))
    assert kit.sound()


def test_a_run_that_ended_there_goes_on_under_a_waiver(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    assert kit.cli("run", NAME, "book").returncode == 1
    run = kit.run().id
    asked = kit.cli("request", NAME, "--resume", run, "--reason", "it has to be done now", "--waive", f"rate={WHY}")
    assert asked.returncode == 0, said(asked)
    (tmp_path / "block").write_text(asked.stdout)
    done = kit.cli("run", NAME, "--resume", run, "--grant", str(tmp_path / "block"), "--answer", "rate=skip")
    assert done.returncode == 0, said(done)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("waiver", "expected"),
    [
        (f"nowhere={WHY}", "The plan has no step 'nowhere' that could be waived. Required here: rate."),
        (f"other={WHY}", "Step other is no required read: it can be skipped as it is."),
        (f"put={WHY}", "Step put writes"),
        (f"soak={WHY}", "'soak' is a gate; this version has no gates, and waives none."),
        (f"gate:rehearsal={WHY}", "'gate:rehearsal' is a gate"),
        (f"identity={WHY}", "nobody waives that"),
        ("rate=.", "'.' is not a reason."),
        ("rate=", "is not a reason."),
    ],
)
def test_a_waiver_names_a_required_read_and_says_why(kit: Kit, tmp_path: Path, waiver: str, expected: str) -> None:
    book(kit, tmp_path)
    asked = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--waive", waiver)
    assert asked.returncode == 1, said(asked)
    assert expected in " ".join(asked.stderr.split())
    assert not kit.events(Requested)


def test_a_waiver_is_a_step_and_a_reason_once(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    asked = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--waive", "rate")
    assert asked.returncode == 2, said(asked)
    assert "is not STEP=REASON" in asked.stderr
    twice = ("--waive", f"rate={WHY}", "--waive", f"rate={WHY}")
    asked = kit.cli("request", NAME, "book", "--reason", "the tests need it", *twice)
    assert "Step rate is waived twice." in asked.stderr


def test_no_jump_leads_past_a_required_read_to_a_write(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path, ", on_failure: 'goto:put'")
    done = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")))
    assert done.returncode == 1, said(done)
    words = " ".join(done.stderr.split())
    assert "Step put is not sent: it waits for what is required before it: rate (FAILED)" in words
    assert "--waive rate=REASON" in words
    assert writes(kit) == []
    done = kit.cli("run", NAME, "book", "--grant", str(kit.request("book", "--waive", f"rate={WHY}")))
    assert done.returncode == 0, said(done)
    assert (tmp_path / "made").exists()


async def test_a_choice_does_not_lead_past_it_either_and_nobody_does_it_by_hand(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        "  - {id: way, kind: choose, options: {look: rate, hurry: put, hands: hand}}\n"
        "  - {id: rate, kind: ssh, argv: ['true'], required: true}\n"
        f"  - {{id: put, kind: ssh, mode: write, repeatable: true, argv: [touch, {tmp_path}/made]}}\n"
        "  - {id: hand, kind: manual, mode: write, instructions: Do it., point_of_no_return: so, repeatable: true}\n"
    )
    for answer in ("hurry", "hands"):
        async with kit.open() as session:
            task = await session.start(session.plan("book", {}))
            await session.ask_write(task, "", "the tests need it")
            await session.arm(task)
            proposed = await task.answer("way", answer)
            assert isinstance(proposed, ReadyWrite | NeedsAnswer)
            assert "rate (not done)" in proposed.held
            with pytest.raises(Refused, match="waits for what is required"):
                await (session.write(task, "put") if answer == "hurry" else task.answer("hand", "done"))
    assert writes(kit) == []


async def test_a_required_step_is_left_out_only_under_the_write_access_that_waives_it(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        assert isinstance(task.next, ReadyRead)
        with pytest.raises(Refused, match="rate is required"):
            await task.skip("no time for that")
        request, _ = await session.ask_write(task, "", "the tests need it", waivers=[Waiver(step="rate", reason=WHY)])
        with pytest.raises(Refused, match="rate is required"):  # asked for is not signed
            await task.skip("no time for that")
        await session.arm(task)
        await session.access.end(task, "GIVEN_BACK")
        with pytest.raises(Refused, match="rate is required"):  # and what is over counts no more
            await task.skip("no time for that")
        await session.ask_write(task, "", "the tests need it", waivers=[Waiver(step="rate", reason=WHY)])
        await session.arm(task)
        await task.skip("")
        assert isinstance(await task.run_on(), ReadyWrite)
        done = await session.write(task, "put")
        assert isinstance(done, Done)
        assert done.word == "OK", done.why
    assert [e.why for e in kit.events(StepEnded) if e.word == "SKIPPED"] == [f"waived: {WHY}"]
    bundle = kit.events(Requested)[0].bundle
    assert grants.parse_request(paste.unbundle(bundle).body.encode()).waivers == request.waivers


async def test_a_skipped_read_holds_the_write_again_once_its_waiver_is_over(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        await session.ask_write(task, "", "the tests need it", waivers=[Waiver(step="rate", reason=WHY)])
        await session.arm(task)
        await task.skip("")
        await task.run_on()
        await session.access.end(task, "GIVEN_BACK")
        await session.ask_write(task, "", "the tests need it")
        await session.arm(task)
        with pytest.raises(Refused, match=r"rate \(SKIPPED\)"):
            await session.write(task, "put")
    assert writes(kit) == []
