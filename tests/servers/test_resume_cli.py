"""`envtui run --resume` as processes against real servers: killed, changed, in doubt, signalled, and picked up again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest

from envtui.core.events import (
    ActEnded,
    ActIntended,
    ActSent,
    Probed,
    Resolved,
    Resumed,
    RunEnded,
    StopAsked,
    WaitStarted,
)
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one, until

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures


def probe(file: Path) -> str:
    return (
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, undo: {{argv: [rm, {file}]}}"
    )


def gate(folder: Path, name: str = "gate") -> Path:
    """A fifo that the remote command opens when it is there."""
    path = folder / name
    os.mkfifo(path)
    return path


def opened(path: Path, process: subprocess.Popen[str]) -> None:
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([reading], [], [], 30)
        assert ready, process.communicate()
    finally:
        os.close(reading)


def killed(kit: Kit, path: Path, *words: str) -> str:
    """`envtui run WORDS`, killed when its remote command has opened the gate. The run's id."""
    process = kit.popen("run", NAME, *words)
    opened(path, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    return kit.run().id


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def asked(kit: Kit, run: str) -> str:
    """A fresh request for a run that was left, signed by asha alone; the file's name."""
    done = kit.cli("request", NAME, "--resume", run, "--reason", "it has to be done again")
    assert done.returncode == 0, said(done)
    assert f"envtui run {NAME} --resume {run} --grant FILE" in done.stderr
    file = kit.folder / "again.block"
    file.write_text(done.stdout)
    return str(file)


def ended(kit: Kit) -> list[tuple[str, str]]:
    return [(e.act, e.word) for e in kit.events(ActEnded) if ".probe" not in e.act]


def waits(file: Path, begun: Path, after: str) -> str:
    """A remote command that says it has begun, then waits for a file."""
    return f"echo > {begun}; until [ -e {file} ]; do sleep 0.05; done; {after}"


# -- killed in each kind of step -------------------------------------------------------------------------------------


def test_killed_in_a_read(kit: Kit, tmp_path: Path) -> None:
    begun, first = gate(tmp_path), tmp_path / "first"
    kit.book(
        f"  - {{id: first, kind: ssh, sh: 'echo once >> {first}'}}\n"
        f"  - {{id: look, kind: ssh, timeout: 60s, sh: '[ -e {tmp_path}/again ] || {{ echo > {begun}; exec sleep 50; }}'}}\n"
    )
    run = killed(kit, begun, "book")
    (tmp_path / "again").touch()
    done = kit.cli("run", NAME, "--resume", run)
    assert done.returncode == 0, said(done)
    assert f"Run {run} of book" in done.stderr
    assert "it was left at look" in done.stderr
    assert "done  first" in done.stderr
    assert "taken up again" in done.stdout
    assert first.read_text() == "once\n"
    over = kit.cli("run", NAME, "--resume", run)
    assert over.returncode == 1
    assert "is over: OK" in over.stderr
    assert f"envtui undo {NAME} {run}" in over.stderr
    assert len(kit.events(Resumed)) == 1
    assert kit.sound()


@pytest.mark.parametrize("effect", [True, False])
def test_killed_in_a_write_over_ssh(kit: Kit, tmp_path: Path, effect: bool) -> None:
    file, begun, go, traces = tmp_path / "made", gate(tmp_path), tmp_path / "go", tmp_path / "traces"
    does = f"touch {file}; " if effect else f"[ ! -e {go}.2 ] || touch {file}; "
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, attempts: 2, timeout: 60s, "
        f"sh: 'echo once >> {traces}; [ -e {go}.2 ] || {{ {waits(go, begun, 'true')}; }}; {does}', {probe(file)}}}\n"
        f"  - {{id: after, kind: ssh, sh: 'echo after >> {traces}'}}\n"
    )
    run = killed(kit, begun, "book", "--grant", str(kit.request("book")))
    well = kit.cli("doctor", NAME, "--leftovers")
    assert well.returncode == 5, said(well)
    assert f"run  {run} book  IN DOUBT: change@web1 · envtui run {NAME} --resume {run}" in well.stdout
    assert ": running, begun " in well.stdout
    assert f"change@web1 of run {run}" in well.stdout
    still = kit.cli("run", NAME, "book", "--resume", run)
    assert still.returncode == 5, said(still)
    assert "IN DOUBT  change@web1" in still.stderr
    assert "it still runs at its target" in said(still)
    assert f"envtui run {NAME} --resume {run} --answer change@web1=halt" in still.stderr
    go.touch()
    asyncio.run(until(lambda: effect is False or file.exists()))
    looked = kit.cli("run", NAME, "--resume", run)
    while "it still runs" in said(looked):  # its shell has not ended yet
        looked = kit.cli("run", NAME, "--resume", run)
    assert looked.returncode == 5, said(looked)
    word = "done" if effect else "not-done"
    assert f"--answer change@web1={word}" in looked.stderr
    wrong = kit.cli("run", NAME, "--resume", run, "--answer", f"change={'not-done' if effect else 'done'}")
    assert wrong.returncode == 2, said(wrong)
    assert "is not possible for change@web1" in wrong.stderr
    if not effect:
        lacks = kit.cli("run", NAME, "--resume", run, "--answer", "change=not-done")
        assert lacks.returncode == 3, said(lacks)
        assert f"envtui request {NAME} --resume {run}" in lacks.stderr
        assert kit.run().word is None  # it waits for that
        Path(f"{go}.2").touch()
    more = ("--grant", asked(kit, run)) if not effect else ("--answer", "change=done")
    done = kit.cli("run", NAME, "--resume", run, *more)
    assert done.returncode == 0, said(done)
    assert traces.read_text() == ("once\nafter\n" if effect else "once\nonce\nafter\n")
    assert [(e.done, e.by) for e in kit.events(Resolved)] == [(effect, "asha")]
    assert kit.sound()
    rows = [json.loads(line) for line in kit.cli("doctor", NAME, "--leftovers", "--json").stdout.splitlines()]
    assert not [row for row in rows if row["kind"] == "run"]
    assert not [row for row in rows if row["kind"] == "leftover" and row["run"] == run]  # all of it was forgotten


