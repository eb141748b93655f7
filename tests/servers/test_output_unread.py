"""A signed write whose output nobody reads is done once, and its end is in the ledger."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, RunEnded
from tests.servers.world_kit import NAME, Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures


@pytest.mark.parametrize("how", ["--plain", "--json"])
def test_a_write_goes_on_when_the_reader_is_gone(kit: Kit, tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    kit.book(
        "  - {id: look, kind: ssh, argv: [echo, seen]}\n"
        f"  - {{id: change, kind: ssh, mode: write, sh: 'echo done >> {log}', repeatable: true}}\n"
        "  - {id: again, kind: ssh, argv: [echo, after]}\n"
    )
    block = kit.request("book")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        kit.argv("run", NAME, "book", how, "--grant", str(block)),
        env=kit.variables,
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert log.read_text() == "done\n"
    assert [event.word for event in kit.events(ActEnded)] == ["OK"] * 3
    (ended,) = kit.events(RunEnded)
    assert ended.word == "OK"
    assert done.stderr == f"Nobody read the output to its end: envtui ledger show {NAME} {ended.run}\n"
