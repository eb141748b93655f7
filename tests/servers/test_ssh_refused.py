"""A read that the sandbox did not let do something: which call it was, told apart from what the host itself refuses."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from ssh_house import Collected, House
from sshd import SSHD, Server, Servers, servers
from test_ssh_sandbox import LANDLOCK

from envtui.core.errors import ProtectionTooLow
from envtui.outside.ssh.sandbox import send

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: what the sandbox refuses WAS NOT TESTED"),
]


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
    made.least = "kernel-enforced"
    made.target("gw", one, expects="test:one")
    yield made
    await made.close()


async def refused(house: House, command: str, **more: object) -> tuple[str, ...]:
    return tuple((await house.reader.read(house.act("gw", sh=command, **more), Collected())).refused)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("rm @/f; true", ("unlinkat @/f: rm",)),
        ("echo x >@/f", ("open @/f to write: sh",)),
        ("chmod 0 @/f", ("fchmodat @/f: chmod",)),
        ("for i in 1 2 3; do mkdir @/d; done; true", ("mkdir @/d: mkdir, 3 times",)),
        ("mv @/f @/g", ("renameat2 @/f: mv",)),
        ("ln -s a '@/l\n\x1b[31m'", ("symlinkat a: ln",)),
        ("for i in 1 2 3 4 5 6 7; do rmdir @/d$i; done", (*(f"rmdir @/d{i}: rmdir" for i in range(1, 6)), "and more")),
    ],
)
async def test_each_refused_call_is_named_with_what_it_was_for(
    house: House, tmp_path: Path, command: str, told: tuple[str, ...]
) -> None:
    (tmp_path / "f").touch()
    said = await refused(house, command.replace("@", str(tmp_path)))
    assert said == tuple(each.replace("@", str(tmp_path)) for each in told)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


async def test_a_socket_is_named_with_the_need_that_opens_it(house: House) -> None:
    opens = "python3 -c 'import socket;socket.create_connection((\"127.0.0.1\", 1))'"
    (said,) = await refused(house, opens)
    assert "`needs: [network]`" in said
    assert await refused(house, opens, needs=("network",)) == ()  # the host said no, not the sandbox


@pytest.mark.parametrize(
    "command",
    ["cat /proc/1/mem", "ls /nowhere", "cat </dev/null >/dev/null 2>/dev/zero", "sync", "ulimit -c 0", "exit 3"],
)
async def test_what_the_host_itself_refuses_is_not_told(house: House, command: str) -> None:
    assert await refused(house, command) == ()


async def test_what_the_account_may_not_is_not_told(house: House, world: Servers, one: Server, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("NOT ROOT: another account WAS NOT TESTED")
    house.target("gw", one, user=world.account("reads2", shutil.which("bash") or "/bin/sh"))
    reading = await house.reader.read(house.act("gw", "cat", "/etc/shadow"), Collected())
    assert b"ermission denied" in reading.stderr
    assert reading.refused == ()


async def test_where_nobody_can_ask_the_kernel_refuses_by_itself(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program of the host listens to the calls of everything below it."""
    source, asks = send.source(), "seccomp(machine, code, 1 << 3 | 1 << 5)"
    assert source.count(asks) == 1
    less = source.replace(asks, "-1")
    monkeypatch.setattr(send, "_text", lambda: send._packed(less.encode()))
    assert (await house.open("gw")).protection == "kernel-enforced"
    command = f"mkdir {tmp_path}/d; echo x >{tmp_path}/f; echo y >/dev/null && cat /etc/hostname"
    reading = await house.reader.read(house.act("gw", sh=command), Collected())
    assert (reading.exit, reading.refused) == (0, ())
    assert reading.stderr.count(b"ot permitted") + reading.stderr.count(b"ermission denied") == 2
    assert list(tmp_path.iterdir()) == []


async def test_no_command_gets_hold_of_what_the_kernel_asks_by(house: House) -> None:
    """Whoever holds the listener could let calls go on."""
    look = "import os;print([os.readlink('/proc/self/fd/'+n) for n in os.listdir('/proc/self/fd') if int(n)>2])"
    reading = await house.read("gw", "python3", "-c", look)
    assert b"seccomp" not in reading.stdout
    assert b"socket:" not in reading.stdout
    parent = "ls -l /proc/$PPID/fd; cat /proc/$PPID/mem; cat /proc/$PPID/environ"
    reading = await house.reader.read(house.act("gw", sh=parent), Collected())
    assert b"->" not in reading.stdout
    assert [b"/mem: Permission denied" in reading.stderr, b"/environ: Permission denied" in reading.stderr] == [
        True,
        True,
    ]


async def test_no_core_is_given_to_a_program_of_the_host(house: House) -> None:
    """At a limit of 0 the kernel starts what core_pattern names, at 1 it does not: nobody lowers it."""
    for command in (
        "ulimit -c 0",
        "python3 -c 'import resource as r;r.setrlimit(r.RLIMIT_CORE,(0,0))'",
        "prlimit -c=0",
    ):
        reading = await house.reader.read(
            house.act("gw", sh=f"{command}; grep -o 'core file size *[0-9]* *[0-9]*' /proc/$$/limits"), Collected()
        )
        assert reading.stdout.split()[-2:] == [b"1", b"1"], command


async def test_root_reads_no_device_but_those_that_do_not_act(house: House) -> None:
    if os.getuid() != 0:
        pytest.skip("NOT ROOT: what root reads in the sandbox WAS NOT TESTED")
    command = "cat /dev/ptmx; head -c 1 /dev/zero /dev/urandom | wc -c; ls /dev/shm >/dev/null && cat /etc/hostname"
    reading = await house.reader.read(house.act("gw", sh=command), Collected())
    assert b"/dev/ptmx: Permission denied" in reading.stderr
    assert reading.exit == 0


async def test_a_host_compiles_once_and_what_is_no_such_text_runs_nothing(house: House, tmp_path: Path) -> None:
    opened = await house.reader._links.get(house.act("gw", "true").place, "read")
    code = opened.standing.code
    assert len(code) > 1000
    assert (await house.read("gw", "echo", "again")).stdout == b"again\n"
    assert send.compiled(code + "'; touch x; '") == send.compiled("!" * 500) == ""
    opened.standing = msgspec.structs.replace(opened.standing, code=send._packed(b"no code").decode())
    with pytest.raises(ProtectionTooLow):
        await house.read("gw", "touch", str(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()
