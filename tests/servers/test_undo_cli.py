"""`envtui undo` as processes against real servers: after the end, from another process, and when it is not permitted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect

from envtui.core.events import ActEnded, GrantActivated, PermitSpent, RunEnded, UndoStarted
from tests.servers.test_resume_cli import asked, gate, killed, opened, probe, said
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def change(step: str, folder: Path, more: str = "") -> str:
    """A step that makes a file, with its probe and its undo."""
    file = folder / step
    return f"  - {{id: {step}, kind: ssh, mode: write, {more}sh: 'touch {file}', {probe(file)}}}\n"


def written(kit: Kit, *steps: str, more: str = "") -> str:
    """A book of these steps, run to its end. The run's id."""
    kit.book("".join(steps), more=more)
    done = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")))
    assert done.returncode == 0, said(done)
    return kit.run().id


def test_a_run_that_is_over_is_taken_back_from_another_process(kit: Kit, tmp_path: Path) -> None:
    run = written(kit, change("first", tmp_path), change("second", tmp_path))
    refused = kit.cli("undo", NAME, run)
    assert refused.returncode == 2, said(refused)
    assert "--yes" in refused.stderr
    assert not kit.events(UndoStarted)
    done = kit.cli("undo", NAME, run, "--yes", "--reason", "it was the wrong evening")
    assert done.returncode == 0, said(done)
    assert done.stderr.index("1. second.undo@web1") < done.stderr.index("2. first.undo@web1")
    assert f"rm {tmp_path}/first" in done.stderr
    assert "[second] undo web1: rm" in done.stdout
    assert "[second] probe web1: test -e" in done.stdout
    assert not (tmp_path / "first").exists()
    assert not (tmp_path / "second").exists()
    assert [e.why for e in kit.events(UndoStarted)] == ["it was the wrong evening"]
    assert [e.word for e in kit.events(RunEnded)] == ["OK", "UNDONE"]
    again = kit.cli("undo", NAME, run, "--yes")
    assert again.returncode == 2, said(again)
    assert "nothing to take back" in again.stderr
    assert kit.sound()


def test_a_person_types_the_end_of_the_runs_id(kit: Kit, tmp_path: Path) -> None:
    run = written(kit, change("first", tmp_path))
    for typed, code in (("no", 2), (run[-6:], 0)):
        child = pexpect.spawn(
            sys.executable, ["-m", "envtui", "undo", NAME, run], env=kit.variables, encoding="utf-8", timeout=60
        )
        child.expect(f"Type {run[-6:]} to go on")
        assert (tmp_path / "first").exists()
        child.sendline(typed)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code, child.before
    assert not (tmp_path / "first").exists()


def test_an_undo_that_does_not_work_has_failed(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "stays"
    run = written(
        kit,
        f"  - {{id: stays, kind: ssh, mode: write, sh: 'touch {file}', "
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, undo: {{argv: ['true']}}}}\n",
    )
    done = kit.cli("undo", NAME, run, "--yes")
    assert done.returncode == 1, said(done)
    assert "stays.undo@web1: what it takes back is still there" in done.stdout
    assert kit.run().word == "FAILED"


def test_what_is_for_good_is_named_and_a_persons_part_is_answered(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "gone"
    run = written(
        kit,
        change("first", tmp_path),
        f"  - {{id: gone, kind: ssh, mode: write, point_of_no_return: 'it is deleted', sh: 'touch {file}', "
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}}}\n",
        "  - {id: hand, kind: ssh, mode: write, argv: ['true'], probe: {argv: ['true'], applied: {exit: 0}, "
        "absent: {exit: 1}}, undo: {instructions: 'Put the cable back.'}}\n",
    )
    missing = kit.cli("undo", NAME, run, "--yes")
    assert missing.returncode == 2, said(missing)
    assert "no undo  gone" in missing.stderr
    assert "Put the cable back." in missing.stderr
    assert "--answer hand.undo=" in missing.stderr
    done = kit.cli("run", NAME, "--resume", run, "--answer", "hand.undo=done: the cable is back")
    assert done.returncode == 1, said(done)  # the run is UNDONE, not OK
    assert kit.run().word == "UNDONE"
    assert file.exists()
    assert not (tmp_path / "first").exists()


def test_after_the_undo_window_it_is_asked_for_again(kit: Kit, tmp_path: Path) -> None:
    kit.manifest(
        "  incident: {tracker: none, required: false}\n  signoff: {min: 0}\n  grant: {max: 8s, undo_for: 1s}\n"
    )
    run = written(kit, change("first", tmp_path, "timeout: 2s, "))
    over_ms = kit.events(GrantActivated)[0].until_ms + 1_000
    asyncio.run(until(lambda: time.time() * 1000 > over_ms + 1_000))
    refused = kit.cli("undo", NAME, run, "--yes")
    assert refused.returncode == 3, said(refused)
    assert f"envtui request {NAME} --resume {run}" in refused.stderr
    assert f"envtui undo {NAME} {run} --grant FILE" in refused.stderr
    assert (tmp_path / "first").exists()
    done = kit.cli("undo", NAME, run, "--yes", "--grant", asked(kit, run))
    assert done.returncode == 0, said(done)
    assert not (tmp_path / "first").exists()
    assert [e.act for e in kit.events(PermitSpent)] == ["first@web1", "first.undo@web1"]
    assert kit.sound()


