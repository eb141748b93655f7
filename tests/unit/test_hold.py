"""One process has a run, and the others are told which."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtui.core.errors import Failed, Refused, Unsound
from envtui.outside import hold as module
from envtui.outside.hold import hold

RUN = "01K8RUN000000001"
ROOT = Path(__file__).parents[2]

_HOLDER = """
import sys
from pathlib import Path
from envtui.outside.hold import hold
held = hold(Path(sys.argv[1]), sys.argv[2], "meera@desk")
print("held", flush=True)
sys.stdin.readline()
held.release()
print("released", flush=True)
sys.stdin.readline()
"""

_TAKES_TURNS = """
import os, sys
from pathlib import Path
from envtui.core.errors import Refused
from envtui.outside.hold import hold
folder, run, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
inside = folder / "inside"
had = 0
while had < rounds:
    try:
        held = hold(folder, run, "x")
    except Refused:
        continue
    fd = os.open(inside, os.O_CREAT | os.O_EXCL)  # fails when somebody else is inside
    os.close(fd)
    inside.unlink()
    held.release()
    had += 1
print(had)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "holds"


def python(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with python(_HOLDER, folder, RUN) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_told_who_has_the_run_and_since_when(folder: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Refused) as refused:
        hold(folder, RUN, "asha@laptop")
    said = rf"Run {RUN} goes on in another terminal: meera@desk, process {holder.pid}, since \d\d:\d\d UTC\."
    assert re.fullmatch(said, refused.value.message)
    assert refused.value.remedy == "Watch it there, or end it there first."


def test_once_released_it_is_anybodys(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "released\n"
    assert list(folder.iterdir()) == []
    held = hold(folder, RUN, "asha@laptop")  # while the other process lives on
    held.release()


def test_a_killed_holder_holds_nothing(folder: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (folder / f"{RUN}.lock").exists()
    held = hold(folder, RUN, "asha@laptop")
    with pytest.raises(Refused, match=f"asha@laptop, process {os.getpid()}"):
        hold(folder, RUN, "asha@laptop")
    held.release()


def test_a_run_is_held_once_in_a_process_too_and_other_runs_are_free(folder: Path) -> None:
    held = hold(folder, RUN, "asha@laptop")
    with pytest.raises(Refused, match="asha@laptop"):
        hold(folder, RUN, "asha@laptop")
    other = hold(folder, "01K8RUN000000002", "asha@laptop")
    other.release()
    held.release()
    held.release()
    again = hold(folder, RUN, "asha@laptop")
    held.release()  # an old one lets nothing go that is not its own
    with pytest.raises(Refused):
        hold(folder, RUN, "asha@laptop")
    again.release()


def test_two_processes_that_take_turns_are_never_inside_together(folder: Path) -> None:
    both = [python(_TAKES_TURNS, folder, RUN, 300) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert said == ["300\n", "300\n"]
    assert [process.returncode for process in both] == [0, 0]


def test_a_child_does_not_have_what_its_parent_holds(folder: Path) -> None:
    held = hold(folder, RUN, "asha@laptop")
    code = "import os; print([os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')])"
    # Without close_fds only O_CLOEXEC is between the child and the lock.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, close_fds=False)
    assert ".lock" not in done.stdout
    held.release()


def test_a_file_that_was_let_go_between_opening_and_locking_is_not_taken_for_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hold(folder, RUN, "one")
    real = fcntl.flock
    seen: list[int] = []

    def late(fd: int, how: int) -> None:
        if not seen:
            seen.append(os.fstat(fd).st_ino)
            first.release()
        real(fd, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    second = hold(folder, RUN, "two")
    assert (folder / f"{RUN}.lock").exists()
    with pytest.raises(Refused, match="two"):
        hold(folder, RUN, "three")
    second.release()


def test_a_hold_whose_file_somebody_replaced_does_not_remove_theirs(folder: Path) -> None:
    held = hold(folder, RUN, "one")
    path = folder / f"{RUN}.lock"
    path.unlink()
    other = hold(folder, RUN, "two")
    held.release()
    assert path.exists()
    other.release()


@pytest.mark.parametrize("run", ["", "../x", "a/b", ".hidden", "x\n", "x\x00", "é", "-x", "x" * 65, "a.b"])
def test_what_is_no_run_id_is_no_file_name(folder: Path, run: str) -> None:
    with pytest.raises(Refused, match="no id of a run"):
        hold(folder, run, "asha")
    assert not folder.exists()


def test_the_folder_and_the_file_are_this_users_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        held = hold(folder, RUN, "asha")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / f"{RUN}.lock").stat().st_mode & 0o777 == 0o600
    held.release()
    folder.chmod(0o750)
    with pytest.raises(Unsound, match="Others may enter"):
        hold(folder, RUN, "asha")


def test_a_link_or_a_pipe_in_its_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    path = folder / f"{RUN}.lock"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unsound, match="is a link"):
        hold(folder, RUN, "asha")
    assert not (tmp_path / "elsewhere").exists()
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(Unsound, match="not a file"):
        hold(folder, RUN, "asha")


@pytest.mark.parametrize(
    "said", [b"", b"{", b'{"who":1}', b"\xff" * 40, b'{"who":"x","pid":1,"since_ms":1' + b"0" * 40 + b"}"]
)
def test_whatever_is_in_the_file_the_run_is_said_to_be_held(folder: Path, said: bytes) -> None:
    held = hold(folder, RUN, "asha")
    (folder / f"{RUN}.lock").write_bytes(said)
    with pytest.raises(Refused, match=rf"Run {RUN} goes on in another terminal\."):
        hold(folder, RUN, "meera")
    held.release()


def test_a_disk_that_takes_no_words_does_not_keep_a_run_from_being_held(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "pwrite", full)
    held = hold(folder, RUN, "asha")
    with pytest.raises(Refused, match=r"another terminal\."):
        hold(folder, RUN, "meera")
    held.release()


def test_a_place_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="cannot be held"):
        hold(tmp_path / "file" / "holds", RUN, "asha")


def test_threads_of_one_process_do_not_share_it(folder: Path) -> None:
    got: list[object] = []
    ready = threading.Barrier(8)

    def take() -> None:
        ready.wait(30)
        try:
            got.append(hold(folder, RUN, "asha"))
        except Refused as refused:
            got.append(refused)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [one for one in got if not isinstance(one, Refused)]
    assert (len(got), len(held)) == (8, 1)
    for one in held:
        one.release()  # type: ignore[attr-defined]
