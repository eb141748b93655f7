"""The ways of a secret: to its target and nowhere else. Not into a query's text, the server's list or its log, not onto a
command line that other accounts of the host see, not into what is kept or shown of the run."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, ActIntended, Captured
from envtui.rules import paste
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

SECRET = "hunter2-kept'between us"
TOKEN = "params: {token: {type: secret, required: true}}\n"


def absent(kit: Kit, *said: str, spellings: tuple[str, ...] = (SECRET,)) -> None:
    """In nothing that the run left behind or printed, in none of these spellings."""
    files = [f for f in (kit.folder / "state").rglob("*") if f.is_file()]
    assert any("spool" in str(f) for f in files)
    for spelling in spellings:
        assert not [f for f in files if spelling.encode() in f.read_bytes()], spelling
        assert not [text for text in said if spelling in text], spelling


def looks_back(kit: Kit) -> tuple[str, ...]:
    """Every way of looking at what happened."""
    run = kit.run().id
    ways = (("ledger", "show", NAME), ("ledger", "export", NAME), ("ledger", "export", NAME, "--format", "md"), ("report", NAME, run))  # fmt: skip
    done = [kit.cli(*words) for words in ways]
    assert not [d.stderr for d in done if d.returncode]
    return tuple(d.stdout for d in done)


def test_a_secret_bound_in_sql_is_not_in_the_query_nor_in_the_servers_list(kit_sql: Kit) -> None:
    kit_sql.more["TOKEN"] = SECRET
    database = kit_sql.db
    assert database is not None
    kit_sql.book(
        "  - {id: a, kind: sql, target: db, timeout: 60s, expect: {value: t}, query: "
        '"select length(${params.token}::text) = 23 from orders where id = 1 and pg_sleep(1) is not null"}\n',
        more=TOKEN,
    )
    process = kit_sql.popen("run", NAME, "book", "-p", "token=env:TOKEN")
    seen: list[tuple[object, ...]] = []
    while not seen:
        assert process.poll() is None, process.communicate()
        seen = database.admin(
            "select query, application_name from pg_stat_activity where usename = 'reader' and query like '%pg_sleep%'"
        )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "$1" in str(seen[0][0])
    assert "hunter2" not in str(seen)
    absent(kit_sql, out, err, *looks_back(kit_sql), spellings=(SECRET, "hunter2-kept"))
    assert "hunter2" not in "".join(e.shows for e in kit_sql.events(ActIntended))


def test_a_row_to_pick_with_the_secret_in_it_is_not_offered(kit_sql: Kit) -> None:
    kit_sql.more["TOKEN"] = SECRET
    kit_sql.book(
        "  - {id: a, kind: sql, target: db, query: \"select id, 'x' || ${params.token}::text as said from orders\", "
        "capture: {row: {from: rows, pick: one}}}\n",
        more=TOKEN,
    )
    done = kit_sql.cli("run", NAME, "book", "-p", "token=env:TOKEN", "--answer", "a=1")
    assert done.returncode == 1, done.stdout + done.stderr
    absent(kit_sql, done.stdout, done.stderr, *looks_back(kit_sql), spellings=(SECRET, "hunter2-kept"))


def test_a_failing_query_is_in_the_servers_log_without_the_secret(kit_sql: Kit) -> None:
    """As PostgreSQL is configured when nobody configures it: the statement is logged, its parameters are not."""
    kit_sql.more["TOKEN"] = SECRET
    database = kit_sql.db
    assert database is not None
    kit_sql.book(
        '  - {id: a, kind: sql, target: db, query: "select 1 / (length(${params.token}::text) - length(${params.token}::text))"}\n',
        more=TOKEN,
    )
    assert kit_sql.cli("run", NAME, "book", "-p", "token=env:TOKEN").returncode == 1
    log = database.cluster.log()
    assert "division by zero" in log
    assert "length($1::text)" in log
    assert "hunter2" not in log


def test_a_server_that_answers_with_the_secret_is_masked_everywhere(kit_sql: Kit) -> None:
    kit_sql.more["TOKEN"] = SECRET
    kit_sql.book(
        '  - {id: a, kind: sql, target: db, query: "select ${params.token}::text as said"}\n'
        "  - {id: b, kind: sql, target: db, query: \"select (${params.token}::text)::int\", on_failure: 'goto:c'}\n"
        '  - {id: c, kind: sql, target: db, query: "select 1"}\n',
        more=TOKEN,
    )
    done = kit_sql.cli("run", NAME, "book", "-p", "token=env:TOKEN")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [e.word for e in kit_sql.events(ActEnded)] == ["OK", "FAILED", "OK"]  # the error quotes what it was given
    absent(kit_sql, done.stdout, done.stderr, *looks_back(kit_sql), spellings=(SECRET, "hunter2-kept"))


class Watching(threading.Thread):
    """Looks at every process of this machine, as `ps` of another account would, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: set[str] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.lines.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="NO /proc: command lines WERE NOT LOOKED AT")