def test_a_write_in_doubt_is_settled_before_it_is_taken_back(kit: Kit, tmp_path: Path) -> None:
    file, begun = tmp_path / "made", gate(tmp_path)
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 300s, "
        f"sh: 'touch {file}; echo > {begun}; sleep 240', {probe(file)}}}\n"
    )
    run = killed(kit, begun, "book", "--grant", str(kit.request("book")))
    doubt = kit.cli("undo", NAME, run, "--yes")
    assert doubt.returncode == 5, said(doubt)
    assert f"envtui undo {NAME} {run} --answer change@web1=halt" in doubt.stderr
    assert not kit.events(UndoStarted)
    done = kit.cli("undo", NAME, run, "--yes", "--answer", "change=halt", "--answer", "change=done")
    assert done.returncode == 0, said(done)
    assert not file.exists()
    assert kit.run().word == "UNDONE"
    assert kit.sound()


def test_a_run_that_goes_on_elsewhere_is_not_taken_back_here(kit: Kit, tmp_path: Path) -> None:
    begun = gate(tmp_path)
    kit.book(
        change("first", tmp_path) + f"  - {{id: look, kind: ssh, timeout: 60s, sh: 'echo > {begun}; exec sleep 50'}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    opened(begun, process)
    refused = kit.cli("undo", NAME, kit.run().id, "--yes")
    end(process)
    assert refused.returncode == 1, said(refused)
    assert "another terminal" in refused.stderr
    assert (tmp_path / "first").exists()


def test_a_book_that_changed_since_has_to_be_accepted(kit: Kit, tmp_path: Path) -> None:
    run = written(kit, change("first", tmp_path))
    kit.book(change("first", tmp_path).replace("argv: [rm,", "argv: [rm, -f,"))
    refused = kit.cli("undo", NAME, run, "--yes")
    assert refused.returncode == 2, said(refused)
    assert "+ first undo on web1: rm -f" in refused.stderr
    unsigned = kit.cli("undo", NAME, run, "--yes", "--accept-changes")
    assert unsigned.returncode == 3, said(unsigned)  # what was signed is another plan
    done = kit.cli("undo", NAME, run, "--yes", "--accept-changes", "--grant", asked(kit, run))
    assert done.returncode == 0, said(done)
    assert not (tmp_path / "first").exists()


def test_an_undo_that_is_interrupted_goes_on_another_time(kit: Kit, tmp_path: Path) -> None:
    file, begun, go = tmp_path / "made", gate(tmp_path), tmp_path / "go"
    run = written(
        kit,
        change("first", tmp_path),
        f"  - {{id: second, kind: ssh, mode: write, sh: 'touch {file}', "
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{sh: 'rm {file}; echo > {begun}; until [ -e {go} ]; do sleep 0.05; done', timeout: 60s}}}}\n",
    )
    process = kit.popen("undo", NAME, run, "--yes")
    opened(begun, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Stopping once second.undo@web1 has ended" not in process.stderr.readline():
        assert process.poll() is None
    go.touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert f"To go on with it: envtui run {NAME} --resume {run}" in err
    assert (tmp_path / "first").exists()
    done = kit.cli("run", NAME, "--resume", run)
    assert done.returncode == 1, said(done)
    assert kit.run().word == "UNDONE"
    assert not (tmp_path / "first").exists()
    assert [(e.act, e.word) for e in kit.events(ActEnded) if ".undo" in e.act] == [
        ("second.undo@web1", "OK"),
        ("first.undo@web1", "OK"),
    ]


def test_a_database_is_taken_back(kit_sql: Kit) -> None:
    kit, database = kit_sql, kit_sql.db
    assert database is not None
    before = database.admin("select state from orders where id = 2")
    run = written(
        kit,
        "  - {id: change, kind: sql, target: db, mode: write, "
        "query: \"update orders set state = 'changed' where id = 2\", "
        'probe: {query: "select state from orders where id = 2", applied: {value: changed}, absent: otherwise}, '
        "undo: {query: \"update orders set state = '" + str(before[0][0]) + "' where id = 2\"}}\n",
    )
    done = kit.cli("undo", NAME, run, "--yes", "--json")
    assert done.returncode == 0, said(done)
    assert database.admin("select state from orders where id = 2") == before
    assert kit.sound()


def end(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
