"""`envtui run` as a whole process against what people use instead, in the same run and interleaved; and the engine's own
share of a step.

Ratios, not milliseconds: servers and clients share this machine.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from envtui.core.act import Act
from envtui.core.ports import Reading, Shown, Sink
from envtui.rules.decide import Done
from tests.servers.postgres import PASSWORD
from tests.servers.sshd import ME, Servers
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

if TYPE_CHECKING:
    from envtui.engine.session import EnvironmentSession

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures
ROUNDS = 5

FABRIC = """
import sys
from fabric import Connection
host, port, user, key = sys.argv[1:]
with Connection(host, user=user, port=int(port), connect_kwargs={"key_filename": key, "allow_agent": False, "look_for_keys": False}) as c:
    for n in range(10):
        assert c.run("echo step", hide=True).stdout == "step\\n"
"""


def best(rounds: int, **argvs: tuple[list[str], dict[str, str]]) -> dict[str, float]:
    """The shortest of each, in seconds, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in argvs}
    for _ in range(rounds):
        for name, (argv, variables) in argvs.items():
            began = time.perf_counter()
            subprocess.run(argv, env=variables, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - began)
    return {name: min(taken) for name, taken in times.items()}


def said(what: str, ours: float, theirs: float, peer: str, goal: float) -> float:
    print(
        f"\n{what}: envtui {ours * 1e3:.0f} ms, {peer} {theirs * 1e3:.0f} ms, ratio {ours / theirs:.2f} (goal {goal})"
    )
    return ours / theirs


@pytest.fixture(scope="module")
def user(machines: Servers) -> str:
    """With dash and no start files, because what a start file costs, every client pays."""
    return machines.account("headless", "/bin/dash") if os.getuid() == 0 else ME


def test_ten_ssh_steps(kit: Kit, user: str, tmp_path: Path) -> None:
    kit.user = user
    kit.manifest()
    kit.book("".join(f"  - {{id: s{n}, kind: ssh, argv: [echo, step]}}\n" for n in range(10)))
    known = tmp_path / "known"
    known.write_text(kit.one.known())
    control = tmp_path / "cm"
    # As a careful person writes it: the strict host key, the identity asserted once, then the ten commands.
    options = (
        f"-F none -o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o BatchMode=yes -o IdentitiesOnly=yes"
    )
    ssh = f"ssh {options} -S {control} -i {kit.servers.key('reader')} -p {kit.one.port} {user}@127.0.0.1"
    script = "\n".join(
        [
            "set -e",
            f"{ssh} -M -fN 2>/dev/null",
            f'test "$({ssh} printenv ENVTUI_TEST_ID)" = staging:one',
            *[f"{ssh} echo step"] * 10,
            f"{ssh} -O exit 2>/dev/null",
        ]
    )
    argvs = {
        "ours": (kit.argv("run", NAME, "book"), kit.variables),
        "script": (["/bin/sh", "-c", script], dict(os.environ)),
    }
    fabric = find_spec("fabric") is not None
    if fabric:
        file = tmp_path / "ten.py"
        file.write_text(FABRIC)
        where = ["127.0.0.1", str(kit.one.port), user, str(kit.servers.key("reader"))]
        argvs["fabric"] = ([sys.executable, "-W", "ignore", str(file), *where], dict(os.environ))
    times = best(ROUNDS, **argvs)
    ratio = said("ten ssh steps", times["ours"], times["script"], "a script over ControlMaster", 1.0)
    assert ratio <= 1.0
    if not fabric:
        pytest.skip("NO fabric: ten steps WERE NOT COMPARED with it")
    assert said("ten ssh steps", times["ours"], times["fabric"], "fabric", 0.4) <= 0.4


def test_ten_sql_steps(kit_sql: Kit) -> None:
    kit, database = kit_sql, kit_sql.db
    assert database is not None
    psql = shutil.which("psql") or str(database.cluster.workspace.bindir / "psql")
    if not Path(psql).exists():
        pytest.skip("NO psql: ten steps WERE NOT COMPARED with it")
    query = "select * from orders"
    kit.book("".join(f'  - {{id: s{n}, kind: sql, target: db, query: "{query}"}}\n' for n in range(10)))
    host, port = database.address.split(":")
    once = f'"{psql}" -X -q -h {host} -p {port} -U reader -d {database.name} -c "{query}"'
    script = "\n".join(["set -e", *[once] * 10])
    times = best(
        ROUNDS,
        ours=(kit.argv("run", NAME, "book"), kit.variables),
        psql=(["/bin/sh", "-c", script], {**os.environ, "PGPASSWORD": PASSWORD}),
    )
    assert said("ten sql steps", times["ours"], times["psql"], "ten psql -c", 0.8) <= 0.8


class Nothing:
    """A reader that has the answer already: what is left is the engine, the ledger and the spool."""

    async def open(self, act: Act) -> Shown:
        return Shown(target=act.place.target, member=act.place.member, shown="staging:one", protection="advisory")

    async def read(self, act: Act, sink: Sink) -> Reading:
        sink.out(b"step\n")
        return Reading(exit=0, stdout=b"step\n")

    async def close(self) -> None:
        """Nothing is open."""


def durable(folder: Path, rounds: int) -> float:
    """Seconds that one durable commit takes on this disk, as the ledger makes it, without anything of ours around it."""
    connection = sqlite3.connect(folder / "peer.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body BLOB)")
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO entries (body) VALUES (?)", (b"x" * 500,))
        connection.execute("COMMIT")
        taken.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(taken)


async def test_the_engine_s_share_of_a_step(kit: Kit) -> None:
    """With the real ledger and spool on this disk. A step waits for the disk twice, before and after its act: that is the
    promise, and no engine can be quicker. What is more than these two commits is ours."""
    steps = 100
    kit.book("".join(f"  - {{id: s{n}, kind: ssh, argv: [echo, step]}}\n" for n in range(steps)))
    async with kit.open() as session:
        _replace_reader(session)
        task = await session.start(session.plan("book", {}))
        taken = []
        while True:
            began = time.perf_counter()
            proposed = await task.step()
            taken.append(time.perf_counter() - began)
            if isinstance(proposed, Done):
                break
    assert (proposed.word, len(taken)) == ("OK", steps)
    step, disk = statistics.median(taken), 2 * durable(kit.folder, steps)
    print(
        f"\na step: {step * 1e3:.2f} ms, of which two durable commits {disk * 1e3:.2f} ms; "
        f"engine {(step - disk) * 1e3:.2f} ms (goal 1 ms)"
    )
    assert step - disk <= 0.001


def _replace_reader(session: EnvironmentSession) -> None:
    made = getattr(session.ways.readers, "_made")  # noqa: B009  # the doors keep what they made; mypy need not know
    made["ssh"] = Nothing()
