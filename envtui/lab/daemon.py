"""The lab itself: one process that is the parent of every server. `python -m envtui.lab.daemon HOME` runs until told.

It prints one line when it is up. With `--while-open` it goes down when its standard input closes, so that it never
outlives the terminal that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import psycopg

from envtui.core.errors import EnvtuiError
from envtui.lab import keeper
from envtui.lab.backups import back_up, equip
from envtui.lab.copy import Filling, fill
from envtui.lab.database import APPLICATION, AccessLog, Line, make_passwords, put_back, seed
from envtui.lab.gateway import Gateway, PolicyStore
from envtui.lab.hosts import SYSTEM_PATH, Account, Machine, Route, Sshd
from envtui.lab.kernel import ASKED, LOWERED, here
from envtui.lab.layout import WORKSPACE, Facts, Lab, hold, sweep
from envtui.lab.people import Secrets, move_in
from envtui.lab.policies import FIRST, GOOD, REQUIRE_TENANT
from envtui.lab.postgres import Cluster, Workspace, start_all
from envtui.lab.traffic import Traffic
from envtui.lab.world import PEOPLE, WORLDS, World
from envtui.outside.paths import private, samples

FLUSH_SECONDS = 0.5


class LiveEnvironment:
    """One environment while the lab is up: its cluster, its machines, their gateways, and the traffic."""

    def __init__(self, world: World, workspace: Workspace, token: str) -> None:
        self.world = world
        self.cluster = Cluster(workspace, world.name, {"max_connections": "80"})
        self.secrets = Secrets(
            ca=asyncssh.generate_private_key("ssh-ed25519"),
            passwords=make_passwords(world),
            status_token=f"Bearer {secrets.token_urlsafe(16)}",
        )
        self.identifier = ""
        self._folder = workspace.path / "hosts" / world.name
        self.unheld = here(SYSTEM_PATH) if world.name == "production" else ""  # why its reads cannot be held
        self._token = token
        self._jwt_secret = secrets.token_bytes(32)
        self.sshds: dict[str, Sshd] = {}
        self.gateways: dict[str, Gateway] = {}
        self._log: AccessLog | None = None
        self._line: Line | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def dsn(self, dbname: str, user: str = "postgres", password: str | None = None) -> str:
        return self.cluster.dsn(dbname, user, password)

    async def up(self) -> None:
        """Everything but the cluster, which is up already."""
        world = self.world
        self.identifier = await seed(self.dsn, world, self.secrets.passwords)
        backing_up = back_up(self.cluster) if world.backups_on else None
        self._log = AccessLog(self.dsn("gateway", APPLICATION, self.secrets.passwords[APPLICATION]))
        for machine in self._machines():
            self.sshds[machine.host.name] = Sshd(machine)
            await self.sshds[machine.host.name].start()
        for host in world.hosts:
            if host.behind:
                name, _, port = host.address.partition(":")
                self.sshds[host.behind].routes[name, int(port)] = Route(machine=self.sshds[host.name])
        if world.database_behind:
            name, _, port = world.database.partition(":")
            self.sshds[world.database_behind].routes[name, int(port)] = Route(port=self.cluster.port)
        await self._open_gateways(self._log)
        if world.name == "production":
            self._line = Line(self.dsn, self.secrets.passwords)
            await self._line.form()
        if backing_up is not None:
            role = world.sql_write_role
            equip(
                self.sshds[world.backups_on].machine, self.cluster, role, self.secrets.passwords[role], await backing_up
            )

    def _machines(self) -> list[Machine]:
        authorized = self._folder / "user_ca"
        authorized.parent.mkdir(parents=True, mode=0o711, exist_ok=True)
        authorized.write_text(f"cert-authority {self.secrets.ca.export_public_key().decode()}")
        accounts = (
            Account(self.world.read_account, "read", authorized),
            Account(self.world.write_account, "write", authorized),
        )
        machines = []
        for host in self.world.hosts:
            machine = Machine(host, self.world.name, self._folder / host.name, accounts, self._token)
            machine.build()
            machines.append(machine)
        return machines

    async def _open_gateways(self, log: AccessLog) -> None:
        for host in self.world.gateways:
            store = PolicyStore(self._folder / host.name / "gateway")
            store.reset(FIRST, GOOD)
            gateway = Gateway(
                self.world.name,
                host.fqdn,
                store,
                jwt_secret=self._jwt_secret,
                status_token=self.secrets.status_token,
                log=log.add,
            )
            await gateway.start()
            self.gateways[host.name] = gateway
        ports = [gateway.port for gateway in self.gateways.values()]
        chance = random.Random(self.world.name)  # noqa: S311 - which client calls next
        traffic = Traffic(ports, self.world.requests_per_second, self._jwt_secret, chance)
        for gateway in self.gateways.values():  # something to judge by from the first moment
            token = traffic.token("web")
            await asyncio.gather(*(traffic.call_with(gateway.port, token) for _ in range(10)))
            self._publish(gateway)
        self._tasks = [
            asyncio.create_task(traffic.run()),
            asyncio.create_task(log.run(FLUSH_SECONDS)),
            asyncio.create_task(self._keep_publishing()),
        ]

    async def _keep_publishing(self) -> None:
        while True:
            for gateway in self.gateways.values():
                self._publish(gateway)
            await asyncio.sleep(FLUSH_SECONDS)

    def _publish(self, gateway: Gateway) -> None:
        """What `gatewayctl status` prints: a file, because a host's commands need no network for it."""
        path = gateway.store.path.parent / "run" / "status"
        new = path.with_suffix(".new")
        new.write_text(gateway.status_text())
        new.replace(path)

    async def apply(self, policy: str) -> None:
        for gateway in self.gateways.values():
            gateway.store.apply(policy)

    async def settle(self) -> None:
        """Whoever waits in a line ends, and so does who they wait for."""
        if self._line is not None:
            await self._line.dissolve()

    async def reset(self) -> None:
        """As it was when it came up: policies, rows, counters, the line of waiting sessions."""
        assert self._log is not None
        for gateway in self.gateways.values():
            gateway.store.reset(FIRST, GOOD)
            gateway.forget()
        await self.settle()
        with contextlib.suppress(psycopg.Error):  # closed to its clients: the lines come later
            await self._log.flush()
        await put_back(self.dsn, self.world)
        if self._line is not None:
            await self._line.form()

    async def down(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.settle()
        for gateway in self.gateways.values():
            await gateway.close()
        for sshd in self.sshds.values():
            await sshd.close()
        if self._log is not None:
            await self._log.close()

    def filling(self, registers: Path, signers: dict[str, str]) -> Filling:
        """What this environment's copy of its tree says instead of the sample's addresses, keys and identities."""
        world = self.world
        replaced = {world.system_identifier: self.identifier}
        known = {}
        for host in world.hosts:
            machine = self.sshds[host.name].machine
            key = " ".join(machine.host_key.export_public_key().decode().split()[:2])
            if host.behind:
                known[host.fqdn] = key
            else:
                replaced[host.address] = f"127.0.0.1:{machine.port}"
                known[f"[127.0.0.1]:{machine.port}"] = key
        if not world.database_behind:
            replaced[world.database] = f"127.0.0.1:{self.cluster.port}"
        replaced[world.http] = f"http://127.0.0.1:{next(iter(self.gateways.values())).port}"
        if self.unheld:
            replaced[ASKED] = LOWERED
        if world.register:
            replaced[world.register] = str(registers / Path(world.register).name)
        return Filling(replaced, known, signers)

    def facts(self) -> dict[str, str]:
        """For `envtui lab status`."""
        gateways = {name: gateway.status() for name, gateway in self.gateways.items()}
        states = {str(status["state"]) for status in gateways.values()}
        return {
            "state": states.pop() if len(states) == 1 else "mixed",
            "policy": ", ".join(f"{name} {status['policy']}" for name, status in gateways.items()),
            "refused": ", ".join(f"{float(str(s['refused_share'])):.0%}" for s in gateways.values()),
            "http": " ".join(str(gateway.port) for gateway in self.gateways.values()),
            "ssh": " ".join(
                f"{name}:{sshd.machine.port}" if sshd.machine.port else f"{name}:via-{sshd.machine.host.behind}"
                for name, sshd in self.sshds.items()
            ),
            "postgresql": str(self.cluster.port),
            **({"reads": f"over ssh advisory, because {self.unheld}"} if self.unheld else {}),
        }


class Daemon:
    """All environments, and the socket on which the command line talks to them."""

    def __init__(self, lab: Lab, workspace: Workspace, token: str) -> None:
        self.lab = lab
        self.workspace = workspace
        self.environments = {world.name: LiveEnvironment(world, workspace, token) for world in WORLDS}
        self.over = asyncio.Event()
        self._commands: dict[str, Callable[[], Any]] = {
            "break jwt": self._break_jwt,
            "fix": self._fix,
            "settle": self._settle,
            "reset": self._reset,
            "status": self._status,
            "down": self._down,
        }

    async def up(self) -> None:
        await asyncio.gather(*(each.up() for each in self.environments.values()))
        signers = move_in(self.lab, {name: each.secrets for name, each in self.environments.items()})
        self.lab.registers.mkdir(mode=0o700)
        self.lab.runbooks.mkdir(mode=0o700)
        for name, each in self.environments.items():
            fill(samples() / name, self.lab.runbooks / name, each.filling(self.lab.registers, signers))
        server = await asyncio.start_unix_server(self._serve, self.workspace.path / "control")
        (self.workspace.path / "control").chmod(0o600)
        self._server = server
        facts = Facts(pid=os.getpid(), workspace=str(self.workspace.path), environments=await self._status())
        new = self.lab.home / "lab.json.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
        new.replace(self.lab.home / "lab.json")

    async def down(self) -> None:
        await asyncio.gather(*(each.down() for each in self.environments.values()), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().strip()
        try:
            command = self._commands.get(line)
            answer = await command() if command else {"error": {"message": f"the lab does not know {line!r}"}}
        except Exception as error:  # the answer, not the end of the lab
            answer = {"error": {"message": f"{type(error).__name__}: {error}"}}
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()
        writer.close()

    async def _status(self) -> dict[str, dict[str, str]]:
        return {name: each.facts() for name, each in self.environments.items()}

    async def _break_jwt(self) -> dict[str, dict[str, str]]:
        for each in self.environments.values():
            await each.apply(REQUIRE_TENANT)
        return await self._status()

    async def _fix(self) -> dict[str, dict[str, str]]:
        for each in self.environments.values():
            await each.apply(GOOD)
        return await self._status()

    async def _settle(self) -> dict[str, dict[str, str]]:
        for each in self.environments.values():
            await each.settle()
        return await self._status()

    async def _reset(self) -> dict[str, dict[str, str]]:
        await asyncio.gather(*(each.reset() for each in self.environments.values()))
        for register in self.lab.registers.iterdir():
            register.unlink()
        return await self._status()

    async def _down(self) -> dict[str, dict[str, str]]:
        self.over.set()
        return {}


def accept_trees(lab: Lab) -> None:
    """Accept the lab's own copy for each persona: a later change of it still stops at the trust screen."""
    from envtui.outside.trees.load import load_trees
    from envtui.outside.trees.trust import Trust

    trees = load_trees(lab.runbooks)
    for person in PEOPLE:
        trust = Trust(private(lab.person(person) / "state" / "trust"))
        for tree in trees.values():
            trust.accept(tree)


async def _live(daemon: Daemon, while_open: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.over.set)
    if while_open:
        loop.add_reader(0, lambda: daemon.over.set() if not os.read(0, 4096) else None)
    try:
        await daemon.up()
        accept_trees(daemon.lab)
        print("up", flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        await daemon.over.wait()
    finally:
        await daemon.down()


def _keeper(token: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, token], stdin=subprocess.PIPE, start_new_session=True
    )


def main(arguments: list[str]) -> int:
    lab = Lab(Path(arguments[0]))
    os.umask(0o022)
    os.chdir("/")
    token = f"envtui-lab-{secrets.token_hex(16)}"
    try:
        lab.claim()
        home = hold(lab.home / "lock")
        lab.empty()
        sweep()
        workspace = Workspace(prefix=WORKSPACE)
    except EnvtuiError as error:
        print(f"failed {error}", flush=True)
        return 1
    clusters: list[Cluster] = []
    lock = hold(workspace.path / "lock")
    undertaker = _keeper(token)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        daemon = Daemon(lab, workspace, token)
        clusters = [each.cluster for each in daemon.environments.values()]
        start_all(clusters)
        asyncio.run(_live(daemon, "--while-open" in arguments))
    except EnvtuiError as error:
        print(f"failed {error}", flush=True)
        return 1
    finally:
        for cluster in clusters:
            cluster.stop()
        assert undertaker.stdin is not None
        undertaker.stdin.close()
        undertaker.wait()
        workspace.remove()
        lab.remove()
        os.close(lock)
        os.close(home)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
