"""Blocks for a chat: what chats do to text is undone, what is inside has one spelling and a size."""

from __future__ import annotations

import base64
import contextlib
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
