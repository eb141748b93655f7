"""Small trees that are sound, and that tests then break in one place."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from envtui.core.errors import Problem
from envtui.outside.trees.load import read_forest
from envtui.rules.lint import check

MANIFEST = """\
schema: envtui/environment@1
name: {name}
purpose: "The {name} of the tests"
data: synthetic
credentials:
  shell: {{kind: ssh, access: read, user: {name}-ro, key: "file:~/.ssh/{name}"}}
  shell-write: {{kind: ssh, access: write, user: {name}-rw, key: "file:~/.ssh/{name}-write"}}
  sql: {{kind: sql, access: read, user: {name}_ro, secret: "env:{name}_SQL"}}
targets:
  web:
    kind: ssh
    hosts: ["web1=web1.{name}.example:22"]
    read: shell
    write: shell-write
  db:
    kind: sql
    hosts: ["db1=db1.{name}.example:5432"]
    dbname: shop
    tls: disable
    read: sql
identity:
  ssh: {{argv: [hostname], matches: "{name}"}}
  sql: {{query: "select environment from marker", equals: {name}}}
access: {{write_gate: advisory}}
"""

BOOK = """\
schema: envtui/runbook@1
id: look
environment: {name}
title: "Look at {name}"
owner: team
defaults: {{target: web}}
params:
  unit: {{type: string, default: "shop", pattern: "[a-z]+"}}
  token: {{type: secret, ask: "Where is it?"}}
steps:
  - {{id: first, kind: ssh, argv: [uptime]}}
  - id: rows
    kind: sql
    target: db
    query: "select count(*) from orders"
    capture: {{pick: {{from: rows, pick: one, columns: {{id: int, at: timestamp}}}}}}
  - {{id: last, kind: ssh, argv: [echo, "${{vars.pick.id}}"]}}
"""

KEYS = {"dev": "A", "staging": "B", "production": "C"}


def grow(root: Path, *names: str, promotes: bool = True) -> Path:
    """Trees of these names below `root`, each promoting from the one before. Returns `root`."""
    before = ""
    for name in names:
        tree = root / name
        manifest = MANIFEST.format(name=name) + (f"promotes_from: {before}\n" if before and promotes else "")
        put(tree / "environment.yaml", manifest)
        put(tree / "books" / "look.yaml", BOOK.format(name=name))
        put(tree / "known_hosts", f"web1.{name}.example ssh-ed25519 {KEYS.get(name, name) * 12}\n")
        put(tree / "access" / "allowed_signers", signer(name))
        put(tree / "access" / "people.yaml", PEOPLE)
        before = name
    return root


PEOPLE = "schema: envtui/people@1\npeople: {asha: {name: Asha, principals: [asha]}}\n"


def signer(name: str) -> str:
    parts = (b"ssh-ed25519", hashlib.sha256(name.encode()).digest())
    key = base64.b64encode(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).decode()
    return f'asha namespaces="request.v1.{name}@envtui,approve.v1.{name}@envtui" ssh-ed25519 {key}\n'


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o644)
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Replace `old`, which must be there, once."""
    text = path.read_text()
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new))


def problems(root: Path) -> list[Problem]:
    """Everything that `envtui check` would say, sorted."""
    forest = read_forest(root)
    return sorted({*forest.problems, *check(forest.trees.values())})


def said(root: Path) -> list[str]:
    """The same as text, files relative to the root."""
    return [
        ("warning: " if problem.severity == "warning" else "") + str(problem).replace(f"{root.resolve()}/", "")
        for problem in problems(root)
    ]
