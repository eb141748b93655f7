from __future__ import annotations

import re

import pytest

from envtui.core.errors import UsageError
from envtui.core.pattern import safe_pattern


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (r"version (\S+)", "x version 1.2 y"),
        (r"(a|ab)(c|bcd)", "abcd"),
        (r"^previous", "latest\nprevious x"),
        (r"a{2,4}?", "aaaa"),
        (r"(?i)ERR+or|Ä", "x errRor ä"),
        (r"(?s)a.b", "a\nb"),
        (r"\bfoo\b", "a foo."),
        (r"(a)|b", "b"),
        (r"[^a-c\d]+", "abc12xyz"),
        (r"ok\Z", "ok\nok"),
        (r"(?P<v>\d+)%", "at 97%"),
        ("", "abc"),
    ],
)
def test_it_finds_what_re_finds(text: str, subject: str) -> None:
    ours = safe_pattern(text).search(subject)
    theirs = re.compile(text, re.MULTILINE).search(subject)
    assert ours is not None
    assert theirs is not None
    assert (ours.start, ours.end, ours.text) == (*theirs.span(), theirs[0])
    assert ours.group == (theirs[1] if theirs.re.groups else None)


@pytest.mark.parametrize("text", [r"(a)\1", "(?=a)", "(?<!a)b", "(?>a+)", "a++", "(a)?(?(1)b|c)", "(?a)\\w"])
def test_what_cannot_be_bounded_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="bounded time"):
        safe_pattern(text)


@pytest.mark.parametrize("text", ["(", "[a", "*", "a{3,2}", "(?P<1>a)"])
def test_what_is_no_pattern_says_so(text: str) -> None:
    with pytest.raises(UsageError, match="no regular expression"):
        safe_pattern(text)


def test_a_huge_count_is_refused() -> None:
    with pytest.raises(UsageError, match="too large"):
        safe_pattern("([a-z]{1,100}){1,100}")
