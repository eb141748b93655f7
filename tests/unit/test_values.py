from __future__ import annotations

import pytest

from envtui.core.errors import UsageError
from envtui.core.runbook import Param
from envtui.rules.values import MAX_BYTES, check_param, inputs, typed, typed_answer, typed_capture


@pytest.mark.parametrize(
    ("param", "text"),
    [
        (Param(type="int"), "1.5"),
        (Param(type="int"), "٣"),
        (Param(type="int", min="1"), "0"),
        (Param(type="int", max="9"), "10"),
        (Param(type="bool"), "yes"),
        (Param(type="enum", choices=("a", "b")), "c"),
        (Param(type="duration"), "15"),
        (Param(type="duration", max="24h"), "2d"),
        (Param(type="timestamp"), "2026-01-31T18:05:00"),
        (Param(type="timestamp"), "2026-02-31T18:05:00Z"),
        (Param(type="host"), "-oProxyCommand=x"),
        (Param(type="host"), "a b"),
        (Param(type="host"), "fe80::1%eth0"),
        (Param(type="ident"), 'a"; drop table x'),
        (Param(type="path"), "a/../b"),
        (Param(type="path"), "/etc/passwd"),
        (Param(type="path"), "~/x"),
        (Param(type="path"), ""),
        (Param(type="string", pattern="[a-z]+"), "abc1"),
        (Param(type="string"), "a\x1b[2Jb"),
        (Param(type="string"), "a\nb"),
        (Param(type="string"), "abc\u202egnp"),
        (Param(type="string"), "e\u0301"),
        (Param(type="string"), "\ud800"),
        (Param(type="string"), "x" * (MAX_BYTES + 1)),
    ],
)
def test_refused_with_its_name_and_what_would_do(param: Param, text: str) -> None:
    with pytest.raises(UsageError) as error:
        typed("which", param, text)
    assert error.value.message.startswith("which: ")
    assert "-p which=" in error.value.remedy


@pytest.mark.parametrize(
    ("param", "text", "kept"),
    [
        (Param(type="int"), "007", "7"),
        (Param(type="bool"), "true", "true"),
        (Param(type="duration", min="1m", max="24h"), "15m", "15m"),
        (Param(type="timestamp", min="2026-01-01T00:00:00Z"), "2026-01-31T18:05:00+01:00", "2026-01-31T18:05:00+01:00"),
        (Param(type="host"), "2001:db8::1", "2001:db8::1"),
        (Param(type="ident"), "public.Orders", "public.Orders"),
        (Param(type="path", pattern="/var/backups/.*"), "/var/backups/x", "/var/backups/x"),
        (Param(type="string"), "${run.id} $(id) -x", "${run.id} $(id) -x"),
    ],
)
def test_kept_as_data(param: Param, text: str, kept: str) -> None:
    assert typed("x", param, text).text == kept


def test_a_secret_is_where_it_is_and_never_what_it_is() -> None:
    value = typed("token", Param(type="secret"), "env:TOKEN")
    assert (value.text, value.secret, value.reference) == ("", True, "env:TOKEN")
    with pytest.raises(UsageError) as error:
        typed("token", Param(type="secret"), "hunter2")
    assert "hunter2" not in str(error.value)


def test_a_default_is_checked_and_a_missing_value_named() -> None:
    assert typed("w", Param(type="duration", default="15m"), None).origin == "default"
    assert typed("note", Param(type="string"), None).text == ""
    for param in (Param(type="int"), Param(type="string", required=True), Param(type="secret", default="file:x")):
        with pytest.raises(UsageError, match="missing"):
            typed("w", param, None)


def test_all_that_is_wrong_is_said_at_once() -> None:
    params = {"count": Param(type="int"), "zone": Param(type="enum", choices=("a", "b")), "fine": Param(type="bool")}
    with pytest.raises(UsageError) as error:
        inputs(params, {"count": "x", "fine": "true", "zoen": "a"})
    said = error.value.message.split("\n")
    assert len(said) == 3
    assert any("'zoen' is no parameter of this book. Did you mean zone?" in line for line in said)


def test_an_answer_and_a_capture_have_their_origin() -> None:
    assert typed_answer("tell.channel", "string", "#ops").origin == "answer"
    assert typed_capture("lines", "string", "a\tb\nc").text == "a\tb\nc"
    with pytest.raises(UsageError):
        typed_answer("tell.channel", "string", None)
    with pytest.raises(UsageError):
        typed_capture("pid", "int", "12; rm")


@pytest.mark.parametrize(
    "param",
    [
        Param(type="enum"),
        Param(type="secret", default="file:x"),
        Param(type="string", min="1"),
        Param(type="int", max="many"),
        Param(type="string", pattern="(a)\\1"),
        Param(type="duration", default="soon"),
    ],
)
def test_a_parameter_that_cannot_work_is_found_before_a_run(param: Param) -> None:
    assert check_param("p", param).startswith("p: ")