def test_another_process_on_the_host_sees_no_secret_on_a_command_line(kit: Kit, tmp_path: Path) -> None:
    kit.more["TOKEN"] = SECRET
    kit.book(
        "  - {id: a, kind: ssh, timeout: 60s, stdin: {text: 'pw=${params.token}'}, "
        f"sh: 'read -r line; test \"$line\" = \"$1$(cat {tmp_path}/expected)\" && sleep 1', args: ['pw=']}}\n"
        "  - {id: b, kind: ssh, argv: [sh, -c, 'sleep 1'], stdin: {text: '${params.token}'}}\n",
        more=TOKEN,
    )
    (tmp_path / "expected").write_text(SECRET)
    watching = Watching()
    watching.start()
    try:
        done = kit.cli("run", NAME, "book", "-p", "token=env:TOKEN")
    finally:
        watching.over.set()
        watching.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert any("sleep 1" in line for line in watching.lines)  # it did look while the commands ran
    encoded = "".join(f"_0{byte:03o}" for byte in SECRET.encode())
    assert not [line for line in watching.lines if SECRET in line or "hunter2" in line or encoded in line]


def test_a_secret_on_a_command_line_is_refused_before_anything_is_sent(kit: Kit) -> None:
    kit.more["TOKEN"] = SECRET
    kit.book("  - {id: a, kind: ssh, argv: [echo, '${params.token}']}\n", more=TOKEN)
    done = kit.cli("run", NAME, "book", "-p", "token=env:TOKEN")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "stdin" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_secret_in_the_output_is_masked_in_every_usual_spelling(kit: Kit) -> None:
    kit.more["TOKEN"] = SECRET
    kit.book(
        "  - {id: a, kind: ssh, stdin: {text: '${params.token}'}, "
        'sh: \'read -r t; echo "out $t"; echo "err $t" >&2; printf %s "$t" | base64; printf %s "$t" | od -An -tx1 | tr -d " \\n"; '
        'echo; for p in 1 2 3; do printf "%.5s" "$t"; sleep 0.1; printf "%s\\n" "$${t#?????}"; done\', '
        "capture: {last: {from: stdout, regex: 'out (.*)'}}, on_failure: 'goto:b'}\n"
        "  - {id: b, kind: ssh, argv: [echo, after]}\n",
        more=TOKEN,
    )
    for how in ("--plain", "--json"):
        done = kit.cli("run", NAME, "book", how, "-p", "token=env:TOKEN")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "what was found holds a secret" in done.stdout  # values are written down: this one is not taken
        assert not kit.events(Captured)
        spellings = (SECRET, base64.b64encode(SECRET.encode()).decode(), SECRET.encode().hex())
        absent(kit, done.stdout, done.stderr, spellings=spellings)
    absent(kit, *looks_back(kit), spellings=spellings)


def test_a_secret_that_is_not_there_sends_nothing(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: a, kind: ssh, sh: 'touch {tmp_path}/sent; cat', stdin: {{text: '${{params.token}}'}}}}\n",
        more=TOKEN,
    )
    for reference in ("env:NOT_SET", "file:/etc/hostname"):
        done = kit.cli("run", NAME, "book", "-p", f"token={reference}")
        assert done.returncode in (1, 2), (reference, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert "fault in envtui" not in done.stderr
    assert not (tmp_path / "sent").exists()


def test_what_is_signed_and_pasted_names_the_secret_and_never_says_it(kit: Kit) -> None:
    kit.more["TOKEN"] = SECRET
    kit.book(
        "  - {id: a, kind: ssh, mode: write, repeatable: true, argv: [cat], stdin: {text: '${params.token}'}}\n",
        more=TOKEN,
    )
    block = kit.request("book", "--full", "-p", "token=env:TOKEN")
    done = kit.cli("run", NAME, "book", "--grant", str(block))
    assert done.returncode == 0, done.stdout + done.stderr
    (signed,) = paste.blocks(block.read_text())  # packed: what is in it is looked at unpacked
    assert "env:TOKEN" in signed.plan
    absent(kit, done.stdout, done.stderr, block.read_text(), signed.body, signed.plan, *looks_back(kit))
