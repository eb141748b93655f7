"""Writes over a real sshd that are cut off, and what finds and ends them: nothing is lost, nothing runs twice, nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broken_line import BrokenLine
from ssh_house import Attempt, Collected, House
from sshd import SSHD, Server, Servers, servers

from envtui.core.act import SecretRef
from envtui.core.errors import Failed, InDoubt, Refused, TimedOut, Unreachable
from envtui.core.ports import Fate, Started
from envtui.outside.ssh import wrapper, writing
from envtui.outside.ssh.writing import SshWriter

pytestmark = [pytest.mark.servers, pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED")]

PATIENCE = 30.0
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: other accounts WERE NOT TESTED over SSH")


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def one(world: Servers) -> Server:
    return world.start("test:one", accepts=("reader", "writer"))


@pytest.fixture
def line(one: Server) -> Iterator[BrokenLine]:
    made = BrokenLine(one.port)
    yield made
    made.close()


@pytest.fixture
async def house(world: Servers, one: Server, line: BrokenLine) -> AsyncIterator[House]:
    made = House(world)
    made.target("gw", one, expects="test:one", write_key="file:writer")
    made.target("far", line.address, write_key="file:writer")
    made.known += one.known().replace(str(one.port), str(line.port))
    yield made
    await made.close()


async def until(holds: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (value := holds()):  # noqa: ASYNC110 - a file or a process says it, not an event
            await asyncio.sleep(0.02)
        return value


class Running:
    """A write that has said `up`, by what came of it meanwhile."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.sink = Collected()
        self.task = asyncio.create_task(attempt.done(self.sink, keep=True))

    async def lost(self) -> InDoubt:
        with pytest.raises(InDoubt) as caught:
            await asyncio.wait_for(self.task, PATIENCE)
        return caught.value

    async def cancelled(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


async def running(house: House, target: str, text: str, **more: Any) -> Running:
    """Its first words arrive while it runs."""
    made = Running(house.sent(target, sh=f"echo up; {text}", **more))
    await until(lambda: bytes(made.sink.stdout).startswith(b"up\n") or made.task.done())
    return made


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def marked(permit: str) -> list[int]:
    """Processes of this machine that carry the permit, but for the sleep of the watch that stands beside a write of 30 s."""
    found = []
    for pid in carrying(permit):
        with contextlib.suppress(OSError):  # it has just ended
            if Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x0040\x00":
                found.append(pid)
    return found


def carrying(permit: str) -> list[int]:
    """All of them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"ENVTUI_ACT={permit}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


# Writing


async def test_what_it_says_arrives_while_it_runs_and_once(house: House, tmp_path: Path) -> None:
    go = fifo(tmp_path / "go")
    made = await running(house, "gw", f"echo err >&2; cat {go}; echo down")
    assert bytes(made.sink.stdout) == b"up\n"
    await asyncio.get_running_loop().run_in_executor(None, go.write_text, "go\n")
    reading = await made.task
    assert (reading.exit, reading.stdout, reading.stderr) == (0, b"up\ngo\ndown\n", b"err\n")
    assert (bytes(made.sink.stdout), bytes(made.sink.stderr)) == (b"up\ngo\ndown\n", b"err\n")
    assert made.attempt.writer.seen == {"out": 11, "err": 4}


async def test_200_mb_arrive_whole(house: House) -> None:
    class Count(Collected):
        sizes = (0, 0)

        def out(self, data: bytes) -> None:
            self.sizes = self.sizes[0] + len(data), self.sizes[1]

        def err(self, data: bytes) -> None:
            self.sizes = self.sizes[0], self.sizes[1] + len(data)

    sink = Count()
    reading = await house.write(
        "gw", sh="head -c 200000000 /dev/zero; head -c 3000000 /dev/zero >&2", sink=sink, timeout=120
    )
    assert sink.sizes == (200_000_000, 3_000_000)
    assert (reading.exit, reading.truncated, len(reading.stdout), len(reading.stderr)) == (0, True, 65536, 65536)


async def test_bytes_of_both_streams_come_through(house: House) -> None:
    data = bytes(range(256)) * 2000
    sink = Collected()
    reading = await house.write("gw", "tee", "/dev/stderr", stdin=data, sink=sink)
    assert bytes(sink.stdout) == bytes(sink.stderr) == data
    assert reading.stdout == reading.stderr == data[:65536]


@pytest.mark.parametrize("size", [65535, 65536, 65537])
async def test_output_at_the_edge_of_what_comes_at_once(house: House, size: int) -> None:
    sink = Collected()
    reading = await house.write("gw", "head", "-c", str(size), "/dev/zero", sink=sink)
    assert (len(sink.stdout), len(reading.stdout)) == (size, min(size, 65536))
    assert reading.truncated == (size > 65536)


async def test_three_megabytes_of_input(house: House) -> None:
    data = os.urandom(3_000_000)
    sink = Collected()
    assert (await house.write("gw", "cat", stdin=data, sink=sink)).exit == 0
    assert bytes(sink.stdout) == data


async def test_input_that_is_cut_in_the_middle_runs_nothing(house: House, line: BrokenLine, tmp_path: Path) -> None:
    attempt = house.sent("far", sh=f"touch {tmp_path}/ran; cat >/dev/null", stdin=os.urandom(3_000_000))
    line.limit = 1_500_000
    with pytest.raises(InDoubt) as caught:
        await attempt.done(Collected())
    assert caught.value.seen == {"out": 0, "err": 0}
    fate = await house.ender.look(attempt.started)
    async with asyncio.timeout(PATIENCE):
        while not fate.dead:  # its shell is still noticing
            fate = await house.ender.look(attempt.started)
    assert fate.state == "gone"
    assert not (tmp_path / "ran").exists()


async def test_a_permit_is_started_once_at_a_host(house: House, one: Server, tmp_path: Path) -> None:
    attempt = house.sent("gw", sh=f"echo once >>{tmp_path}/trace")
    await attempt.done(Collected(), keep=True)
    again = SshWriter(attempt.permit, house.setting())  # as another process would
    with pytest.raises(Refused, match=r"nothing was run, because .* has started this permit before"):
        await again.write(attempt.permit, attempt.act, Collected())
    await again.close()
    assert (tmp_path / "trace").read_text() == "once\n"
    assert attempt.folder(one.home).exists()


async def test_what_is_forgotten_is_gone_and_nothing_else(house: House, one: Server) -> None:
    kept, forgotten = house.sent("gw", "true"), house.sent("gw", "true")
    await kept.done(Collected(), keep=True)
    await forgotten.done(Collected())
    assert kept.folder(one.home).exists()
    assert not forgotten.folder(one.home).exists()
    await house.ender.forget(kept.started)
    assert not kept.folder(one.home).exists()


async def test_forgetting_never_fails_a_write(house: House, line: BrokenLine) -> None:
    attempt = house.sent("far", "true")
    assert (await attempt.writer.write(attempt.permit, attempt.act, Collected())).exit == 0
    line.cut()
    await attempt.writer.forget()
    await attempt.writer.close()
    await attempt.writer.forget()


async def test_a_secret_goes_by_stdin_and_is_on_no_command_line(house: House, one: Server) -> None:
    house.secrets["env:TOKEN"] = "s3cret-value"
    call = (("K", (SecretRef("token", "env:TOKEN"),)),)
    reading = await house.write("gw", sh='printf %s "$K"; cat /proc/$PPID/cmdline /proc/$PPID/environ', env=call)
    assert reading.stdout.startswith(b"s3cret-value")
    assert reading.stdout.count(b"s3cret-value") == 1
    assert b"_0" not in reading.stdout


async def test_one_session_at_a_time_is_enough(world: Servers) -> None:
    """No live output then, and all of it at the end."""
    narrow = world.start(options="MaxSessions 1", accepts=("reader", "writer"))
    house = House(world)
    house.target("gw", narrow, write_key="file:writer")
    sink = Collected()
    assert (await house.write("gw", sh="echo up; sleep 0.6; echo down", sink=sink)).exit == 0
    assert bytes(sink.stdout) == b"up\ndown\n"
    await house.close()


async def test_a_home_that_is_a_trap_runs_nothing(house: House, world: Servers, tmp_path: Path) -> None:
    trapped = world.start(accepts=("reader", "writer"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (trapped.home / ".envtui").symlink_to(elsewhere)
    house.target("trap", trapped, write_key="file:writer")
    with pytest.raises(Refused, match=r"nothing was run, because .* link") as caught:
        await house.write("trap", sh=f"touch {tmp_path}/ran")
    assert caught.value.remedy
    assert not (tmp_path / "ran").exists()
    assert not list(elsewhere.iterdir())
    assert (await house.ender.look(house.sent("trap", "true").started)).state == "unknown"
    with pytest.raises(Refused, match="a link"):
        await house.ender.leftovers(house.act("trap", "true", mode="write").place)


@ROOT
async def test_a_home_that_cannot_be_written_runs_nothing(house: House, world: Servers, one: Server) -> None:
    user = world.account("nohome", "/bin/sh")
    os.chown(world.folder / user, 0, 0)
    house.target("poor", one, user=user, write_key="file:writer")
    with pytest.raises(Refused, match="no home there that it can write to") as caught:
        await house.write("poor", "true")
    assert ".envtui" in caught.value.remedy


async def test_a_directory_that_does_not_exist_runs_nothing(house: House) -> None:
    with pytest.raises(Failed, match="nothing was run"):
        await house.write("gw", "true", cwd="/nonexistent")


# Silence


async def test_a_silent_read_times_out_and_says_so(house: House) -> None:
    with pytest.raises(TimedOut, match=r"said nothing for 0\.5 s"):
        await house.read("gw", sh="echo up; sleep 60", idle=0.5)
    assert (await house.read("gw", sh="for i in 1 2 3 4 5; do echo $i; sleep 0.2; done", idle=5)).exit == 0


async def test_a_silent_write_is_overdue(house: House) -> None:
    attempt = house.sent("gw", sh="echo up; sleep 60", idle=1.0)
    with pytest.raises(InDoubt, match="said nothing for 1 s") as caught:
        await attempt.done(Collected())
    assert (caught.value.overdue, caught.value.seen) == (True, {"out": 3, "err": 0})
    assert (await house.ender.stop(attempt.started, 5)).dead


# Cut off


async def test_a_cut_connection_loses_nothing_and_runs_nothing_twice(
    house: House, line: BrokenLine, tmp_path: Path
) -> None:
    go = fifo(tmp_path / "go")
    made = await running(house, "far", f"echo once >>{tmp_path}/trace; cat {go}; echo err >&2; echo down; exit 3")
    line.cut()
    lost = await made.lost()
    assert not lost.overdue
    assert lost.seen == {"out": 3, "err": 0}
    following = asyncio.create_task(house.ender.attach(made.attempt.started, made.sink, lost.seen, PATIENCE))
    await asyncio.get_running_loop().run_in_executor(None, go.write_text, "go\n")
    assert await following == Fate(state="ended", exit=3)
    assert (bytes(made.sink.stdout), bytes(made.sink.stderr)) == (b"up\ngo\ndown\n", b"err\n")
    assert (tmp_path / "trace").read_text() == "once\n"


async def test_attaching_again_after_another_cut_goes_on_where_it_was(
    house: House, line: BrokenLine, tmp_path: Path
) -> None:
    first, second = fifo(tmp_path / "first"), fifo(tmp_path / "second")
    made = await running(house, "far", f"cat {first} {second}")
    line.cut()
    seen = (await made.lost()).seen
    following = asyncio.create_task(house.ender.attach(made.attempt.started, made.sink, seen, PATIENCE))
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, first.write_text, "one\n")
    await until(lambda: b"one\n" in made.sink.stdout)
    line.cut()
    second_half = loop.run_in_executor(None, second.write_text, "two\n")
    try:
        fate = await following  # between two looks nothing is lost but the connection
    except Unreachable:
        fate = await house.ender.attach(made.attempt.started, made.sink, seen, PATIENCE)
    await second_half
    assert fate.exit == 0
    assert bytes(made.sink.stdout) == b"up\none\ntwo\n"


async def test_a_line_that_closes_one_half_is_a_lost_connection(house: House, line: BrokenLine, tmp_path: Path) -> None:
    go = fifo(tmp_path / "go")
    made = await running(house, "far", f"cat {go}")
    line.half_close()
    seen = (await made.lost()).seen
    following = asyncio.create_task(house.ender.attach(made.attempt.started, made.sink, seen, PATIENCE))
    await asyncio.get_running_loop().run_in_executor(None, go.write_text, "go\n")
    assert (await following).exit == 0
    assert bytes(made.sink.stdout) == b"up\ngo\n"


async def test_a_line_that_freezes_is_overdue_and_it_is_stopped_later(house: House, line: BrokenLine) -> None:
    made = await running(house, "far", "exec sleep 60", timeout=3.0)
    line.freeze()
    lost = await made.lost()
    assert lost.overdue
    line.thaw()
    assert await house.ender.look(made.attempt.started) == Fate(state="running")
    assert await house.ender.stop(made.attempt.started, 5) == Fate(state="ended", exit=143)
    assert not marked(made.attempt.permit.id)


async def test_attach_gives_up_waiting_when_its_time_is_over(house: House) -> None:
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    assert made.attempt.writer.seen == {"out": 3, "err": 0}
    sink = Collected()
    assert await house.ender.attach(made.attempt.started, sink, {}, 0.3) == Fate(state="running")
    assert bytes(sink.stdout) == b"up\n"
    assert (await house.ender.stop(made.attempt.started, 5)).dead


async def test_200_mb_are_read_after_a_cut(house: House, line: BrokenLine) -> None:
    class Count(Collected):
        size = 0

        def out(self, data: bytes) -> None:
            self.size += len(data)
            self.stdout += data[: 64 - len(self.stdout)]

    made = Running(house.sent("far", sh="echo up; sleep 2; head -c 200000000 /dev/zero"))
    made.sink = sink = Count()
    made.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await made.task
    made = Running(house.sent("far", sh="echo up; sleep 1; head -c 200000000 /dev/zero"))
    await until(lambda: made.sink.stdout)
    line.cut()
    seen = (await made.lost()).seen
    assert (await house.ender.attach(made.attempt.started, sink, seen, 120)).exit == 0
    assert sink.size == 200_000_003 - seen["out"]


# Ending


async def test_cancelled_and_stopped_nothing_of_it_is_left(house: House) -> None:
    made = await running(house, "gw", "sleep 61 & sh -c 'sleep 62; :' & sleep 63")
    await made.cancelled()
    assert len(marked(made.attempt.permit.id)) >= 4
    assert (await house.ender.stop(made.attempt.started, 5)).dead
    assert not marked(made.attempt.permit.id)


async def test_what_ignores_term_is_killed_after_the_grace(house: House) -> None:
    made = await running(house, "gw", "trap '' TERM; sleep 61 & while :; do sleep 0.2; done")
    await made.cancelled()
    fate = await house.ender.stop(made.attempt.started, 0.5)
    assert fate.state == "gone"
    assert fate.exit is None
    assert not marked(made.attempt.permit.id)


async def test_a_command_that_tidies_up_is_given_the_time(house: House, tmp_path: Path) -> None:
    made = await running(
        house, "gw", f"trap 'sleep 0.5; touch {tmp_path}/tidy; exit 9' TERM; while :; do sleep 0.05; done"
    )
    await made.cancelled()
    assert await house.ender.stop(made.attempt.started, PATIENCE) == Fate(state="ended", exit=9)
    assert (tmp_path / "tidy").exists()


async def test_a_stopped_process_group_is_ended(house: House) -> None:
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    (pid,) = marked(made.attempt.permit.id)
    os.killpg(os.getpgid(pid), signal.SIGSTOP)
    assert (await house.ender.look(made.attempt.started)).state == "running"
    assert await house.ender.stop(made.attempt.started, 5) == Fate(state="ended", exit=143)


async def test_a_host_that_is_left_alone_with_a_write_ends_it_when_its_time_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ALONE", 0.2)
    made = await running(house, "gw", "sleep 60; true", timeout=1.5)
    await made.cancelled()  # as after a kill: the connection ends, and nobody comes to end the write
    assert carrying(made.attempt.permit.id)
    await until(lambda: not carrying(made.attempt.permit.id))
    assert await house.ender.look(made.attempt.started) == Fate(state="ended", exit=143)


async def test_the_watch_ends_with_the_write(house: House) -> None:
    attempt = house.sent("gw", "true")
    await attempt.done(Collected(), keep=True)
    await until(lambda: not carrying(attempt.permit.id))


async def test_a_watch_that_missed_the_end_ends_nobody(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ALONE", 0.2)
    monkeypatch.setattr(wrapper, "_RUN", wrapper._RUN.replace("kill -s TERM $envtui_k", ":"))
    attempt = house.sent("gw", sh=f"sleep 300 & echo $! >{tmp_path}/pid", timeout=1.0)
    await attempt.done(Collected(), keep=True)
    left = int((tmp_path / "pid").read_text())
    watch = [pid for pid in carrying(attempt.permit.id) if pid != left]
    assert watch
    await until(lambda: carrying(attempt.permit.id) == [left])
    os.kill(left, signal.SIGKILL)


async def test_a_write_whose_shell_is_killed_is_found_by_its_mark(house: House) -> None:
    made = await running(house, "gw", "exec sleep 60")
    (pid,) = marked(made.attempt.permit.id)
    os.kill(int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
    lost = await made.lost()
    assert "without a status" in lost.message
    fate = await house.ender.look(made.attempt.started)
    assert (fate.state, bool(fate.why)) == ("running", True)
    assert (await house.ender.stop(made.attempt.started, 5)).state == "gone"
    assert not marked(made.attempt.permit.id)


async def test_a_daemon_outside_the_group_keeps_nobody_waiting(house: House) -> None:
    sink = Collected()
    attempt = house.sent("gw", sh="setsid sleep 64 </dev/null >/dev/null 2>&1 & echo $!; sleep 0.1")
    assert (await attempt.done(sink, keep=True)).exit == 0
    assert await house.ender.look(attempt.started) == Fate(state="ended", exit=0)
    os.kill(int(sink.stdout), signal.SIGKILL)


async def test_what_it_left_in_its_group_is_ended_with_a_stop(house: House) -> None:
    attempt = house.sent("gw", sh="sleep 65 & echo $!")
    await attempt.done(Collected(), keep=True)
    assert len(marked(attempt.permit.id)) == 1
    assert await house.ender.stop(attempt.started, 5) == Fate(state="ended", exit=0)
    assert not marked(attempt.permit.id)


async def test_stopping_what_ended_or_never_began_says_so(house: House) -> None:
    ended = house.sent("gw", sh="exit 4")
    await ended.done(Collected(), keep=True)
    assert await house.ender.stop(ended.started, 5) == Fate(state="ended", exit=4)
    never = await house.ender.stop(house.sent("gw", "true").started, 5)
    assert never.state == "gone"
    assert "never began" in never.why


async def test_looking_and_attaching_leave_nothing_there(house: House) -> None:
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    await house.ender.attach(made.attempt.started, Collected(), {}, 1.0)
    await house.ender.stop(made.attempt.started, 5)

    def ours() -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and made.attempt.permit.id.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
        return found

    await until(lambda: not ours())


# What lies there


async def test_another_boot_means_gone(house: House, one: Server) -> None:
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    path = made.attempt.folder(one.home) / "state"
    true = path.read_text()
    path.write_text("00000000-0000-0000-0000-000000000000 " + true.split(" ", 1)[1])
    fate = await house.ender.look(made.attempt.started)
    assert (fate.state, "started again" in fate.why) == ("gone", True)
    assert (await house.ender.stop(made.attempt.started, 0)).state == "gone"
    assert marked(made.attempt.permit.id)  # nobody was sent anything
    path.write_text(true)
    assert (await house.ender.stop(made.attempt.started, 5)).dead


async def test_a_forged_status_does_not_make_dead_what_lives(house: House, one: Server) -> None:
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    path = made.attempt.folder(one.home) / "state"
    true = path.read_text()
    path.write_text(true + "0\n")
    assert (await house.ender.look(made.attempt.started)).state == "running"
    path.write_text("rubbish\n")
    assert (await house.ender.look(made.attempt.started)).state == "unknown"
    assert (await house.ender.stop(made.attempt.started, 0)).state == "unknown"
    path.unlink()
    path.symlink_to("/dev/zero")
    assert (await house.ender.look(made.attempt.started)).state == "unknown"
    path.unlink()
    assert (await house.ender.look(made.attempt.started)).state == "unknown"
    path.write_text(true)
    assert (await house.ender.stop(made.attempt.started, 5)).dead


async def test_a_group_that_is_somebody_elses_by_now_is_not_touched(house: House, one: Server) -> None:
    """The numbers in the file are those of a process that has nothing to do with it."""
    attempt = house.sent("gw", "true")
    await attempt.done(Collected(), keep=True)
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    path = attempt.folder(one.home) / "state"
    boot = path.read_text().split()[0]
    path.write_text(f"{boot} {other.pid} {other.pid} 12345\n")
    try:
        assert (await house.ender.look(attempt.started)).state == "unknown"
        assert (await house.ender.stop(attempt.started, 0)).state == "unknown"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_a_directory_that_was_removed_does_not_make_dead_what_lives(house: House, one: Server) -> None:
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    shutil.rmtree(made.attempt.folder(one.home))
    fate = await house.ender.look(made.attempt.started)
    assert (fate.state, "removed" in fate.why) == ("running", True)
    for pid in marked(made.attempt.permit.id):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not marked(made.attempt.permit.id))
    assert (await house.ender.look(made.attempt.started)).state == "gone"


async def test_leftovers_are_listed_with_what_became_of_them(world: Servers) -> None:
    here = world.start(accepts=("reader", "writer"))
    house = House(world)
    house.target("gw", here, write_key="file:writer")
    place = house.act("gw", "true", mode="write").place
    assert await house.ender.leftovers(place) == ()
    ended = house.sent("gw", sh="exit 6")
    await ended.done(Collected(), keep=True)
    made = await running(house, "gw", "exec sleep 60")
    await made.cancelled()
    (here.home / ".envtui" / "gw" / "no permit's name").mkdir()
    found = {left.permit: left for left in await house.ender.leftovers(place)}
    assert set(found) == {ended.permit.id, made.attempt.permit.id}
    assert (found[ended.permit.id].state, found[ended.permit.id].exit) == ("ended", 6)
    assert found[made.attempt.permit.id].state == "running"
    assert all(left.age_seconds is not None and 0 <= left.age_seconds < 600 for left in found.values())
    await house.ender.stop(made.attempt.started, 5)
    await house.close()


async def test_a_read_has_nothing_to_end(house: House) -> None:
    started = Started(act=house.act("gw", "true"), permit="P1", attempt=1)
    with pytest.raises(Refused, match="is a read"):
        await house.ender.look(started)


async def test_a_host_that_is_away_is_unreachable(house: House, line: BrokenLine) -> None:
    attempt = house.sent("far", "true")
    line.close()
    for ask in (
        house.ender.look(attempt.started),
        house.ender.stop(attempt.started, 1),
        house.ender.attach(attempt.started, Collected(), {}, 1),
        house.ender.forget(attempt.started),
    ):
        with pytest.raises(Unreachable):
            await ask


# Detached


async def test_a_detached_write_goes_on_when_nobody_is_there(house: House, one: Server, tmp_path: Path) -> None:
    go = fifo(tmp_path / "go")
    attempt = house.sent("gw", sh=f"cat; cat {go}; echo down; exit 2", stdin=b"in\n", detach=True)
    reading = await attempt.done(Collected())
    assert (reading.running, reading.exit) == (True, None)
    assert attempt.folder(one.home).exists()
    assert await house.ender.look(attempt.started) == Fate(state="running")
    sink = Collected()
    following = asyncio.create_task(house.ender.attach(attempt.started, sink, {}, PATIENCE))
    await asyncio.get_running_loop().run_in_executor(None, go.write_text, "go\n")
    assert await following == Fate(state="ended", exit=2)
    assert bytes(sink.stdout) == b"in\ngo\ndown\n"


async def test_a_detached_write_is_stopped_like_any_other(house: House) -> None:
    attempt = house.sent("gw", sh="trap '' TERM; sleep 66 & while :; do sleep 0.2; done", detach=True)
    assert (await attempt.done(Collected())).running
    assert (await house.ender.stop(attempt.started, 0.3)).dead
    assert not marked(attempt.permit.id)


async def test_a_detached_write_ends_with_its_time(house: House) -> None:
    attempt = house.sent("gw", "sleep", "67", detach=True, timeout=1.0)
    assert (await attempt.done(Collected())).running
    assert await house.ender.attach(attempt.started, Collected(), {}, PATIENCE) == Fate(state="ended", exit=143)


# Other accounts

HOSTILE = (
    "it's",
    "a b",
    "",
    "\\",
    "; touch PWN ; : '",
    "hi!there",
    "!!",
    "$HOME",
    "`touch PWN`",
    "a\nb",
    "*",
    "-n",
    "\udcff",
)


@ROOT
@pytest.mark.parametrize("shell", ["dash", "bash", "fish", "tcsh"])
async def test_whatever_the_login_shell_it_is_written_found_and_ended(
    house: House, one: Server, world: Servers, shell: str
) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} IS NOT INSTALLED: writes were not tried in it")
    noise = {
        ".bashrc": "echo hi; echo ho >&2\n",
        ".cshrc": "echo hi\n",
        ".config/fish/config.fish": "echo hi; echo ho >&2\n",
    }
    user = world.account(f"end-{shell}", path, noise)
    house.target("acc", one, user=user, write_key="file:writer")
    for more in ({}, {"stdin": b"x"}):
        reading = await house.write("acc", "printf", "%s|", *HOSTILE, **more)
        assert reading.stdout.decode("utf-8", "surrogateescape") == "|".join(HOSTILE) + "|"
        assert (reading.exit, reading.stderr) == (0, b"")
    made = await running(house, "acc", "exec sleep 60")
    await made.cancelled()
    assert await house.ender.stop(made.attempt.started, 5) == Fate(state="ended", exit=143)
    detached = house.sent("acc", "printf", "%s|", *HOSTILE, detach=True)
    assert (await detached.done(Collected())).running
    sink = Collected()
    assert (await house.ender.attach(detached.started, sink, {}, PATIENCE)).exit == 0
    assert bytes(sink.stdout).decode("utf-8", "surrogateescape") == "|".join(HOSTILE) + "|"
    assert not list(world.folder.rglob("PWN"))


@ROOT
async def test_a_start_file_that_reads_input_is_told_apart(house: House, one: Server, world: Servers) -> None:
    user = world.account("reads", shutil.which("bash") or "", {".bashrc": "head -c 10 >/dev/null\n"})
    house.target("acc", one, user=user, write_key="file:writer")
    with pytest.raises(Refused, match="did not get the whole input"):
        await house.write("acc", "cat", stdin=b"x" * 100)
    assert (await house.write("acc", "echo", "fine")).stdout == b"fine\n"


@pytest.fixture(scope="module")
def sudoers(world: Servers) -> Iterator[Callable[[str], None]]:
    """Rules of sudo for a test; only where there is a place for them."""
    folder = Path("/etc/sudoers.d")
    if shutil.which("sudo") is None or os.getuid() != 0 or not folder.is_dir():
        pytest.skip("NO sudo, or its rules cannot be written: `as` WAS NOT TESTED")
    path = folder / f"envtui-test-{os.getpid()}"

    def rule(text: str) -> None:
        path.write_text(text)
        path.chmod(0o440)
        subprocess.run(["visudo", "-cqf", path], check=True)

    yield rule
    path.unlink(missing_ok=True)


@ROOT
@pytest.mark.parametrize("terminal", ["", "use_pty"])
async def test_a_privileged_step_is_wrapped_whole(
    house: House, one: Server, world: Servers, sudoers: Callable[[str], None], terminal: str
) -> None:
    """Its state is the other account's, and a stop reaches what that account runs."""
    user, other = world.account(f"from{terminal[:3]}", "/bin/sh"), world.account(f"to{terminal[:3]}", "/bin/sh")
    options = f"Defaults:{user} {'use_pty' if terminal else '!use_pty'}\n"
    sudoers(f"{options}{user} ALL=({other}) NOPASSWD: /bin/sh\n")
    house.target("acc", one, user=user, write_key="file:writer")
    sink = Collected()
    attempt = house.sent("acc", sh='id -un; printf %s "$K"; cat', as_=other, env=(("K", ("it's",)),), stdin=b" in\n")
    assert (await attempt.done(sink, keep=True)).exit == 0
    assert bytes(sink.stdout) == f"{other}\nit's in\n".encode()
    folder = attempt.folder(Path(pwd.getpwnam(other).pw_dir))
    assert folder.owner() == other
    assert not (Path(pwd.getpwnam(user).pw_dir) / ".envtui").exists()
    assert await house.ender.look(attempt.started) == Fate(state="ended", exit=0)
    await house.ender.forget(attempt.started)
    assert not folder.exists()
    made = await running(house, "acc", "trap '' TERM; sleep 68 & while :; do sleep 0.2; done", as_=other)
    await made.cancelled()
    assert (await house.ender.look(made.attempt.started)).state == "running"
    assert (await house.ender.stop(made.attempt.started, 0.5)).dead
    assert not marked(made.attempt.permit.id)
    made = await running(house, "acc", "exec sleep 60", as_=other)
    await made.cancelled()
    assert await house.ender.stop(made.attempt.started, 5) == Fate(state="ended", exit=143)
    detached = house.sent("acc", sh="sleep 1; id -un", as_=other, detach=True)
    assert (await detached.done(Collected())).running
    sink = Collected()
    assert (await house.ender.attach(detached.started, sink, {}, PATIENCE)).exit == 0
    assert bytes(sink.stdout) == f"{other}\n".encode()


@ROOT
async def test_sudo_that_refuses_runs_nothing_and_says_what_is_missing(
    house: House, one: Server, world: Servers, sudoers: Callable[[str], None]
) -> None:
    user, other = world.account("refused", "/bin/sh"), world.account("wanted", "/bin/sh")
    house.target("acc", one, user=user, write_key="file:writer")
    for rule in ("", f"{user} ALL=({other}) NOPASSWD: /usr/bin/id\n", f"{user} ALL=({other}) /bin/sh\n"):
        sudoers(rule)
        with pytest.raises(Refused, match=f"does not let {user} act as {other}") as caught:
            await house.write("acc", "id", as_=other)
        assert "/bin/sh" in caught.value.remedy
        with pytest.raises(Refused, match=f"does not let {user} act as {other}"):
            await house.ender.look(house.sent("acc", "id", as_=other).started)
