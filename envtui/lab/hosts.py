"""The lab's SSH hosts: asyncssh servers on loopback that run real commands, each with a home and a name of its own.

Like a real sshd they let a command live on when a client without a terminal vanishes: whoever connects must not take a
lost connection for a stopped command. Unlike one they die with the lab, and offer neither terminals nor file transfer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from envtui.lab.postgres import die_with_parent
from envtui.lab.world import Host

FILES = Path(__file__).parent / "files"

READ_UID, WRITE_UID = 65534, 65533
"""As root the two accounts of a host are two user ids, so that the kernel keeps the read account from the policy."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """A login of a host. `authorized` is an authorized_keys file: the environment's user CA."""

    name: str
    access: str  # read | write
    authorized: Path

    @property
    def uid(self) -> int:
        return WRITE_UID if self.access == "write" else READ_UID


@dataclass(slots=True)
class Machine:
    """A host's folder: bin/ early in PATH, home/ACCOUNT, gateway/ (policies), run/ (what the gateway says of itself)."""

    host: Host
    environment: str
    folder: Path
    accounts: tuple[Account, ...]
    token: str  # carried by every process started here
    host_key: Any = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    port: int = 0

    def build(self) -> None:
        """Make the folders. Root gives homes and policies to the accounts."""
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "run").mkdir()
        program(self.folder / "bin" / "hostname", f"#!/bin/sh\necho {self.host.fqdn}\n")
        program(self.folder / "bin" / "whoami", '#!/bin/sh\necho "$USER"\n')
        if self.host.gateway:
            shutil.copyfile(FILES / "gatewayctl", self.folder / "bin" / "gatewayctl")
            (self.folder / "bin" / "gatewayctl").chmod(0o755)
            for name in ("", "policies", "before", "kept"):
                self.give(self.folder / "gateway" / name, WRITE_UID, 0o755)
        for account in self.accounts:
            self.give(self.folder / "home" / account.name, account.uid, 0o700)

    def give(self, folder: Path, uid: int, mode: int) -> None:
        """A folder of an account's."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        if os.geteuid() == 0:
            os.chown(folder, uid, uid)

    def account(self, name: str) -> Account | None:
        return next((account for account in self.accounts if account.name == name), None)

    def variables(self, account: Account, asked: Mapping[str, str]) -> dict[str, str]:
        """The environment of a command: nothing of the lab's own but what a login would set."""
        allowed = {key: value for key, value in asked.items() if key.startswith(("LC_", "LANG"))}
        return {
            **allowed,
            "PATH": f"{self.folder / 'bin'}:{SYSTEM_PATH}",
            "HOME": str(self.folder / "home" / account.name),
            "USER": account.name,
            "LOGNAME": account.name,
            "SHELL": "/bin/sh",
            "ENVTUI_LAB_HOST": self.host.fqdn,
            "ENVTUI_LAB_ACCOUNT": account.access,
            "ENVTUI_LAB_GATEWAY": str(self.folder / "gateway"),
            "ENVTUI_LAB_TOKEN": self.token,
        }

    def spawn(self, account: Account, command: str | None, asked: Mapping[str, str]) -> Any:
        """Start a command line in the account's shell, in a session of its own."""
        argv = ["/bin/sh", "-c", command] if command is not None else ["/bin/sh"]
        dropped: dict[str, Any] = {}
        if os.geteuid() == 0:
            dropped = {"user": account.uid, "group": account.uid, "extra_groups": []}
        return asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder / "home" / account.name,
            env=self.variables(account, asked),
            start_new_session=True,
            preexec_fn=_before_exec(),
            **dropped,
        )


def program(path: Path, text: str) -> None:
    """An executable file for everybody."""
    path.write_text(text)
    path.chmod(0o755)


def _before_exec() -> Any:
    die = die_with_parent(signal.SIGKILL)

    def before() -> None:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):  # a lab started as `cmd &` ignores them
            signal.signal(number, signal.SIG_DFL)
        die()

    return before


