"""A rule that a write must pass and that nobody looks at refuses the write; reads go on."""

from __future__ import annotations

import msgspec
import pytest

from envtui.core.environment import Environment
from envtui.core.errors import UsageError
from envtui.core.runbook import Runbook
from envtui.rules.plan import make_plan


def plan(mode: str, **changes: object) -> None:
    environment = msgspec.convert(
        {
            "schema": "envtui/environment@1",
            "name": "production",
            "purpose": "p",
            "data": "production",
            "credentials": {
                "r": {"kind": "ssh", "access": "read", "user": "u"},
                "w": {"kind": "ssh", "access": "write", "user": "u"},
            },
            "targets": {"gw": {"kind": "ssh", "hosts": ["gw1"], "read": "r", "write": "w"}},
            **changes,
        },
        Environment,
    )
    step = {"id": "s", "kind": "ssh", "target": "gw", "argv": ["x"], "mode": mode, "repeatable": mode == "write"}
    book = {
        "schema": "envtui/runbook@1",
        "id": "b",
        "environment": "production",
        "title": "t",
        "owner": "o",
        "steps": [step],
    }
    made = make_plan(
        environment=environment, runbook=msgspec.convert(book, Runbook), book_sha256="0" * 64, files={},
        run="R", operator="asha", date="2026-01-01", params={},
    )  # fmt: skip
    assert len(made.writes) == (mode == "write")


UNHELD = {
    "windows": {"windows": [{"name": "freeze", "kind": "deny", "start": "2026-12-20", "end": "2027-01-02"}]},
    "access.write_gate": {"access": {"write_gate": "issuer"}},
}


@pytest.mark.parametrize("name", UNHELD)
def test_a_write_is_refused_by_the_rule_that_is_not_held(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        plan("write", **UNHELD[name])


@pytest.mark.parametrize("name", UNHELD)
def test_reads_go_on(name: str) -> None:
    plan("read", **UNHELD[name])


def test_without_such_a_rule_a_write_is_planned() -> None:
    plan("write", access={"write_gate": "advisory", "owners": 2})  # owners are asked when a change is accepted
