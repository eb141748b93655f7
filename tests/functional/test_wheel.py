"""The wheel works outside the checkout: sample trees and lab travel with it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def envtui(site: Path, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(site),
        "ENVTUI_STATE": str(tmp_path / "state"),
    }
    return subprocess.run(
        [sys.executable, "-m", "envtui", *words], cwd=tmp_path, env=variables, capture_output=True, text=True
    )


def test_every_sample_file_is_in_the_wheel(installed: Path) -> None:
    ours = {str(p.relative_to(ROOT / "runbooks")) for p in (ROOT / "runbooks").rglob("*") if p.is_file()}
    theirs = {
        str(p.relative_to(installed / "envtui/_runbooks"))
        for p in (installed / "envtui/_runbooks").rglob("*")
        if p.is_file()
    }
    assert ours == theirs
    assert "production/environment.yaml" in theirs


def test_it_checks_and_lists_its_samples_from_anywhere(installed: Path, tmp_path: Path) -> None:
    checked = envtui(installed, tmp_path, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = envtui(installed, tmp_path, "list", "production")
    assert "gateway-policy-revert" in listed.stdout, listed.stderr


def test_the_lab_is_in_it(installed: Path, tmp_path: Path) -> None:
    status = envtui(installed, tmp_path, "lab", "status")
    assert "Traceback" not in status.stderr
    assert (installed / "envtui/lab").is_dir()


def test_what_it_needs_is_named_and_nothing_of_the_tests_is_packed(installed: Path) -> None:
    (metadata,) = installed.glob("envtui-*.dist-info/METADATA")
    text = metadata.read_text()
    assert "Requires-Python: >=3.11" in text
    assert "Provides-Extra: lab" in text
    assert not (installed / "tests").exists()
