"""A book as its text: YAML that the strict reader takes back as the very same book.

Words that could mean something to some YAML stand in quotes; what a reader could not see is spelt out in escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from envtui.core.errors import UsageError
from envtui.core.runbook import Runbook

_PLAIN = re.compile(r"[a-z][a-z0-9_-]{0,60}(?:@1)?")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_LINES = re.compile(r"[!-~](?:[ -~]*[!-~])?(?:\n(?:[ -~]*[!-~])?)*[!-~]")
_WIDE = 100
"""Characters of a list up to which it stands on one line."""


def written(book: Runbook) -> str:
    """The text. Raises UsageError for characters that no file can hold."""
    data: dict[str, object] = msgspec.to_builtins(book)
    first: dict[str, object] = {name: data.pop(name) for name in ("schema", "id", "environment", "title", "owner")}
    steps: dict[str, object] = {name: data.pop(name) for name in ("before", "steps", "after") if name in data}
    return "".join(f"{line}\n" for line in _object({**first, **data, **steps}))


def _object(data: Mapping[str, object]) -> Iterator[str]:
    kind = {"kind": data["kind"]} if "kind" in data else {}
    ordered = {**({"id": data["id"]} if "id" in data and kind else {}), **kind, **data}
    for name, value in ordered.items():
        yield from _under(f"{_scalar(name)}:", value)


def _under(head: str, value: object) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value and _LINES.fullmatch(value):
        yield f"{head} |-"
        yield from (f"  {line}" if line else "" for line in value.split("\n"))
        return
    flow = _flow(value)
    if flow is not None and (not isinstance(value, list | tuple | Mapping) or len(head) + len(flow) <= _WIDE):
        yield f"{head} {flow}"
        return
    yield head
    if isinstance(value, Mapping):
        yield from (f"  {line}" for line in _object(value))
        return
    assert isinstance(value, list | tuple)
    for item in value:
        if isinstance(item, Mapping):
            lines = list(_object(item))
            yield f"  - {lines[0]}"
            yield from (f"    {line}" if line else "" for line in lines[1:])
        else:
            yield f"  - {_flow(item)}"


def _flow(value: object) -> str | None:
    """On one line; None for what has objects in it."""
    if isinstance(value, Mapping):
        parts = [(_scalar(str(key)), _flow(item)) for key, item in value.items()]
        simple = all(
            part is not None and not isinstance(item, Mapping)
            for (_, part), item in zip(parts, value.values(), strict=True)
        )
        return "{" + ", ".join(f"{key}: {part}" for key, part in parts) + "}" if simple else None
    if isinstance(value, list | tuple):
        items = [None if isinstance(item, Mapping) else _flow(item) for item in value]
        return None if None in items else "[" + ", ".join(item for item in items if item is not None) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text not in _WORDS:
        return text
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xD800 <= code <= 0xDFFF:
        raise UsageError("There are bytes in it that are not UTF-8.", "Put them into a file of the tree.")
    if character.isprintable() and not 0xE0000 <= code <= 0xE0FFF:
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
