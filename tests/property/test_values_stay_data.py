"""A value never becomes syntax; what changes an act changes its digest; patterns end."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from envtui.core.act import Act, Bytes, HttpCall, Place, Ref, SqlCall, SshCall, Value
from envtui.core.errors import EnvtuiError, Refused, UsageError
from envtui.core.pattern import safe_pattern
from envtui.core.runbook import Param
from envtui.rules.bind import bind
from envtui.rules.calls import Doing, call_of
from envtui.rules.shows import shows
from envtui.rules.template import Scope, join, parse, pieces
from envtui.rules.values import typed

TRICKY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="-$ {}'\"\\`;|&<>()*?!#~\n\t%/.;:‹›", max_size=20),
    st.sampled_from(["${run.id}", "$${", "--", "-rf", "a'; drop table x; --", "$1", "$(id)", "..", "‹token›", ""]),
)


def scope(value: str) -> Scope:
    return Scope(known={"params.v": Value(type="string", text=value), "run.host": Value(type="host", text="h")})


def act(call: SshCall | SqlCall | HttpCall) -> Act:
    place = Place(target="t", kind="ssh", member="m", address="a:22")
    return Act(step="s", mode="read", place=place, call=call)


@given(TRICKY)
def test_a_value_is_never_expanded_again(value: str) -> None:
    text = "".join(str(part) for part in join(pieces("a ${params.v} $${params.v} z", scope(value))))
    assert text == f"a {value} ${{params.v}} z"


@given(TRICKY)
def test_a_command_line_has_as_many_words_with_any_value(value: str) -> None:
    what = Doing(where="step s", kind="ssh", argv="tool --x=${params.v} 'q ${params.v} q' end")
    try:
        call = call_of(what, "read", scope(value), {})
    except UsageError:
        assert "\0" in value
        return
    assert isinstance(call, SshCall)
    assert call.argv == (("tool",), (f"--x={value}",), (f"q {value} q",), ("end",))


@given(TRICKY)
def test_a_value_does_not_begin_an_option(value: str) -> None:
    what = Doing(where="step s", kind="ssh", argv=("tool", "${params.v}-x"))
    with suppress(UsageError):
        call = call_of(what, "read", scope(value), {})
        assert isinstance(call, SshCall)
        assert not "".join(map(str, call.argv[1])).startswith("-")
    open_act = act(SshCall(argv=(("tool",), (Ref("vars.v"), "-x"))))
    with suppress(UsageError):
        bound = bind(open_act, {"vars.v": value}).call
        assert isinstance(bound, SshCall)
        assert not "".join(map(str, bound.argv[1])).startswith("-")


@given(TRICKY)
def test_sql_is_the_same_statement_with_any_value(value: str) -> None:
    what = Doing(where="step s", kind="sql", query="select 1 where a = ${params.v} and b = ${params.v}::text")
    call = call_of(what, "read", scope(value), {})
    assert isinstance(call, SqlCall)
    assert call.text == "select 1 where a = $1 and b = $2::text"
    assert [text for text, _ in call.binds] == [(value,), (value,)]


@given(TRICKY)
def test_a_path_keeps_its_segments(value: str) -> None:
    what = Doing(where="step s", kind="http", path="/a/${params.v}/b?c=${params.v}")
    try:
        call = call_of(what, "read", scope(value), {})
    except UsageError:
        assert value in ("", ".", "..")
        return
    assert isinstance(call, HttpCall)
    path, _, query = "".join(map(str, call.path)).partition("?")
    assert [unquote(part) for part in path.split("/")] == ["", "a", value, "b"]
    assert unquote(query.removeprefix("c=")) == value


@given(TRICKY)
def test_a_json_body_says_the_value(value: str) -> None:
    what = Doing(
        where="step s", kind="http", path="/", method="POST", body='{"a": "x ${params.v}", "b": ["${params.v}"]}'
    )
    call = call_of(what, "write", scope(value), {})
    assert isinstance(call, HttpCall)
    assert json.loads("".join(map(str, call.body or ()))) == {"a": f"x {value}", "b": [value]}


@given(st.lists(TRICKY, min_size=1, max_size=4))
def test_what_is_shown_has_as_many_words_as_there_are(words: list[str]) -> None:
    assume(all(ord(c) >= 0x20 and c not in "‹›\u2028\u2029" and c.isprintable() for word in words for c in word))
    assert shlex.split(shows(act(SshCall(argv=tuple((word,) if word else () for word in words))))) == words


@given(TRICKY)
def test_nothing_that_is_shown_passes_for_a_mask_or_breaks_the_line(value: str) -> None:
    for call in (
        SshCall(argv=(("tool",), (value,)), env=(("A", (value,)),), cwd=value, stdin_text=(value,)),
        SqlCall(text=value, binds=(((value,), ""),)),
        HttpCall(path=("/",), query=(("q", (value,)),), body=(value,)),
    ):
        shown = shows(act(call))
        assert "‹" not in shown
        assert "\n" not in shown
        assert "\x1b" not in shown


@given(TRICKY, st.text(max_size=10))
def test_parse_is_total_and_loses_nothing(text: str, more: str) -> None:
    try:
        parts = parse(text + more)
    except UsageError:
        return
    again = "".join(p.replace("${", "$${") if isinstance(p, str) else f"${{{p.name}}}" for p in parts)
    assert parse(again) == parts


@given(st.sampled_from(["int", "bool", "duration", "timestamp", "host", "ident", "path", "secret", "string"]), TRICKY)
def test_typed_is_total(kind: str, text: str) -> None:
    try:
        value = typed("v", Param(type=kind), text)  # type: ignore[arg-type]
    except UsageError:
        return
    assert "\n" not in value.text
    assert "\x1b" not in value.text
    assert not (kind == "path" and (".." in text.split("/") or text.startswith(("/", "~"))))
    assert not (kind == "secret" and value.text)


@given(st.dictionaries(st.sampled_from(["vars.a", "vars.b"]), TRICKY))
def test_bind_fills_all_or_says_why(values: dict[str, str]) -> None:
    for call in (
        SshCall(argv=(("t",), (Ref("vars.a"),)), stdin_text=("x", Ref("vars.b"))),
        SqlCall(text="select $1, $2", binds=(((Ref("vars.a"),), ""), ((Ref("vars.b"),), ""))),
        HttpCall(path=("/", Ref("vars.a")), headers=(("X", (Ref("vars.b"),)),)),
    ):
        try:
            bound = bind(act(call), values)
        except UsageError:
            continue
        assert bound.complete
        assert set(values) == {"vars.a", "vars.b"}


BASE = {
    "ssh": SshCall(
        argv=(("a",), ("b",)), sh="x", stdin=Bytes.of(b"c"), stdin_text=("t",), env=(("E", ("v",)),), cwd="/"
    ),
    "sql": SqlCall(text="s", binds=((("v",), "int8"),), statement_timeout=1.0, lock_timeout=1.0, affected_max=1),
    "http": HttpCall(method="GET", path=("/",), query=(("q", ("v",)),), headers=(("H", ("v",)),), body=("b",)),
}


@pytest.mark.parametrize("kind", BASE)
def test_every_field_of_an_act_changes_its_digest(kind: str) -> None:
    base = Act(
        step="s",
        mode="read",
        place=Place(
            target="t", kind="ssh", member="m", address="a", user="u", as_="r", dbname="d", via="v", credential="c"
        ),
        call=BASE[kind],
        timeout=1.0,
        needs=("network",),
    )
    replace = msgspec.structs.replace
    changed = [
        replace(base, call=replace(base.call, **{name: _other(getattr(base.call, name))}))
        for name in base.call.__struct_fields__
    ]
    changed += [
        replace(base, place=replace(base.place, **{name: _other(getattr(base.place, name))}))
        for name in base.place.__struct_fields__
    ]
    changed += [
        replace(base, step="x"),
        replace(base, mode="write"),
        replace(base, timeout=2.0),
        replace(base, needs=()),
    ]
    digests = [each.digest() for each in (base, *changed)]
    assert len(set(digests)) == len(digests)


def _other(value: object) -> object:
    if isinstance(value, Bytes):
        return Bytes.of(value.content + b"x")
    if isinstance(value, tuple):
        return ()
    if isinstance(value, str):
        return value + "x"
    assert isinstance(value, int | float)
    return value + 1


PATTERN = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\s", "^", "$", r"\b", "x"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{1,3}"])).map("(?:{0[0]}){0[1]}".format),
        inner.map("({})".format),
    ),
    max_leaves=6,
)


@given(PATTERN, st.text(alphabet="abx \n", max_size=8))
def test_a_pattern_finds_what_re_finds(text: str, subject: str) -> None:
    ours = safe_pattern(text).search(subject)
    theirs = re.compile(text, re.MULTILINE).search(subject)
    assert (ours and (ours.start, ours.end)) == (theirs and theirs.span())


@given(PATTERN, st.text(alphabet="abx \n", max_size=8))
def test_a_pattern_matches_whole_texts_as_re_does(text: str, subject: str) -> None:
    assert safe_pattern(text).fullmatch(subject) == bool(re.compile(text, re.MULTILINE).fullmatch(subject))


@pytest.mark.parametrize(
    ("text", "found"),
    [("(a+)+$", False), ("(a|a)*b", False), ("(a|aa)+!", True), ("(.*)*x", False), (r"(a+\s?)*!", True)],
)
def test_a_nested_quantifier_is_answered_at_once(text: str, found: bool) -> None:
    assert (safe_pattern(text).search("a" * 500 + "!") is not None) == found


def test_what_would_still_take_too_long_is_refused() -> None:
    with pytest.raises(Refused, match="steps"):
        safe_pattern("(x+x+)+y").search("x" * 65_536)


@given(st.text(max_size=30))
def test_reading_a_pattern_is_total(text: str) -> None:
    with suppress(EnvtuiError):
        safe_pattern(text).search("some text 123\n")
