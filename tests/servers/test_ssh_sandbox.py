"""What holds a read on a host, against commands that try to change it: on a real sshd, seen from outside."""

from __future__ import annotations

import asyncio
import ctypes
import http.server
import os
import pwd
import re
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import yaml
from host_fixture import CORPUS, HostFixture
from ssh_house import Collected, House
from sshd import SSHD, Server, Servers, servers

from envtui.outside.ssh.sandbox import send

LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1)
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: the sandbox of reads WAS NOT TESTED"),
]

ATTACKS: list[dict[str, str]] = [
    attack
    for name in ("shell_attacks.yaml", "shell_attacks_own.yaml")
    for attack in yaml.safe_load((CORPUS / name).read_text())
]
AT_ONCE = 4


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def host() -> Iterator[HostFixture]:
    made = HostFixture()
    yield made
    made.close()


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


def differences(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    names = before.keys() | after.keys()
    return {
        name: (before.get(name, "-"), after.get(name, "-")) for name in names if before.get(name) != after.get(name)
    }


async def told(house: House, host: HostFixture, attack: dict[str, str]) -> str:
    act = house.act("gw", sh=host.fill(attack["command"]), timeout=20.0)
    reading = await house.reader.read(act, Collected())
    return str(reading.stdout.decode("utf-8", "replace"))


def unheld(host: HostFixture, command: str) -> str:
    """What a command says when nothing holds it. It may leave somebody behind who still holds its output."""
    variables = {"HOME": str(host.root / "fx/home"), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    with tempfile.TemporaryFile() as said:
        words = ["bash", "-c", host.fill(command)]
        subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=30, cwd=host.root, env=variables
        )
        said.seek(0)
        return said.read().decode("utf-8", "replace")


def test_each_attack_works_where_nothing_holds_it(host: HostFixture) -> None:
    harmless = []
    for attack in ATTACKS:
        if "idle" in attack or "alone" in attack:
            continue
        host.renew()
        before = host.state()
        done = unheld(host, attack["command"])
        if not differences(before, host.state()) and "EFFECT" not in done:
            harmless.append((attack["id"], done[-300:]))
    host.renew()
    assert harmless == []


@pytest.mark.parametrize("whose", ["login", "account"])
async def test_no_attack_has_an_effect_in_the_sandbox(
    house: House, host: HostFixture, world: Servers, one: Server, whose: str
) -> None:
    """As whoever runs the tests (in CI that is root), and as an account of its own."""
    uid = None
    if whose == "account":
        if os.getuid() != 0:
            pytest.skip("NOT ROOT: another account WAS NOT TESTED in the sandbox")
        user = world.account("reads", shutil.which("bash") or "/bin/sh")
        uid = pwd.getpwnam(user).pw_uid
        house.target("gw", one, user=user)
    host.renew(uid)
    assert (await house.open("gw")).protection == "kernel-enforced"
    before = host.state()
    said: dict[str, str] = {}
    at_once = asyncio.Semaphore(AT_ONCE)
    attacks = [attack for attack in ATTACKS if "people" not in attack or (uid or os.getuid())]

    async def let_loose(attack: dict[str, str]) -> None:
        async with at_once:
            said[attack["id"]] = await told(house, host, attack)

    await asyncio.gather(*map(let_loose, attacks))
    assert [name for name, text in said.items() if "EFFECT" in text] == []
    if differences(before, host.state()):  # which of them?
        for attack in attacks:
            await told(house, host, attack)
            changed = differences(before, host.state())
            assert not changed, (attack["id"], changed)
        raise AssertionError("several at once had an effect, and none of them alone")
    assert len(said) == len(attacks) > 150


UNHELD = {
    "no filter of system calls": ("    filtered(filters, scoped, keeper)\n", ""),
    "no Landlock": ("    scoped = landlock(needs) >= 6\n", "    scoped = False\n"),
    "no reaper": ("        end_all(reach)\n", ""),
    "no limits": ("        resource.setrlimit(kind, (most, most))\n", "        pass\n"),
}
OPENED = {
    "no filter of system calls": {
        "fs-chmod",
        "fs-utime",
        "sig-prlimit",
        "net-unix-dgram",
        "ipc-shm",
        "own-chmod-on-a-reader",
    },
    "no Landlock": {"fs-python", "net-fifo", "own-open-to-truncate", "own-exec-redirect", "own-fifo-both-ways"},
    "no reaper": {"ps-survive", "own-left-behind-by-setsid", "own-left-behind-twice-forked"},
    "no limits": {"own-memory-without-bound"},
}
"""What each layer alone holds: attacks that have an effect without it."""


@pytest.mark.parametrize("layer", list(OPENED))
async def test_without_a_layer_its_attacks_come_through(
    house: House, host: HostFixture, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    source = send.source()
    held, unheld_ = UNHELD[layer]
    assert source.count(held) == 1
    less = re.sub(r"(?m)^    canary\(.*\n", "", source.replace(held, unheld_))
    monkeypatch.setattr(send, "_text", lambda: send._packed(less.encode()))
    through = set()
    for attack in ATTACKS:
        if attack["id"] in OPENED[layer]:
            host.renew()
            before = host.state()
            if "EFFECT" in await told(house, host, attack) or differences(before, host.state()):
                through.add(attack["id"])
    host.renew()
    assert through == OPENED[layer]


@pytest.mark.parametrize("layer", ["no filter of system calls", "no Landlock"])
async def test_a_canary_tells_that_a_layer_is_missing(
    house: House, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    less = send.source().replace(*UNHELD[layer])
    monkeypatch.setattr(send, "_text", lambda: send._packed(less.encode()))
    shown = await house.open("gw")
    assert shown.protection in ("advisory", "account-enforced")
    assert any("canary" in lack for lack in shown.lacks)


class Answering(http.server.BaseHTTPRequestHandler):
    """What a service says; over a UNIX socket there is no address of whoever asks."""

    def do_GET(self) -> None:
        known = self.path != "/missing"
        body = b"up 1\n" if known else b"no\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - as the library names them

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *_: object) -> None:
        pass


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture(scope="module")
def service(host: HostFixture) -> Iterator[dict[str, str]]:
    path = str(host.root / "service")
    made = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering), UnixServer(path, Answering))
    for each in made:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    yield {"HTTP": str(made[0].server_address[1]), "SOCK": path}
    for each in made:
        each.shutdown()
        each.server_close()


