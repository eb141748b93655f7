"""Strict YAML: plain text, lists and objects, each with its line and column; everything else is an error.

PyYAML's C parser gives events; what they mean is decided here. Scalars stay text, because YAML's own guesses are wrong
for runbooks (`22:30` is 1350, `on` is True, `1.10` is 1.1) and the schema knows the type. Aliases, anchors, tags, double
keys, `null`, a second document, invisible characters and anything beyond the bounds are problems. They are collected, as
far as the parser can go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from envtui.core.errors import Problem, Unsound
from envtui.core.tree import Path, Place
from envtui.outside.trees.libyaml import (
    AliasEvent,
    CParser,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
    YAMLError,
)
from envtui.outside.trees.syntax import syntax_problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 24
"""Objects and lists in one another. Books need 8; the C parser overflows its stack at some 100,000."""

_CONTROLS = bytes(set(range(32)) - {9, 10, 13} | {127})
# What a reader of the file cannot see, or sees in another order than the parser (CVE-2021-42574).
_INVISIBLE = re.compile(
    r"[\u0080-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e0fff]"
)
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})


class Document(msgspec.Struct, frozen=True):
    """One parsed file. `data` is str, list and dict only; None when the parser had to give up.

    `values` has the place of each value, `keys` the place of each key of an object; lines and columns count from 1.
    """

    data: object
    values: dict[Path, Place]
    keys: dict[Path, Place]
    problems: tuple[Problem, ...]

    def place(self, path: Path) -> Place:
        """Where `path` is: its key, or the item itself in a list; the nearest thing around it when it is not there."""
        while path not in self.keys and path not in self.values:
            path = path[:-1]
        return self.keys.get(path) or self.values[path]


class Positions(Mapping[Path, Place]):
    """The places of one file, computed when first asked for from the bytes that were read (10,000 books would hold 200 MB)."""

    __slots__ = ("_places", "_source")

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._places: dict[Path, Place] | None = None

    def _all(self) -> dict[Path, Place]:
        if self._places is None:
            document = parse(self._source, "")
            self._places = {**document.values, **document.keys}
        return self._places

    def __getitem__(self, path: Path) -> Place:
        return self._all()[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def parse(source: bytes, file: str) -> Document:
    """Parse one document; `file` is the name in its problems. Raises Unsound when PyYAML came without libyaml."""
    if CParser is None:
        # No fall-back: the pure parser is ten times slower and accepts other files.
        raise Unsound("PyYAML is installed without libyaml.", "Install its wheel, or libyaml's headers before it.")
    problem = _bytes_problem(source, file)
    if problem is not None:
        return Document(None, {(): (1, 1)}, {}, (problem,))
    return _Reader(source, file).document()


def _bytes_problem(source: bytes, file: str) -> Problem | None:
    """What makes the bytes unfit before YAML is even asked."""
    if len(source) > MAX_BYTES:
        return Problem(file, 0, 0, f"{len(source)} bytes are more than the {MAX_BYTES} that a file may have.")
    if source.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return Problem(file, 1, 1, "the file begins with a byte order mark.", "Save it as UTF-8 without one.")
    if len(source.translate(None, _CONTROLS)) != len(source):
        at = next(index for index, byte in enumerate(source) if byte in _CONTROLS)
        line, column = _place(source[:at].decode("utf-8", "replace"))
        return Problem(
            file, line, column, f"the control character 0x{source[at]:02x}.", r'Write it as "\xNN" in quotes.'
        )
    if source.isascii():
        return None
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(source[: error.start].decode("utf-8", "replace"))
        return Problem(file, line, column, f"the byte 0x{source[error.start]:02x} is not UTF-8.", "Save it as UTF-8.")
    if found := _INVISIBLE.search(text):
        line, column = _place(text[: found.start()])
        code = f"U+{ord(found.group()):04X}"
        return Problem(
            file, line, column, f"the invisible character {code}.", r'Remove it, or write it as "\u…" in quotes.'
        )
    return None


def _place(before: str) -> Place:
    line = before.count("\n") + 1
    return line, len(before) - (before.rfind("\n") + 1) + 1


class _GaveUp(Exception):
    """The parser cannot go on; the problem is recorded."""


class _Reader:
    """One pass over the events of one file."""

    def __init__(self, source: bytes, file: str) -> None:
        self._source = source
        self._file = file
        assert CParser is not None
        self._next = CParser(source).get_event
        self._values: dict[Path, Place] = {}
        self._keys: dict[Path, Place] = {}
        self._problems: list[Problem] = []

    def document(self) -> Document:
        data: object = None
        try:
            event = self._next()
            while isinstance(event, StreamStartEvent | DocumentStartEvent):
                event = self._next()
            if isinstance(event, StreamEndEvent):
                self._problems.append(Problem(self._file, 0, 0, "the file is empty."))
                raise _GaveUp
            data = self._node(event, (), 1)
            self._next()  # the document's end
            event = self._next()
            if not isinstance(event, StreamEndEvent):
                self._report(event, "a second document begins here.", "A file is one document: remove the '---'.")
        except _GaveUp:
            data = None
        except YAMLError as error:
            self._problems.append(syntax_problem(error, self._source.decode(), self._file))
            data = None
        self._values.setdefault((), (1, 1))
        return Document(data, self._values, self._keys, tuple(self._problems))

    def _node(self, event: Any, path: Path, depth: int) -> object:
        mark = event.start_mark
        self._values[path] = (mark.line + 1, mark.column + 1)
        kind = type(event)
        if kind is ScalarEvent and event.anchor is None and event.tag is None:  # nearly all of them
            plain: str = event.value
            if plain in _NOTHING and event.implicit[0]:
                self._nothing(path, plain)
            return plain
        if kind is AliasEvent:
            self._report(event, f"an alias (*{event.anchor}).", "Quote it if the * is meant; else write the value out.")
            return ""
        if event.anchor is not None:
            self._report(event, f"an anchor (&{event.anchor}).", "Quote it if the & is meant; else leave it out.")
        if event.tag is not None:
            self._report(event, f"a tag ({event.tag}).", "Quote it if the ! is meant; else leave it out.")
        if kind is ScalarEvent:
            return event.value
        if depth > MAX_DEPTH:
            self._report(event, f"more than {MAX_DEPTH} objects and lists in one another.")
            raise _GaveUp
        if kind is MappingStartEvent:
            return self._object(path, depth)
        return self._list(path, depth)

    def _object(self, path: Path, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        end, scalar = MappingEndEvent, ScalarEvent
        while type(event := self._next()) is not end:
            if type(event) is not scalar:
                self._report(event, "a key that is not text.", "Quote it if it begins with { [ * or &.")
                self._node(event, (*path, ""), depth + 1)
                self._node(self._next(), (*path, ""), depth + 1)
                continue
            key: str = event.value
            inner = (*path, key)
            mark: Any = event.start_mark
            place = (mark.line + 1, mark.column + 1)
            if event.anchor is not None or event.tag is not None:
                self._report(event, "a key with an anchor or a tag.", "Leave it out.")
            if key in found:
                first = self._keys[inner][0]
                self._report(event, f"{key!r} is here for the second time; the first is in line {first}.", "Keep one.")
                self._node(self._next(), (*inner, ""), depth + 1)
                continue
            self._keys[inner] = place
            found[key] = self._node(self._next(), inner, depth + 1)
        return found

    def _list(self, path: Path, depth: int) -> list[object]:
        found: list[object] = []
        end = SequenceEndEvent
        while type(event := self._next()) is not end:
            found.append(self._node(event, (*path, len(found)), depth + 1))
        return found

    def _nothing(self, path: Path, text: str) -> None:
        line, column = self._keys.get(path, self._values[path])
        what = f"{text} is not a value here." if text else "the value is missing."
        remedy = "Leave the key out, or put the text in quotes."
        self._problems.append(Problem(self._file, line, column, what, remedy))

    def _report(self, event: Any, message: str, remedy: str = "") -> None:
        mark: Any = event.start_mark
        self._problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message, remedy))
