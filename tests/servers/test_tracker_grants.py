"""Write access under an incident that a service answers for: begun, told of, ended with it; never without a clear answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtui.core.errors import Refused
from envtui.core.events import GrantEnded, Told
from tests.servers.test_keeper import granted
from tests.servers.trackers import ACCOUNT, TOKEN, Fake, fake
from tests.servers.world_kit import NAME, Kit, kit, machines, one, until

__all__ = ["fake", "kit", "machines", "one"]

ID = "Q2T5X8ZB9KLMNP"


def asking(kit: Kit, tracker: str, folder: Path, signoff: str = "{min: 0}") -> None:
    """The environment with this tracker, and a book that writes."""
    kit.more["TRACKER_TOKEN"] = TOKEN
    kit.manifest(f"  incident: {{{tracker}}}\n  signoff: {signoff}\n")
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, argv: [touch, {folder}/sent], timeout: 10s}}\n")


def duty(fake: Fake, more: str = "") -> str:
    return (
        f'tracker: http, preset: pagerduty, url: "{fake.base}", secret: "env:TRACKER_TOKEN", user: "{ACCOUNT}", '
        f'pattern: "[A-Z0-9]{{7,16}}"{more}'
    )


def nowhere(kit: Kit) -> None:
    """The token is in no file that envtui wrote."""
    for file in (kit.folder / "state").rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes(), file


async def test_a_closed_incident_ends_the_grant_and_its_record_says_so(kit: Kit, fake: Fake, tmp_path: Path) -> None:
    asking(kit, duty(fake), tmp_path)
    fake.incidents[ID] = "triggered"
    async with kit.open() as session:
        task, clock = await granted(kit, session, ID)
        await until(lambda: len(fake.notes) == 1)
        clock.tick()
        await until(lambda: len(clock.asked) == 2)
        assert task.run.write_active
        fake.incidents[ID] = "resolved"
        clock.tick()
        await until(lambda: not task.run.write_active)
        await until(lambda: len(fake.notes) == 2)
    (end,) = kit.events(GrantEnded)
    assert (end.reason, end.why) == ("INCIDENT_CLOSED", f"{ID} was closed, which ended the write access.")
    begun, over = (text for _, text in fake.notes)
    assert begun.startswith(f"envtui: asha has write access to {NAME} until ")
    assert begun.endswith(f"for book (run {task.run.id}), signed by nobody else")
    assert over == f"envtui: asha has no write access to {NAME} any more (INCIDENT_CLOSED), book (run {task.run.id})"
    assert [(told.to, told.delivered, told.about) for told in kit.events(Told)] == [
        ("tracker", True, begun), ("tracker", True, over),
    ]  # fmt: skip
    nowhere(kit)


@pytest.mark.parametrize(
    "body", ["<html>Log in</html>", "{}", '{"incident": {"id": "Q2T5X8ZB9KLMN0", "status": "triggered"}}']
)
async def test_nonsense_ends_a_grant_that_nobody_else_signed(kit: Kit, fake: Fake, tmp_path: Path, body: str) -> None:
    asking(kit, duty(fake), tmp_path)
    fake.incidents[ID] = "triggered"
    async with kit.open() as session:
        task, clock = await granted(kit, session, ID)
        fake.badly(200, body)
        clock.tick()
        await until(lambda: not task.run.write_active)
    (end,) = kit.events(GrantEnded)
    assert f"does not say that {ID} is still open" in end.why
    nowhere(kit)


async def test_a_note_that_does_not_arrive_is_written_down_and_hinders_nothing(
    kit: Kit, fake: Fake, tmp_path: Path
) -> None:
    asking(kit, duty(fake).replace(f', user: "{ACCOUNT}"', ""), tmp_path)  # the API asks who the note is by
    fake.incidents[ID] = "triggered"
    async with kit.open() as session:
        task, _ = await granted(kit, session, ID)
        assert task.run.write_active
        await until(lambda: bool(kit.events(Told)))
    first = kit.events(Told)[0]
    assert (first.to, first.delivered) == ("tracker", False)
    assert "answers with status 400" in first.why
    nowhere(kit)


async def test_a_tracker_without_notes_is_not_told(kit: Kit, fake: Fake, tmp_path: Path) -> None:
    asking(kit, duty(fake, ", notes: false"), tmp_path)
    fake.incidents[ID] = "triggered"
    async with kit.open() as session:
        await granted(kit, session, ID)
    assert kit.events(Told) == []
    assert fake.notes == []


def test_what_the_tracker_says_is_said_on_the_command_line(kit: Kit, fake: Fake, tmp_path: Path) -> None:
    asking(kit, duty(fake), tmp_path)
    gone = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--incident", ID)
    assert gone.returncode == 1
    assert f"knows no incident '{ID}'" in gone.stderr
    fake.incidents[ID] = "resolved"
    closed = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--incident", ID)
    assert closed.returncode == 1
    assert f"{ID} is closed." in closed.stderr
    kit.more["TRACKER_TOKEN"] = "tkn-wrong-0123456789"
    wrong = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--incident", ID)
    assert "does not accept the credential (status 401)" in wrong.stderr
    for said in (gone, closed, wrong):
        assert "Traceback" not in said.stderr
        assert "tkn-" not in said.stderr + said.stdout
    for words in (["open", NAME, "--title", "x"], ["close", NAME, ID], ["list", NAME]):
        done = kit.cli("incident", *words)
        assert done.returncode == 1
        assert f"The incidents of this environment are in PagerDuty ({fake.base})" in done.stderr


async def test_unverified_needs_two(kit: Kit, fake: Fake, tmp_path: Path) -> None:
    asking(kit, duty(fake), tmp_path)
    fake.badly(500)
    async with kit.open() as session:
        task = await session.start(session.plan("book", {}))
        request, _ = await session.ask_write(task, ID, "the tests need it")
        assert (request.incident.state, "status 500" in request.incident.why) == ("unverified", True)
        with pytest.raises(Refused, match="2 more sign-offs are needed because the tracker did not answer"):
            await session.access.activate(task)


async def test_a_program_is_asked(kit: Kit, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.mkdir(mode=0o755)
    program, state = folder / "incident", folder / "state"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = INC-7 ] || exit 3\n'
        f'printf \'{{"id": "INC-7", "state": "%s", "opened": "2026-01-01T00:00:00Z"}}\' "$(cat {state})"\n'
    )
    program.chmod(0o755)
    state.write_text("open")
    asking(kit, f'tracker: command, command: ["{program}", "${{incident}}"], max_age: 3650d', tmp_path)
    refused = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--incident", "INC-7")
    assert "Your configuration does not allow" in refused.stderr
    config = kit.folder / "config.toml"
    config.write_text(config.read_text() + f'commands = ["{program}"]\n')
    none = kit.cli("request", NAME, "book", "--reason", "the tests need it", "--incident", "INC-8")
    assert "knows no incident 'INC-8'" in none.stderr
    async with kit.open() as session:
        task, clock = await granted(kit, session, "INC-7")
        state.write_text("closed")
        clock.tick()
        await until(lambda: not task.run.write_active)
    assert [end.reason for end in kit.events(GrantEnded)] == ["INCIDENT_CLOSED"]
