"""Plans as data: a book, its files and its inputs in; the exact acts out, or the exact refusals.

`PYTHONPATH=. python tests/golden/test_plans.py` writes the expected plans anew; read the difference before keeping it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from envtui.core.act import Plan
from envtui.core.environment import Environment
from envtui.core.errors import UsageError
from envtui.core.runbook import Runbook
from envtui.rules.plan import make_plan
from envtui.rules.shows import shows

HERE = Path(__file__).parent
CASES = sorted(path for path in HERE.glob("*.yaml") if path.name != "environment.yaml")


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    return data


def planned(case: dict[str, Any]) -> Plan:
    return make_plan(
        environment=msgspec.convert(read(HERE / "environment.yaml"), Environment, strict=False),
        runbook=msgspec.convert(case["book"], Runbook, strict=False),
        book_sha256="b" * 64,
        files={name: text.encode() for name, text in case.get("files", {}).items()},
        run="01JGOLDENPLAN000",
        operator="asha",
        date="2026-11-22",
        params=case.get("params", {}),
        incident=case.get("incident", ""),
    )


def written(plan: Plan) -> str:
    """The plan as it is hashed, and how each act is shown; indented to be read."""
    shown = {act.id: shows(act) for step in plan.steps for act in (*step.acts, *step.instead, *step.undo, *step.probe)}
    data = {"plan": plan.as_data(), "titles": {s.id: s.title for s in plan.steps}, "shows": shown}
    return json.dumps({**data, "digest": plan.digest()}, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_plan_is_exactly_this(path: Path) -> None:
    case = read(path)
    if "refused" in case:
        with pytest.raises(UsageError) as error:
            planned(case)
        assert error.value.message.split("\n") == case["refused"]
    else:
        assert written(planned(case)) == path.with_suffix(".json").read_text()


if __name__ == "__main__":
    for each in CASES:
        if "refused" not in read(each):
            each.with_suffix(".json").write_text(written(planned(read(each))))
