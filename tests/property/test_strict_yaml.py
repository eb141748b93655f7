"""Whatever bytes come: an answer with places inside the file, never an exception, never another value than was written."""

from __future__ import annotations

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envtui.core.runbook import Runbook
from envtui.outside.trees.schema import shape
from envtui.outside.trees.yaml import parse

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=("Cc", "Cf", "Cs")), max_size=12)
DATA = st.recursive(
    TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)

BOOK = {
    "schema": "envtui/runbook@1",
    "id": "b",
    "environment": "dev",
    "title": "T",
    "owner": "o",
    "params": {"n": {"type": "int", "default": "3"}},
    "steps": [
        {"id": "a", "kind": "ssh", "argv": ["ls"], "expect": {"exit": "0"}, "capture": {"v": {"from": "stdout"}}},
        {"id": "c", "kind": "choose", "options": {"x": "end"}},
    ],
}


@given(DATA)
def test_what_was_written_is_what_is_read(data: object) -> None:
    source = yaml.safe_dump(data, allow_unicode=True, default_style='"').encode()
    document = parse(source, "f")
    assert document.problems == ()
    assert document.data == data


@given(st.binary(max_size=60) | st.text("[]{}:,-&*!|>'\"%@` \n\tab#?$\\~<=", max_size=60).map(str.encode))
@settings(max_examples=300)
def test_any_bytes_give_an_answer_with_a_place_in_the_file(source: bytes) -> None:
    document = parse(source, "f")
    assert document.data is not None or document.problems
    lines = source.decode("utf-8", "replace").splitlines()
    for problem in document.problems:
        assert 0 <= problem.line <= len(lines) + 1
        assert problem.message


@st.composite
def broken_books(draw: st.DrawFn) -> object:
    """The book with something replaced, added or removed anywhere."""
    book = msgspec.json.decode(msgspec.json.encode(BOOK))
    at = book
    while isinstance(at, dict | list) and at:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or draw(st.booleans()):
            what = draw(st.sampled_from(["replace", "remove", "add"]))
            if what == "replace":
                at[key] = draw(st.sampled_from(["", "x", "3", "true", [], {}, ["x"], {"x": "y"}, "ssh", "end"]))
            elif what == "remove":
                del at[key]
            elif isinstance(at, dict):
                at[draw(st.sampled_from(["x", "kind", "query", "mode", "timeout"]))] = draw(TEXT)
            return book
        at = at[key]
    return book


@given(broken_books())
def test_the_walk_finds_something_whenever_the_conversion_refuses(book: object) -> None:
    source = yaml.safe_dump(book, default_style='"').encode()
    document = parse(source, "f")
    value, problems = shape(document, Runbook, "f")
    try:
        expected = msgspec.convert(document.data, Runbook, strict=False)
    except msgspec.ValidationError:
        assert value is None
        assert problems
        assert not [each for each in problems if " - at `$" in each.message]  # said in our words, at its place
    else:
        assert value == expected
        assert problems == ()
