"""What a plan refuses, and what it fixes. Whole plans are in tests/golden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from envtui.core.act import Plan, Ref, SqlCall
from envtui.core.environment import Environment
from envtui.core.errors import UsageError
from envtui.core.runbook import Runbook
from envtui.rules.bind import bind
from envtui.rules.plan import known, make_plan
from envtui.rules.shows import clipboard, multiline, shows

ENVIRONMENT = msgspec.convert(
    yaml.load((Path(__file__).parents[1] / "golden/environment.yaml").read_text(), Loader=yaml.BaseLoader),
    Environment,
    strict=False,
)
PARAMS = {
    "v": {"type": "string", "default": "x"},
    "dash": {"type": "string", "default": "-rf"},
    "up": {"type": "string", "default": ".."},
    "none": {"type": "string"},
    "table": {"type": "ident", "default": "t"},
    "token": {"type": "secret"},
}


def plan(*steps: dict[str, Any], before: tuple[dict[str, Any], ...] = (), **more: Any) -> Plan:
    book = {
        "schema": "envtui/runbook@1",
        "id": "b",
        "environment": "production",
        "title": "B",
        "owner": "o",
        "params": PARAMS,
        "defaults": {"target": "gateway", "host": "gw1"},
        "before": list(before),
        "steps": [{"id": f"s{n}", **step} for n, step in enumerate(steps)],
    }
    arguments: dict[str, Any] = {
        "environment": ENVIRONMENT,
        "book_sha256": "b" * 64,
        "files": {"files/x": b"x", "sql/bad.sql": b"\xff"},
        "run": "R",
        "operator": "asha",
        "date": "2026-11-22",
        "params": {"token": "env:TOKEN"},
        **more,
    }
    return make_plan(runbook=msgspec.convert(book, Runbook), **arguments)


SSH = {"kind": "ssh"}
SQL = {"kind": "sql", "target": "db", "host": "db1"}
HTTP = {"kind": "http", "target": "metrics", "host": "metrics"}
CAPTURED = {"kind": "ssh", "argv": ["x"], "capture": {"pid": {"from": "stdout"}}}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({**SSH, "argv": ["x", "${params.dash}"]}, "step s0, argument 1: a value may not begin with `-`"),
        ({**SSH, "argv": ["x", "${params.none}-rf"]}, "may not begin with `-`"),
        ({**SSH, "sh": 'ls "$1"', "args": ["${params.dash}"]}, "may not begin with `-`"),
        ({**SSH, "sh": "echo ${params.v}"}, "cannot stand in `sh`"),
        ({**SSH, "sh": "echo ${HOME}"}, "names nothing"),
        ({**SSH, "argv": ["${params.v}", "x"]}, "the program is written out"),
        ({**SSH, "argv": "echo 'open"}, "cannot be split: no closing quotation"),
        ({**SSH, "argv": ""}, "the program is written out"),
        ({**SSH, "argv": ["x"], "sh": "y"}, "either `argv` or `sh`"),
        ({**SSH, "argv": ["x", "${params.w}"]}, "character 1: ${params.w} is not known here."),
        ({**SSH, "argv": ["x", "a ${vars.pid}"]}, "character 3: ${vars.pid} is not known here."),
        ({**SSH, "argv": ["x", "${each.pid}"]}, "${each.pid} is not known here."),
        ({**SSH, "argv": ["x", "${params.token}"]}, "the secret ${params.token} would be seen there"),
        ({**SSH, "argv": ["x"], "env": {"T": "${params.token}"}}, "the secret"),
        ({**SSH, "argv": ["x"], "env": {"A B": "x"}}, "no name of an environment variable"),
        ({**SSH, "argv": ["x"], "stdin": {"text": "a", "file": "files/x"}}, "exactly one of"),
        ({**SSH, "argv": ["x"], "stdin": {"file": "files/none"}}, "no file files/none"),
        ({**SSH, "argv": ["x"], "host": "gw3"}, "no member 'gw3'"),
        ({**SSH, "argv": ["x"], "target": "none"}, "no target none"),
        ({**SSH, "argv": ["x"], "target": "db", "host": "db1"}, "target of kind sql, the step is ssh"),
        ({**SSH, "argv": ["x"], "if": "${vars.pid} == 1"}, "if: ${vars.pid} is not known here."),
        ({**SSH, "argv": ["x"], "if": "${params.v}"}, "is no condition"),
        ({**SQL, "query": "select '${params.v}'"}, "${params.v} stands inside quotes or a comment"),
        ({**SQL, "query": "select $$ ${params.v} $$"}, "inside quotes"),
        ({**SQL, "query": "select 1 /* a /* b */ ${params.v} */"}, "inside quotes or a comment"),
        ({**SQL, "query": "select E'\\'${params.v}'"}, "inside quotes"),
        ({**SQL, "query": "select ${params.v}, $1"}, "a $1 of its own"),
        ({**SQL, "query": " "}, "empty"),
        ({**SQL, "file": "sql/bad.sql"}, "not UTF-8"),
        ({**HTTP, "path": "/a/${params.up}/b"}, "cannot be parts of a path"),
        ({**HTTP, "path": "/a/.${params.v}/../b"}, "cannot be parts of a path"),
        ({**HTTP, "path": "/a/${params.none}"}, "an empty value"),
        ({**HTTP, "path": "//evil.example/"}, "begins with one /"),
        ({**HTTP, "path": "/", "method": "POST"}, "POST is no read"),
        ({**HTTP, "path": "/${params.token}"}, "the secret"),
        (
            {**HTTP, "path": "/", "body": '{"a": ${params.v}}', "method": "POST", "mode": "write"},
            "cannot stand there in JSON",
        ),
        ({**SSH, "argv": ["x", "e\u0301"]}, "NFC"),
        ({"kind": "wait"}, "either `for` or `until`"),
    ],
)
def test_refused_with_its_place(step: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(step)
    assert why in str(error.value)


def test_a_write_has_no_open_places() -> None:
    for step in (
        {"kind": "ssh", "mode": "write", "argv": ["kill", "${vars.pid}"], "repeatable": True},
        {"kind": "ssh", "mode": "write", "argv": ["x"], "host": "${vars.pid}", "repeatable": True},
        {"kind": "ssh", "mode": "write", "argv": ["x"], "undo": {"argv": ["y", "${vars.pid}"]}},
        {"kind": "ssh", "mode": "write", "argv": ["x"], "stdin": {"capture": "pid"}, "repeatable": True},
    ):
        with pytest.raises(UsageError, match="a write is signed before"):
            plan(CAPTURED, step)


def test_all_steps_that_are_wrong_are_named() -> None:
    with pytest.raises(UsageError) as error:
        plan({**SSH, "argv": []} | {"argv": ["x", "${params.a}"]}, {**SSH, "argv": ["y"]}, {**SQL, "query": ""})
    assert [line.partition(":")[0].partition(",")[0] for line in error.value.message.split("\n")] == [
        "step s0",
        "step s2",
    ]


def test_a_book_of_another_environment_and_an_id_twice() -> None:
    other = msgspec.structs.replace(ENVIRONMENT, name="staging")
    with pytest.raises(UsageError, match="not of staging"):
        plan({**SSH, "argv": ["x"]}, environment=other)
    with pytest.raises(UsageError, match="two of this id"):
        plan({**SSH, "argv": ["x"]}, before=({"id": "s0", "kind": "ssh", "argv": ["y"]},))


def test_the_digest_follows_what_would_be_done() -> None:
    base = plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}})
    same = plan({**SSH, "argv": "x ${params.v}", "stdin": {"file": "files/x"}})
    assert base.digest() == same.digest()
    others = [
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}}, files={"files/x": b"y"}),
        plan(
            {**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}}, params={"v": "y", "token": "env:TOKEN"}
        ),
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}}, params={"token": "env:OTHER"}),
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}, "required": True}),
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}, "host": "any"}),
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}, "timeout": "61s"}),
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}}, run="R2"),
        plan({**SSH, "argv": ["x", "${params.v}"], "stdin": {"file": "files/x"}}, incident="INC-1"),
    ]
    assert len({base.digest(), *(each.digest() for each in others)}) == len(others) + 1


def test_the_incident_is_open_until_it_is_named() -> None:
    step = {**SSH, "mode": "write", "argv": ["note", "--id=${run.incident}"], "repeatable": True}
    assert plan(step).writes[0].places() == ("run.incident",)
    assert plan(step, incident="INC-1").writes[0].complete
    with pytest.raises(UsageError, match="open places"):
        bind(plan(step).writes[0], {"run.incident": "INC-1"})


def test_bind_fills_what_was_captured() -> None:
    made = plan(
        {**CAPTURED, "capture": {"pid": {"from": "stdout", "type": "int"}}},
        {**SSH, "argv": ["ps", "-p", "${vars.pid}"], "stdin": {"text": "${vars.pid} ${params.token}"}},
        {**SQL, "query": "select ${vars.pid}"},
        {**HTTP, "path": "/p/${vars.pid}", "headers": {"X": "${vars.pid}"}},
    )
    values = {"vars.pid": "7/../8"}
    ssh, sql, http = (bind(step.acts[0], values) for step in made.steps[1:])
    assert shows(ssh) == "ps -p 7/../8 <<< '7/../8 ‹token›'"
    assert sql.call == SqlCall(text="select $1", binds=((("7/../8",), ""),))
    assert shows(http).startswith("GET https://metrics.example/api/p/7%2F..%2F8 ")
    for act, bad in (
        (made.steps[1].acts[0], "-x"),
        (made.steps[3].acts[0], ".."),
        (made.steps[3].acts[0], "a\r\nB: c"),
    ):
        with pytest.raises(UsageError):
            bind(act, {"vars.pid": bad})
    with pytest.raises(UsageError, match=r"needs vars.pid"):
        bind(made.steps[1].acts[0], {})


def test_known_has_the_inputs_and_no_secret() -> None:
    found = known(plan({**SSH, "argv": ["x"]}))
    assert found["params.v"] == "x"
    assert found["run.operator"] == "asha"
    assert "params.token" not in found
    assert "run.incident" not in found


def test_a_copied_write_is_a_comment() -> None:
    write, read = (
        plan({**SSH, "argv": ["x"], "mode": mode, "repeatable": True}).steps[0].acts[0] for mode in ("write", "read")
    )
    assert clipboard(read) == "x"
    assert clipboard(write) == "# gateway gw1, step s0 (write): x"


def test_multiline_shows_scripts_as_they_are_written() -> None:
    (act,) = plan({**SSH, "sh": 'set -e\necho "$1"\n', "args": ["a b"]}).steps[0].acts
    assert multiline(act) == "sh, with 'a b':\n  set -e\n  echo \"$1\""
    assert shows(act) == "sh -c $'set -e\\necho \"$1\"\\n' sh 'a b'"


def test_a_column_of_a_table_that_names_none_is_known_at_run_time() -> None:
    rows = {**SQL, "query": "select 1", "capture": {"row": {"from": "rows"}}}
    made = plan(rows, {**SSH, "argv": ["x", "${vars.row.any}"]})
    assert made.steps[1].acts[0].call.argv[1] == (Ref("vars.row.any"),)  # type: ignore[union-attr]
