"""Clocks of targets, on real servers: what is told of them, and that no write starts by a clock that is wrong.

The servers' clocks are this machine's; what is moved is what envtui takes for its own time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from ssh_house import House
from sshd import SSHD, Server, Servers, servers

from envtui.core.errors import Refused
from envtui.outside.sql.session import SqlReader
from envtui.outside.sql.writer import SqlWriter
from envtui.outside.ssh import login
from tests.servers.postgres import Collected, Database, cluster, connector, database, permit_for, read_act, write_act

__all__ = ["cluster", "database"]  # fixtures
pytestmark = [pytest.mark.servers, pytest.mark.skipif(SSHD is None, reason="NO sshd: clocks WERE NOT TESTED over SSH")]

MINUTE = 60_000


def moved(by_ms: int) -> Callable[[], int]:
    return lambda: time.time_ns() // 1_000_000 + by_ms


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def one(world: Servers) -> Server:
    return world.start("test:one", accepts=("reader", "writer"))


@pytest.fixture
async def house(world: Servers, one: Server) -> AsyncIterator[House]:
    made = House(world)
    made.target("gw", one, expects="test:one", write_key="file:writer")
    yield made
    await made.close()


@pytest.mark.parametrize("minutes", [-5, -1, 0, 1, 5])
async def test_an_ssh_host_tells_its_clock_with_its_identity(
    house: House, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    monkeypatch.setattr(login, "wall_ms", moved(-minutes * MINUTE))  # ours is behind: theirs is ahead
    shown = await house.open("gw")
    assert shown.skew_ms is not None
    # Only what is sure: the question's way and half a second are taken off, never added.
    sure = abs(shown.skew_ms)
    assert (shown.skew_ms > 0) == (minutes > 0)
    assert sure <= abs(minutes) * MINUTE
    assert sure > abs(minutes) * MINUTE - 30_000 or minutes == 0


async def test_what_a_host_says_of_its_clock_is_no_part_of_its_identity(house: House) -> None:
    assert "test:one" in (await house.open("gw")).shown
    assert (await house.read("gw", "sh", "-c", "echo to stderr >&2")).stderr == b"to stderr\n"


@pytest.mark.parametrize(("minutes", "said"), [(3, "ahead of this one"), (-3, "behind this one")])
async def test_a_write_over_ssh_is_refused_by_a_clock_that_is_far_off(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minutes: int, said: str
) -> None:
    monkeypatch.setattr(login, "wall_ms", moved(-minutes * MINUTE))
    there = tmp_path / "written"
    with pytest.raises(Refused, match="The clock of gw") as refusal:
        await house.write("gw", "touch", str(there))
    assert said in refusal.value.message
    assert not there.exists()
    monkeypatch.setattr(login, "wall_ms", moved(0))
    await house.write("gw", "touch", str(there))
    assert there.exists()


async def test_by_the_hosts_own_clock_the_time_of_a_permit_may_be_over(house: House, tmp_path: Path) -> None:
    there = tmp_path / "written"
    attempt = house.sent("gw", "touch", str(there))
    object.__setattr__(attempt.permit, "until_ms", moved(-MINUTE)())
    with pytest.raises(Refused, match="By the clock of gw the write access is over"):
        await attempt.done(Collected())
    assert not there.exists()


@pytest.mark.parametrize("minutes", [-3, 3])
async def test_a_database_tells_its_clock_and_a_write_is_refused_where_it_is_far_off(
    database: Database, minutes: int
) -> None:
    where = connector(database)
    where._wall_ms = moved(-minutes * MINUTE)
    reader = SqlReader(where)
    shown = await reader.open(read_act(database, "select 1"))
    await reader.close()
    assert shown.skew_ms is not None
    assert 2.5 * MINUTE < abs(shown.skew_ms) <= 3 * MINUTE + 1  # both clocks are cut off at whole milliseconds
    assert (shown.skew_ms > 0) == (minutes > 0)
    act = write_act(database, "update orders set state = 'x'")
    permit = permit_for(act)
    writer = SqlWriter(permit, where)
    with pytest.raises(Refused, match="clock of"):
        await writer.write(permit, act, Collected())
    assert database.admin("select count(*) from orders where state = 'x'") == [(0,)]


async def test_by_the_databases_own_clock_the_time_of_a_permit_may_be_over(database: Database) -> None:
    act = write_act(database, "update orders set state = 'x'")
    permit = permit_for(act)
    object.__setattr__(permit, "until_ms", moved(-MINUTE)())
    writer = SqlWriter(permit, connector(database))
    with pytest.raises(Refused, match=r"By the clock of .* the write access is over"):
        await writer.write(permit, act, Collected())
    assert database.admin("select count(*) from orders where state = 'x'") == [(0,)]
