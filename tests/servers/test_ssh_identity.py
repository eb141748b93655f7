"""Connections that must not be made, and the words for it. Real sshd, and sockets where no sshd behaves so."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from silent import serving
from ssh_house import ASKS_ID, House
from sshd import ME, SSHD, Server, Servers, free_port, servers

from envtui.core.environment import Identity
from envtui.core.errors import AuthenticationFailed, InvalidFiles, Refused, Unreachable, WrongIdentity
from envtui.outside.ssh.connect import agent_key

pytestmark = [pytest.mark.servers, pytest.mark.skipif(SSHD is None, reason="NO sshd: nothing of SSH WAS TESTED")]


@pytest.fixture(scope="module")
def world() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.fixture(scope="module")
def one(world: Servers) -> Server:
    return world.start("test:one", host_keys=("ed25519", "rsa", "ecdsa"))


@pytest.fixture
async def house(world: Servers) -> AsyncIterator[House]:
    made = House(world)
    yield made
    await made.close()


def fingerprint(public: str) -> str:
    return subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=public, capture_output=True, text=True, check=True
    ).stdout.split()[1]


async def test_what_a_connection_showed_is_its_identity_and_its_host_key(house: House, one: Server) -> None:
    house.known = one.known("ssh-ed25519")
    house.target("gw", one.address, expects="test:one")
    shown = await house.open("gw")
    assert (shown.target, shown.member, shown.protection) == ("gw", "gw", "advisory")
    assert shown.shown == f"test:one, host key {fingerprint(one.host_keys['ssh-ed25519'])}"


@pytest.mark.parametrize("type_", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
async def test_the_host_is_asked_for_a_key_that_is_known(house: House, one: Server, type_: str) -> None:
    house.known = one.known(type_)
    house.target("gw", one.address)
    assert (await house.open("gw")).shown == f"host key {fingerprint(one.host_keys[type_])}"


async def test_hashed_names_are_known(house: House, one: Server, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(one.known())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, stderr=subprocess.DEVNULL)
    house.known = file.read_text()
    assert "127.0.0.1" not in house.known
    house.target("gw", one.address, expects="test:one")
    await house.open("gw")


async def test_another_host_key_stops_before_anything_is_sent(house: House, one: Server, world: Servers) -> None:
    """A clone: the right marker behind the wrong key."""
    port = free_port()
    clone = world.start("test:one", port=port)
    original = one.host_keys["ssh-ed25519"]
    house.known = f"[127.0.0.1]:{port} {original}\n"
    house.target("gw", clone.address, expects="test:one")
    with pytest.raises(WrongIdentity) as caught:
        await house.open("gw")
    message = caught.value.message
    assert fingerprint(clone.host_keys["ssh-ed25519"]) in message
    assert fingerprint(original) in message
    assert "test/known_hosts" in message
    assert "Accepted publickey" not in clone.log.read_text()


async def test_a_host_that_shows_another_type_of_key_than_is_known(house: House, one: Server, world: Servers) -> None:
    rsa = world.start(host_keys=("rsa",))
    house.known = f"[127.0.0.1]:{rsa.port} {one.host_keys['ssh-ed25519']}\n"
    house.target("gw", rsa.address)
    with pytest.raises(WrongIdentity) as caught:
        await house.open("gw")
    assert fingerprint(rsa.host_keys["ssh-rsa"]) in caught.value.message
    assert fingerprint(one.host_keys["ssh-ed25519"]) in caught.value.message


async def test_a_host_that_is_not_known_is_not_connected_to(house: House, one: Server) -> None:
    house.known = one.known().replace(str(one.port), "1")
    house.target("gw", one.address)
    with pytest.raises(WrongIdentity, match=r"has none for \[127.0.0.1\]:") as caught:
        await house.open("gw")
    assert "SHA256:" in caught.value.message


async def test_a_revoked_host_key_is_not_accepted(house: House, one: Server) -> None:
    house.known = one.known("ssh-ed25519") + f"@revoked * {one.host_keys['ssh-ed25519']}\n"
    house.target("gw", one.address)
    with pytest.raises(WrongIdentity, match="revokes"):
        await house.open("gw")


def test_a_host_authority_is_refused_in_words(world: Servers, one: Server) -> None:
    made = House(world)
    made.known = f"@cert-authority * {one.host_keys['ssh-ed25519']}\n"
    with pytest.raises(InvalidFiles, match=r"test/known_hosts:1:1: Host certificate authorities"):
        made.setting()


@pytest.mark.parametrize(
    "identity",
    [
        Identity(argv=ASKS_ID, equals="prod:one"),
        Identity(argv=ASKS_ID, matches="test"),  # the whole of it, not a part
        Identity(argv=ASKS_ID),
        Identity(argv=("printenv", "NO_SUCH_MARKER"), equals=""),
        Identity(argv=("/nonexistent",), equals="test:one"),
    ],
)
async def test_another_environments_identity_stops(house: House, one: Server, identity: Identity) -> None:
    house.target("gw", one, identity=identity)
    with pytest.raises(WrongIdentity, match="shows the identity"):
        await house.open("gw")
    with pytest.raises(WrongIdentity):
        await house.read("gw", "true")


async def test_an_identity_may_match_a_pattern(house: House, one: Server) -> None:
    house.target("gw", one, identity=Identity(argv=ASKS_ID, matches="test:(one|two)"))
    await house.open("gw")


async def test_the_identity_is_asserted_on_the_writers_connection_too(
    house: House, one: Server, tmp_path: Path
) -> None:
    house.target("gw", one, expects="prod:one", write_key="file:reader")
    with pytest.raises(WrongIdentity):
        await house.write("gw", "touch", str(tmp_path / "mark"))
    assert list(tmp_path.iterdir()) == []


async def test_a_host_that_hangs_at_its_identity_is_unreachable(house: House, one: Server) -> None:
    house.timeout = 1.0
    house.target("gw", one, identity=Identity(argv=("sleep", "5"), equals=""))
    with pytest.raises(Unreachable, match="did not show its identity"):
        await house.open("gw")


# Unreachable


async def test_refused(house: House) -> None:
    house.target("gw", f"127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="refused the connection") as caught:
        await house.open("gw")
    assert caught.value.remedy


async def test_a_name_that_dns_does_not_know(house: House) -> None:
    house.target("gw", "no-such-host.invalid:22")
    with pytest.raises(Unreachable, match="not known to the DNS"):
        await house.open("gw")


async def test_accepts_and_says_nothing(house: House) -> None:
    house.timeout = 0.5
    with serving(lambda client: None) as address:
        house.target("gw", address)
        with pytest.raises(Unreachable, match="says nothing"):
            await house.open("gw")


async def test_says_hello_and_hangs(house: House) -> None:
    house.timeout = 0.5
    with serving(lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as address:
        house.target("gw", address)
        with pytest.raises(Unreachable, match="did not answer in time while agreeing on keys"):
            await house.open("gw")


async def test_half_closed(house: House) -> None:
    with serving(lambda client: client.shutdown(socket.SHUT_WR)) as address:
        house.target("gw", address)
        with pytest.raises(Unreachable, match="closed the connection before it said anything"):
            await house.open("gw")


async def test_half_closed_after_hello(house: House) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        client.shutdown(socket.SHUT_WR)

    with serving(talk) as address:
        house.target("gw", address)
        with pytest.raises(Unreachable, match="closed the connection while agreeing on keys"):
            await house.open("gw")


async def test_no_ssh_server(house: House) -> None:
    with serving(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)) as address:
        house.target("gw", address)
        with pytest.raises(Unreachable, match="does not speak SSH"):
            await house.open("gw")


async def test_no_algorithm_in_common(house: House, world: Servers) -> None:
    server = world.start(options="Ciphers chacha20-poly1305@openssh.com")
    house.target("gw", server)
    with pytest.raises(Unreachable, match="no algorithm in common"):
        await house.open("gw")


async def test_a_server_that_signs_with_sha1_only(house: House, world: Servers) -> None:
    server = world.start(host_keys=("rsa",), options="HostKeyAlgorithms ssh-rsa")
    house.target("gw", server)
    with pytest.raises(Unreachable, match="SHA-1"):
        await house.open("gw")


async def test_after_a_failure_the_next_try_is_a_new_one(house: House, world: Servers) -> None:
    port = free_port()
    house.target("gw", f"127.0.0.1:{port}", expects="test:late")
    with pytest.raises(Unreachable):
        await house.open("gw")
    server = world.start("test:late", port=port)
    with pytest.raises(WrongIdentity):  # it is there now; nobody has written its key down
        await house.open("gw")
    assert server.address == f"127.0.0.1:{port}"


async def test_many_at_once_make_one_connection(house: House, one: Server) -> None:
    house.target("gw", one, expects="test:one")
    before = one.log.read_text().count("Accepted publickey")
    await asyncio.gather(*(house.open("gw") for _ in range(10)))
    assert one.log.read_text().count("Accepted publickey") == before + 1


# Logging in


async def test_a_key_that_is_not_accepted(house: House, one: Server) -> None:
    house.target("gw", one, key="file:stranger")
    with pytest.raises(AuthenticationFailed, match=f"did not accept the key for {ME}") as caught:
        await house.open("gw")
    assert caught.value.remedy


async def test_a_key_with_a_passphrase_belongs_into_the_agent(house: House, one: Server, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "hunter2", "-f", path], check=True)
    house.target("gw", one, key=f"file:{path}")
    with pytest.raises(AuthenticationFailed, match="has a passphrase"):
        await house.open("gw")


@pytest.mark.parametrize("content", [None, "not a key"])
async def test_no_key_in_the_file(house: House, one: Server, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    house.target("gw", one, key=f"file:{path}")
    with pytest.raises(AuthenticationFailed, match=r"could not be read|no usable private key"):
        await house.open("gw")


async def test_a_certificate_beside_the_key_logs_in(house: House, world: Servers) -> None:
    authority = world.key("authority")
    key = world.key("certified")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "asha", "-n", "oncall", "-V", "+5m", key.with_suffix(".pub")],
        check=True,
    )
    principals = world.folder / "principals"
    principals.write_text("oncall\n")
    server = world.start(
        options=f"TrustedUserCAKeys {authority}.pub\nAuthorizedPrincipalsFile {principals}", accepts=("reader",)
    )
    house.target("gw", server, key="file:certified")
    await house.open("gw")
    assert "ID asha" in server.log.read_text()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    sock = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    yield
    os.kill(process.pid, signal.SIGTERM)
    process.wait(10)
    process.stdout.close()


@pytest.mark.usefixtures("agent")
async def test_a_key_of_the_agent_by_its_fingerprint(house: House, one: Server, world: Servers) -> None:
    for name in ("stranger", "reader"):
        subprocess.run(["ssh-add", "-q", world.key(name)], check=True)
    house.target("gw", one, key=f"agent:{fingerprint(world.public('reader'))}")
    assert (await house.read("gw", "sh", "-c", 'echo "agent: $SSH_AUTH_SOCK"')).stdout == b"agent: \n"  # not forwarded
    house.target("other", one, key=f"agent:{fingerprint(world.public('stranger'))}")


@pytest.mark.usefixtures("agent")
def test_a_key_that_the_agent_does_not_have() -> None:
    with pytest.raises(AuthenticationFailed, match="has no key SHA256:none"):
        agent_key("SHA256:none")


def test_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(AuthenticationFailed, match="SSH_AUTH_SOCK"):
        agent_key("SHA256:none")


# Through a jump host


async def test_a_host_behind_a_jump_host(house: House, one: Server, world: Servers) -> None:
    jump = world.start("test:jump", accepts=("jumper",))
    house.target("jump", jump, expects="test:jump", key="file:jumper")
    house.target("gw", one, expects="test:one", via="jump", write_key="file:reader")
    reading = await house.read("gw", "sh", "-c", "echo $SSH_CONNECTION")
    assert reading.exit == 0
    assert "direct-tcpip" in jump.log.read_text() or "Accepted publickey" in jump.log.read_text()
    assert (await house.write("gw", "cat", stdin=bytes(3_000_000))).exit == 0


async def test_a_jump_host_with_another_identity_leads_nowhere(house: House, one: Server, world: Servers) -> None:
    jump = world.start("prod:jump")
    house.target("jump", jump, expects="test:jump")
    house.target("gw", one, expects="test:one", via="jump")
    before = one.log.read_text().count("Connection from")
    with pytest.raises(WrongIdentity, match="prod:jump"):
        await house.open("gw")
    assert one.log.read_text().count("Connection from") == before


async def test_a_jump_host_that_does_not_forward(house: House, one: Server, world: Servers) -> None:
    jump = world.start("test:jump", options="AllowTcpForwarding no")
    house.target("jump", jump)
    house.target("gw", one, via="jump")
    with pytest.raises(Unreachable, match=r"jump .*forwarding to 127\.0\.0\.1:"):
        await house.open("gw")


async def test_a_dead_host_behind_a_jump_host(house: House, one: Server) -> None:
    house.target("jump", one)
    house.target("gw", f"127.0.0.1:{free_port()}", via="jump")
    with pytest.raises(Unreachable, match=r"jump .*forwarding to 127\.0\.0\.1:"):
        await house.open("gw")


async def test_a_way_in_a_circle_is_refused(house: House, one: Server) -> None:
    house.target("a", one, via="b")
    house.target("b", one, via="a")
    with pytest.raises(Refused, match="leads back"):
        await house.open("a")


async def test_a_tunnel_is_for_one_connection(house: House, one: Server) -> None:
    def echo(client: socket.socket) -> None:
        while data := client.recv(65536):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    house.target("jump", one, expects="test:one")
    with serving(echo) as address:
        host, port = address.split(":")
        at = await house.reader.forward("jump", host, int(port))
        reader, writer = await asyncio.open_connection(*at)
        data = os.urandom(1_000_000)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*at)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_tunnel_to_nothing_is_unreachable(house: House, one: Server) -> None:
    house.target("jump", one)
    with pytest.raises(Unreachable, match="forwarding"):
        await house.reader.forward("jump", "127.0.0.1", free_port())
