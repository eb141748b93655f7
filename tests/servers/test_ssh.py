"""Reads and writes over a real sshd."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from ssh_house import Collected, House, permit_for
from sshd import SSHD, Server, Servers, servers

from envtui.core.access import Permit
from envtui.core.act import Ref, SecretRef
from envtui.core.errors import Failed, InDoubt, Refused, SecretMissing, TimedOut, Unreachable, UsageError
from envtui.outside.ssh.writing import SshWriter

pytestmark = [pytest.mark.servers, pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED")]


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


@pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
async def test_the_exit_status_comes_back(house: House, code: int) -> None:
    assert (await house.read("gw", sh=f"exit {code}")).exit == code


async def test_the_streams_stay_apart_and_come_at_once_in_the_sink(house: House) -> None:
    sink = Collected()
    reading = await house.read("gw", sh="echo out; echo err >&2; echo more", sink=sink)
    assert (reading.stdout, reading.stderr) == (b"out\nmore\n", b"err\n")
    assert (bytes(sink.stdout), bytes(sink.stderr)) == (b"out\nmore\n", b"err\n")
    assert not reading.truncated
    assert reading.seconds > 0


async def test_a_megabyte_in_and_a_megabyte_out(house: House) -> None:
    data = os.urandom(1_000_000)
    sink = Collected()
    reading = await house.read("gw", "cat", stdin=data, sink=sink)
    assert bytes(sink.stdout) == data
    assert reading.truncated
    assert reading.stdout == data[: 64 * 1024]


async def test_input_and_output_beyond_both_windows_do_not_block_each_other(house: House) -> None:
    data = bytes(8_000_000)
    sink = Collected()
    assert (await house.read("gw", "tee", "/dev/stderr", stdin=data, sink=sink)).exit == 0
    assert bytes(sink.stdout) == bytes(sink.stderr) == data


async def test_a_command_need_not_read_its_input(house: House) -> None:
    assert (await house.read("gw", "true", stdin=bytes(5_000_000))).exit == 0


async def test_without_input_stdin_is_at_its_end(house: House) -> None:
    assert (await house.read("gw", "cat")).stdout == b""


async def test_200_mb_stay_out_of_memory(house: House) -> None:
    class Count(Collected):
        size = 0

        def out(self, data: bytes) -> None:
            self.size += len(data)

    sink = Count()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading = await house.read("gw", sh="head -c 200000000 /dev/zero", sink=sink, timeout=120)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert sink.size == 200_000_000
    assert (reading.exit, reading.truncated, len(reading.stdout)) == (0, True, 64 * 1024)
    assert grown < 40_000  # KiB


async def test_bytes_that_are_no_text_come_through(house: House) -> None:
    everything = bytes(range(256))
    assert (await house.read("gw", "cat", stdin=everything)).stdout == everything
    assert (await house.read("gw", "printf", "%s", "\udcff\udc80é")).stdout == b"\xff\x80\xc3\xa9"


async def test_env_cwd_and_script_arguments(house: House) -> None:
    reading = await house.read(
        "gw", "a b", "$HOME", sh='pwd; printf "%s|" "$K" "$@"', env=(("K", ("v'1",)),), cwd="/usr"
    )
    assert reading.stdout == b"/usr\nv'1|a b|$HOME|"


async def test_a_missing_directory_is_said(house: House) -> None:
    with pytest.raises(Failed, match="directory does not exist"):
        await house.read("gw", "true", cwd="/nonexistent")


async def test_a_background_process_keeps_nobody_waiting(house: House) -> None:
    reading = await house.read("gw", sh="sleep 30 & echo $!")
    os.kill(int(reading.stdout), signal.SIGTERM)
    assert reading.exit == 0
    assert reading.seconds < 20


async def test_a_command_killed_by_a_signal_has_the_shells_status(house: House) -> None:
    assert (await house.read("gw", sh="kill -TERM $$")).exit == 128 + signal.SIGTERM


async def test_a_program_without_its_shell_has_no_status(house: House) -> None:
    assert (await house.read("gw", sh="kill -KILL $PPID")).exit is None


async def test_a_read_that_takes_too_long_keeps_what_it_said(house: House) -> None:
    sink = Collected()
    with pytest.raises(TimedOut, match="may still be running there") as caught:
        await house.read("gw", sh="echo $$; exec sleep 60", timeout=4, sink=sink)
    assert caught.value.remedy
    os.kill(int(sink.stdout), signal.SIGKILL)
    assert (await house.read("gw", "echo", "again")).stdout == b"again\n"


async def test_endless_output_does_not_outlive_the_time_limit(house: House) -> None:
    with pytest.raises(TimedOut):
        await house.read("gw", "yes", timeout=0.3)


async def test_cancelling_ends_the_waiting_and_the_next_read_works(house: House, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    reading = asyncio.create_task(house.read("gw", str(started), sh='echo $$ >"$1"; exec sleep 60'))
    pid = await asyncio.get_running_loop().run_in_executor(None, started.read_text)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    os.kill(int(pid), signal.SIGKILL)
    assert (await house.read("gw", "true")).exit == 0


async def test_one_connection_serves_many_reads_at_once(house: House, one: Server) -> None:
    readings = await asyncio.gather(*(house.read("gw", "sh", "-c", "echo $SSH_CONNECTION") for _ in range(20)))
    assert len({r.stdout for r in readings}) == 1
    assert all(r.exit == 0 for r in readings)


async def test_a_connection_that_ended_is_made_again_and_asked_again(house: House) -> None:
    with pytest.raises(Unreachable, match="closed the connection"):
        await house.read("gw", sh=KILL_SSHD)
    assert (await house.read("gw", "echo", "back")).stdout == b"back\n"


# The sshd process of this connection is the parent of our shell's parent, as long as there is no privilege separation
# left for the account: walk up until a parent is the listener.
KILL_SSHD = 'p=$PPID; while [ "$(ps -o comm= -p $p)" != sshd ]; do p=$(ps -o ppid= -p $p | tr -d " "); done; kill -KILL $p; sleep 20'


async def test_a_secret_is_given_by_stdin_and_not_on_a_command_line(house: House) -> None:
    house.secrets["env:TOKEN"] = "s3cret-value"
    call = (("K", (SecretRef("token", "env:TOKEN"),)),)
    reading = await house.read("gw", sh='printf %s "$K"; cat /proc/$PPID/cmdline', env=call)
    assert reading.stdout.startswith(b"s3cret-value")
    assert b"_0" not in reading.stdout
    reading = await house.read("gw", "cat", stdin_text=("pw=", SecretRef("token", "env:TOKEN")))
    assert reading.stdout == b"pw=s3cret-value"


async def test_a_secret_that_is_missing_sends_nothing(house: House) -> None:
    with pytest.raises(SecretMissing):
        await house.read("gw", "cat", stdin_text=(SecretRef("token", "env:NONE"),))


async def test_a_secret_in_env_does_not_pass_sudo(house: House) -> None:
    with pytest.raises(Refused, match="stdin"):
        await house.read("gw", "true", env=(("K", (SecretRef("token", "env:TOKEN"),)),), as_="root")


async def test_an_act_with_an_open_place_is_not_sent(house: House) -> None:
    with pytest.raises(UsageError, match=r"vars\.pid"):
        await house.read("gw", "cat", stdin_text=(Ref("vars.pid"),))


async def test_a_reader_does_not_write(house: House) -> None:
    act = house.act("gw", "true", mode="write")
    with pytest.raises(Refused, match="is a write"):
        await house.reader.read(act, Collected())


# Writing


async def test_a_write_uses_its_own_connection_and_credential(house: House, one: Server) -> None:
    await house.open("gw")
    before = one.log.read_text()
    reading = await house.write("gw", "sh", "-c", "echo $SSH_CONNECTION")
    assert reading.stdout != (await house.read("gw", "sh", "-c", "echo $SSH_CONNECTION")).stdout
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", house.servers.key("writer")], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert f"{fingerprint}" in one.log.read_text()[len(before) :]


async def test_a_writer_needs_a_permit(house: House) -> None:
    with pytest.raises(TypeError, match="permit"):
        SshWriter("a permit, honestly", house.setting())  # type: ignore[arg-type]  # that is the test


async def test_a_permit_is_for_one_act_and_once(house: House, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    act, other = (house.act("gw", "touch", str(path), mode="write") for path in (mark, tmp_path / "other"))
    permit = permit_for(act)
    writer = SshWriter(permit, house.setting())
    with pytest.raises(Refused, match="not for"):
        await writer.write(permit, other, Collected())
    with pytest.raises(Refused, match="not for"):
        await writer.write(permit_for(act), act, Collected())
    assert (await writer.write(permit, act, Collected())).exit == 0
    with pytest.raises(Refused, match="used already"):
        await writer.write(permit, act, Collected())
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


async def test_a_write_through_the_read_credential_is_refused(house: House) -> None:
    act = house.act("gw", "true", mode="read")
    act = type(act)(step="s", mode="write", place=act.place, call=act.call)
    permit: Permit = permit_for(act)
    with pytest.raises(Refused, match="not reached for a write"):
        await SshWriter(permit, house.setting()).write(permit, act, Collected())


async def test_a_write_that_takes_too_long_is_in_doubt(house: House) -> None:
    sink = Collected()
    with pytest.raises(InDoubt, match="outcome is not known"):
        await house.write("gw", sh="echo $$; exec sleep 60", timeout=0.5, sink=sink)
    os.kill(int(sink.stdout), signal.SIGKILL)


async def test_a_connection_lost_in_a_write_is_in_doubt(house: House) -> None:
    with pytest.raises(InDoubt, match="closed the connection"):
        await house.write("gw", sh=KILL_SSHD)


async def test_a_write_whose_shell_is_killed_is_in_doubt(house: House) -> None:
    with pytest.raises(InDoubt, match="without a status"):
        await house.write("gw", sh="kill -KILL $PPID")


async def test_a_write_that_fails_is_a_reading_like_any_other(house: House) -> None:
    assert (await house.write("gw", sh="exit 3")).exit == 3