class Sshd:
    """The server of one machine. `routes` are the addresses that it forwards to, for jump hosts."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.routes: dict[tuple[str, int], Route] = {}
        self._options: dict[str, Any] = {
            "server_host_keys": [machine.host_key],
            "server_factory": lambda: _Server(self),
            "process_factory": self._process,
            "encoding": None,
            "line_editor": False,
            "allow_scp": False,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "login_timeout": 20,
        }
        self._acceptor: Any = None
        self._inner: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a loopback port, unless the machine is only there behind another one."""
        if not self.machine.host.behind:
            self._acceptor = await asyncssh.listen("127.0.0.1", 0, **self._options)
            self.machine.port = self._acceptor.get_port()

    async def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()

    async def serve(self, connection: socket.socket) -> None:
        """Speak SSH over one connected socket."""
        await asyncssh.run_server(connection, **self._options)

    async def _process(self, process: Any) -> None:
        account = self.machine.account(process.get_extra_info("username"))
        if account is None or process.term_type:
            process.stderr.write(b"the lab's hosts offer no terminals\n")
            process.exit(1)
            return
        command = process.command.decode() if isinstance(process.command, bytes) else process.command
        asked = {_text(key): _text(value) for key, value in process.env.items()}
        child = await self.machine.spawn(account, command, asked)
        process.signal_received = lambda name: _signal(child.pid, _text(name))
        feeder = asyncio.create_task(_pump(process.stdin, child.stdin))
        outs = [_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr)]
        try:
            await asyncio.gather(*outs)
            code = await child.wait()
        finally:
            feeder.cancel()
        with contextlib.suppress(asyncssh.Error, OSError):
            if code < 0:
                process.exit_with_signal(signal.Signals(-code).name[3:], False, "", "")
            else:
                process.exit(code)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _signal(pid: int, name: str) -> None:
    number = getattr(signal, f"SIG{name}", signal.SIGTERM)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


async def _pump(source: Any, target: Any) -> None:
    """Copy to the end. When the client is gone, keep draining: a real sshd's command would get SIGPIPE at worst, and a
    command that says little runs on."""
    gone = False
    while data := await _read(source):
        if gone:
            continue
        try:
            target.write(data)
            await target.drain()
        except (OSError, asyncssh.Error):
            gone = True
    with contextlib.suppress(OSError, asyncssh.Error, AttributeError):
        if isinstance(target, asyncio.StreamWriter):
            target.close()


async def _read(source: Any) -> bytes:
    try:
        data: bytes = await source.read(65536)
        return data
    except (OSError, asyncssh.Error):
        return b""


@dataclass(frozen=True, slots=True)
class Route:
    """Where an address that only a jump host knows leads to: another machine, or a loopback port."""

    machine: Sshd | None = None
    port: int = 0


class _Server(asyncssh.SSHServer):  # type: ignore[misc]  # asyncssh is untyped here
    def __init__(self, sshd: Sshd) -> None:
        self._sshd = sshd
        self._connection: Any = None

    def connection_made(self, conn: Any) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        account = self._sshd.machine.account(username)
        if account is not None:
            self._connection.set_authorized_keys(str(account.authorized))
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """A forward to somewhere else: only what this host routes to."""
        route = self._sshd.routes.get((dest_host, dest_port))
        if route is None:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, f"{dest_host}:{dest_port} is not reached through here"
            )

        async def forward(reader: Any, writer: Any) -> None:
            if route.machine is not None:
                near, far = socket.socketpair()
                near.setblocking(False)
                far.setblocking(False)
                inner = asyncio.create_task(route.machine.serve(far))
                there = await asyncio.open_connection(sock=near)
            else:
                inner = None
                there = await asyncio.open_connection("127.0.0.1", route.port)
            with contextlib.suppress(OSError, asyncssh.Error):
                await _both_ways(reader, writer, *there)
            if inner is not None:
                with contextlib.suppress(OSError, asyncssh.Error):
                    await inner

        return forward


async def _both_ways(reader: Any, writer: Any, there_in: Any, there_out: Any) -> None:
    """Until both sides said that they are done, or one is gone."""

    async def copy(source: Any, target: Any) -> None:
        while data := await _read(source):
            target.write(data)
            await target.drain()
        with contextlib.suppress(OSError, asyncssh.Error):
            if target.can_write_eof():
                target.write_eof()

    tasks = [asyncio.create_task(copy(reader, there_out)), asyncio.create_task(copy(there_in, writer))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    there_out.close()
    writer.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
