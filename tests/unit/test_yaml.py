"""Strict YAML: what the loader takes, and each trap by name with its place."""

from __future__ import annotations

import pytest
import yaml

from envtui.core.errors import Unsound
from envtui.outside.trees import yaml as strict
from envtui.outside.trees.yaml import MAX_BYTES, MAX_DEPTH, Positions, parse


def said(source: str | bytes) -> list[str]:
    document = parse(source if isinstance(source, bytes) else source.encode(), "f")
    return [str(problem) for problem in document.problems]


def data(source: str | bytes) -> object:
    document = parse(source if isinstance(source, bytes) else source.encode(), "f")
    assert document.problems == ()
    return document.data


class TestScalarsAreText:
    """YAML 1.1 guesses types from looks; here the schema knows them."""

    @pytest.mark.parametrize(
        "text", ["22:30", "1.10", "no", "off", "0777", "0x1F", "1_000", "2026-01-31", "true", ".inf"]
    )
    def test_what_looks_like_something_else_stays_text(self, text: str) -> None:
        assert yaml.load(f"a: {text}", yaml.CSafeLoader) != {"a": text}  # the trap is real
        assert data(f"a: {text}") == {"a": text}

    def test_on_is_a_key_like_any_other(self) -> None:
        assert yaml.safe_load("on: x") == {True: "x"}
        assert data("on: x") == {"on": "x"}

    def test_merge_keys_merge_nothing(self) -> None:
        assert data("<<: {a: b}\nc: d") == {"<<": {"a": "b"}, "c": "d"}

    def test_windows_line_ends_leave_no_trace(self) -> None:
        assert data("a: x\r\nb: |\r\n  c\r\n  d\r\n") == {"a": "x", "b": "c\nd\n"}

    @pytest.mark.parametrize("empty", ["a:", "a: ~", "a: null", "a: Null"])
    def test_nothing_is_not_a_value(self, empty: str) -> None:
        (problem,) = said(empty)
        assert problem.startswith("f:1:1: ")
        assert "Leave the key out" in problem

    def test_quoted_nothing_is_text(self) -> None:
        assert data("a: 'null'\nb: ''") == {"a": "null", "b": ""}


