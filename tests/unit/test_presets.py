"""Probes by a word, what they find, and the undo that comes with them."""

from __future__ import annotations

import msgspec
import pytest

from envtui.core.errors import UsageError
from envtui.core.events import Finding
from envtui.core.ports import Reading
from envtui.core.runbook import HttpStep, SqlStep, SshStep, Step
from envtui.rules.finding import combined, finding
from envtui.rules.presets import problem, written_out


def step(**fields: object) -> Step:
    return msgspec.convert({"id": "change", "kind": "ssh", "mode": "write", **fields}, SshStep | SqlStep | HttpStep)


def said(text: str, code: int = 0) -> Reading:
    return Reading(exit=code, stdout=text.encode())


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_service_brings_its_undo(verb: str, listed: bool) -> None:
    argv: object = ["systemctl", verb, "gateway"] if listed else f"systemctl {verb} gateway"
    found = written_out(step(argv=argv, probe={"preset": "service active gateway"}))
    assert found.probe is not None
    assert found.probe.argv == ("systemctl", "is-active", "gateway")
    assert found.undo is not None
    assert found.undo.argv == ("systemctl", "stop" if verb == "start" else "start", "gateway")


@pytest.mark.parametrize(
    ("argv", "more"),
    [
        (["systemctl", "restart", "gateway"], {}),
        (["systemctl", "start", "other"], {}),
        (["systemctl", "--now", "start", "gateway"], {}),
        (["systemctl", "start", "gateway"], {"point_of_no_return": "because"}),
        (["systemctl", "start", "gateway"], {"undo": {"argv": ["true"]}}),
    ],
)
def test_what_is_no_plain_start_brings_none(argv: list[str], more: dict[str, object]) -> None:
    plain = step(argv=argv, probe={"preset": "service active gateway"}, **more)
    assert written_out(plain).undo == plain.undo


@pytest.mark.parametrize(
    ("verb", "text", "code", "found"),
    [
        ("start", "active\n", 0, "applied"),
        ("start", "inactive\n", 3, "absent"),
        ("start", "failed\n", 3, "absent"),
        ("start", "unknown\n", 4, "absent"),
        ("start", "activating\n", 3, "unknown"),
        ("start", "deactivating\n", 3, "unknown"),
        ("start", "", 127, "unknown"),
        ("stop", "inactive\n", 3, "applied"),
        ("stop", "active\n", 0, "absent"),
        ("stop", "reloading\n", 0, "unknown"),
    ],
)
def test_what_a_service_says(verb: str, text: str, code: int, found: Finding) -> None:
    one = step(argv=["systemctl", verb, "gateway"], probe={"preset": "service active gateway"})
    assert finding(one, said(text, code), {})[0] == found


@pytest.mark.parametrize(("code", "found"), [(0, "applied"), (1, "absent"), (2, "unknown"), (126, "unknown")])
def test_what_a_file_says(code: int, found: Finding) -> None:
    one = step(
        argv=["touch", "/run/flag"], probe={"preset": "file exists /run/flag"}, undo={"argv": ["rm", "/run/flag"]}
    )
    assert finding(one, said("", code), {})[0] == found


@pytest.mark.parametrize(("rows", "found"), [((("1",),), "applied"), ((), "absent")])
def test_what_a_row_says(rows: tuple[tuple[str, ...], ...], found: Finding) -> None:
    one = step(kind="sql", query="insert into t values (1)", probe={"preset": "row exists select 1 from t"})
    assert finding(one, Reading(columns=("one",), rows=rows, row_count=len(rows)), {})[0] == found


@pytest.mark.parametrize(
    "preset",
    ["", "service", "service active", "service active a b", "service active -x", "file exists x", "process runs x"],
)
def test_what_is_no_preset_says_which_there_are(preset: str) -> None:
    assert problem(preset)
    with pytest.raises(UsageError, match="is no"):
        written_out(step(argv=["true"], probe={"preset": preset}))


PROBE = {"argv": ["p"], "applied": {"stdout_matches": "yes"}, "absent": {"stdout_matches": "no"}}


