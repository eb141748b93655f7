"""People with real keys, and the small world in which they ask for write access and sign: no servers."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from envtui.core.access import Incident, Request, Roster, Terms, namespace
from envtui.core.act import Act, Place, Plan, PlannedStep, SqlCall, SshCall, Value, literal
from envtui.core.canonical import canonical_record
from envtui.core.environment import AccessPolicy, People, Person
from envtui.core.errors import Refused, Unreachable
from envtui.core.events import Entry, Event, Head, run_of
from envtui.outside.allowed_signers import roster
from envtui.outside.ssh_keygen import Keygen, KeygenSigner, KeygenVerifier

NOW = 1_770_000_000_000
ENVIRONMENT = "production"
MINUTE = 60_000


@dataclass
class FakeClock:
    wall: int = NOW
    boot: int = 5_000_000
    drawn: int = 0

    def wall_ms(self) -> int:
        return self.wall

    def boot_ms(self) -> int:
        return self.boot

    async def sleep(self, seconds: float) -> None:
        self.advance(round(seconds * 1000))

    def randomness(self, count: int) -> bytes:
        self.drawn += 1
        return hashlib.sha512(str(self.drawn).encode()).digest()[:count]

    def advance(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.boot += milliseconds


@dataclass
class MemoryJournal:
    entries: list[Entry] = field(default_factory=list)
    clock: FakeClock | None = None

    async def append(self, event: Event) -> Entry:
        at_ms = self.clock.wall if self.clock is not None else NOW
        entry = Entry(len(self.entries) + 1, at_ms, event, hashlib.sha256(str(event).encode()).hexdigest())
        self.entries.append(entry)
        return entry

    async def append_all(self, events: Sequence[Event]) -> Sequence[Entry]:
        return [await self.append(event) for event in events]

    async def read(self, run: str | None = None) -> Sequence[Entry]:
        return [entry for entry in self.entries if run is None or run_of(entry.event) == run]

    async def find(self, text: str) -> Sequence[Entry]:
        return [entry for entry in self.entries if text.encode() in canonical_record(entry.event)]

    async def head(self) -> Head:
        return Head("ledger-1", len(self.entries), self.entries[-1].hash if self.entries else "0" * 64)

    def follow(self, after: int = 0) -> AsyncIterator[Entry]:
        raise AssertionError("nobody follows here")

    async def close(self) -> None: ...

    def events(self, kind: type) -> list[Event]:
        return [entry.event for entry in self.entries if isinstance(entry.event, kind)]


@dataclass
class DictTracker:
    incidents: dict[str, Incident] = field(default_factory=dict)
    answers: bool = True
    notes: list[tuple[str, str]] = field(default_factory=list)

    async def lookup(self, incident: str) -> Incident:
        if not self.answers:
            raise Unreachable("The tracker does not answer.", "Wait.")
        if incident not in self.incidents:
            raise Refused(f"There is no incident {incident!r}.", "Open it.")
        return self.incidents[incident]

    async def note(self, incident: str, text: str) -> bool:
        self.notes.append((incident, text))
        return True

    def open(self, name: str = "INC-1001", opened_ms: int = NOW - MINUTE, environment: str = ENVIRONMENT) -> None:
        self.incidents[name] = Incident(
            id=name, state="open", title="403", environment=environment, opened_ms=opened_ms, tracker="file"
        )

    def close(self, name: str = "INC-1001") -> None:
        self.incidents[name] = msgspec.structs.replace(self.incidents[name], state="closed")


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def armour(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


class SoftwareSecurityKey:
    """An sk-ssh-ed25519 key in software (openssh PROTOCOL.u2f), whose touch flag is as wished."""

    KIND = b"sk-ssh-ed25519@openssh.com"

    def __init__(self, *, flags: int = 0x01, application: bytes = b"ssh:") -> None:
        self.flags, self.application = flags, application
        self._private = Ed25519PrivateKey.generate()
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.blob = string(self.KIND) + string(raw) + string(application)

    @property
    def key(self) -> str:
        return f"{self.KIND.decode()} {base64.b64encode(self.blob).decode()}"

    async def sign(self, name: str, message: bytes, waiting: Callable[[str], None]) -> str:
        waiting("Touch the key.")
        head = b"SSHSIG" + string(name.encode()) + string(b"") + string(b"sha512")
        signed = head + string(hashlib.sha512(message).digest())
        presence = bytes([self.flags]) + struct.pack(">I", 7)
        made = self._private.sign(
            hashlib.sha256(self.application).digest() + presence + hashlib.sha256(signed).digest()
        )
        signature = string(self.KIND) + string(made) + presence
        return armour(
            b"SSHSIG"
            + struct.pack(">I", 1)
            + string(self.blob)
            + string(name.encode())
            + string(b"")
            + string(b"sha512")
            + string(signature)
        )


@dataclass(frozen=True)
class Keys:
    """Key files made by ssh-keygen, by name, and a security key in software."""

    folder: Path
    security: SoftwareSecurityKey

    def path(self, name: str) -> Path:
        return self.folder / name

    def public(self, name: str) -> str:
        return " ".join((self.folder / f"{name}.pub").read_text().split()[:2])

    def signer(self, name: str) -> KeygenSigner:
        return KeygenSigner(Keygen(), self.public(name), self.path(name))


KINDS = {
    "asha": ("ed25519",),
    "asha-second": ("ed25519",),
    "meera": ("ed25519",),
    "ravi": ("ed25519",),
    "tom": ("rsa", "-b", "3072"),
    "ines": ("ecdsa", "-b", "256"),
    "stranger": ("ed25519",),
}


def make_keys(folder: Path) -> Keys:
    for name, kind in KINDS.items():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", name, "-f", str(folder / name)], check=True, timeout=60
        )
    return Keys(folder, SoftwareSecurityKey())


PEOPLE = People(
    schema="envtui/people@1",
    people={
        "asha": Person(name="Asha", principals=("asha@lab", "asha-yubi@lab"), roles=("approver",)),
        "meera": Person(name="Meera", principals=("meera@lab", "meera-sk@lab"), roles=("approver",)),
        "ravi": Person(name="Ravi", principals=("ravi@lab",), roles=("trainee",)),
        "tom": Person(name="Tom", principals=("tom@lab",), roles=("approver",)),
        "ines": Person(name="Ines", principals=("ines@lab",), roles=("approver",)),
    },
)


def signers_text(keys: Keys, environment: str = ENVIRONMENT) -> str:
    both = f'namespaces="{namespace("request", environment)},{namespace("approve", environment)}"'
    principals = {
        "asha@lab": keys.public("asha"),
        "asha-yubi@lab": keys.public("asha-second"),
        "meera@lab": keys.public("meera"),
        "meera-sk@lab": keys.security.key,
        "ravi@lab": keys.public("ravi"),
        "tom@lab": keys.public("tom"),
        "ines@lab": keys.public("ines"),
    }
    return "".join(f"{principal} {both} {key}\n" for principal, key in principals.items())


def policy(**more: object) -> AccessPolicy:
    base: dict[str, object] = {
        "incident": {"tracker": "file", "path": "/tmp/register"},
        "signoff": {"min": 1, "roles": ["approver"]},
        "escalation": "Call the duty manager.",
    }
    for name, value in more.items():
        inner = base.get(name)
        base[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    return msgspec.convert(base, AccessPolicy)


def terms(who: Roster, machine: str = "laptop-a", environment: str = ENVIRONMENT, **more: object) -> Terms:
    return Terms(environment=environment, policy=policy(**more), roster=who, manifest_sha256="m" * 64, machine=machine)


def act(step: str = "revert", member: str = "gw1", word: str = "revert", timeout: float = 60.0) -> Act:
    return Act(
        step=step,
        mode="write",
        place=Place(target="gateway", kind="ssh", member=member, address="10.0.0.1:22", user="ops"),
        call=SshCall(argv=(literal("gatewayctl"), literal(word))),
        timeout=timeout,
    )


def undo_act(step: str = "revert", member: str = "gw1", word: str = "apply", timeout: float = 60.0) -> Act:
    return act(f"{step}.undo", member, word, timeout)


def plan(word: str = "revert", run: str = "RUN1", timeout: float = 60.0, operator: str = "asha") -> Plan:
    read = Act(
        step="rate",
        mode="read",
        place=Place(target="db", kind="sql", member="db1", address="10.0.0.2:5432", dbname="app"),
        call=SqlCall(text="select 1"),
    )
    return Plan(
        run=run,
        book="gateway-revert",
        book_sha256="b" * 64,
        environment=ENVIRONMENT,
        operator=operator,
        inputs=(("window", Value(type="duration", text="15m", origin="default")),),
        steps=(
            PlannedStep(id="rate", kind="sql", mode="read", title="rate", acts=(read,)),
            PlannedStep(
                id="revert",
                kind="ssh",
                mode="write",
                title="revert",
                acts=(act(word=word, timeout=timeout),),
                undo=(undo_act(),),
            ),
        ),
        incident="INC-1001",
        date="2026-02-02",
    )


@dataclass
class World:
    """Asha's laptop and Meera's: two rosters from one text, two trackers on one register, one ledger on Asha's."""

    keys: Keys
    clock: FakeClock = field(default_factory=FakeClock)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    tracker: DictTracker = field(default_factory=DictTracker)
    policy: dict[str, object] = field(default_factory=dict)
    revoked: str = ""
    waited: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal.clock = self.clock

    @property
    def roster(self) -> Roster:
        return roster(ENVIRONMENT, signers_text(self.keys), self.revoked, PEOPLE)

    def terms(self, machine: str = "laptop-a") -> Terms:
        return terms(self.roster, machine, **self.policy)

    @property
    def verifier(self) -> KeygenVerifier:
        return KeygenVerifier(self.roster, self.clock, Keygen())

    def replan(self, request: Request) -> Plan:
        return plan(run=request.run, operator=request.requester.person)


def environment_without_agent() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
