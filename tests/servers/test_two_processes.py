"""Two processes in one environment at once: one ledger, in order, whole."""

from __future__ import annotations

from pathlib import Path

from envtui.core.events import ActEnded, ActIntended, GrantActivated, PermitSpent, RunEnded, RunStarted
from tests.servers.world_kit import NAME, Kit, cluster, database, kit, kit_sql, machines, one

__all__ = ["cluster", "database", "kit", "kit_sql", "machines", "one"]  # fixtures

STEPS = (
    "  - {id: s0, kind: ssh, timeout: 100s, args: ['${run.id}'], "
    "sh: 'cd MEET && touch $1 && until [ $(ls | wc -l) = 3 ]; do sleep 0.05; done'}\n"
) + "".join(f"  - {{id: s{n}, kind: ssh, argv: [echo, '{n} ${{run.id}}']}}\n" for n in range(1, 12))
"""Twelve; in the first one everybody waits until three are there."""


def test_several_runs_at_once_append_to_one_ledger(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "meet").mkdir()
    kit.book(STEPS.replace("MEET", str(tmp_path / "meet")))
    processes = [kit.popen("run", NAME, "book", "--json") for _ in range(3)]
    done = [process.communicate(timeout=120) for process in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], done
    assert kit.sound()
    verified = kit.cli("ledger", "verify", NAME)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    entries = kit.entries()
    assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
    runs = [e.run for e in kit.events(RunStarted)]
    assert len(set(runs)) == 3
    for run in runs:
        assert [e.step for e in kit.events(ActEnded) if e.run == run] == [f"s{n}" for n in range(12)]
        mine = [e.seq for e in entries if getattr(e.event, "run", "") == run]
        assert mine == sorted(mine)
    assert [e.word for e in kit.events(RunEnded)] == ["OK"] * 3
    # They were at it at once: between the first and the last entry of one run there are another's.
    spans = [[e.seq for e in entries if getattr(e.event, "run", "") == run] for run in runs]
    assert any(a[0] < b[0] < a[-1] for a in spans for b in spans)


def test_one_sign_off_pasted_into_two_processes_is_spent_once(kit: Kit, tmp_path: Path) -> None:
    kit.book(f"  - {{id: a, kind: ssh, mode: write, repeatable: true, sh: 'echo once >> {tmp_path}/sent; sleep 1'}}\n")
    block = str(kit.request("book"))
    processes = [kit.popen("run", NAME, "book", "--grant", block) for _ in range(3)]
    done = [process.communicate(timeout=120) for process in processes]
    codes = sorted(p.returncode for p in processes)
    assert codes[0] == 0, done
    assert 0 not in codes[1:], done
    assert (tmp_path / "sent").read_text() == "once\n"
    assert len(kit.events(ActIntended)) == 1
    assert len({event.nonce for event in kit.events(GrantActivated)}) == 1
    assert len(kit.events(PermitSpent)) == 1
    assert kit.sound()
    for out, err in done:
        assert "fault in envtui" not in err, out + err
    assert not kit.run().in_doubt