async def test_legitimate_reads_say_what_they_say_without_it(house: House, service: dict[str, str]) -> None:
    reads: list[dict[str, str]] = yaml.safe_load((CORPUS / "shell_legit_reads.yaml").read_text())
    assert sum("needs" not in read for read in reads) >= 100
    assert sum("needs" in read for read in reads) >= 20
    free = House(house.servers)
    free.target("gw", next(iter(house._targets.values())).hosts[0].partition("=")[2], expects="test:one")
    free.known = house.known
    other = []
    at_once = asyncio.Semaphore(AT_ONCE)

    async def compared(read: dict[str, str]) -> None:
        command = read["command"]
        for name, value in service.items():
            command = command.replace(f"@{name}@", value)
        answers = []
        for one, wants in ((free, ()), (house, (read["needs"],) if "needs" in read else ())):
            async with at_once:
                answer = await one.reader.read(one.act("gw", sh=command, timeout=30.0, needs=wants), Collected())
            answers.append((answer.exit, _even(answer.stderr), "changes" in read or _even(answer.stdout)))
        if answers[0] != answers[1]:
            other.append((read["command"], *answers))

    try:
        # A read that needs root is another account's, by the gate: below.
        await asyncio.gather(*(compared(read) for read in reads if read.get("needs") != "root"))
    finally:
        await free.close()
    assert other == []


def _even(said: bytes) -> str:
    return re.sub(r"\d+", "#", said.decode("utf-8", "replace"))
