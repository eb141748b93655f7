"""Trust: nothing of a tree counts before this user has seen what changed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tree_kit import edit, grow, put

from envtui.core.errors import NotTrusted
from envtui.outside.trees.load import load_tree
from envtui.outside.trees.trust import Trust


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return grow(tmp_path / "trees", "dev") / "dev"


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    (tmp_path / "trust").mkdir(mode=0o700)
    return Trust(tmp_path / "trust")


def test_the_first_opening_shows_everything(tree: Path, trust: Trust) -> None:
    status = trust.status(load_tree(tree))
    assert status.word == "new"
    for line in ("+++ environment.yaml", "+++ access/allowed_signers", "+++ known_hosts", "+name: dev"):
        assert line in status.diff.split("\n")
    assert "books" not in status.diff
    with pytest.raises(NotTrusted, match="never accepted") as caught:
        trust.require(load_tree(tree))
    assert "envtui trust dev" in caught.value.remedy
    assert caught.value.exit_code == 7


def test_accepted_stays_accepted_and_private(tree: Path, trust: Trust, tmp_path: Path) -> None:
    trust.accept(load_tree(tree))
    trust.require(load_tree(tree))
    assert trust.status(load_tree(tree)).diff == ""
    (file,) = (tmp_path / "trust").iterdir()
    assert file.name == "dev.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("access/allowed_signers", 'eve namespaces="request.v1.dev@envtui" ssh-ed25519 EVE\n'),
        ("access/people.yaml", "# eve\n"),
        ("access/revoked_keys", "ssh-ed25519 AAAA\n"),
        ("known_hosts", "web2.dev.example ssh-ed25519 EVE\n"),
        ("environment.yaml", "rules: [eve]\n"),
    ],
)
def test_a_change_is_a_diff_of_that_change(tree: Path, trust: Trust, path: str, line: str) -> None:
    trust.accept(load_tree(tree))
    with (tree / path).open("a") as stream:
        stream.write(line)
    (tree / path).chmod(0o644)
    changed = load_tree(tree)
    status = trust.status(changed)
    assert status.word == "changed"
    lines = status.diff.split("\n")
    assert f"+{line.strip()}" in lines
    assert [each for each in lines if each.startswith("+++")] == [f"+++ {path}"]
    assert not [each for each in lines if each.startswith("-") and not each.startswith("---")]
    with pytest.raises(NotTrusted, match="changed since"):
        trust.require(changed)
    trust.accept(changed)
    trust.require(changed)


def test_a_cmd_credential_shows_before_anything_could_run_it(tree: Path, trust: Trust, tmp_path: Path) -> None:
    trust.accept(load_tree(tree))
    ran = tmp_path / "ran"
    edit(tree / "environment.yaml", 'secret: "env:dev_SQL"', f"secret: {{cmd: [/usr/bin/touch, {ran}]}}")
    status = trust.status(load_tree(tree))
    assert "/usr/bin/touch" in status.diff
    assert not ran.exists()


def test_books_and_sql_are_signed_with_the_plan_and_need_no_trust(tree: Path, trust: Trust) -> None:
    trust.accept(load_tree(tree))
    put(tree / "sql/x.sql", "select 1")
    edit(tree / "books/look.yaml", "owner: team", "owner: other")
    trust.require(load_tree(tree))


def test_what_is_accepted_is_what_was_shown(tree: Path, trust: Trust) -> None:
    shown = load_tree(tree)
    edit(tree / "environment.yaml", "data: synthetic", "data: production")  # while the person reads
    trust.accept(shown)
    assert trust.status(load_tree(tree)).word == "changed"


def test_a_diff_cannot_drive_the_terminal_nor_hide_a_difference(tree: Path, trust: Trust) -> None:
    trust.accept(load_tree(tree))
    signers = tree / "access/allowed_signers"
    signers.write_text(signers.read_text().replace("asha", "asha\u200b", 1) + "# \x1b[2K\x1b[1A\u202e\n")
    diff = trust.status(load_tree(tree)).diff
    assert "\x1b" not in diff
    assert "\u202e" not in diff
    assert "\u200b" not in diff
    assert len([line for line in diff.split("\n") if line.startswith("+") and "asha" in line]) == 1


def test_a_file_that_is_not_ours_is_no_acceptance(tree: Path, trust: Trust, tmp_path: Path) -> None:
    for content in (b"", b"{}", b"[]", b'{"v":1,"sha256":"x","texts":{}}'):
        (tmp_path / "trust/dev.json").write_bytes(content)
        assert trust.status(load_tree(tree)).word in ("new", "changed")
