"""What is sent to a host runs on every python3 that this machine has, as text and as that python has compiled it.

PATH="$(printf '%s:' ~/.pyenv/versions/3.*/bin)$PATH" pytest tests/servers/test_sandbox_pythons.py    more of them
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from envtui.outside.ssh.bootstrap import Frame
from envtui.outside.ssh.sandbox import send
from envtui.outside.ssh.sandbox.told import refused
from tests.servers.test_ssh_sandbox import LANDLOCK

NONCE = "0123456789abcdef01234567"
PYTHONS = [
    path
    for minor in range(6, 20)
    if (path := shutil.which(f"python3.{minor}"))
    and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0  # some are names only
]

pytestmark = pytest.mark.skipif(LANDLOCK < 3, reason="NO LANDLOCK: the sandbox's text WAS NOT RUN")


def run(python: str, script: str, code: str = "", dated: bool = False) -> tuple[int, bytes, bytes, bytes]:
    """(status, output, errors, what the keeper told)."""
    words = send.words(NONCE, 30.0, dated=dated, code=code)[1:]
    argv = [python, *(word.decode() for word in words), "/bin/sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, check=False, cwd="/")
    heard: tuple[list[bytes], list[bytes]] = ([], [])
    frames = [Frame(NONCE, kept.append) for kept in heard]
    for frame, said in zip(frames, (done.stdout, done.stderr), strict=True):
        frame.feed(said)
        frame.finish()
        assert frame.begun, done.stderr
    return done.returncode, b"".join(heard[0]), b"".join(heard[1]), frames[1].aside or b""


@pytest.mark.parametrize("python", [*PYTHONS, "python3"], ids=os.path.basename)
def test_the_text_holds_and_tells_and_comes_back_compiled(python: str, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/d; echo out; exit 7"
    status, out, err, told = run(python, script, dated=True)
    assert (status, out) == (7, b"out\n")
    date, _, code = err.partition(b"\n")[0].decode().partition(" ")
    assert date.isdigit()
    assert refused(told, ok=True) == (f"mkdir {tmp_path}/d: mkdir",)
    assert send.compiled(code) == code
    again = run(python, script, code=code)
    assert (again[0], again[1], refused(again[3], ok=True)) == (7, b"out\n", refused(told, ok=True))
    assert b"not permitted" in again[2]
    assert list(tmp_path.iterdir()) == []