def test_killed_in_a_write_that_goes_on_and_halted_from_another_process(kit: Kit, tmp_path: Path) -> None:
    file, begun, pid = tmp_path / "made", gate(tmp_path), tmp_path / "pid"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 300s, "
        f"sh: 'echo $$ > {pid}; echo > {begun}; sleep 240; touch {file}', {probe(file)}}}\n"
    )
    run = killed(kit, begun, "book", "--grant", str(kit.request("book")))
    process = Path("/proc") / pid.read_text().strip()
    assert process.exists()
    done = kit.cli("run", NAME, "--resume", run, "--answer", "change=halt", "--answer", "change=not-done")
    assert done.returncode == 3, said(done)  # it is not there, and may be asked for again
    assert not process.exists()
    assert not file.exists()
    assert [e.found for e in kit.events(Probed)] == ["unknown", "absent"]
    assert kit.run().word is None


def test_killed_in_a_sql_write(kit_sql: Kit) -> None:
    kit, database = kit_sql, kit_sql.db
    assert database is not None
    kit.book(
        "  - {id: change, kind: sql, target: db, mode: write, timeout: 60s, "
        "query: \"update orders set state = 'changed' where id = 1\", "
        'probe: {query: "select state from orders where id = 1", applied: {value: changed}, absent: otherwise}, '
        "undo: {query: \"update orders set state = 'open' where id = 1\"}}\n"
    )
    import psycopg

    with psycopg.connect(database.cluster.dsn(database.name)) as holder:
        holder.execute("select * from orders where id = 1 for update")  # the write waits for this lock
        process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
        asking = "select 1 from pg_stat_activity where usename = 'writer' and wait_event_type = 'Lock'"
        while not database.admin(asking):
            assert process.poll() is None, process.communicate()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)
        run = kit.run().id
        done = kit.cli("run", NAME, "--resume", run, "--answer", "change=halt", "--answer", "change=not-done")
        assert done.returncode == 3, said(done)
        assert not database.admin(asking)
        holder.rollback()
    done = kit.cli("run", NAME, "--resume", run, "--grant", asked(kit, run))
    assert done.returncode == 0, said(done)
    assert database.admin("select state from orders where id = 1") == [("changed",)]
    assert kit.sound()


