"""A desk: the sample trees with one more book, which asks and waits and reaches no server; and `envtui` as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeVar

import pytest

from envtui.core.events import Entry
from envtui.outside.ledger import read_entries
from envtui.outside.paths import samples

E = TypeVar("E")

ROOT = Path(__file__).parents[2]

ASKING = """\
schema: envtui/runbook@1
id: asking
environment: dev
title: "Asks, and reaches nothing"
owner: team
steps:
  - id: cause
    kind: choose
    options: {"The last diff": look, "Something else": end, "Nobody knows": end}
  - id: look
    kind: manual
    instructions: |
      Look at it.
      And then at that.
    ask: {count: int}
  - id: sure
    kind: manual
    instructions: "Say so."
    confirm: "yes indeed"
  - {id: breath, kind: wait, for: 10ms}
"""
ANSWERS = ("--answer=cause=look", "--answer=look.count=4", "--answer=look=done", "--answer=sure=yes indeed")
"""All that `asking` asks for."""


class Desk:
    """One user's trees, state and configuration. `dev` is trusted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trees = folder / "trees"
        self.state = folder / "state"
        shutil.copytree(samples(), self.trees)
        for path in (self.trees, *self.trees.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.put("dev/books/asking.yaml", ASKING)
        self.more: dict[str, str] = {}
        self("trust", "dev", "--yes")

    def put(self, path: str, text: str) -> Path:
        file = self.trees / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    @property
    def variables(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ENVTUI_RUNBOOKS": str(self.trees),
            "ENVTUI_STATE": str(self.state),
            "ENVTUI_CONFIG": str(self.folder / "config.toml"),
            **self.more,
        }

    def __call__(
        self, *words: str, code: int | None = 0, stdin: bytes = b"", stdout: int | IO[bytes] = subprocess.PIPE
    ) -> tuple[str, str]:
        """(stdout, stderr) of `envtui WORDS`, which ends with `code`."""
        return self.process([sys.executable, "-m", "envtui", *words], code, stdin, stdout)

    def shell(self, redirections: str, *words: str, code: int | None = 0) -> tuple[str, str]:
        """The same with the redirections of a shell: `>&-`, `| head -1`."""
        line = (
            f'exec "$@" {redirections}' if "|" not in redirections else f'"$@" {redirections}; exit ${{PIPESTATUS[0]}}'
        )
        return self.process(["bash", "-c", line, "bash", sys.executable, "-m", "envtui", *words], code)

    def process(
        self, argv: Sequence[str], code: int | None, stdin: bytes = b"", stdout: int | IO[bytes] = subprocess.PIPE
    ) -> tuple[str, str]:
        done = subprocess.run(
            argv, env=self.variables, cwd=self.folder, input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=120
        )
        out, err = (done.stdout or b"").decode(errors="replace"), done.stderr.decode(errors="replace")
        assert code is None or done.returncode == code, (done.returncode, out, err)
        assert "Traceback" not in err, err
        assert "Exception ignored" not in err, err
        assert "fault in envtui" not in err, err
        return out, err

    def entries(self) -> list[Entry]:
        return list(read_entries(self.state / "dev" / "ledger.sqlite3"))

    def events(self, kind: type[E]) -> list[E]:
        return [entry.event for entry in self.entries() if isinstance(entry.event, kind)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
