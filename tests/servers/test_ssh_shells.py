"""Accounts with other login shells, noisy start files, and shells that do not let us run anything. Needs root: useradd."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from ssh_house import House
from sshd import SSHD, Server, Servers, servers
from test_ssh_sandbox import LANDLOCK

from envtui.core.errors import Refused

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED"),
    pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: other login shells WERE NOT TESTED over SSH"),
]

HOSTILE = (
    "it's", "a b", "", "\\", "\\'", "; touch PWN ; : '", "\\' ; touch PWN ; '", "hi!there", "!!", "!-1", "$HOME", "`touch PWN`",
    "$(touch PWN)", "(touch PWN)", "a\nb", "\ttab", "*", "~", "{a,b}", "%s%n", "-n", "--", "#", "é€😀", "\udcff\udc81", "&&", "^a^b",
)  # fmt: skip
NOISE = {
    ".bashrc": "echo welcome; echo careful >&2\n",
    ".cshrc": "echo welcome; echo careful > /dev/stderr\n",
    ".config/fish/config.fish": "echo welcome; echo careful >&2\n",
}


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def one(world: Servers) -> Server:
    return world.start("test:one")


@pytest.fixture
async def house(world: Servers) -> AsyncIterator[House]:
    made = House(world)
    yield made
    await made.close()


@pytest.mark.parametrize("shell", ["sh", "bash", "fish", "tcsh"])
@pytest.mark.parametrize("least", ["advisory", "kernel-enforced"])
async def test_hostile_words_arrive_whatever_the_login_shell_prints_and_reads(
    house: House, one: Server, world: Servers, shell: str, least: str
) -> None:
    if least == "kernel-enforced" and LANDLOCK < 3:
        pytest.skip("NO LANDLOCK: hostile words WERE NOT TRIED in the sandbox")
    house.least = least
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} IS NOT INSTALLED: hostile words were not tried in it")
    user = world.account(f"{shell}-{least[0]}", path, NOISE)
    house.target("gw", one, expects="test:one", user=user, write_key="file:reader")
    reading = await house.read("gw", "printf", "%s|", *HOSTILE)
    assert reading.stdout.decode("utf-8", "surrogateescape") == "|".join(HOSTILE) + "|"
    assert (reading.exit, reading.stderr) == (0, b"")
    script = await house.read("gw", *HOSTILE, sh='printf "%s|" "$@" >&2; exit 3')
    assert (script.exit, script.stdout) == (3, b"")
    assert script.stderr.decode("utf-8", "surrogateescape") == "|".join(HOSTILE) + "|"
    long = await house.read("gw", "printf", "%s|", *HOSTILE * 60, stdin=b"x")
    assert long.stdout.decode("utf-8", "surrogateescape") == "|".join(HOSTILE * 60) + "|"
    assert (await house.write("gw", "ls", "-A", ".", cwd="/tmp")).stdout.find(b"PWN") == -1
    assert not any(p.name == "PWN" for p in world.folder.rglob("PWN"))


@pytest.mark.parametrize(
    ("name", "shell", "says"),
    [
        ("rbash", "/bin/rbash", "restricted"),
        ("nologin", "/usr/sbin/nologin", "not available"),
        ("false", "/bin/false", "with 1"),
    ],
)
async def test_a_shell_that_starts_nothing_is_refused(
    house: House, one: Server, world: Servers, name: str, shell: str, says: str
) -> None:
    house.target("gw", one, user=world.account(name, shell), write_key="file:reader")
    with pytest.raises(Refused, match=f"did not start /bin/sh.*{says}") as caught:
        await house.open("gw")
    assert "account" in caught.value.remedy
    with pytest.raises(Refused):
        await house.write("gw", "true")


async def test_a_forced_command_is_refused(house: House, world: Servers) -> None:
    forced = world.start(options='ForceCommand echo "only backups here: $SSH_ORIGINAL_COMMAND"')
    house.target("gw", forced)
    with pytest.raises(Refused, match="only backups here"):
        await house.open("gw")


async def test_a_windows_shell_is_refused(house: House, world: Servers) -> None:
    """As cmd.exe answers, without one."""
    said = "'exec' is not recognized as an internal or external command,"
    windows = world.start(options=f'ForceCommand echo "{said}"; exit 1')
    house.target("gw", windows)
    with pytest.raises(Refused, match="is not recognized"):
        await house.open("gw")


async def test_a_forced_command_that_passes_ours_on_works(house: House, world: Servers) -> None:
    gate = world.start(options='ForceCommand /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
    house.target("gw", gate)
    assert (await house.read("gw", "printf", "%s|", *HOSTILE[:8])).stdout.decode() == "|".join(HOSTILE[:8]) + "|"


@pytest.mark.skipif(shutil.which("sudo") is None, reason="NO sudo: `as` WAS NOT TESTED")
async def test_sudo_that_asks_for_a_password_is_refused(house: House, one: Server, world: Servers) -> None:
    house.target("gw", one, user=world.account("nosudo", "/bin/sh"))
    with pytest.raises(Refused, match=r"does not let .* act as root: sudo:"):
        await house.read("gw", "id", as_="root")


@pytest.mark.skipif(shutil.which("sudo") is None, reason="NO sudo: `as` WAS NOT TESTED")
async def test_sudo_acts_as_another_account(house: House, one: Server, world: Servers) -> None:
    house.target("gw", one)  # we are root, who may
    assert (await house.read("gw", "id", "-un", as_="nobody")).stdout == b"nobody\n"
    reading = await house.read("gw", "a b", sh='echo "$K $1"; id -un', env=(("K", ("it's",)),), as_="nobody")
    assert reading.stdout == b"it's a b\nnobody\n"