def test_killed_while_it_follows_a_detached_write(kit: Kit, tmp_path: Path) -> None:
    file, begun, go = tmp_path / "made", gate(tmp_path), tmp_path / "go"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, detach: true, timeout: 120s, "
        f"sh: '{waits(go, begun, f'echo said; touch {file}')}', {probe(file)}}}\n"
        f"  - {{id: after, kind: ssh, argv: [test, -e, {file}]}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    opened(begun, process)
    asyncio.run(until(lambda: any(e.detached for e in kit.events(ActSent))))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    run = kit.run().id
    assert not kit.run().in_doubt
    following = kit.popen("run", NAME, "--resume", run)
    asyncio.run(until(lambda: len(kit.events(Resumed)) == 1))
    go.touch()
    out, err = following.communicate(timeout=60)
    assert following.returncode == 0, out + err
    assert "goes on at its target  change@web1" in err
    assert "  | said" in out
    assert ended(kit) == [("change@web1", "OK"), ("after@web1", "OK")]
    assert kit.sound()


def test_following_is_stopped_and_the_write_goes_on(kit: Kit, tmp_path: Path) -> None:
    file, begun, go = tmp_path / "made", gate(tmp_path), tmp_path / "go"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, detach: true, timeout: 120s, "
        f"sh: '{waits(go, begun, f'touch {file}')}', {probe(file)}}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    opened(begun, process)
    asyncio.run(until(lambda: any(e.detached for e in kit.events(ActSent))))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    run = kit.run()
    assert f"change@web1 goes on at its target. To wait for it again: envtui run {NAME} --resume {run.id}" in err
    assert run.word is None
    assert not kit.events(StopAsked)
    go.touch()
    done = kit.cli("run", NAME, "--resume", run.id)
    assert done.returncode == 0, said(done)
    assert file.exists()


def test_killed_in_an_undo(kit: Kit, tmp_path: Path) -> None:
    file, begun, go = tmp_path / "made", gate(tmp_path), tmp_path / "go"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, sh: 'touch {file}', "
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{sh: '{waits(go, begun, f'rm {file}')}', timeout: 60s}}}}\n"
        "  - {id: healthy, kind: ssh, argv: ['false'], on_failure: undo}\n"
    )
    run = killed(kit, begun, "book", "--grant", str(kit.request("book")))
    go.touch()
    asyncio.run(until(lambda: not file.exists()))
    looked = kit.cli("run", NAME, "--resume", run)
    while "it still runs" in said(looked):
        looked = kit.cli("run", NAME, "--resume", run)
    assert looked.returncode == 5, said(looked)
    assert "--answer change.undo@web1=done" in looked.stderr
    assert "it takes back what it did  change.undo@web1" in looked.stderr
    done = kit.cli("run", NAME, "--resume", run, "--answer", "change.undo=done")
    assert done.returncode == 1, said(done)
    assert kit.run().word == "UNDONE"
    assert "[change] undo web1" not in done.stdout  # it was done, and is not done again
    assert kit.sound()


def test_killed_while_it_waits(kit: Kit) -> None:
    kit.book("  - {id: pause, kind: wait, for: 2s}\n  - {id: after, kind: ssh, argv: ['true']}\n")
    process = kit.popen("run", NAME, "book")
    assert process.stdout is not None
    process.stdout.readline()  # the header: the deadline is in the ledger before it
    assert kit.events(WaitStarted)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    run = kit.run()
    done = kit.cli("run", NAME, "--resume", run.id)
    assert done.returncode == 0, said(done)
    assert kit.run().steps[0].wait_until_ms == run.steps[0].wait_until_ms


# -- what a person says ----------------------------------------------------------------------------------------------


