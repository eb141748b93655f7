"""A laptop that sleeps in the middle of a write: when it wakes up, the write has gone on without it, and is told right."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, ActIntended
from tests.servers.test_ending import way
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


@pytest.mark.parametrize("network", ["stays", "goes away"])
async def test_a_laptop_sleeps_while_a_write_runs(kit: Kit, tmp_path: Path, network: str) -> None:
    async with way(kit) as line:
        kit.book(
            f"  - {{id: change, kind: ssh, mode: write, timeout: 120s, "
            f"sh: 'echo once >> {tmp_path}/traces; until [ -e {tmp_path}/go ]; do sleep 0.05; done; touch {tmp_path}/made', "
            f"probe: {{preset: file exists {tmp_path}/made}}, undo: {{argv: [rm, {tmp_path}/made]}}}}\n"
        )
        block = await asyncio.to_thread(kit.request, "book")
        process = await asyncio.create_subprocess_exec(
            *kit.argv("run", NAME, "book", "--grant", str(block)),
            env=kit.variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            await until((tmp_path / "traces").exists)
            process.send_signal(signal.SIGSTOP)
            if network == "goes away":
                line.cut()
            (tmp_path / "go").touch()
            await until((tmp_path / "made").exists)
            line.mend()
        finally:
            process.send_signal(signal.SIGCONT)
        said, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, said.decode()
    assert [(e.act, e.word) for e in kit.events(ActEnded) if e.act == "change@web1"] == [("change@web1", "OK")]
    assert len([e for e in kit.events(ActIntended) if e.act == "change@web1"]) == 1
    assert (tmp_path / "traces").read_text() == "once\n"
    assert kit.sound()
