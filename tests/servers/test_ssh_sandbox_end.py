"""A read in the sandbox ends without us: the client dies, hangs, or its network is cut; nothing of it stays on the host."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sshd import ME, SSHD, Servers, servers
from test_ssh_sandbox import LANDLOCK

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: how the sandbox ends WAS NOT TESTED"),
]

CLIENT = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from types import SimpleNamespace
from ssh_house import House
import ssh_house

async def main():
    known, address, key, command, seconds, user = json.loads(sys.argv[2])
    house = House(SimpleNamespace(key=lambda name: Path(key)))
    house.known, house.least = known, "kernel-enforced"
    house.target("gw", address, user=user)
    await house.open("gw")
    print("open", flush=True)
    await house.reader.read(house.act("gw", sh=command, timeout=seconds), ssh_house.Collected())

asyncio.run(main())
"""

PATIENCE = 30.0


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


def running(mark: str) -> list[int]:
    """Processes whose words hold the mark, but for those that were only told it: the client, sshd, shells."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] == [b"sleep"] and mark.encode() in words:
                found.append(int(entry.name))
    return found


async def until(true: Callable[[], bool], what: str) -> None:
    for _ in range(int(PATIENCE / 0.05)):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


LEFT = "sleep @ & setsid sleep @ & (trap '' HUP TERM PIPE; exec sleep @) & nohup sleep @ >/dev/null 2>&1 & sleep @"
"""Five of them: in the background, in a session of its own, deaf, with nobody's output."""


@pytest.mark.parametrize("how", ["killed", "frozen", "silent"])
async def test_what_a_client_leaves_behind_ends(world: Servers, how: str) -> None:
    """`killed`: by SIGKILL. `frozen`: it stops and holds the connection, so only the host's own time can end the read.
    `silent`: what would say that somebody listens is never read, and the client is killed then."""
    mark = f"{4000 + os.getpid()}.{['killed', 'frozen', 'silent'].index(how)}"
    server = world.start("test:one")
    command = LEFT.replace("@", mark) + (" & yes" if how == "silent" else "")
    seconds = 2.0 if how == "frozen" else 600.0
    told = [server.known(), server.address, str(world.key("reader")), command, seconds, ME]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, json.dumps(paths), json.dumps(told)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == b"open\n"
        await until(lambda: len(running(mark)) == 5, "the read did not begin")
        os.kill(client.pid, signal.SIGSTOP if how == "frozen" else signal.SIGKILL)
        await until(lambda: not running(mark), f"left behind: {running(mark)}")
        assert (client.poll() is None) == (how == "frozen")
    finally:
        client.kill()
        client.communicate()
        for pid in running(mark):
            os.kill(pid, signal.SIGKILL)
