"""What a target prints, through `envtui run` as a process: very much of it, bytes that are no text, escapes, markup."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from envtui.core.events import ActEnded, Captured
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

MEASURED = """
import sys
from envtui.__main__ import main

code = main()
sys.stdout.flush()
peak = next((line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), 0)
print("peak", peak, file=sys.stderr)
sys.exit(code)
"""
"""Ends by saying the most memory that the process ever had, in KiB."""

LIMIT = 200 * 1024
"""KiB of memory for a process that streams 200 MB."""

FLOOD = 200_000_000


def measured(kit: Kit, *words: str) -> tuple[subprocess.CompletedProcess[bytes], int]:
    argv = [sys.executable, "-W", "ignore::ResourceWarning", "-c", MEASURED, *words]
    done = subprocess.run(argv, env=kit.variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=180)
    said = [line for line in done.stderr.splitlines() if line.startswith(b"peak ")]
    return done, int(said[0].split()[1]) if said else 0


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="NO /proc: memory WAS NOT MEASURED")
@pytest.mark.parametrize("how", ["--plain", "--json"])
def test_200_mb_in_bounded_memory(kit: Kit, how: str) -> None:
    # Text of every kind, and a line of 50 MB without an end in the middle of it.
    kit.book(
        "  - {id: flood, kind: ssh, timeout: 170s, "
        f"sh: 'yes \"[/markup] 12345678 é\" | head -c {FLOOD - 50_000_000}; head -c 50000000 /dev/zero', "
        "capture: {first: {from: stdout, regex: '12345678'}}}\n"
    )
    done, peak = measured(kit, "run", NAME, "book", how)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    (ended,) = kit.events(ActEnded)
    assert ended.output_bytes >= FLOOD
    assert ended.truncated
    assert [e.value.text for e in kit.events(Captured) if e.value] == ["12345678"]
    assert len(done.stdout) < 100_000
    assert 0 < peak < LIMIT, f"{peak} KiB"


HOSTILE = (
    rb"\033]0;owned\007 \033[2J\033[31mred \033]52;c;cGF5bG9hZA==\007 \302\233c \r\nover\rwritten \b\b\177 "
    rb"\377\376\200 [/markup] [bold red]x[/] [@click=app.quit]q[/] \342\200\256txt.exe \033P+q\033\\ \0end\n"
)
"""For printf: a title, a clear, a colour, a clipboard write, C1, carriage returns, no UTF-8, markup, a bidi override, NUL."""


@pytest.mark.parametrize("how", ["--plain", "--json"])
@pytest.mark.parametrize("stream", ["out", "err"])
def test_hostile_output_arrives_cleaned_and_is_kept_as_it_was(kit: Kit, how: str, stream: str) -> None:
    script = kit.put("files/hostile", "")
    script.write_bytes(HOSTILE)
    to = ">&2" if stream == "err" else ""
    kit.book(
        '  - {id: a, kind: ssh, argv: [sh, -c, \'read -r t; printf "$t" ' + to + "'], stdin: {file: files/hostile}}\n"
    )
    done, _ = measured(kit, "run", NAME, "book", how)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not {*range(32), 127} & set(done.stdout.replace(b"\n", b""))
    text = done.stdout.decode()  # always UTF-8
    assert not any(c in text for c in "\x9b\u202e\ufffe")
    if how == "--json":
        for line in text.splitlines():
            assert json.loads(line)["seq"]
    elif stream == "out":
        assert "[/markup] [bold red]x[/] [@click=app.quit]q[/]" in text
    (ended,) = kit.events(ActEnded)
    kept = b"".join(path.read_bytes() for path in (kit.folder / "state").rglob("spool/**/*") if path.is_file())
    assert b"\xff\xfe\x80 [/markup]" in kept
    assert ended.output_sha256
    shown = kit.cli("ledger", "show", NAME)
    report = kit.cli("report", NAME, kit.run().id)
    for said in (shown, report):
        assert said.returncode == 0, said.stderr
        assert not any(c in said.stdout for c in "\x1b\x9b\x07\b\r\u202e\x00")


def test_a_database_says_hostile_things_too(kit_sql: Kit) -> None:
    kit_sql.book(
        "  - {id: a, kind: sql, target: db, query: \"select E'\\\\x1b[2J\\\\x07[/markup]\\\\x7f' as \\\"a[/b]\\\", '\\u202e' || 'x'\"}\n"
        "  - {id: b, kind: sql, target: db, on_failure: 'goto:c', "
        "query: \"select ('[/markup]' || chr(27) || '[31m')::int\"}\n"
        '  - {id: c, kind: sql, target: db, query: "select 1"}\n'
    )
    done = kit_sql.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(c in done.stdout for c in "\x1b\x07\x7f\u202e")
    assert "[/markup]" in done.stdout
    assert [e.word for e in kit_sql.events(ActEnded)] == ["OK", "FAILED", "OK"]


def test_a_value_with_control_characters_is_not_captured(kit: Kit) -> None:
    kit.book(
        "  - {id: a, kind: ssh, sh: 'printf \"x\\033[2Jy\"', capture: {all: {from: stdout}}, on_failure: 'goto:b'}\n"
        "  - {id: b, kind: ssh, argv: [echo, after]}\n"
    )
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds a control character (U+001B)" in done.stdout
    assert not kit.events(Captured)