def test_nobody_can_tell_so_the_answer_needs_a_reason(kit: Kit, tmp_path: Path) -> None:
    begun = gate(tmp_path)
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, sh: 'echo > {begun}; sleep 240', timeout: 300s, probe: {{argv: ['true'], "
        "applied: {stdout_matches: done}, absent: {stdout_matches: nothing}}, undo: {argv: ['true']}}\n"
    )
    run = killed(kit, begun, "book", "--grant", str(kit.request("book")))
    bare = kit.cli("run", NAME, "--resume", run, "--answer", "change=halt", "--answer", "change=done")
    assert bare.returncode == 2, said(bare)
    assert "needs a reason" in bare.stderr
    done = kit.cli("run", NAME, "--resume", run, "--answer", "change=done: I looked at the host", "--json")
    assert done.returncode == 0, said(done)
    assert [(e.done, e.by, e.why) for e in kit.events(Resolved)] == [(True, "asha", "I looked at the host")]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert next(line["event"] for line in lines) == "requested"
    assert [line["event"] for line in lines][-1] == "run-ended"


def test_a_write_that_failed_waits_for_a_decision(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "made"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, attempts: 2, sh: '[ -e {tmp_path}/well ] && touch {file}', {probe(file)}}}\n"
    )
    first = kit.cli("run", NAME, "book", "--grant", str(kit.request("book")))
    assert first.returncode == 1, said(first)
    run = kit.run().id
    missing = kit.cli("run", NAME, "--resume", run)
    assert missing.returncode == 2, said(missing)
    assert "retry, look, skip, undo, stop" in missing.stderr
    assert kit.run().word is None  # it waits for the answer
    (tmp_path / "well").touch()
    done = kit.cli("run", NAME, "--resume", run, "--answer", "change=retry", "--grant", asked(kit, run))
    assert done.returncode == 0, said(done)
    assert ended(kit) == [("change@web1", "FAILED"), ("change@web1", "OK")]


def test_an_answer_that_no_doubt_takes_is_refused_before_anything(kit: Kit) -> None:
    kit.book("  - {id: look, kind: ssh, argv: ['false']}\n")
    assert kit.cli("run", NAME, "book").returncode == 1
    run = kit.run().id
    refused = kit.cli("run", NAME, "--resume", run, "--answer", "look=done")
    assert refused.returncode == 2
    assert not kit.events(Resumed)


# -- what does not go on ---------------------------------------------------------------------------------------------


def test_a_changed_book_is_shown_and_has_to_be_accepted(kit: Kit) -> None:
    steps = "  - {{id: go, kind: choose, options: {{yes: look, no: end}}}}\n  - {{id: look, kind: ssh, argv: [echo, {word}]}}\n"
    kit.book(steps.format(word="old"))
    assert kit.cli("run", NAME, "book").returncode == 2  # nobody answers
    run = kit.run().id
    kit.book(steps.format(word="new"))
    refused = kit.cli("run", NAME, "--resume", run, "--answer", "go=yes")
    assert refused.returncode == 2, said(refused)
    assert refused.stdout == ""
    assert "- look on web1: echo old\n+ look on web1: echo new" in refused.stderr
    assert "--accept-changes" in refused.stderr
    assert not kit.events(Resumed)
    done = kit.cli("run", NAME, "--resume", run, "--answer", "go=yes", "--accept-changes")
    assert done.returncode == 0, said(done)
    assert "+ look on web1: echo new" in done.stderr
    assert [e.shows for e in kit.events(ActIntended)] == ["echo new"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--resume", "0000000000000000"), "has no run"),
        (("--resume", ""), "names no run"),
        (("other", "--resume", "RUN"), "is one of book"),
        (("--resume", "RUN", "-p", "a=b"), "has its parameters"),
        (("book", "--accept-changes"), "for a run that is taken up again"),
        ((), "needs a book, or --resume RUN"),
    ],
)
def test_a_wrong_call(kit: Kit, words: tuple[str, ...], says: str) -> None:
    kit.book("  - {id: look, kind: ssh, argv: ['false']}\n")
    kit.cli("run", NAME, "book")
    run = kit.run().id
    refused = kit.cli("run", NAME, *(run if word == "RUN" else word for word in words))
    assert refused.returncode == 2, said(refused)
    assert says in refused.stderr
    assert not kit.events(Resumed)


