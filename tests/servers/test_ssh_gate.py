"""The file that a host's owner installs: as a forced command of a real sshd, and as what sudo may start."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from ssh_house import House
from sshd import SSHD, Server, Servers, servers
from test_ssh_sandbox import LANDLOCK

from envtui.core.errors import ProtectionTooLow, Refused
from envtui.outside.ssh.sandbox import send

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: the gate WAS NOT TESTED"),
    pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: the gate WAS NOT TESTED"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        gate = made.folder / "envtui-gate"
        gate.write_text(send.gate())
        gate.chmod(0o755)
        yield made


def gated(world: Servers, words: str = "", forwarding: str = "DisableForwarding yes") -> Server:
    """`restrict` in authorized_keys is what DisableForwarding is here, for every key."""
    command = f"ForceCommand {world.folder}/envtui-gate {words}".rstrip()
    return world.start("test:one", options=f"{command}\n{forwarding}")


@pytest.fixture
async def house(world: Servers) -> AsyncIterator[House]:
    made = House(world)
    made.least = "gate-enforced"
    yield made
    await made.close()


@pytest.mark.parametrize("least", ["kernel-enforced", "gate-enforced"])
async def test_a_gate_holds_whatever_the_key_sends(house: House, world: Servers, tmp_path: Path, least: str) -> None:
    house.least = least
    server = gated(world)
    house.target("gw", server, expects="test:one")
    shown = await house.open("gw")
    assert (shown.protection, shown.lacks) == ("gate-enforced", ())
    reading = await house.read("gw", sh=f"echo read; touch {tmp_path}/x")
    assert (reading.stdout, reading.exit) == (b"read\n", 1)
    assert list(tmp_path.iterdir()) == []
    # Somebody else's client, with the same key and none of our words.
    key = world.key("reader")
    options = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
        "-i",
        str(key),
    ]
    ssh = ["ssh", *options, "-p", str(server.port), "127.0.0.1"]
    other = subprocess.run([*ssh, f"echo in; touch {tmp_path}/y"], capture_output=True, text=True)
    assert (other.stdout, other.returncode) == ("in\n", 1)
    login = subprocess.run(ssh, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert login.returncode == 97
    assert "there is no login" in login.stderr
    assert list(tmp_path.iterdir()) == []


async def test_what_a_gate_does_not_give_is_refused_before_anything_is_sent(house: House, world: Servers) -> None:
    house.target("gw", gated(world), expects="test:one")
    house.target("more", gated(world, "n 60"), expects="test:one")
    assert (await house.open("more")).protection == "gate-enforced, with network"
    with pytest.raises(Refused, match=r"needs network, and the gate"):
        await house.read("gw", "true", needs=("network",))
    assert (await house.read("more", "true", needs=("network",))).exit == 0
    with pytest.raises(Refused, match=r"needs another account \(root\)"):
        await house.read("more", "true", as_="root")


@pytest.mark.parametrize("forwarding", ["", "AllowStreamLocalForwarding no"])
async def test_a_key_that_reaches_services_around_its_gate_is_not_gate_enforced(
    house: House, world: Servers, forwarding: str
) -> None:
    house.target("gw", gated(world, forwarding=forwarding), expects="test:one")
    shown = await house.open("gw")
    assert shown.protection == "kernel-enforced"
    assert [lack for lack in shown.lacks if "`restrict`" in lack] == list(shown.lacks) != []
    assert (await house.read("gw", "echo", "x")).stdout == b"x\n"


async def test_what_only_calls_itself_a_gate_is_none(house: House, world: Servers) -> None:
    house.target("gw", world.start("test:one", options='ForceCommand ENVTUI_GATE=- /bin/sh -c "$SSH_ORIGINAL_COMMAND"'))
    shown = await house.open("gw")
    assert shown.protection in ("advisory", "account-enforced")
    assert any("the gate there does not hold" in lack for lack in shown.lacks)


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: sudo WAS NOT TESTED with the gate")
@pytest.mark.skipif(shutil.which("sudo") is None, reason="NO sudo: needs root WAS NOT TESTED")
async def test_root_reads_through_the_gate_alone(
    house: House, world: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = world.account("gated", "/bin/sh")
    gate = world.folder / "envtui-gate"
    rule = Path("/etc/sudoers.d") / user
    rule.write_text(f"{user} ALL=(root) NOPASSWD: {gate} --read r *\n")
    rule.chmod(0o440)
    monkeypatch.setattr(send, "GATE", str(gate))
    try:
        house.least = "kernel-enforced"
        house.target("gw", world.start("test:one"), expects="test:one", user=user)
        reading = await house.read("gw", "cat", "/etc/shadow", as_="root", needs=("root",))
        assert reading.stdout == Path("/etc/shadow").read_bytes()
        reading = await house.read("gw", sh=f"id -u; echo x >{tmp_path}/x", as_="root", needs=("root",))
        assert (reading.stdout, list(tmp_path.iterdir())) == (b"0\n", [])
        reading = await house.read(
            "gw", sh="chown 1 /etc/hostname; kill 1; mount -t tmpfs x /mnt", as_="root", needs=("root",)
        )
        assert reading.exit != 0
        assert pwd.getpwuid(Path("/etc/hostname").stat().st_uid).pw_name == "root"
        # Not pinned in sudoers, so not given: more needs, another account, and plainly what stands behind the gate.
        for needs in (("network", "root"), ()):
            with pytest.raises(ProtectionTooLow, match="sudo"):
                await house.read("gw", "true", as_="root", needs=needs)
        done = subprocess.run(["sudo", "-n", "-u", user, "sudo", "-n", "id"], capture_output=True, text=True)
        assert done.returncode != 0
    finally:
        rule.unlink()
