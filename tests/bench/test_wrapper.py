"""What the wrapper of SSH writes costs, and how long a stop takes: measured against the same command without it.

Absolute milliseconds, because that is the goal; both are taken in turns on one connection, and the account's login shell is
dash without start files.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from ssh_house import Attempt, Collected, House
from sshd import ME, SSHD, Server, Servers, servers

from envtui.outside.ssh.bootstrap import Command, launch, nonce
from envtui.outside.ssh.exchange import Exchange
from envtui.outside.ssh.session import perform

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: the speed of SSH WAS NOT MEASURED"),
]

ROUNDS = 25


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def one(world: Servers) -> Server:
    return world.start("test:one")


@pytest.fixture
async def house(world: Servers, one: Server) -> AsyncIterator[House]:
    made = House(world)
    user = world.account(f"bench{time.monotonic_ns() % 10**6}", "/bin/dash") if os.getuid() == 0 else ME
    made.target("gw", one, user=user, write_key="file:reader")
    yield made
    await made.close()


async def plain(attempt: Attempt, command: Command) -> float:
    links = attempt.writer._links
    opened = await links.get(attempt.act.place, "write")
    began = time.perf_counter()
    exchange = Exchange(opened.link, launch(command, nonce(), reads=False), b"", Collected(), 30.0)
    assert (await perform(links, opened, exchange)).exit == 0
    return time.perf_counter() - began


async def wrapped(attempt: Attempt) -> float:
    began = time.perf_counter()
    assert (await attempt.writer.write(attempt.permit, attempt.act, Collected())).exit == 0
    return time.perf_counter() - began


@pytest.mark.parametrize(
    ("what", "argv"),
    [("a plain command", ("true",)), ("that prints", ("echo", "reloaded")), ("coded", ("echo", "it's"))],
)
async def test_what_the_wrapper_adds_to_a_write(house: House, what: str, argv: tuple[str, ...]) -> None:
    command = Command(argv=tuple(word.encode() for word in argv))
    without, within, after = [], [], []
    await house.write("gw", "true")  # its directories are there from the first write on
    for _ in range(ROUNDS):
        attempt = house.sent("gw", *argv)
        await plain(attempt, command)  # the first command of a connection
        without.append(await plain(attempt, command))
        within.append(await wrapped(attempt))
        began = time.perf_counter()
        await attempt.writer.forget()
        after.append(time.perf_counter() - began)
        await attempt.writer.close()
    bare, full, forgot = (statistics.median(times) * 1e3 for times in (without, within, after))
    print(
        f"\n{what}: without {bare:.1f} ms, wrapped {full:.1f} ms, adds {full - bare:.1f} ms (goal 10); "
        f"forgotten in {forgot:.1f} ms after its outcome is durable"
    )
    # Two or three processes more: on a machine that is busy with other things they cost what the others cost too.
    assert (min(within) - min(without)) * 1e3 <= max(10.0, 2 * bare)


async def test_a_stop_reaches_the_group_within_a_second(house: House, world: Servers) -> None:
    """From a process that has no connection yet, until nobody is left."""
    times = []
    for number in range(5):
        mark = world.folder / f"mark{number}"
        os.mkfifo(mark)
        mark.chmod(0o666)
        attempt = house.sent("gw", str(mark), sh='echo >"$1"; exec sleep 60')
        writing = asyncio.create_task(attempt.done(Collected(), keep=True))
        await asyncio.get_running_loop().run_in_executor(None, mark.read_text)
        writing.cancel()
        await asyncio.wait([writing])
        ender = house.ender
        began = time.perf_counter()
        fate = await ender.stop(attempt.started, grace=5)
        times.append(time.perf_counter() - began)
        assert fate.dead
        await ender.close()
        house._ender = None
    print(f"\nstop: {statistics.median(times) * 1e3:.0f} ms until nobody is left, with connecting (goal 1000)")
    assert statistics.median(times) <= 1