def test_a_request_for_another_run_does_not_fit(kit: Kit, tmp_path: Path) -> None:
    kit.book(f"  - {{id: change, kind: ssh, mode: write, repeatable: true, sh: '[ -e {tmp_path}/well ]'}}\n")
    assert kit.cli("run", NAME, "book", "--grant", str(kit.request("book"))).returncode == 1
    run = kit.run().id
    refused = kit.cli("run", NAME, "--resume", run, "--grant", str(kit.request("book")))
    assert refused.returncode == 2, said(refused)
    assert f"envtui request {NAME} --resume {run}" in refused.stderr


def test_a_run_that_another_process_has(kit: Kit, tmp_path: Path) -> None:
    begun = gate(tmp_path)
    kit.book(f"  - {{id: look, kind: ssh, timeout: 60s, sh: 'echo > {begun}; exec sleep 50'}}\n")
    process = kit.popen("run", NAME, "book")
    opened(begun, process)
    refused = kit.cli("run", NAME, "--resume", kit.run().id)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert refused.returncode == 1, said(refused)
    assert "another terminal" in refused.stderr
    assert not kit.events(Resumed)


# -- signals ---------------------------------------------------------------------------------------------------------


def test_a_second_interrupt_ends_the_write_at_its_target(kit: Kit, tmp_path: Path) -> None:
    file, begun, pid = tmp_path / "made", gate(tmp_path), tmp_path / "pid"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 300s, "
        f"sh: 'echo $$ > {pid}; echo > {begun}; sleep 240; touch {file}', {probe(file)}}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    opened(begun, process)
    remote = Path("/proc") / pid.read_text().strip()
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert "Stopping once change@web1 has ended" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)  # says nothing new
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Ending change@web1 at its target" in err
    assert process.returncode == 130, out + err
    assert not remote.exists()
    assert not left_of(pid)
    assert ended(kit) == [("change@web1", "CANCELLED")]
    assert kit.run().word == "CANCELLED"
    assert kit.sound()


def left_of(pid: Path) -> list[str]:
    """Processes of the session that the remote command led."""
    leader = pid.read_text().strip()
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = re.sub(r"\(.*\)", "x", stat.read_text()).split()
        except OSError:
            continue
        if leader in (fields[4], fields[5]):
            found.append(stat.parent.name)
    return found


def test_a_third_interrupt_leaves_it_in_doubt(kit: Kit, tmp_path: Path) -> None:
    begun, go = gate(tmp_path), tmp_path / "go"
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, timeout: 300s, repeatable: true, "
        f"sh: 'trap \"\" TERM; {waits(go, begun, 'true')}'}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    opened(begun, process)
    assert process.stderr is not None
    for says in ("Stopping once", "Ending change@web1", "Leaving change@web1"):
        process.send_signal(signal.SIGINT)
        assert says in process.stderr.readline()
    out, err = process.communicate(timeout=30)
    go.touch()
    assert process.returncode == 5, out + err
    assert ended(kit) == [("change@web1", "IN DOUBT")]
    assert not kit.events(RunEnded)
    assert kit.sound()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_undone_finally_is_undone_on_a_signal(kit: Kit, tmp_path: Path, number: signal.Signals) -> None:
    file, begun = tmp_path / "silenced", gate(tmp_path)
    kit.book(
        f"  - {{id: silence, kind: ssh, mode: write, 'finally': undo, sh: 'touch {file}', {probe(file)}}}\n"
        f"  - {{id: look, kind: ssh, timeout: 60s, sh: 'echo > {begun}; exec sleep 50'}}\n"
    )
    process = kit.popen("run", NAME, "book", "--grant", str(kit.request("book")))
    opened(begun, process)
    assert file.exists()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert not file.exists()
    assert "[silence] undo web1: rm" in out
    assert kit.run().word == "CANCELLED"
    assert kit.sound()