@pytest.mark.parametrize(
    ("text", "found"), [("yes", "applied"), ("no", "absent"), ("yes no", "unknown"), ("", "unknown"), ("?", "unknown")]
)
def test_both_or_none_is_unknown(text: str, found: Finding) -> None:
    assert finding(step(argv=["w"], probe=PROBE), said(text), {})[0] == found


@pytest.mark.parametrize(
    ("reading", "found"),
    [
        (said("yes"), "applied"),
        (said("other"), "absent"),
        (said("other", 127), "unknown"),  # the probe itself was not there
        (Reading(exit=None, signal="KILL"), "unknown"),
        (Reading(exit=0, stdout=b"other", truncated=True), "unknown"),
    ],
)
def test_otherwise_is_said_of_a_probe_that_worked_alone(reading: Reading, found: Finding) -> None:
    one = step(argv=["w"], probe={**PROBE, "absent": "otherwise"})
    assert finding(one, reading, {})[0] == found


@pytest.mark.parametrize(
    ("kind", "applied", "reading", "why"),
    [
        ("ssh", {"json": {"/state": "on"}}, said("starting up, try again"), "The output is not JSON"),
        ("ssh", {"json": {"/state": "on"}}, said("{}"), "The answer has nothing at /state"),
        ("ssh", {"json": {"/state": "${vars.state}"}}, said('{"state": "off"}'), "no step has captured it"),
        ("ssh", {"stdout_matches": "(a{0,5}){0,25}b"}, said("a" * 60_000), "steps on this text"),
        ("sql", {"value": "t"}, Reading(columns=("valid",), row_count=0), "There is no value"),
        ("sql", {"value": "t"}, Reading(columns=("valid",), rows=((None,),), row_count=1), "There is no value"),
        ("http", {"status": 200}, Reading(status=401), "answered with status 401"),
        ("http", {"status": 200}, Reading(status=302), "answered with status 302"),
        ("http", {"status": 200}, Reading(status=429), "answered with status 429"),
    ],
)
def test_absence_is_never_taken_from_an_answer_that_cannot_be_compared(
    kind: str, applied: dict[str, object], reading: Reading, why: str
) -> None:
    ask: dict[str, object] = {"ssh": {"argv": ["p"]}, "sql": {"query": "select valid"}, "http": {"path": "/x"}}[kind]
    write: dict[str, object] = {
        "ssh": {"argv": ["w"]},
        "sql": {"query": "insert into t values (1)"},
        "http": {"path": "/x", "method": "PUT"},
    }[kind]
    one = step(kind=kind, **write, probe={**ask, "applied": applied, "absent": "otherwise"})
    found, said_why = finding(one, reading, {})
    assert (found, why in said_why) == ("unknown", True), said_why


@pytest.mark.parametrize(("status", "found"), [(200, "applied"), (204, "absent"), (404, "absent"), (410, "absent")])
def test_what_is_gone_is_absent_otherwise(status: int, found: Finding) -> None:
    probe = {"path": "/x", "applied": {"status": 200}, "absent": "otherwise"}
    one = step(kind="http", path="/x", method="PUT", probe=probe)
    assert finding(one, Reading(status=status), {})[0] == found


@pytest.mark.parametrize(("status", "found"), [(200, "applied"), (404, "absent"), (503, "unknown"), (302, "unknown")])
def test_what_a_service_answers(status: int, found: Finding) -> None:
    probe = {"path": "/x", "applied": {"status": 200}, "absent": {"status": 404}}
    one = step(kind="http", path="/x", method="PUT", probe=probe)
    assert finding(one, Reading(status=status), {})[0] == found


@pytest.mark.parametrize(
    ("findings", "all_"),
    [
        (["applied"], "applied"),
        (["applied", "applied"], "applied"),
        (["absent", "absent"], "absent"),
        (["applied", "absent"], "unknown"),
        (["applied", "unknown"], "unknown"),
        ([], "unknown"),
    ],
)
def test_several_say_the_same_or_nobody_can_tell(findings: list[Finding], all_: Finding) -> None:
    assert combined(findings) == all_
