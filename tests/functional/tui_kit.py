"""A world for the screens: real trees, ledger, spool, register and signatures; targets that answer from a script.

Run as a program it opens the screens on its terminal: `python tui_kit.py FOLDER [ENVIRONMENT]`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from envtui.compose import World
from envtui.core.access import Permit
from envtui.core.act import Act
from envtui.core.errors import Unreachable
from envtui.core.ports import Reading, Sent, Shown, Sink, unsent
from envtui.core.tree import Tree
from envtui.engine.session import EnvironmentSession

MARKUP = "[/markup] [bold]"
ATTACK = "kept\x1b]0;PWNTITLE\x07\x1b]52;c;UFdORUQ=\x07\x1b[2J\x9b2J\u202e\x7fkept"
"""What a hostile target prints: a title, the clipboard, an erased screen (7 and 8 bit), a change of direction."""

LEVELS = {"ssh": "advisory", "sql": "session-enforced"}

MANIFEST = """\
schema: envtui/environment@1
name: {name}
purpose: "The {name} of the tests {markup}"
data: synthetic
rules: ["Look first {markup}"]
credentials:
  shell: {{kind: ssh, access: read, user: {name}-ro, key: "file:~/.ssh/{name}"}}
  shell-write: {{kind: ssh, access: write, user: {name}-rw, key: "file:~/.ssh/{name}-write"}}
  sql: {{kind: sql, access: read, user: {name}_ro, secret: "env:{name}_SQL"}}
targets:
  gateway: {{kind: ssh, hosts: ["gw1-{name}=gw1.{name}.example:22", "gw2-{name}=gw2.{name}.example:22"], read: shell, write: shell-write}}
  db: {{kind: sql, hosts: ["db-{name}=db.{name}.example:5432"], dbname: shop, tls: disable, read: sql}}
identity:
  ssh: {{argv: [hostname], matches: "{name}"}}
  sql: {{query: "select environment from marker", equals: {name}}}
{promotes}
access:
  write_gate: advisory
  incident: {{tracker: file, path: "{register}", required: true}}
  signoff: {{min: {signers}, same_machine: allowed}}
  grant: {{max: {ttl}}}
{more}
"""

BOOK = """\
schema: envtui/runbook@1
id: revert
environment: {name}
title: "Everybody is locked out {markup}"
owner: team
alerts: [Forbidden]
use_when: "403 for everybody {markup}"
defaults: {{target: gateway}}
params:
  window: {{type: duration, default: 5m, ask: "How far back?"}}
steps:
  - {{id: up, kind: ssh, title: "Who answers? {markup}", argv: [gatewayctl, status]}}
  - id: who
    kind: sql
    target: db
    title: Who waits?
    query: "select pid, what from waiting where at > ${{params.window}}::interval"
    capture: {{head: {{from: rows, pick: one, columns: {{pid: int, what: string}}}}}}
  - id: cause
    kind: choose
    title: Is it the policy?
    options: {{"the policy {markup}": back, "something else": tell}}
  - id: back
    kind: ssh
    mode: write
    title: Go back
    argv: [gatewayctl, revert]
    probe: {{argv: [gatewayctl, current], applied: {{stdout_matches: previous}}, absent: {{stdout_matches: latest}}}}
    undo: {{argv: [gatewayctl, restore]}}
  - {{id: healthy, kind: ssh, title: Healthy?, argv: [gatewayctl, check]}}
  - {{id: tell, kind: manual, title: Tell everybody, instructions: "Post it. {markup}"}}
"""

SMALL = """\
schema: envtui/runbook@1
id: look
environment: {name}
title: "Look"
owner: team
steps:
  - {{id: one, kind: ssh, target: gateway, argv: [uptime]}}
