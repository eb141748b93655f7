"""From plain data to a book: all errors at once, each in words and at its place."""

from __future__ import annotations

import msgspec
import pytest

from envtui.core.environment import Environment
from envtui.core.runbook import Runbook, SshStep
from envtui.outside.trees.schema import json_schema, shape
from envtui.outside.trees.yaml import parse

HEAD = 'schema: envtui/runbook@1\nid: b\nenvironment: dev\ntitle: "T"\nowner: o\n'


def book(text: str) -> Runbook:
    value, problems = shape(parse((HEAD + text).encode(), "f"), Runbook, "f")
    assert problems == ()
    assert value is not None
    return value


def wrong(text: str, head: str = HEAD) -> list[str]:
    value, problems = shape(parse((head + text).encode(), "f"), Runbook, "f")
    assert value is None
    return [str(problem) for problem in problems]


def test_scalars_get_the_type_that_the_field_has() -> None:
    found = book(
        'steps: [{id: "on", kind: ssh, argv: [echo, 1.10, 22:30, no], expect: {exit: [0, 3]}, required: true}]'
    )
    (step,) = found.steps
    assert isinstance(step, SshStep)
    assert step.argv == ("echo", "1.10", "22:30", "no")
    assert step.expect.exit == (0, 3)
    assert step.required is True


def test_every_error_of_a_file_at_once() -> None:
    found = wrong(
        "tittle: x\n"
        "change: sideways\n"
        "steps:\n"
        "  - {id: UPPER, kind: ssh, argv: [], timeout: soon}\n"
        "  - {kind: sql, query: [a], expect: {rows: many}}\n"
        "  - {id: c, kind: shh, argv: [x]}\n"
        "  - {id: d, kind: ssh, query: select 1, required: maybe}\n"
    )
    assert [each.split(": ")[0] for each in found] == [f"f:{place}" for place in (
        "6:1", "7:1", "9:6", "9:28", "9:38", "10:5", "10:17", "10:38", "11:13", "12:24", "12:41",
    )]  # fmt: skip
    text = "\n".join(found)
    assert "unknown key 'tittle'. Did you mean 'title'?" in text
    assert "expected one of forward, none, rollback, found 'sideways'" in text
    assert "timeout: expected a number and a unit: 500ms, 30s, 15m, 4h, 7d, found 'soon'" in text
    assert "id is missing" in text
    assert "expected a whole number, found 'many'" in text
    assert "found 'shh'. Did you mean 'ssh'?" in text
    assert "unknown key 'query'. It is a field of sql." in text
    assert "expected true or false, found 'maybe'" in text


def test_missing_keys_are_named_together() -> None:
    assert wrong("steps: [{id: a, kind: choose, options: {x: end}}]", head="id: b\n") == [
        "f:1:1: schema, environment, title, owner are missing."
    ]


def test_a_colon_in_a_list_says_quote_it() -> None:
    (problem,) = wrong("steps: [{id: a, kind: ssh, argv: [echo, a: b]}]")
    assert problem == "f:6:41: expected text, found an object. Quote it if the ': ' belongs to the text."


def test_a_step_without_its_kind() -> None:
    (problem,) = wrong("steps: [{id: a, argv: [x]}]")
    assert "kind is missing: one of ssh, sql, http, manual, choose, wait." in problem


def test_a_name_with_a_line_end_hidden_in_it() -> None:
    assert "id: expected a name of at most 24 characters" in wrong('steps: [{id: "a\\n", kind: ssh, argv: [x]}]')[0]


def test_yaml_and_schema_problems_come_together_and_once_each() -> None:
    found = wrong("title: x\nsteps:\nfoo: ~\n")
    assert [each.split(": ", 1)[1].split(".")[0] for each in found] == [
        "'title' is here for the second time; the first is in line 4",
        "the value is missing",
        "~ is not a value here",
    ]


def test_unknown_keys_deep_inside() -> None:
    (problem,) = wrong("steps: [{id: a, kind: ssh, argv: [x], capture: {v: {from: stdout, rejex: y}}}]")
    assert "unknown key 'rejex'. Did you mean 'regex'?" in problem


@pytest.mark.parametrize("number", ["1", "0", "x", "1.5", "-1", "''", "0x10", "[1]"])
def test_the_walk_agrees_with_the_conversion(number: str) -> None:
    text = f"steps: [{{id: a, kind: ssh, argv: [x], retry: {number}, mode: write, attempts: 2}}]"
    document = parse((HEAD + text).encode(), "f")
    value, problems = shape(document, Runbook, "f")
    try:
        msgspec.convert(document.data, Runbook, strict=False)
        fits = True
    except msgspec.ValidationError:
        fits = False
    assert (value is not None) == fits == (problems == ())
    assert fits or "expected a whole number, at least 0" in str(problems[0])


@pytest.mark.parametrize(("what", "kind"), [("runbook", Runbook), ("environment", Environment)])
def test_json_schema_is_of_the_same_types(what: str, kind: type) -> None:
    schema = json_schema(what)
    properties = schema["$defs"][kind.__name__]["properties"]
    assert set(properties) == set(kind.__struct_encode_fields__)
    assert schema["$defs"][kind.__name__]["additionalProperties"] is False
