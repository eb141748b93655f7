"""The keeper of a read against what it keeps: forks without end, python of a book's directory, its nonce, powers that are inherited."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from ssh_house import Collected, House
from sshd import SSHD, Server, Servers, servers
from test_ssh_sandbox import LANDLOCK

from envtui.core.errors import Failed, TimedOut
from envtui.outside.ssh.sandbox import send

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: the keeper WAS NOT TESTED"),
    pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: the keeper WAS NOT TESTED with an account of its own"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def one(world: Servers) -> Server:
    return world.start("test:one")


@pytest.fixture(scope="module")
def user(world: Servers) -> str:
    """Its start file would find python3 in the directory in which it is looked for."""
    return world.account("kept", shutil.which("bash") or "/bin/sh", {".bashrc": "PATH=.:$PATH\n"})


@pytest.fixture
async def house(world: Servers, one: Server, user: str) -> AsyncIterator[House]:
    made = House(world)
    made.least = "kernel-enforced"
    made.target("gw", one, expects="test:one", user=user)
    yield made
    await made.close()


def processes(user: str) -> list[str]:
    uid, found = pwd.getpwnam(user).pw_uid, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return [words for words in found if "sshd" not in words]


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1500):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


BOMB = """
import os, resource, signal, time
resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork(): os._exit(0)
until = time.monotonic() + 90  # longer than anybody waits
while time.monotonic() < until:
    try: os.fork()
    except OSError: pass
"""


@pytest.mark.parametrize("reach", ["all at once", "one by one"])
async def test_who_forks_without_end_is_ended(
    house: House, user: str, monkeypatch: pytest.MonkeyPatch, reach: str
) -> None:
    """Where Landlock keeps no signals inside they are ended one by one, and may fork in between."""
    if reach == "one by one":
        less = send.source().replace("    reach = alone()\n", "    reach = False\n")
        assert less != send.source()
        monkeypatch.setattr(send, "_text", lambda: send._packed(less.encode()))
    reading = await house.read("gw", "python3", "-c", BOMB)
    assert reading.exit == 0
    await until(lambda: not processes(user))  # the keeper itself is about to end


async def test_the_books_directory_does_not_say_which_python_that_is(house: House, tmp_path: Path) -> None:
    planted = tmp_path / "python3"
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nprintf '%sb' $7; printf '%sb' $7 >&2\n")
    planted.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if os.stat(folder).st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    tmp_path.chmod(0o777)
    reading = await house.reader.read(house.act("gw", sh="pwd; ls", cwd=str(tmp_path)), Collected())
    assert reading.stdout.decode().split() == [str(tmp_path), "python3"]
    assert not (tmp_path / "ran").exists()


async def test_a_directory_that_is_not_there_is_said_by_the_shell_alone(house: House) -> None:
    with pytest.raises(Failed, match="directory does not exist"):
        await house.reader.read(house.act("gw", sh="pwd", cwd="/nowhere"), Collected())
    assert (await house.read("gw", "pwd")).stdout.decode().strip().endswith("kept")


async def test_no_command_says_its_own_end(house: House) -> None:
    """Who knew the nonce could end the read with another status, and hide what was refused after it."""
    every = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -aEc '^[0-9a-f]{24}$'"
    assert (await house.reader.read(house.act("gw", sh=every), Collected())).stdout.strip() == b"0"
    told = await house.reader.read(house.act("gw", sh="chmod 0 /etc/hosts; exit 9"), Collected())
    assert (told.exit, told.refused) == (9, ("fchmodat /etc/hosts: chmod",))


async def test_who_reads_its_own_output_does_not_seem_to_listen(house: House, user: str) -> None:
    taken = "exec 7</proc/self/fd/1"
    reading = await house.reader.read(house.act("gw", sh=f"{taken}; echo no"), Collected())
    assert b"ermission denied" in reading.stderr
    task = asyncio.create_task(house.read("gw", "sh", "-c", f"({taken}) 2>/dev/null; sleep 600"))
    await until(lambda: any("sleep 600" in words for words in processes(user)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not processes(user))


async def test_output_that_does_not_wait_still_ends_with_its_marks(house: House) -> None:
    flood = "import os;os.set_blocking(1,False);os.set_blocking(2,False)\nfor _ in range(10**5):\n try: os.write(1,b'x'*4096)\n except OSError: break"
    reading = await house.reader.read(house.act("gw", sh=f'python3 -c "{flood}"; mkdir /x; exit 4'), Collected())
    assert (reading.exit, reading.refused) == (4, ("mkdir /x: mkdir",))


async def test_a_read_that_takes_too_long_ends_at_the_host(house: House, user: str) -> None:
    with pytest.raises(TimedOut):
        await house.read("gw", "sleep", "600", timeout=1.0)
    await until(lambda: not processes(user))


@pytest.mark.parametrize("seconds", ["inf", "nan", "-1", "0", "1e12", "abc"])
def test_a_gate_takes_no_time_that_never_ends(tmp_path: Path, seconds: str) -> None:
    gate = tmp_path / "gate"
    gate.write_text(send.gate())
    argv = ["python3", "-I", str(gate), "--read", "-", "", seconds, "echo", "ran"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (97, "")
    assert done.stderr.startswith("envtui-sandbox: ")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="NO setpriv: inherited powers WERE NOT TESTED")
@pytest.mark.parametrize(
    "whose", [[], ["--reuid=65534", "--clear-groups", "--ambient-caps=+net_admin"]], ids=["root", "account"]
)
def test_powers_that_are_inherited_go_too(whose: list[str]) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("NO python3 THAT EVERYBODY REACHES: inherited powers WERE NOT TESTED")
    words = [python, *(word.decode() for word in send.words("0" * 24, 20.0)[1:])]
    argv = [
        "setpriv",
        "--inh-caps=+net_admin",
        *whose,
        *words,
        "grep",
        "-E",
        "^Cap(Inh|Prm|Eff|Amb)",
        "/proc/self/status",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    said = dict(
        line.split() for line in done.stdout.replace("0" * 24, "#").replace("#b", "").replace("#e000", "").splitlines()
    )
    assert set(said.values()) == {"0000000000000000"}, done.stdout + done.stderr
    assert len(said) == 4
