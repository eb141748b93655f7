"""Streams that are closed, full or read by nobody: the run goes on to its end, and the exit code says how it ended."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envtui.core.events import RunEnded
from tests.functional.cli_kit import ANSWERS, Desk, desk

__all__ = ["desk"]  # a fixture


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def either(desk: Desk, request: pytest.FixtureRequest) -> Desk:
    desk.more["PYTHONUNBUFFERED"] = request.param
    return desk


@pytest.mark.parametrize("how", ["--plain", "--json"])
def test_a_run_whose_reader_goes_away_ends_in_order(either: Desk, how: str) -> None:
    out, err = either.shell("| true", "run", "dev", "asking", how, *ANSWERS)
    (ended,) = either.events(RunEnded)
    assert ended.word == "OK"
    assert out == ""
    assert err == "" or f"envtui ledger show dev {ended.run}" in err  # `true` may live longer than the run


def test_a_pipe_that_is_closed_from_the_start(either: Desk, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    either.shell(f"> >(exec true) 2> {pipe}", "run", "dev", "asking", *ANSWERS)
    assert either.events(RunEnded)[0].word == "OK"


def test_a_full_disk_behind_stdout_ends_no_run_and_is_no_success(either: Desk) -> None:
    _, err = either.shell("> /dev/full", "run", "dev", "asking", *ANSWERS, code=1)
    assert err == "stdout could not be written: No space left on device. What it should have said is cut off.\n"
    assert either.events(RunEnded)[0].word == "OK"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_closed_stream_is_one_that_nobody_reads(desk: Desk, closed: str) -> None:
    desk.shell(closed, "run", "dev", "asking", *ANSWERS)
    assert desk.events(RunEnded)[0].word == "OK"
    desk.shell(closed, "ledger", "verify", "dev")
    desk.shell(closed, "run", "dev", "no-such-book", code=2)


@pytest.mark.parametrize("words", [["list"], ["--version"], ["--help"], ["show", "dev"]])
def test_a_full_disk_is_said_by_every_verb(either: Desk, words: list[str]) -> None:
    either.shell("> /dev/full", *words, code=1)


def test_the_exit_code_is_the_verbs_own_when_nobody_reads(either: Desk) -> None:
    (either.trees / "dev/books/bad.yaml").write_text("a: [${x}]")
    either.shell("| true", "check", code=1)
    either.shell("| true", "list", code=0)


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict"])
def test_what_a_terminal_cannot_show_is_escaped(desk: Desk, encoding: str) -> None:
    desk.more |= {"LC_ALL": "C", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    assert "\\u2192" in desk("show", "dev/asking")[0]
    desk("run", "dev", "asking", *ANSWERS)
    desk("run", "dev", "asking", "--answer", "cause=né\u2028\U0001f600", code=2)
    desk("list", "d\u00e9v", code=2)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing(desk: Desk) -> None:
    whole = desk("schema", "runbook")[0].encode()
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write, False)
    argv = [sys.executable, "-m", "envtui", "schema", "runbook"]
    child = subprocess.Popen(argv, env=desk.variables, stdout=write, stdin=subprocess.DEVNULL)
    os.close(write)
    with open(read, "rb") as stream:
        assert stream.read() == whole
    assert child.wait(60) == 0
    assert len(whole) > 3 * 4096