class TestRefused:
    def test_the_second_of_two_equal_keys(self) -> None:
        assert yaml.safe_load("a: 1\na: 2") == {"a": 2}
        assert said("a: 1\nb: 2\na: 3") == ["f:3:1: 'a' is here for the second time; the first is in line 1. Keep one."]

    def test_aliases_and_anchors(self) -> None:
        assert [line.split(".")[0] for line in said("a: &x [b]\nc: *x")] == [
            "f:1:4: an anchor (&x)",
            "f:2:4: an alias (*x)",
        ]

    def test_a_billion_laughs_are_not_even_a_smile(self) -> None:
        bomb = "a: &a [x, x]\n" + "".join(
            f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)
        )
        document = parse(bomb.encode(), "f")
        assert len(document.problems) == 8 + 14
        assert document.data is not None
        assert len(str(document.data)) < 400

    @pytest.mark.parametrize("tag", ["!x", "!", "!!str", "!!python/object/apply:os.system", "!<tag:yaml.org,2002:int>"])
    def test_tags(self, tag: str) -> None:
        (problem,) = said(f"a: {tag} 'b'")
        assert problem.startswith("f:1:4: a tag (")

    def test_a_key_that_is_no_text(self) -> None:
        assert said("? [a, b]\n: c")[0].startswith("f:1:3: a key that is not text.")

    def test_a_second_document(self) -> None:
        assert said("a: 1\n---\nb: 2")[0].startswith("f:2:1: a second document")

    @pytest.mark.parametrize("nothing", ["", "# only a comment\n", "---\n"])
    def test_an_empty_file(self, nothing: str) -> None:
        assert len(said(nothing)) == 1

    def test_deep_nesting_with_its_place(self) -> None:
        assert said("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
        assert said("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == [
            f"f:1:{MAX_DEPTH + 1}: more than {MAX_DEPTH} objects and lists in one another."
        ]

    @pytest.mark.parametrize("unit", ["[", "- ", "{a: ", "? "])
    def test_nesting_that_would_overflow_the_stack(self, unit: str) -> None:
        assert f"more than {MAX_DEPTH}" in said(unit * 200_000)[-1]

    def test_a_huge_file(self) -> None:
        assert said("a: " + "x" * (MAX_BYTES - 3)) == []
        assert "more than" in said("a: " + "x" * (MAX_BYTES - 2))[0]

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            (b"\xef\xbb\xbfa: b", "f:1:1: the file begins with a byte order mark."),
            ("a: b".encode("utf-16"), "f:1:1: the file begins with a byte order mark."),
            (b"a: b\n\xc3\x28: c", "f:2:1: the byte 0xc3 is not UTF-8."),
            (b"a: b\nc: \x00", "f:2:4: the control character 0x00."),
            (b"a: \x1b[2J", "f:1:4: the control character 0x1b."),
            ("a: b\nc: a\u202eb".encode(), "f:2:5: the invisible character U+202E."),
            ("a: x\u200by".encode(), "f:1:5: the invisible character U+200B."),
            ("a: b\u2028c: d".encode(), "f:1:5: the invisible character U+2028."),
        ],
    )
    def test_bytes_that_nobody_sees(self, source: bytes, expected: str) -> None:
        (problem,) = said(source)
        assert problem.startswith(expected)

    def test_everything_at_once_and_in_order(self) -> None:
        found = said("a: 1\na: 2\nb: &x c\nd: *x\ne: !t f\ng: ~\nh: [1, 2\n")
        assert [problem.split(":")[1] for problem in found] == ["2", "3", "4", "5", "6", "8"]

    def test_pyyaml_without_its_c_parser(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(strict, "CParser", None)
        with pytest.raises(Unsound, match="without libyaml"):
            parse(b"a: b", "f")


class TestQuoteIt:
    """Where a missing quote broke the YAML, the error says so."""

    @pytest.mark.parametrize(
        ("source", "place"),
        [
            ("a: [x, ${params.y}]", "f:1:8"),
            ("a: {x: ${params.y}}", "f:1:8"),
            ("a: @x", "f:1:4"),
            ("a: `x`", "f:1:4"),
            ("a: %x", "f:1:4"),
            ("a: [ls, *.log]", "f:1:9"),
            ("a: [x, &&, y]", "f:1:8"),
            ("a: [test, !y]", "f:1:11"),
            ("a: b: c", "f:1:5"),
            ('a: "b" c', "f:1:8"),
            ("a: [x, >5]", "f:1:8"),
        ],
    )
    def test_where(self, source: str, place: str) -> None:
        (problem,) = said(source)
        assert problem.startswith(f"{place}: ")
        assert "Quote" in problem

    def test_a_tab_says_spaces(self) -> None:
        assert said("a:\n\t- b") == ["f:2:1: a tab in the indentation. Indent with spaces."]

    def test_a_quote_that_never_ends_is_shown_where_it_begins(self) -> None:
        assert said("a: b\nc: 'd\ne: f\n") == ["f:2:4: this quote is never closed."]

    def test_a_list_that_never_ends_names_its_beginning(self) -> None:
        assert "begins in line 2" in said("a: b\nc: [d,\ne: f\n")[0]


class TestPlaces:
    def test_of_values_keys_and_items(self) -> None:
        document = parse(b"a: x\nb:\n  - c\n  - {d: e}\n", "f")
        assert document.values[("b", 1, "d")] == (4, 9)
        assert document.keys[("b", 1, "d")] == (4, 6)
        assert document.place(("b", 0)) == (3, 5)
        assert document.place(("b",)) == (2, 1)

    def test_of_what_is_not_there_is_the_nearest_around_it(self) -> None:
        assert parse(b"a: {b: c}", "f").place(("a", "x", "y")) == (1, 1)

    def test_are_the_same_when_asked_for_later(self) -> None:
        positions = Positions(b"a: x\nb: [c]\n")
        assert positions[("b", 0)] == (2, 5)
        assert positions[("a",)] == (1, 1)
        assert set(positions) == {(), ("a",), ("b",), ("b", 0)}
