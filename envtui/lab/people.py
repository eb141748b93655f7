"""The people of the lab: each has a home directory with a signing key, SSH keys with certificates, and passwords."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from envtui.lab.layout import Lab
from envtui.lab.world import PEOPLE, WORLDS, World


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an environment's owner hands out: the CA that vouches for SSH keys, passwords by role, the status token."""

    ca: Any
    passwords: Mapping[str, str]
    status_token: str


def move_in(lab: Lab, secrets: Mapping[str, Secrets]) -> dict[str, str]:
    """Make every persona's home. Returns the public signing keys by person."""
    public = {}
    for person in PEOPLE:
        home = lab.person(person)
        for folder in (home / ".ssh", home / ".envtui", home / "state"):
            folder.mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        key = asyncssh.generate_private_key("ssh-ed25519", comment=person)
        _write(home / ".ssh" / "id_ed25519", key.export_private_key())
        public[person] = " ".join(key.export_public_key().decode().split()[:2])
        _write(home / ".ssh" / "id_ed25519.pub", f"{public[person]} {person}\n".encode())
        for world in WORLDS:
            _hand_out(home, person, world, secrets[world.name])
        _write(home / "config.toml", _config(lab, person).encode())
    return public


def _hand_out(home: Path, person: str, world: World, secrets: Secrets) -> None:
    for name, account in ((world.read_key, world.read_account), (world.write_key, world.write_account)):
        key = asyncssh.generate_private_key("ssh-ed25519", comment=f"{person}-{name}")
        certificate = secrets.ca.generate_user_certificate(key, person, principals=[account], valid_before="+24h")
        _write(home / ".ssh" / name, key.export_private_key())
        _write(home / ".ssh" / f"{name}.pub", key.export_public_key())
        _write(home / ".ssh" / f"{name}-cert.pub", certificate.export_certificate())
    for name, value in (
        (world.sql_read_file, secrets.passwords[person]),
        (world.sql_write_file, secrets.passwords[world.sql_write_role]),
        (world.status_file, secrets.status_token),
    ):
        _write(home / ".envtui" / name, f"{value}\n".encode())


def _config(lab: Lab, person: str) -> str:
    home = lab.person(person)
    beside = "".join(f'{other} = "file:{lab.person(other)}/.ssh/id_ed25519"\n' for other in PEOPLE if other != person)
    return f"""\
operator = "{person}"
signing_key = "file:{home}/.ssh/id_ed25519"
secret_dirs = ["{home}/.ssh", "{home}/.envtui"]

[beside]
{beside}"""


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def variables(lab: Lab, person: str, base: Mapping[str, str]) -> dict[str, str]:
    """The environment variables in which a program is that person in the lab."""
    home = lab.person(person)
    kept = {key: value for key, value in base.items() if key not in ("SSH_AUTH_SOCK", "XDG_STATE_HOME")}
    return {
        **kept,
        "HOME": str(home),
        "ENVTUI_RUNBOOKS": str(lab.runbooks),
        "ENVTUI_STATE": str(home / "state"),
        "ENVTUI_CONFIG": str(home / "config.toml"),
        "ENVTUI_LAB": str(lab.home),
        "PYTHONUSERBASE": site.getuserbase(),  # an installation below the real home stays importable
    }


def command(arguments: list[str]) -> list[str]:
    """The argv that runs envtui as this installation has it, and never one that lies in the current directory."""
    return [sys.executable, "-P", "-m", "envtui", *arguments]
