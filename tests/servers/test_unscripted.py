"""One write that is in no book, and a book edited in the incident, on a real sshd: asked for, run, looked at, taken back, and
taken up again by another process from the ledger alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, Probed, Requested, Resumed, RunEnded, RunStarted
from envtui.rules import paste
from tests.servers.test_resume_cli import gate, killed, said
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

pytestmark = pytest.mark.servers

WHY = ("--reason", "the file has to be there again")


def shows(file: Path) -> tuple[str, ...]:
    """A probe that says whether the file is there."""
    return (
        "--probe",
        f"sh -c 'test -e {file} && echo there || echo gone'",
        "--applied",
        "^there$",
        "--absent",
        "^gone$",
    )


def asked(kit: Kit, *words: str) -> str:
    """`envtui WORDS`, its block in a file, whose name is returned; what it said is `kit.folder/said`."""
    done = kit.cli(*words)
    assert done.returncode == 0, said(done)
    (kit.folder / "said").write_text(done.stderr)
    file = kit.folder / "grant"
    file.write_text(done.stdout)
    return str(file)


def propose(kit: Kit, file: Path, *command: str) -> str:
    return asked(kit, "propose", NAME, "web", *shows(file), "--undo", f"rm {file}", *WHY, "--", *command)


def edited(kit: Kit, old: str, new: str) -> str:
    """A copy of the book, with a change."""
    text = (kit.tree / "books/book.yaml").read_text()
    assert old in text
    copy = kit.folder / "copy.yaml"
    copy.write_text(text.replace(old, new))
    return str(copy)


def test_a_proposed_write_is_done_told_drafted_and_taken_back(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "there"
    grant = propose(kit, file, "touch", str(file))
    told = (kit.folder / "said").read_text()
    assert "UNSCRIPTED: one step that is in no book." in told
    assert f"Then: envtui run {NAME} --grant FILE" in told
    done = kit.cli("run", NAME, "--grant", grant)
    assert done.returncode == 0, said(done)
    assert file.exists()
    assert done.stdout.startswith("STAGING · UNSCRIPTED · ")
    run = kit.run()
    assert f"envtui draft {NAME} {run.id}" in done.stderr
    assert run.unscripted
    assert run.book == f"unscripted-{run.id.lower()}"
    assert "an UNSCRIPTED run" in kit.cli("ledger", "show", NAME, run.id).stdout
    assert "UNSCRIPTED" in kit.cli("report", NAME, run.id).stdout
    again = kit.cli("run", NAME, "--grant", grant)
    assert again.returncode == 1
    assert "a request is for one run" in again.stderr

    draft = kit.cli("draft", NAME, run.id)
    assert draft.returncode == 0, said(draft)
    kit.put("books/change-web.yaml", draft.stdout)
    checked = kit.cli("check")
    assert checked.returncode == 0, said(checked)

    back = kit.cli("undo", NAME, run.id, "--yes")
    assert back.returncode == 0, said(back)
    assert not file.exists()
    assert [e.word for e in kit.events(RunEnded)] == ["OK", "UNDONE"]
    assert kit.sound()


def test_a_write_that_a_person_looks_after_stays_in_doubt_until_they_say(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "there"
    grant = asked(
        kit,
        *("propose", NAME, "web", "--check", f"Is {file} there?", "--no-undo", "nobody needs that", *WHY),
        *("--", "touch", str(file)),
    )
    alone = kit.cli("run", NAME, "--grant", grant)
    assert alone.returncode == 2, said(alone)
    assert f"Is {file} there?" in alone.stderr
    assert file.exists()
    draft = kit.cli("draft", NAME, kit.run().id)
    kit.put("books/change-web.yaml", draft.stdout)
    assert "It has no probe" in draft.stderr
    assert "the write write has no probe" in kit.cli("check").stdout


def test_killed_in_an_unscripted_write_it_goes_on_and_is_taken_back_from_the_ledger_alone(
    kit: Kit, tmp_path: Path
) -> None:
    file, begun = tmp_path / "there", gate(tmp_path)
    script = f"touch {file}; echo > {begun}; exec sleep 60"
    run = killed(kit, begun, "--grant", propose(kit, file, "sh", "-c", script))
    assert [(e.run, bool(e.book_text)) for e in kit.events(RunStarted)] == [(run, True)]
    halted = kit.cli("run", NAME, "--resume", run, "--answer", "write@web1=halt", "--answer", "write@web1=done")
    assert halted.returncode == 0, said(halted)
    assert "UNSCRIPTED" in halted.stdout
    assert [e.found for e in kit.events(Probed)][-1:] == ["applied"]
    assert len(kit.events(Resumed)) == 1
    assert file.exists()
    back = kit.cli("undo", NAME, run, "--yes")
    assert back.returncode == 0, said(back)
    assert not file.exists()
    assert kit.sound()


def test_a_statement_is_proposed_run_and_taken_back(kit_sql: Kit) -> None:
    kit, database = kit_sql, kit_sql.db
    assert database is not None
    look = "select state from orders where id = 3"
    before = str(database.admin(look)[0][0])
    grant = asked(
        kit,
        *("propose", NAME, "db", "--probe", look, "--applied", "mended", *WHY),
        *("--undo", f"update orders set state = '{before}' where id = 3"),
        *("--", "update orders set state = 'mended' where id = 3"),
    )
    done = kit.cli("run", NAME, "--grant", grant)
    assert done.returncode == 0, said(done)
    assert str(database.admin(look)[0][0]) == "mended"
    back = kit.cli("undo", NAME, kit.run().id, "--yes")
    assert back.returncode == 0, said(back)
    assert str(database.admin(look)[0][0]) == before
    assert kit.sound()


def test_an_unscripted_read_has_a_draft_too(kit: Kit) -> None:
    assert kit.cli("ask", NAME, "web", "--", "uptime").returncode == 0
    draft = kit.cli("draft", NAME, kit.run().id)
    assert draft.returncode == 0, said(draft)
    kit.put("books/read-web.yaml", draft.stdout)
    assert kit.cli("check").returncode == 0
    again = kit.cli("run", NAME, "--resume", kit.run().id)
    assert "one unscripted read" in again.stderr


def book(kit: Kit, tmp_path: Path) -> Path:
    file = tmp_path / "made"
    kit.book(
        f"  - {{id: look, kind: ssh, argv: [echo, first]}}\n"
        f"  - {{id: change, kind: ssh, mode: write, argv: [touch, {file}], "
        f"probe: {{argv: [test, -e, {file}], applied: {{exit: 0}}, absent: {{exit: 1}}}}, undo: {{argv: [rm, {file}]}}}}\n"
    )
    return file


def test_an_edited_book_is_asked_for_and_runs_as_it_was_edited(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    other = tmp_path / "other"
    copy = edited(kit, "made", "other")
    grant = asked(kit, "request", NAME, "book", "--book", copy, *WHY)
    told = (kit.folder / "said").read_text()
    assert "EDITED: book is not as this checkout has it." in told
    assert re.search(rf"^\+.*touch, {other}", told, re.MULTILINE)
    done = kit.cli("run", NAME, "book", "--grant", grant)
    assert done.returncode == 0, said(done)
    assert other.exists()
    assert not (tmp_path / "made").exists()
    assert done.stdout.startswith("STAGING · EDITED · ")
    run = kit.run().id
    assert kit.cli("draft", NAME, run).stdout == Path(copy).read_text()
    assert "book as EDITED" in kit.cli("ledger", "show", NAME, run).stdout
    back = kit.cli("undo", NAME, run, "--yes")
    assert back.returncode == 0, said(back)
    assert not other.exists()
    assert kit.sound()


def test_an_edited_book_that_reads_needs_nobody_and_says_so(kit: Kit, tmp_path: Path) -> None:
    kit.book("  - {id: look, kind: ssh, argv: [echo, first]}\n")
    same = kit.cli("run", NAME, "book", "--book", str(kit.tree / "books/book.yaml"))
    assert same.returncode == 0, said(same)
    assert "EDITED" not in said(same)
    done = kit.cli("run", NAME, "book", "--book", edited(kit, "first", "second"))
    assert done.returncode == 0, said(done)
    assert "| second" in done.stdout
    assert "STAGING · EDITED" in done.stdout
    assert "+  - {id: look, kind: ssh, argv: [echo, second]}" in done.stderr


def test_atlantis_1508_approved_as_it_is_and_run_as_it_was_edited_is_refused(kit: Kit, tmp_path: Path) -> None:
    """https://github.com/runatlantis/atlantis/issues/1508: what runs is not what was approved."""
    book(kit, tmp_path)
    signed = Path(asked(kit, "request", NAME, "book", *WHY)).read_text()
    file = kit.folder / "mixed"
    file.write_text(signed)
    copy = edited(kit, "made", "other")
    both = kit.cli("run", NAME, "book", "--book", copy, "--grant", str(file))
    assert both.returncode == 2
    assert "What was signed is what runs" in both.stderr
    kit.put("books/book.yaml", Path(copy).read_text())  # edited in the checkout, then run under the approval
    changed = kit.cli("run", NAME, "book", "--grant", str(file))
    assert changed.returncode == 1
    assert "is not the one here" in changed.stderr
    asked_again = kit.events(Requested)
    assert len(asked_again) == 1
    assert not kit.events(ActEnded)
    assert not (tmp_path / "other").exists()
    assert not paste.read(signed, "request").body.count("other")


