"""What holds a read, what a step opens beyond it and what was refused: said before, during and after the run, on real hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, IdentityShown
from envtui.rules.protection import of_plan
from envtui.tui.banner import banner
from envtui.tui.screens.about import about
from envtui.tui.screens.plan import describe
from envtui.tui.widgets.rows import Rows
from tests.servers.sshd import SSHD
from tests.servers.test_ssh_sandbox import LANDLOCK
from tests.servers.world_kit import NAME, Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: levels WERE NOT TESTED on a host"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: levels WERE NOT TESTED in the sandbox"),
]


@pytest.fixture
def held(kit: Kit) -> Kit:
    kit.credentials = "protection: {ssh: kernel-enforced}\n"
    kit.manifest()
    return kit


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_a_run_says_its_level_what_a_step_opens_and_what_was_refused(held: Kit, tmp_path: Path) -> None:
    file = tmp_path / "made"
    held.book(
        f"  - {{id: bad, kind: ssh, sh: 'echo x >{file}; true'}}\n"
        "  - {id: wide, kind: ssh, argv: [uptime], needs: [network]}\n"
    )
    assert "needs: network\n" in held.cli("show", f"{NAME}/book").stdout
    done = held.cli("run", NAME, "book")
    assert done.returncode == 0, said(done)
    assert "web/web1: reads are kernel-enforced\n" in done.stdout
    assert f"bad@web1: the sandbox refused open {file} to write: sh" in done.stdout
    assert "[with network] uptime" in done.stdout
    assert not file.exists()
    run = held.run().id
    for words in (("ledger", "show", NAME, run), ("report", NAME, run)):
        assert f"the sandbox refused open {file} to write: sh" in held.cli(*words).stdout.replace("\\", "")
    assert [e.protection for e in held.events(IdentityShown) if e.access == "read"] == ["kernel-enforced"]
    lines = held.cli("ledger", "show", NAME, run, "--json").stdout
    assert f'"open {file} to write: sh"' in lines
    assert all(json.loads(line) for line in lines.splitlines())


async def test_the_screens_say_it_too(held: Kit, tmp_path: Path) -> None:
    file = tmp_path / "made"
    held.book(
        f"  - {{id: bad, kind: ssh, sh: 'echo x >{file}; true'}}\n"
        "  - {id: wide, kind: ssh, argv: [uptime], needs: [network]}\n"
    )
    async with held.open() as session:
        plan = session.plan("book", {})
        (clause,) = of_plan(plan, session.environment, {})
        assert clause == "web at least kernel-enforced, wide with network"
        assert "reads  web at least" in describe(plan, (clause,)).wrapped(200).plain
        task = await session.start(plan)
        await task.run_on()
        assert session.status().protection == {"ssh": "kernel-enforced"}
        assert "reads kernel-enforced, with network" in banner(session, task.run, 0, needs=plan.needs).subtitle
        assert "reads kernel-enforced · " in banner(session, task.run, 0).subtitle
        step = task.run.step("bad")
        assert step is not None
        shown = Rows(about(step, plan.steps[0], task.step_of("bad"))).wrapped(300).plain
        assert f"by the sandbox: open {file} to write: sh" in shown
        (clause,) = of_plan(plan, session.environment, {"web": ["kernel-enforced"]})
        assert clause.startswith("web kernel-enforced, ")
    assert [e.refused for e in held.events(ActEnded)] == [(f"open {file} to write: sh",), ()]


def test_an_unscripted_read_says_what_it_needs(held: Kit) -> None:
    opens = "import socket;socket.socket(socket.AF_INET)"
    done = held.cli("ask", NAME, "web", "--", "python3", "-c", opens)
    assert "`needs: [network]`" in done.stdout
    assert done.returncode != 0
    done = held.cli("ask", "--needs", "network", NAME, "web", "--", "python3", "-c", opens)
    assert done.returncode == 0, said(done)
    assert "[with network] python3" in done.stdout
    draft = held.cli("draft", NAME, held.run().id)
    assert "needs:" in draft.stdout
    done = held.cli("ask", "--needs", "everything", NAME, "web", "--", "id")
    assert done.returncode == 2, said(done)
    assert "'everything' is nothing that a read can need.\nOne of network, sockets, root.\n" in done.stderr
