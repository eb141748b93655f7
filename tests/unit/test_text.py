from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from envtui.core.text import LIMIT, MARKS_PER_CELL, UNSAFE, backstop, clean, clean_line, mixed_scripts

CORPUS = yaml.safe_load((Path(__file__).parents[1] / "corpora" / "terminal_attacks.yaml").read_text())
ATTACKS = CORPUS["terminal_attacks"]


def payload(case: dict) -> bytes:
    if "payload_repeat" in case:
        return (case["payload_repeat"]["unit"] * case["payload_repeat"]["times"]).encode("latin-1")
    return case["payload_latin1"].encode("latin-1")


def words(case: dict, key: str) -> list[str]:
    return [word.encode("latin-1").decode() for word in case.get(key) or ()]


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case["id"])
def test_an_attack_on_the_terminal_has_no_effect_and_hides_nothing(case: dict) -> None:
    shown = clean(payload(case), 1_000_000)
    assert UNSAFE.search(shown) is None
    assert [word for word in words(case, "must_keep") if word not in shown] == []
    assert [word for word in words(case, "must_not_contain") if word in shown] == []
    if case["expect"] in ("unchanged", "literal"):
        assert shown == payload(case).decode()
    if case["expect"] == "flagged":
        assert mixed_scripts(shown)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"10%\r20%", "10%\u240d20%"),
        (b"dos\r\nlines\r\n", "dos\nlines\n"),
        (b"D\x08R", "D\u2408R"),
        (b"a\x7fb\x00", "a\u2421b\u2400"),
        (b"\xff\xfe", "<0xFF><0xFE>"),
        ("a\u202eb\u200bc", "a<U+202E>b<U+200B>c"),
        ("\ud800", "<U+D800>"),
        ("a\U000e0041b", "a<U+E0041>b"),
        (b"caf\xc3\xa9\ttab", "café\ttab"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"a\x9d52;c;cm0g\x9cb", "ab"),  # the bytes of an 8-bit terminal
        (b"a\x9b31mb", "ab"),
        (b"a\x1b]0;never ended\nnext", "a\u241b]0;never ended\nnext"),
        (b"\x1b\x1b[0m[0m", "\u241b[0m"),
        (b"\x1bPtmux;\x1b\x1b]52;c;cm0g\x07\x1b\\x", "x"),
        (b"[bold]/[/oops]", "[bold]/[/oops]"),
    ],
)
def test_what_is_seen_in_place_of_what_is_obeyed(given: str | bytes, shown: str) -> None:
    assert clean(given) == shown


def test_a_cut_says_how_much_is_missing_and_fits_the_limit() -> None:
    shown = clean("x" * (LIMIT + 1000))
    assert len(shown) == LIMIT
    kept = shown.index(" …[+")
    assert shown.endswith(f" …[+{LIMIT + 1000 - kept}]")
    assert clean(shown) == shown


def test_input_far_beyond_the_limit_is_not_looked_at_but_counted() -> None:
    shown = clean(b"y" * 50_000_000, 100)
    assert shown.startswith("yyy")
    assert int(shown[shown.index("+") + 1 : -1]) == 50_000_000 - shown.index(" …")


def test_a_line_for_a_table_has_no_newline_and_no_tab() -> None:
    assert clean_line("a\tb\nc") == "a b\u240ac"


def test_combining_marks_are_capped_on_each_character() -> None:
    assert clean("a" + "\u0301" * 200 + "b") == "a" + "\u0301" * MARKS_PER_CELL + "b"


@pytest.mark.parametrize(
    ("name", "mixed"), [("prоd-db", True), ("prod-db", False), ("مرحبا", False), ("db-прод", False)]
)
def test_letters_of_two_scripts_in_one_word_are_told(name: str, mixed: bool) -> None:
    assert mixed_scripts(name) is mixed


def test_the_last_filter_before_the_terminal_shows_every_control() -> None:
    assert backstop("a\x1b]52;c;x\x07\u202e") == "a\u241b]52;c;x\u2407<U+202E>"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]" * 250_000,
        "\x1b[" * 250_000,
        "\x1b]0;" + "\x1b[1m" * 100_000,
        "\x1bP\x1b" * 150_000,
        "\x1b" + " " * 500_000,
    ],
    ids=["strings", "csi", "csi in a string", "nested", "intermediates"],
)
def test_cleaning_is_linear_in_its_input(text: str) -> None:
    # Half a million characters: quadratic would be hours, and the suite would not end.
    assert UNSAFE.search(clean(text, 10_000_000)) is None