def test_a_run_that_stands_goes_on_with_an_edited_book(kit: Kit, tmp_path: Path) -> None:
    book(kit, tmp_path)
    first = kit.cli("run", NAME, "book")
    assert first.returncode == 3
    run = kit.run().id
    copy = edited(kit, "made", "other")
    grant = asked(kit, "request", NAME, "--resume", run, "--book", copy, *WHY)
    done = kit.cli("run", NAME, "--resume", run, "--grant", grant)
    assert done.returncode == 0, said(done)
    assert (tmp_path / "other").exists()
    assert "EDITED" in done.stdout
    assert "with an EDITED book" in kit.cli("ledger", "show", NAME, run).stdout
    Path(copy).unlink()
    back = kit.cli("undo", NAME, run, "--yes")
    assert back.returncode == 0, said(back)
    assert not (tmp_path / "other").exists()
    assert kit.sound()


def test_what_was_sent_is_not_edited(kit: Kit, tmp_path: Path) -> None:
    kit.book(
        f"  - {{id: change, kind: ssh, mode: write, argv: [touch, {tmp_path}/made], "
        f"probe: {{argv: [test, -e, {tmp_path}/made], applied: {{exit: 0}}, absent: {{exit: 1}}}}, "
        f"undo: {{argv: [rm, {tmp_path}/made]}}}}\n"
        "  - {id: after, kind: ssh, argv: [test, -e, /no/such/file]}\n"
    )
    grant = asked(kit, "request", NAME, "book", *WHY)
    assert kit.cli("run", NAME, "book", "--grant", grant).returncode == 1
    run = kit.run().id
    refused = kit.cli("run", NAME, "--resume", run, "--book", edited(kit, "argv: [touch", "argv: [echo"))
    assert refused.returncode == 1
    assert "Step change was sent already" in refused.stderr
    done = kit.cli("run", NAME, "--resume", run, "--book", edited(kit, "[test, -e, /no/such/file]", '["true"]'))
    assert done.returncode == 0, said(done)
    assert kit.run().edited


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id: book", "EDITED"),  # as it is: the control
        ("id: other", "An edited book keeps its id"),
        ("id: book\nid: book", "second time"),
        ("id: book\n\ttabs: 1", "copy.yaml:3:1: a tab"),
        ("id: &a book", "an anchor (&a)"),
        ("id: book\nfreely: 1", "freely"),
        ("id: book\ndoc: \x1b]0;x", "control character 0x1b"),
        ("id: book\ndoc: " + "x" * 70_000, "at most 65536"),
        ("id: book\nenvironment: production", "second time"),
    ],
)
def test_an_edited_copy_is_read_as_strictly_as_the_tree(kit: Kit, tmp_path: Path, text: str, says: str) -> None:
    kit.book("  - {id: look, kind: ssh, argv: [echo, first]}\n")
    copy = Path(edited(kit, "id: book", text))
    copy.write_text(copy.read_text() + "# a remark\n")
    done = kit.cli("run", NAME, "book", "--book", str(copy))
    assert (done.returncode == 0) == (says == "EDITED"), said(done)
    assert says in said(done)
