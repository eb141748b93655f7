"""Reading 10,000 books, with the place of every value and every check of the format, against `yaml.load` alone.

Run it by name: `python -m pytest tests/bench/test_yaml.py -s`. Both sides read the same files in the same run, in turns,
and neither holds what it read: collecting garbage over 10,000 documents would measure the collector. The files are warm and
both are one thread that computes, so the measure is processor time.
"""

from __future__ import annotations

import gc
import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from envtui.outside.trees.load import read_book

BOOKS = 10_000
ROUNDS = 3
LIMIT = 0.8


def book(number: int) -> str:
    """A book of 61 lines: seven steps, as a generator of a service catalogue would write them."""
    lines = [
        "schema: envtui/runbook@1",
        f"id: rb-{number:05d}",
        "environment: production",
        f'title: "Restart service number {number}"',
        "owner: team-ops",
        "doc: |",
        "  Multi-line description of what the",
        "  runbook does, and when to use it.",
        f"tags: [ops, svc{number % 37}, tier{number % 3}]",
        "params:",
        f"  service: {{type: string, default: svc{number}}}",
        "  retries: {type: int, default: 3}",
        "defaults: {target: web, timeout: 30s}",
        "steps:",
    ]
    for step in range(7):
        if step % 3 == 2:
            lines += [
                f"  - id: s{step}",
                "    kind: sql",
                f"    title: Check rows {step}",
                "    target: main",
                f"    query: select count(*) from t{step} where a = 1",
                "    timeout: 10s",
            ]
        else:
            lines += [
                f"  - id: s{step}",
                "    kind: ssh",
                f"    title: Run command {step}",
                "    target: web",
                f"    argv: systemctl status svc{number} --no-pager",
                '    expect: {exit: 0, stdout_matches: "active"}',
                "    on_failure: stop",
            ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("books")
    found = []
    for number in range(BOOKS):
        path = folder / f"{number:05d}.yaml"
        path.write_text(book(number))
        found.append(path)
    return found


def ours(path: Path) -> None:
    source = path.read_bytes()
    read, problems = read_book(source, "books/x.yaml", hashlib.sha256(source).hexdigest(), str(path))
    assert read is not None
    assert not problems


def theirs(path: Path) -> None:
    assert yaml.load(path.read_bytes(), yaml.CSafeLoader)["id"]


def seconds(load: Callable[[Path], None], files: list[Path]) -> float:
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        for path in files:
            load(path)
        return time.process_time() - begin
    finally:
        gc.enable()


def test_loading_and_validating_is_faster_than_loading_alone(files: list[Path]) -> None:
    assert len(book(0).splitlines()) == 61
    seconds(theirs, files[:500])  # warm
    seconds(ours, files[:500])
    ratios = []
    for _ in range(ROUNDS):
        mine = yours = 0.0
        for at in range(0, BOOKS, 500):  # in turns, so that a slow moment of the machine meets both
            chunk = files[at : at + 500]
            yours += seconds(theirs, chunk)
            mine += seconds(ours, chunk)
        ratios.append(mine / yours)
        print(f"{BOOKS} books: {mine:.2f} s, yaml.load(CSafeLoader) {yours:.2f} s, ratio {mine / yours:.2f}")
    assert statistics.median(ratios) <= LIMIT, ratios
