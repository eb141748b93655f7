"""check, list, show, trust and schema as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from envtui.outside.paths import samples


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    root = tmp_path / "trees"
    shutil.copytree(samples(), root)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


def variables(trees: Path) -> dict[str, str]:
    state, config = trees.parent / "state", trees.parent / "config.toml"
    own = {"ENVTUI_RUNBOOKS": str(trees), "ENVTUI_STATE": str(state), "ENVTUI_CONFIG": str(config)}
    return {**os.environ, **own, "PYTHONPATH": str(Path(__file__).parents[2])}


def envtui(trees: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "envtui", *words],
        env=variables(trees), cwd=trees.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def test_check_of_sound_trees(trees: Path) -> None:
    done = envtui(trees, "check")
    assert done.stdout == ""
    assert "3 environments" in done.stderr
    assert "no errors" in done.stderr


def test_check_says_everything_with_its_place_and_exits_1(trees: Path) -> None:
    book = trees / "production/books/gateway/policy-revert.yaml"
    book.write_text(book.read_text().replace("owner:", "ovner:") + "  - {id: x, kind: ssh, target: nope, argv: [ls]}\n")
    (trees / "dev/books/bad.yaml").write_text("a: [${x}]")
    done = envtui(trees, "check", "trees", code=1)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("trees/dev/books/bad.yaml:1:5: ${…} without quotes")
    assert any(
        line.startswith("trees/production/books/gateway/policy-revert.yaml:5:1: unknown key 'ovner'") for line in lines
    )
    found = json.loads(envtui(trees, "check", "--json", code=1).stdout)
    assert len(found) == len(lines)
    assert found[0]["file"].endswith("dev/books/bad.yaml")
    assert (found[0]["line"], found[0]["column"], found[0]["severity"]) == (1, 5, "error")


def test_check_of_a_folder_that_is_not_there_is_wrong_usage(trees: Path) -> None:
    assert "is no folder" in envtui(trees, "check", "nowhere", code=2).stderr


def test_what_a_tree_says_cannot_drive_the_terminal(trees: Path) -> None:
    manifest = trees / "dev/environment.yaml"
    manifest.write_text(manifest.read_text() + 'rules: ["\\e[2J"]\n"\\e]0;x\\a": y\n')
    out = envtui(trees, "check", code=1).stdout
    assert "\x1b" not in out
    assert "\a" not in out


def test_list_and_show(trees: Path) -> None:
    assert [line.split()[0] for line in envtui(trees, "list").stdout.splitlines()] == ["dev", "staging", "production"]
    listed = envtui(trees, "list", "production").stdout
    assert "1W  gateway/gateway-policy-revert" in listed
    row = json.loads(envtui(trees, "list", "production", "--json").stdout.splitlines()[-1])
    assert row["id"] == "gateway-policy-revert"
    shown = envtui(trees, "show", "production/gateway-policy-revert").stdout
    assert " W revert  ssh gateway" in shown
    assert "undo: " in shown
    environment = envtui(trees, "show", "production").stdout
    assert "write as oncall-rw" in environment
    assert "file:" not in environment  # a reference is nobody's business on a shared screen
    assert "There are: dev, staging, production." in envtui(trees, "show", "prod", code=2).stderr
    assert "There is no book" in envtui(trees, "show", "production/x", code=2).stderr


def test_schema_is_json(trees: Path) -> None:
    for what in ("runbook", "environment"):
        assert json.loads(envtui(trees, "schema", what).stdout)["title"] == f"envtui {what}"


def test_trust_needs_a_person_or_a_yes(trees: Path) -> None:
    done = envtui(trees, "trust", "production", code=7)
    assert "+name: production" in done.stdout
    assert "Not accepted" in done.stderr
    assert "+name: production" in envtui(trees, "trust", "production", "--yes").stdout
    done = envtui(trees, "trust", "production")
    assert done.stdout == ""
    assert "as you accepted it" in done.stderr
    line = 'meera namespaces="approve.v1.production@envtui" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f'
    with (trees / "production/access/allowed_signers").open("a") as stream:
        stream.write(f"{line}\n")
    done = envtui(trees, "trust", "production", code=7)
    changed = [line for line in done.stdout.splitlines() if line[:1] in "+-"]
    assert changed[2:] == [f"+{line}"]


def test_an_unsound_tree_cannot_be_trusted(trees: Path) -> None:
    signers = trees / "production/access/allowed_signers"
    signers.write_text(signers.read_text() + 'eve namespaces="*" ssh-ed25519 AAAAEVE\n')
    done = envtui(trees, "trust", "production", "--yes", code=2)
    assert "is not one of production" in done.stderr
    assert not (trees.parent / "state/trust/production.json").exists()


@pytest.mark.parametrize(("typed", "code"), [("production", 0), ("yes", 7), ("staging", 7)])
def test_a_person_types_the_environments_name(trees: Path, typed: str, code: int) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "envtui", "trust", "production"], env=variables(trees), encoding="utf-8", timeout=30
    )
    child.expect("Type production to accept: ")
    child.sendline(typed)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert (trees.parent / "state/trust/production.json").exists() == (code == 0)
