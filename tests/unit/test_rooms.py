"""The house: imports point down, in the graph and in a fresh interpreter; files stay small enough to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = ("textual", "paramiko", "psycopg", "httpx", "asyncssh")

NEVER = {
    # importing this room alone must not bring these modules with it
    "envtui": (*HEAVY, "msgspec", "argparse"),
    "envtui.core": HEAVY,
    "envtui.rules": (*HEAVY, "asyncio", "sqlite3", "envtui.outside", "envtui.engine"),
    "envtui.engine": (*HEAVY, "envtui.outside", "envtui.tui", "envtui.cli"),
    "envtui.outside": (*HEAVY, "envtui.engine", "envtui.rules", "envtui.tui", "envtui.cli"),
    "envtui.cli.main": (*HEAVY, "envtui.lab", "envtui.tui"),
    "envtui.compose": (*HEAVY, "envtui.lab", "envtui.tui", "asyncio"),
    # A run begins with these: what they bring without need, every run pays.
    "envtui.cli.run": (*HEAVY, "asyncio", "envtui.engine.session"),
    "envtui.outside.ssh.ahead": (*HEAVY, "asyncio"),
    "envtui.outside.ssh.exchange": ("asyncio", "invoke", "importlib.metadata", "paramiko.client"),
    "envtui.outside.trees.yaml": ("asyncio", "yaml.reader", "yaml.loader"),
}

LIBRARY_ROOMS = {
    "textual": "envtui/tui",
    "paramiko": "envtui/outside",
    "psycopg": "envtui/outside",
    "httpx": "envtui/outside",
}


def modules_of(room: str) -> list[str]:
    folder = ROOT / room.replace(".", "/")
    if not folder.is_dir() or room in ("envtui",):
        return [room]
    heavy_inside = {"envtui.outside": ("ssh", "sql", "http")}.get(room, ())
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__init__.py" and not any(part in heavy_inside for part in (*path.parts, path.stem))
    ]


@pytest.mark.parametrize("room", NEVER)
def test_a_room_brings_only_what_it_may(room: str) -> None:
    imports = "; ".join(f"import {module}" for module in modules_of(room))
    code = f"{imports}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    unwanted = {name for name in NEVER[room] if name in loaded}
    assert not unwanted, f"importing {room} loads {', '.join(sorted(unwanted))}"


@pytest.mark.parametrize("library", LIBRARY_ROOMS)
def test_a_library_stays_in_its_room(library: str) -> None:
    strays = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "envtui").rglob("*.py")
        if not str(path.relative_to(ROOT)).startswith((LIBRARY_ROOMS[library], "envtui/lab"))
        and any(
            line.strip().startswith((f"import {library}", f"from {library}")) for line in path.read_text().splitlines()
        )
    ]
    assert strays == []


def test_every_folder_says_what_lives_there() -> None:
    for init in (ROOT / "envtui").rglob("__init__.py"):
        assert init.read_text().lstrip().startswith('"""'), init


def test_no_file_is_too_long_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "envtui").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 450
    }
    assert long == {}


def test_locked_requirements_name_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    assert text.count("--hash=sha256:") > 100
