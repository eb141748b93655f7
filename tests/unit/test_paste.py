"""Blocks for a chat: what chats do to text is undone, what is inside has one spelling and a size."""

from __future__ import annotations

import base64
import contextlib
import random
import string
import textwrap
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtui.core.access import Signed
from envtui.core.canonical import canonical
from envtui.core.errors import EnvtuiError, Refused, UsageError
from envtui.rules import paste

SIGNED = Signed(
    kind="request", body='{"a":"é wide → text","n":1}' * 20, signature="-----BEGIN SSH SIGNATURE-----\nAAAA\n"
)
OTHER = Signed(kind="request", body='{"b":2}', signature="x")
ANSWER = Signed(kind="approve", body='{"c":3}', signature="y")


@given(st.builds(Signed, kind=st.sampled_from(["request", "approve"]), body=st.text(max_size=300), signature=st.text()))
def test_what_is_packed_comes_back(signed: Signed) -> None:
    try:
        normal = paste.unbundle(paste.bundle(signed))
    except EnvtuiError:
        return  # lone surrogates are no text
    assert paste.blocks(paste.block(signed)) == (normal,)


def test_a_block_is_short_lines_of_plain_characters() -> None:
    begin, *lines, end = paste.block(SIGNED).splitlines()
    assert (begin, end) == ("-----BEGIN ENVTUI REQUEST-----", "-----END ENVTUI REQUEST-----")
    assert all(len(line) <= 64 and line.isascii() for line in lines)


CHATS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "quoted": lambda text: textwrap.indent(text, "> "),
    "quoted twice": lambda text: textwrap.indent(text, ">> "),
    "a code block": lambda text: f"```\n{text}```",
    "each line in backticks": lambda text: "\n".join(f"`{line}`" for line in text.splitlines()),
    "indented": lambda text: textwrap.indent(text, "\t    "),
    "trailing spaces": lambda text: text.replace("\n", "   \n"),
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "wrapped at 40": lambda text: "\n".join(
        line[i : i + 40] for line in text.split("\n") for i in range(0, len(line) or 1, 40)
    ),
    "on one line": lambda text: text.replace("\n", " "),
    "clever dashes": lambda text: text.replace("-----BEGIN", "—–-BEGIN").replace("REQUEST-----", "REQUEST—–-"),
    "zero width": lambda text: text.replace("\n", "\u200b\n\ufeff"),
    "chat around": lambda text: f"asha 10:32\nplease sign:\n{text}\nthanks! -- asha",
    "mail quote with bar": lambda text: textwrap.indent(text, "| "),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "no line breaks inside": lambda text: text.replace("\n", ""),
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS.keys())
def test_what_a_chat_does_is_undone(chat: Callable[[str], str]) -> None:
    assert paste.read(chat(paste.block(SIGNED)), "request") == SIGNED


LONG = Signed(
    kind="request",
    body='{"a":"' + "".join(random.Random(7).choices(string.ascii_letters, k=9000)) + '"}',
    signature="s",
)
manglings = st.lists(st.sampled_from(sorted(CHATS)), max_size=3)


def parts(signed: Signed, limit: int = 900) -> list[str]:
    found = paste.block(signed, limit).split("\n\n")
    assert len(found) > 1
    assert all(len(each) <= limit for each in found)
    return found


def test_what_is_longer_than_a_chat_takes_goes_in_parts() -> None:
    assert len(paste.block(SIGNED).split("BEGIN")) == 2
    text = paste.block(LONG)
    assert text.count("BEGIN ENVTUI REQUEST") > 1
    assert all(len(each) <= paste.PART_LIMIT for each in text.split("\n\n"))
    assert paste.read(text, "request") == LONG


@given(st.data())
def test_parts_come_in_any_order_twice_and_with_talk_between(data: st.DataObject) -> None:
    pieces = [*parts(LONG), paste.block(ANSWER)]
    order = data.draw(st.permutations(pieces + data.draw(st.lists(st.sampled_from(pieces), max_size=3))))
    text = ""
    for piece in order:
        mangled = piece
        for name in data.draw(manglings):
            mangled = CHATS[name](mangled)
        text += f"{mangled}\n\nmeera 10:32\nok, and this:\n"
    assert set(map(paste.bundle, paste.blocks(text))) == {paste.bundle(LONG), paste.bundle(ANSWER)}


@given(st.integers(16, 90), st.sampled_from([SIGNED, LONG]))
def test_wrapped_anywhere(width: int, signed: Signed) -> None:
    text = "\n".join(
        line[at : at + width] for line in paste.block(signed, 900).split("\n") for at in range(0, len(line) or 1, width)
    )
    assert paste.read(text, "request") == signed


@pytest.mark.parametrize("missing", [0, 1, -1])
def test_a_part_that_is_missing_is_named(missing: int) -> None:
    pieces = parts(LONG)
    number = (missing % len(pieces)) + 1
    del pieces[missing]
    with pytest.raises(
        paste.Incomplete, match=f"{len(pieces)} of {len(pieces) + 1} parts .*; part {number} is missing"
    ):
        paste.blocks("\n".join(pieces))


