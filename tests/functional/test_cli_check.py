"""`check` of whatever somebody may point it at: one sentence with the place, never long, never a fault."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from envtui.cli.main import main
from tests.functional.cli_kit import Desk, desk

__all__ = ["desk"]  # a fixture

Said = tuple[int, str, str]


def check(capsys: pytest.CaptureFixture[str], folder: Path | str) -> Said:
    code = main(["check", str(folder)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("/", "/ holds no environment: none of its folders has an environment.yaml."),
        ("/proc", "/proc holds no environment: none of its folders has an environment.yaml."),
        ("/dev", "/dev holds no environment: none of its folders has an environment.yaml."),
        ("/etc/passwd", "/etc/passwd is no folder."),
        ("/dev/null", "/dev/null is no folder."),
        ("/nowhere/at/all", "/nowhere/at/all is no folder: nothing is there."),
        ("/" + "x" * 5000, "xxx is no folder: nothing is there."),
        ("/\x1b[2J", "is no folder: nothing is there."),
        ("/\udcff", "is no folder: nothing is there."),
    ],
)
def test_a_place_without_trees(capsys: pytest.CaptureFixture[str], folder: str, says: str) -> None:
    code, out, err = check(capsys, folder)
    assert (code, out) == (2, "")
    assert says in err
    assert err.splitlines()[-1] == "Name the folder of your trees: --runbooks DIR, or ENVTUI_RUNBOOKS."
    assert "\x1b" not in err


def test_an_empty_folder_and_a_tree_itself(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    empty = desk.folder / "empty"
    empty.mkdir()
    assert f"{empty} holds no environment" in check(capsys, empty)[2]
    code, _, err = check(capsys, desk.trees / "dev")
    assert code == 2
    assert err.splitlines() == [
        f"{desk.trees}/dev is one environment.",
        f"Name the folder of all of them: {desk.trees}.",
    ]


def test_what_is_no_file_is_named(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    books = desk.trees / "dev/books"
    os.mkfifo(books / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(books)  # a socket's name is short
        try:
            listening.bind("socket.yaml")
        finally:
            os.chdir(here)
    names = ["pipe.yaml", "socket.yaml"]
    if os.geteuid() == 0:
        os.mknod(books / "zero.yaml", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        names.append("zero.yaml")
    (books / "loop").symlink_to("loop")
    code, out, err = check(capsys, desk.trees)
    assert code == 1
    for name in names:
        assert f"{books}/{name}: not a file. A tree holds files and folders.\n" in out
    assert f"{books}/loop: a symbolic link" in out
    assert err.endswith(f"{len(names) + 1} errors, no warnings.\n")


def test_a_loop_where_an_environment_should_be(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.trees / "loop").symlink_to("loop")
    (desk.trees / "link").symlink_to("dev")
    code, out, _ = check(capsys, desk.trees)
    assert code == 1
    assert f"{desk.trees}/link: a symbolic link, to 'dev'." in out


def test_a_hundred_megabytes(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (desk.trees / "dev/environment.yaml", desk.trees / "staging/books/large.yaml"):
        with path.open("w") as file:
            file.truncate(100_000_000)
    code, out, _ = check(capsys, desk.trees)
    assert code == 1
    assert out.splitlines() == [
        f"{desk.trees}/dev/environment.yaml: more than 16 MiB. Large files go to artifacts/.",
        f"{desk.trees}/staging/books/large.yaml: more than 16 MiB. Large files go to artifacts/.",
    ]


def test_folders_without_end(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.trees / "dev/books" / "/".join("d" * 40)).mkdir(parents=True)
    code, out, _ = check(capsys, desk.trees)
    assert code == 1
    assert "more than 32 folders in one another." in out


def test_a_folder_that_cannot_be_read(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def refusing(path: str) -> object:  # as root everything can be read
        if str(path) in (str(desk.trees / "dev"), str(desk.folder)):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    code, out, _ = check(capsys, desk.trees)
    assert code == 1
    assert out == f"{desk.trees}/dev: it cannot be read: Permission denied.\n"
    code, out, err = check(capsys, desk.folder)
    assert (code, out) == (2, "")
    assert f"{desk.folder} cannot be read: Permission denied." in err


def test_json_is_json_whatever_the_files_are_called(desk: Desk) -> None:
    (desk.trees / "dev/books/x\udcff\n\x1b[2J.yaml").write_text("a: [")
    rows = json.loads(desk("check", "--json", code=1)[0])
    assert any("\\udcff" in row["file"] or "\udcff" in row["file"] for row in rows)
    assert "\x1b" not in desk("check", code=1)[0]
