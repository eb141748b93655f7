"""Text from outside, made harmless: what a terminal would obey becomes what a person can see.

A sequence that a terminal would carry out (colours, titles, clipboard, cursor moves) is removed as a whole, its payload with
it. A single control character becomes its picture (`␍`), an invisible or direction-changing one its number (`<U+202E>`), a
byte that is no UTF-8 its value (`<0xFF>`). Only a *terminated* string sequence is removed, and never past a line's end: an
unterminated one stays readable, so that nothing can hide the output after it.

`clean` is idempotent, linear in its input, and gives the same whatever pieces the bytes arrived in, because it looks at
whole lines. It does not touch markup: whoever shows text shows it as literal text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NewType

Clean = NewType("Clean", str)
"""Text that went through `clean`: no control characters but newline and tab, nothing invisible, bounded."""

LIMIT = 4096
"""Characters at most in one cleaned text, unless the caller says otherwise."""

MARKS_PER_CELL = 4
"""Combining marks at most on one character (Vietnamese and Hebrew need three)."""

# Format, filler and direction characters, variation selectors, tags, non-characters, surrogates: nothing of them shows.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)

UNSAFE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_INVISIBLE}]")
"""One character that must not reach a terminal: the last line of defence, for a Textual line filter (`backstop`)."""

# A sequence may be introduced by ESC and a letter, by a C1 character, or by the raw byte (decoded as a lone surrogate).
_CSI = "(?:\x1b\\[|[\x9b\udc9b])[0-?]*+[ -/]*+[@-~]"
_SHORT = "\x1b[ -/]*+[0-OQ-WYZ`-~\\\\]"  # ESC, intermediates, a final that opens nothing
_STRING = "(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f\udc90\udc98\udc9d-\udc9f])"
_END = "\x07|\x1b\\\\|[\x9c\udc9c]"
_SIMPLE = re.compile(f"{_CSI}|{_SHORT}")
# An unterminated string is matched up to its line's end as well, so that many of them cannot make this quadratic.
# Not possessive: before 3.11.5 such a group loses its place (gh-100061), and what follows it cannot fail anyway.
_SEQUENCE = re.compile(f"{_STRING}(?:(?!{_END})[^\n])*(?P<end>{_END})?|{_CSI}|{_SHORT}")
_RETURN_BEFORE_NEWLINE = re.compile("\r+(?=\n|\\Z)")
_PLAIN = re.compile("[\t\n -~]*")


def clean(text: str | bytes, limit: int = LIMIT) -> Clean:
    """`text` as it may be shown, stored in a report or copied. At most `limit` characters; a cut says how many more."""
    beyond = max(0, len(text) - limit * 16)  # what could not be shown anyway is not looked at
    if beyond:
        text = text[: limit * 16]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if not _PLAIN.fullmatch(text):
        text = _SEQUENCE.sub(_without_sequence, text)
        text = _RETURN_BEFORE_NEWLINE.sub("", text)
        text = UNSAFE.sub(_visible, text)
        if not text.isascii():
            text = _thinned(text)
    if len(text) > limit or beyond:
        text = _cut(text, limit, beyond)
    return Clean(text)


def clean_line(text: str | bytes, limit: int = LIMIT) -> Clean:
    """Like `clean`, for a single line (a title, a table's cell): a newline is shown as `␊`, a tab as a space."""
    return Clean(clean(text, limit).replace("\n", "\u240a").replace("\t", " "))


def backstop(text: str) -> str:
    """`text` with every unsafe character made visible; for the last filter before the terminal, which sees fragments."""
    return text if text.isascii() and text.isprintable() else UNSAFE.sub(_visible, text)


def mixed_scripts(text: str) -> bool:
    """A Latin word with Cyrillic, Greek or other look-alike letters in it: flag it wherever a name identifies something."""
    if text.isascii():
        return False
    for word in re.findall(r"[^\W\d_]+", text):
        scripts = {unicodedata.name(letter, "?").split(" ")[0] for letter in word}
        if len(scripts) > 1 and "LATIN" in scripts:
            return True
    return False


def _without_sequence(match: re.Match[str]) -> str:
    found = match.group()
    if not re.match(_STRING, found) or match.group("end") is not None:
        return ""
    # Unterminated: the introducer becomes visible, the rest is text, in which shorter sequences may still be.
    return _visible_text(found[0]) + _SIMPLE.sub("", found[1:])


def _visible(match: re.Match[str]) -> str:
    return _visible_text(match.group())


def _visible_text(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0xDC80 <= code <= 0xDCFF:
        return f"<0x{code - 0xDC00:02X}>"
    return f"<U+{code:04X}>"


def _thinned(text: str) -> str:
    out: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if character >= "\u0300" and unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= MARKS_PER_CELL:
            out.append(character)
    return "".join(out)


def _cut(text: str, limit: int, beyond: int) -> str:
    mark = ""
    # The mark's own length depends on the number in it: twice is enough for the digits to settle.
    for _ in range(3):
        keep = max(0, limit - len(mark))
        mark = f" …[+{len(text) - keep + beyond}]"
    return (text[: max(0, limit - len(mark))] + mark)[:limit]