def test_a_part_that_was_damaged_is_named_and_parts_of_two_blocks_do_not_mix() -> None:
    pieces = parts(LONG)
    lines = pieces[1].splitlines()
    damaged = "\n".join([*lines[:2], lines[3], lines[2], *lines[4:]])
    with pytest.raises(UsageError, match=f"Part 2 of {len(pieces)} of the request block was changed"):
        paste.blocks("\n".join([pieces[0], damaged, *pieces[2:]]))
    other = Signed(kind="request", body=LONG.body[::-1], signature="s")
    with pytest.raises(paste.Incomplete):
        paste.blocks("\n".join([pieces[0], *parts(other)[1:]]))


@given(st.data())
def test_whatever_happens_to_a_character_nothing_else_is_read(data: st.DataObject) -> None:
    text = paste.block(data.draw(st.sampled_from([SIGNED, LONG])), 900)
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(["", "A", "-", "x\n", "\u200b"]) | st.characters())
    with contextlib.suppress(EnvtuiError):
        assert set(map(paste.bundle, paste.blocks(text[:at] + put + text[at + 1 :]))) <= {
            paste.bundle(SIGNED),
            paste.bundle(LONG),
        }


def test_garbage_is_looked_at_once() -> None:
    for garbage in ("B", "BEGIN ENVTUI ", "BEGIN ENVTUI REQUEST 1/2 ", "&lt;", "B" + " " * 99, "-" * 60 + "\n"):
        text = (garbage * (paste.TEXT_LIMIT // len(garbage) + 1))[: paste.TEXT_LIMIT]
        with contextlib.suppress(EnvtuiError):
            assert paste.blocks(text) == ()


def test_several_blocks_in_one_text() -> None:
    text = f"{paste.block(ANSWER)}and\n{paste.block(SIGNED)}{paste.block(SIGNED)}"
    assert paste.blocks(text) == (ANSWER, SIGNED, SIGNED)
    assert paste.read(text, "request") == SIGNED
    assert paste.read(text, "approve") == ANSWER
    with pytest.raises(UsageError, match="2 different request blocks"):
        paste.read(text + paste.block(OTHER), "request")


def test_what_is_no_whole_block_is_said() -> None:
    block = paste.block(SIGNED)
    lines = block.splitlines(keepends=True)
    with pytest.raises(UsageError, match="no request block"):
        paste.read("yes, do it", "request")
    with pytest.raises(UsageError, match="no end"):
        paste.read("".join(lines[:-1]), "request")
    with pytest.raises(UsageError, match="no end"):
        paste.read("".join(lines[:-1]) + block, "request")
    with pytest.raises(UsageError, match="changed on its way"):
        paste.read("".join(lines[:2] + lines[3:]), "request")
    with pytest.raises(UsageError, match="something else inside"):
        paste.read("".join([*lines[:2], "meera: what is this?\n", *lines[2:]]), "request")
    with pytest.raises(UsageError, match="too long"):
        paste.blocks("x" * (paste.TEXT_LIMIT + 1))


def packed(content: bytes, word: str = "REQUEST", extra: bytes = b"") -> str:
    inside = base64.urlsafe_b64encode(zlib.compress(content, 9) + extra).decode()
    return f"-----BEGIN ENVTUI {word}-----\n{inside}\n-----END ENVTUI {word}-----\n"


def test_a_small_block_that_unpacks_to_very_much_is_refused() -> None:
    bomb = packed(b"0" * (64 * 1024 * 1024))
    assert len(bomb) < 100_000
    with pytest.raises(Refused, match="unpacks to more"):
        paste.blocks(bomb)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"[]",
        b'{"kind":"request"}',
        canonical({"kind": "other", "body": "", "signature": "", "plan": ""}),
        canonical({"kind": "approve", "body": "", "signature": "", "plan": ""}),
        canonical({"kind": "request", "body": "", "signature": "", "plan": "", "more": 1}),
        canonical({"kind": "request", "body": "", "signature": ""}),
        canonical({"kind": "request", "body": 1, "signature": "", "plan": ""}),
        b'{"kind": "request", "body":"", "plan":"", "signature":""}',
        '{"kind":"é"}'.encode(),
        b"[" * 100_000,
    ],
)
def test_content_in_any_other_spelling_is_refused(content: bytes) -> None:
    with pytest.raises(Refused):
        paste.blocks(packed(content))


def test_something_behind_the_end_is_refused() -> None:
    with pytest.raises(UsageError, match="changed"):
        paste.blocks(packed(paste.bundle(SIGNED).encode(), extra=b"more"))


@given(st.text(max_size=400))
def test_any_text_at_all_gives_blocks_or_an_error_of_ours(text: str) -> None:
    hostile = text.replace("x", "-----BEGIN ENVTUI REQUEST-----").replace("y", "-----END ENVTUI REQUEST-----")
    with contextlib.suppress(EnvtuiError):
        assert paste.blocks(hostile) == ()
