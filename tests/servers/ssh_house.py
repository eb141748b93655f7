"""An environment over real SSH servers, in as few words as a test can do with."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sshd import ME, Server, Servers

from envtui.core.access import Permit
from envtui.core.act import Act, Bytes, Mode, Place, SshCall
from envtui.core.environment import Credential, Environment, Identity, SshTarget
from envtui.core.errors import SecretMissing
from envtui.core.ports import Reading, Started
from envtui.core.secret import Secret
from envtui.outside.ssh.ending import SshEnder
from envtui.outside.ssh.known_hosts import KnownHosts
from envtui.outside.ssh.links import Setting
from envtui.outside.ssh.session import SshReader
from envtui.outside.ssh.writing import SshWriter

ASKS_ID = ("printenv", "ENVTUI_TEST_ID")


class Collected:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()

    def out(self, data: bytes) -> None:
        self.stdout += data

    def err(self, data: bytes) -> None:
        self.stderr += data


class Vault:
    """Secrets by reference; key files by `file:NAME` of the servers' own keys."""

    def __init__(self, servers: Servers, values: dict[str, str]) -> None:
        self._servers = servers
        self._values = values

    async def resolve(self, reference: object, name: str) -> Secret:
        if str(reference) not in self._values:
            raise SecretMissing(f"{name} is missing", "")
        return Secret(name, self._values[str(reference)])

    def key_file(self, reference: str) -> Path:
        name = reference.removeprefix("file:")
        return Path(name) if name.startswith("/") else self._servers.key(name)


class House:
    """Targets are added by `target`; `read`, `write`, `open` act on them."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.known = ""
        self.timeout = 10.0
        self.least = "advisory"
        self.secrets: dict[str, str] = {}
        self.executor = ThreadPoolExecutor(16)
        self._credentials: dict[str, Credential] = {}
        self._targets: dict[str, Any] = {}
        self._places: dict[str, Place] = {}
        self._reader: SshReader | None = None
        self._ender: SshEnder | None = None

    def target(
        self,
        name: str,
        address: str | Server,
        *,
        expects: str | None = None,
        user: str = ME,
        key: str = "file:reader",
        write_key: str | None = None,
        via: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        if isinstance(address, Server):
            self.known += address.known()
            address = address.address
        if expects is not None:
            identity = Identity(argv=ASKS_ID, equals=expects)
        self._credentials[f"{name}-r"] = Credential(kind="ssh", access="read", user=user, key=key)
        if write_key:
            self._credentials[f"{name}-w"] = Credential(kind="ssh", access="write", user=user, key=write_key)
        self._targets[name] = SshTarget(
            hosts=(f"{name}={address}",),
            read=f"{name}-r",
            write=f"{name}-w" if write_key else None,
            via=via,
            identity=identity,
        )
        self._places[name] = Place(
            target=name, kind="ssh", member=name, address=address, user=user, via=via or "", credential=f"{name}-r"
        )

    def setting(self) -> Setting:
        environment = Environment(
            schema="envtui/environment@1",
            name="test",
            purpose="Tests",
            data="synthetic",
            credentials=self._credentials,
            targets=self._targets,
        )
        return Setting(
            environment=environment,
            known_hosts=KnownHosts(self.known.encode(), "test/known_hosts"),
            secrets=Vault(self.servers, self.secrets),
            hosts=lambda name: (self._places[name],),
            executor=self.executor,
            timeout=self.timeout,
            least=lambda target: self.least,
        )

    @property
    def reader(self) -> SshReader:
        self._reader = self._reader or SshReader(self.setting())
        return self._reader

    def act(
        self,
        target: str,
        *argv: str,
        mode: Mode = "read",
        as_: str = "",
        timeout: float = 30.0,
        idle: float = 0.0,
        detach: bool = False,
        needs: tuple[str, ...] = (),
        **call: Any,
    ) -> Act:
        place = self._places[target]
        credential = place.credential if mode == "read" else f"{target}-w"
        fields: dict[str, Any] = {"argv": tuple((word,) for word in argv), **call}
        if isinstance(fields.get("stdin"), bytes):
            fields["stdin"] = Bytes.of(fields["stdin"])
        return Act(
            step="step",
            mode=mode,
            place=Place(
                target=target,
                kind="ssh",
                member=place.member,
                address=place.address,
                user=place.user,
                as_=as_,
                via=place.via,
                credential=credential,
            ),
            call=SshCall(**fields),
            timeout=timeout,
            idle_timeout=idle,
            detach=detach,
            needs=needs,
        )

    async def open(self, target: str) -> Any:
        return await self.reader.open(self.act(target, "true"))

    async def read(self, target: str, *argv: str, sink: Any = None, **more: Any) -> Any:
        return await self.reader.read(self.act(target, *argv, **more), sink or Collected())

    async def write(self, target: str, *argv: str, sink: Any = None, **more: Any) -> Any:
        return await self.sent(target, *argv, **more).done(sink or Collected())

    def sent(self, target: str, *argv: str, **more: Any) -> Attempt:
        """A write with its permit, ready to be done, and what finds and ends it."""
        return Attempt(self, self.act(target, *argv, mode="write", **more))

    @property
    def ender(self) -> SshEnder:
        self._ender = self._ender or SshEnder(self.setting())
        return self._ender

    async def close(self) -> None:
        if self._reader:
            await self._reader.close()
        if self._ender:
            await self._ender.close()
        self.executor.shutdown(wait=False)


class Attempt:
    """One write with its own permit. `folder` is its state directory under a home."""

    def __init__(self, house: House, act: Act) -> None:
        self.act = act
        self.permit = permit_for(act)
        self.writer = SshWriter(self.permit, house.setting())
        self.started = Started(act=act, permit=self.permit.id, attempt=1)

    async def done(self, sink: Any, keep: bool = False) -> Reading:
        """Write it as the engine does: what the target keeps is removed after it, unless `keep`."""
        try:
            reading = await self.writer.write(self.permit, self.act, sink)
            if not keep and not reading.running:
                await self.writer.forget()
            return reading
        finally:
            await self.writer.close()

    def folder(self, home: Path) -> Path:
        return home / ".envtui" / self.act.place.member / self.permit.id


def permit_for(act: Act) -> Permit:
    """What `rules.grants.spend` issues, for this act."""
    made = Permit._issue(
        id=f"P{secrets.token_hex(8)}", grant="g1", run="r1", act_digest=act.digest(), attempt=1, until_ms=1 << 60
    )
    assert isinstance(made, Permit)
    return made
