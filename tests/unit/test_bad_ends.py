"""Whatever goes wrong ends in a sentence and an exit code; a traceback is for whoever asks for one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envtui.cli import main as command_line
from envtui.cli import trees

ROOT = Path(__file__).parents[2]


def _fault(verb: str, args: argparse.Namespace) -> int:
    hunter2 = "a-secret-of-a-local"
    raise LookupError(f"nothing there\x1b[2J, {len(hunter2)}")


def test_a_fault_is_one_sentence_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trees, "run", _fault)
    monkeypatch.delenv("ENVTUI_DEBUG", raising=False)
    assert command_line.main(["list"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "LookupError: nothing there" in said.err
    assert "\x1b" not in said.err
    assert ".py:" not in said.err


def test_asked_for_it_shows_places_and_no_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trees, "run", _fault)
    monkeypatch.setenv("ENVTUI_DEBUG", "1")
    assert command_line.main(["list"]) == 1
    said = capsys.readouterr().err
    assert "test_bad_ends.py:" in said
    assert "a-secret-of-a-local" not in said


def _envtui(*words: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-m", "envtui", *words], env=environment, cwd=tmp_path, capture_output=True, timeout=60
    )


def test_a_terminal_that_knows_ascii_only_gets_escapes(tmp_path: Path) -> None:
    done = _envtui(
        "show", "production/gateway-policy-revert", tmp_path=tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii:strict"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


@pytest.mark.parametrize("variable", ["ENVTUI_STATE", "ENVTUI_CONFIG"])
def test_a_place_of_the_wrong_kind_is_named(tmp_path: Path, variable: str) -> None:
    place = tmp_path / "here"
    if variable == "ENVTUI_STATE":
        place.write_text("a file")
    else:
        place.mkdir()
    done = _envtui(
        "request",
        "dev",
        "gateway-policy-revert",
        "--reason",
        "long enough",
        tmp_path=tmp_path,
        **{variable: str(place)},
    )
    assert done.returncode in (1, 2)
    assert str(place).encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "envtui", "list"], env=environment, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_copy_of_a_ledger_that_is_not_there_is_a_wrong_call_and_no_broken_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["ledger", "verify", "--file", str(tmp_path / "nope")]) == 2
    assert "BROKEN" not in "".join(capsys.readouterr())
