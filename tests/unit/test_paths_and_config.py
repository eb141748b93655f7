"""Where things live, and what this user's own configuration says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tree_kit import put

from envtui.core.errors import InvalidFiles
from envtui.outside.config import UserConfig, load
from envtui.outside.paths import Paths, login_name, samples
from envtui.outside.trees.load import load_trees


def test_the_variables_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths.from_environment({"ENVTUI_RUNBOOKS": "r", "ENVTUI_STATE": "/s", "ENVTUI_CONFIG": "~/c.toml"})
    assert paths == Paths(tmp_path / "r", Path("/s"), Path.home() / "c.toml")


def test_the_current_directory_is_never_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runbooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Paths.from_environment({}).runbooks == samples()
    assert tmp_path not in Paths.from_environment({}).runbooks.parents


def test_the_samples_are_sound() -> None:
    assert set(load_trees(samples())) == {"dev", "staging", "production"}


def test_state_is_private(tmp_path: Path) -> None:
    paths = Paths.from_environment({"ENVTUI_STATE": str(tmp_path / "a" / "b"), "ENVTUI_CONFIG": "/x"})
    for folder in (paths.spool("dev"), paths.trust, paths.ledger("dev").parent, tmp_path / "a"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "a/b/dev").chmod(0o755)
    assert stat.S_IMODE(paths.folder("dev").stat().st_mode) == 0o700
    assert paths.ledger("dev") == tmp_path / "a/b/dev/ledger.sqlite3"


def test_no_configuration_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml") == UserConfig()
    assert UserConfig().operator == login_name()


def test_a_configuration(tmp_path: Path) -> None:
    file = put(
        tmp_path / "config.toml",
        'operator = "asha"\nsigning_key = "file:~/.ssh/id"\nsecret_dirs = ["~/s"]\ncommands = ["/usr/bin/pass"]\n',
    )
    config = load(file)
    assert (config.operator, config.signing_key, config.commands) == ("asha", "file:~/.ssh/id", ("/usr/bin/pass",))
    assert config.secret_folders == ((Path.home() / "s").resolve(),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("operator = ", "it is not TOML"),
        (b"\xff", "it is not TOML"),
        ("operater = 'x'", "It may say: operator"),
        ("operator = 3", "Expected `str`"),
        ("commands = ['pass']", "'pass' is not an absolute path"),
        ("secret_dirs = ['here']", "'here' is not an absolute path"),
        ("signing_key = '~/.ssh/id'", "expected file:PATH or agent:SHA256"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(InvalidFiles) as caught:
        load(put(tmp_path / "c.toml", text))
    assert expected in str(caught.value)


def test_a_configuration_that_others_may_write(tmp_path: Path) -> None:
    file = put(tmp_path / "c.toml", "")
    file.chmod(0o646)
    with pytest.raises(InvalidFiles, match="other users may write it"):
        load(file)
