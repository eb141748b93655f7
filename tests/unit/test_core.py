"""Canonical bytes, ids, secrets, errors: the values that everything else stands on."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtui.core import errors
from envtui.core.access import Grant, Permit
from envtui.core.canonical import SIGNED_LIMIT, canonical, digest, parse
from envtui.core.errors import EnvtuiError, Refused
from envtui.core.ids import new_id
from envtui.core.secret import Secret
from envtui.core.shape import seconds, span

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_canonical_bytes_read_back_and_have_one_spelling(value: object) -> None:
    try:
        data = canonical(value)
    except TypeError:
        return  # two keys that are one in NFC
    assert canonical(parse(data)) == data
    assert data.isascii()


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(), min_size=2))
def test_any_other_spelling_is_refused(value: dict[str, int]) -> None:
    loose = json.dumps(dict(sorted(value.items(), reverse=True)), separators=(", ", ": ")).encode()
    with pytest.raises(Refused):
        parse(loose)


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":NaN}', b"\xff", b'"\xc3\xa9"', b"[" * 100000, b'{"b":1,"a":2}', b"1 ", b""],
)
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        parse(data, limit=1 << 20)


def test_what_is_too_long_to_sign_is_refused() -> None:
    data = canonical("x" * SIGNED_LIMIT)
    with pytest.raises(Refused, match="more than"):
        parse(data)


def test_floats_and_bytes_have_no_canonical_bytes() -> None:
    for value in (1.5, b"x", {1: 2}, {"a": {2.5}}):
        with pytest.raises(TypeError):
            canonical(value)


def test_one_meaning_in_two_unicode_forms_has_one_digest() -> None:
    assert digest("é") == digest("é")
    assert digest({"a": 1, "b": True}) != digest({"a": 1, "b": 1})


def test_ids_sort_by_time_and_read_out_loud() -> None:
    early, late = new_id(1_000, b"\xff" * 5), new_id(2_000, b"\x00" * 5)
    assert early < late
    assert len(early) == 16
    assert not set(early) & set("ILOU")
    with pytest.raises(ValueError, match="random"):
        new_id(1, b"")


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("password", "hunter2-hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", repr({"a": [secret]})]
    try:
        raise RuntimeError(secret)
    except RuntimeError as error:
        shown.append("".join(traceback.format_exception(error)))
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2-hunter2"
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(secret)


@pytest.mark.parametrize("kind", [Grant, Permit])
def test_nobody_makes_a_grant_or_a_permit(kind: type) -> None:
    with pytest.raises(TypeError, match="no public constructor"):
        kind()
    bare = object.__new__(kind)
    with pytest.raises(AttributeError):
        bare.id = "x"


def test_every_error_has_an_exit_code_a_meaning_and_a_place_in_the_tree() -> None:
    tree = errors.__doc__ or ""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EnvtuiError)]
    assert len(kinds) > 12
    for kind in kinds:
        assert kind.__name__ in tree, f"{kind.__name__} is missing in the tree at the top of core/errors.py"
        assert kind.__doc__
        assert 1 <= kind.exit_code <= 7


def test_durations_are_numbers_with_units() -> None:
    assert [seconds(text) for text in ("500ms", "30s", "15m", "4h", "7d")] == [0.5, 30, 900, 14400, 604800]
    for text in ("", "5", "m", "1.5h", "5 m", "5w", "-5s", "٣s", "9" * 400 + "d"):
        with pytest.raises(ValueError, match="no duration"):
            seconds(text)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (420, "0.42 s"),
        (9_999, "10 s"),
        (12_900, "12 s"),
        (60_000, "1 min"),
        (185_000, "3 min 5 s"),
        (7_620_000, "2 h 7 min"),
        (7_205_000, "2 h"),
        (30 * 86_400_000, "30 d"),
        (109_000_000, "1 d 6 h"),
    ],
)
def test_a_length_of_time_in_words(milliseconds: int, said: str) -> None:
    assert span(milliseconds) == said