"""


@dataclass
class Targets:
    """Every target at once: what it answers, and what was asked of it."""

    output: bytes = f"{ATTACK} {MARKUP}\nsecond line\n".encode()
    answer: Callable[[Act, Sink], Reading] | None = None
    read: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    down: bool = False

    async def open(self, act: Act) -> Shown:
        if self.down:
            raise Unreachable(f"No route to {ATTACK}.", "Look at the network.")
        return Shown(target=act.place.target, member=act.place.member, shown=ATTACK, protection=LEVELS[act.place.kind])

    def _say(self, act: Act, sink: Sink) -> Reading:
        sink.out(self.output)
        if act.place.kind == "sql":
            return Reading(columns=("pid", "what"), rows=(("41", "first"), ("42", f"second {MARKUP}")), row_count=2)
        return Reading(exit=0, stdout=self.output)


@dataclass
class ScriptedReader:
    targets: Targets

    async def open(self, act: Act) -> Shown:
        return await self.targets.open(act)

    async def read(self, act: Act, sink: Sink) -> Reading:
        await self.targets.open(act)
        self.targets.read.append(act.id)
        return (self.targets.answer or self.targets._say)(act, sink)

    async def close(self) -> None: ...


@dataclass
class ScriptedWriter:
    targets: Targets

    @property
    def seen(self) -> Mapping[str, int]:
        return {}

    async def write(self, permit: Permit, act: Act, sink: Sink, sent: Sent = unsent) -> Reading:
        self.targets.written.append(act.id)
        return self.targets._say(act, sink)

    async def forget(self) -> None: ...

    async def close(self) -> None: ...


class ScriptedWorld(World, frozen=True):
    """The world as composed, but for the connections."""

    targets: Targets

    def session(self, tree: Tree, order: int, last: int) -> EnvironmentSession:
        session = super().session(tree, order, last)
        targets = self.targets
        reader = ScriptedReader(targets)
        session.ways = replace(
            session.ways,
            readers=MappingProxyType({"ssh": reader, "sql": reader}),
            writer=lambda permit, act: ScriptedWriter(targets),
            check=lambda act: None,
        )
        session.access._ways = session.ways
        return session


def grow(folder: Path, *, ttl: str = "30m", signers: int = 1, more: str = "") -> dict[str, str]:
    """Two trees, two people, a register with an open incident. Returns the environment variables of asha.

    `more`: further lines of both manifests; the first ones are indented, they go on with `access`.
    """
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    public = {}
    for person in ("asha", "meera"):
        key = home / ".ssh" / person
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", key], check=True)
        public[person] = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    for at, name in enumerate(("dev", "production")):
        tree = folder / "runbooks" / name
        for path, text in {
            "environment.yaml": MANIFEST.format(
                name=name,
                markup=MARKUP,
                promotes="promotes_from: dev" if at else "",
                register=folder / "registers" / f"{name}.jsonl",
                ttl=ttl,
                signers=signers,
                more=more,
            ),
            "books/revert.yaml": BOOK.format(name=name, markup=MARKUP),
            "books/look.yaml": SMALL.format(name=name),
            "known_hosts": f"gw1.{name}.example ssh-ed25519 {'AB'[at] * 12}\n",
            "access/people.yaml": "schema: envtui/people@1\npeople:\n"
            + "".join(f"  {p}: {{name: {p.title()}, principals: [{p}@{name}]}}\n" for p in public),
            "access/allowed_signers": "".join(
                f'{p}@{name} namespaces="request.v1.{name}@envtui,approve.v1.{name}@envtui" {key}\n'
                for p, key in public.items()
            ),
        }.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
    (folder / "registers").mkdir()
    (folder / "config.toml").write_text(
        f'operator = "asha"\nsigning_key = "file:{home}/.ssh/asha"\nsecret_dirs = ["{home}/.ssh"]\n'
    )
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "ENVTUI_RUNBOOKS": str(folder / "runbooks"),
        "ENVTUI_STATE": str(folder / "state"),
        "ENVTUI_CONFIG": str(folder / "config.toml"),
    }


def world(variables: dict[str, str], targets: Targets, *, trusted: bool = True) -> ScriptedWorld:
    """The world of these variables, its trees accepted."""
    real = World.of(variables)
    made = ScriptedWorld(real.paths, real.config, real.variables, targets)
    if trusted:
        for tree in made.forest().trees.values():
            made.accept(tree)
    return made


def incident(made: World, environment: str = "production", title: str = "403", severity: str = "sev1") -> str:
    """An open incident in the register; its id."""
    import time

    from envtui.outside.incident_file import register_of

    tree = made.forest().trees[environment]
    register = register_of(tree.environment.access.incident, tree.root)
    opened = register.open(
        environment=environment, title=title, severity=severity, by="asha", now_ms=int(time.time() * 1000)
    )
    return opened.id


def main(folder: Path, environment: str | None, title: str) -> int:
    """The screens on this terminal."""
    from envtui.tui.app import EnvtuiApp
    from envtui.tui.start import run

    made = world(grow(folder), Targets())
    incident(made, title=title)
    return run(EnvtuiApp(made, environment))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None, f"403 {MARKUP}"))
