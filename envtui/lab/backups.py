"""A backup of an environment's database, and a host from which it can be restored: PostgreSQL's programs, a service, a password.

The backup is what `pg_dump -Fc` made of the environment's own data when the lab came up.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path

from envtui.core.errors import Failed
from envtui.lab.hosts import WRITE_UID, Account, Machine, program
from envtui.lab.postgres import Cluster

PROGRAMS = ("pg_restore", "psql")
SERVICE = "gateway"
"""What the write account calls the database server in its connections: `service=gateway dbname=…`."""


def back_up(cluster: Cluster, dbname: str = "gateway") -> Awaitable[Path]:
    """Begin a backup; awaiting the result gives its file. Call it from the main thread. Raises Failed."""
    directory = cluster.directory
    passfile = directory / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text(f"*:*:*:postgres:{cluster.password}\n")
    cluster.workspace.own(passfile)
    file = directory / f"{dbname}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"
    where = f"host=127.0.0.1 port={cluster.port} user=postgres dbname={dbname} passfile={passfile}"
    argv = [str(cluster.workspace.bindir / "pg_dump"), "--format=custom", "--compress=1", "--dbname", where]
    with open(directory / "backup.log", "wb") as log:
        process = cluster.workspace.popen([*argv, "--file", str(file)], directory, log.fileno())
    return _made(process, file)


async def _made(process: subprocess.Popen[bytes], file: Path) -> Path:
    if await asyncio.to_thread(process.wait) != 0:
        said = (file.parent / "backup.log").read_text(errors="replace").strip()
        raise Failed(f"pg_dump failed: {said[-500:]}", "Look at that first.")
    return file


def equip(machine: Machine, cluster: Cluster, role: str, password: str, backup: Path) -> None:
    """Make the host the place where backups are: `backups/` in each home, programs, and a service for the write account.

    The password stands in the write account's own file: no book, plan or ledger ever sees it.
    """
    for name in PROGRAMS:
        program(machine.folder / "bin" / name, f"#!/bin/sh\nexec '{cluster.workspace.bindir / name}' \"$@\"\n")
    folder = machine.folder / "backups"
    machine.give(folder, WRITE_UID, 0o755)
    shutil.copyfile(backup, folder / backup.name)
    _own(folder / backup.name, WRITE_UID, 0o644)
    backup.unlink()
    for account in machine.accounts:
        (machine.folder / "home" / account.name / "backups").symlink_to(folder)
        if account.access == "write":
            service = f"[{SERVICE}]\nhost=127.0.0.1\nport={cluster.port}\nuser={role}\n"
            _file(machine, account, ".pg_service.conf", service)
            _file(machine, account, ".pgpass", f"127.0.0.1:{cluster.port}:*:{role}:{password}\n")


def _file(machine: Machine, account: Account, name: str, text: str) -> None:
    path = machine.folder / "home" / account.name / name
    path.touch(mode=0o600)
    path.write_text(text)
    _own(path, account.uid, 0o600)


def _own(path: Path, uid: int, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, uid, uid)
