"""./lab: sets itself up once, says what is missing, and hands its arguments on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FILES = ("lab", ".ci/setup.sh", "requirements.lock", "pyproject.toml")

pytestmark = pytest.mark.skipif(
    not all((CHECKOUT / name).exists() for name in FILES), reason="LOUD: not a checkout, ./lab is not here"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    (tmp_path / "bin").mkdir()
    for name in FILES:
        shutil.copy(CHECKOUT / name, tmp_path / name)
    return tmp_path


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def lab(checkout: Path, *words: str, python: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": f"{checkout / 'bin'}:/usr/bin:/bin", "PYTHON": str(python), "HOME": str(checkout)}
    return subprocess.run(
        [str(checkout / "lab"), *words], cwd=cwd or checkout, env=variables, capture_output=True, text=True, timeout=60
    )


def test_without_venv_it_says_what_to_install(checkout: Path) -> None:
    python = program(checkout / "python", 'case $1 in -c) exit 0 ;; esac\necho "No module named venv" >&2; exit 1')
    done = lab(checkout, "status", python=python)
    assert done.returncode == 2
    assert "install python3-venv" in done.stderr
    assert "No module" not in done.stderr


def test_an_old_python_is_not_taken(checkout: Path) -> None:
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        program(checkout / "bin" / name, "exit 1")
    done = lab(checkout, "status", python=checkout / "bin" / "python3")
    assert done.returncode == 2
    assert "Python 3.11 or newer" in done.stderr


def test_without_python3_venv_the_systems_pip_fills_an_empty_environment(checkout: Path) -> None:
    python = program(
        checkout / "python",
        """
echo "$*" >> "$HOME/calls"
case "$*" in
*--without-pip*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && printf '#!/bin/sh\\necho "ran $*"\\n' > .venv/bin/envtui && chmod +x .venv/bin/envtui ;;
*"-m venv"*) exit 1 ;;
esac""",
    )
    done = lab(checkout, "as", "meera", "sign", "two words", python=python)
    assert (done.returncode, done.stdout) == (0, "ran lab as meera sign two words\n")
    calls = (checkout / "calls").read_text()
    assert "--require-hashes -r requirements.lock" in calls
    assert "--no-deps -e ." in calls


def test_a_second_start_sets_nothing_up_and_keeps_the_callers_directory(checkout: Path) -> None:
    program(checkout / ".venv/bin/envtui", 'pwd; echo "$#:$*"; echo "$ENVTUI_LAB_COMMAND"')
    stamp = subprocess.run(
        "cat requirements.lock pyproject.toml | cksum", shell=True, cwd=checkout, capture_output=True, text=True
    ).stdout.strip()
    (checkout / ".venv/.stamp").write_text(f"{stamp} {checkout}\n")
    elsewhere = checkout / "else where"
    elsewhere.mkdir()
    done = lab(checkout, "run", "a b", python=checkout / "none", cwd=elsewhere)
    assert done.stdout == f"{os.path.realpath(elsewhere)}\n3:lab run a b\n{checkout / 'lab'}\n"
    assert done.stderr == ""


@pytest.mark.parametrize(("typed", "named"), [("./lab", "./lab"), ("", "envtui lab")])
def test_what_to_type_next_is_said_as_it_was_typed(tmp_path: Path, typed: str, named: str) -> None:
    variables = {**os.environ, "ENVTUI_LAB": str(tmp_path / "none"), "ENVTUI_LAB_COMMAND": typed}

    def said(*words: str) -> str:
        argv = [sys.executable, "-m", "envtui", "lab", *words]
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        return done.stdout + done.stderr

    assert f"`{named} up`" in said("status")
    assert f"{named} break jwt" in said("break", "all")
    assert f"`{named} down` takes" in said("down", "now")
    assert f"`{named} up`, then `{named} run" in said()
    help_ = said("--help")
    assert f"  {named} reset" in help_
    assert f"`{named} as meera" in help_
