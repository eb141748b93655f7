"""`${…}` in SQL: each becomes a bind parameter, so that a value is never part of the statement."""

from __future__ import annotations

import re

from envtui.core.act import Text
from envtui.core.errors import UsageError

from .template import Given, Piece, Scope, join, pieces

# What PostgreSQL reads as one thing, with an end that may be missing: strings, names, dollar quotes, line comments.
_SPAN = re.compile(
    r"""\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)"""
    r"""|\$((?:[A-Za-z_]\w*)?)\$.*?(?:\$\1\$|\Z)|--[^\n]*|/\*""",
    re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")
_MARK = re.compile("\0([0-9]+)\0")
_OWN = re.compile(r"(?<![\w$])\$[0-9]+")
_CAST = re.compile(r"\s*::\s*([A-Za-z_\"][\w .\"\[\]]*)")
# An int has no type of its own: int4 functions (pg_terminate_backend) are not found for an int8.
_TYPES = {"bool": "bool", "duration": "interval", "timestamp": "timestamptz"}


def sql_binds(text: str, scope: Scope, where: str) -> tuple[str, tuple[tuple[Text, str], ...]]:
    """The statement with `$1`… and what fills them: (text, PostgreSQL type, '' where the statement itself says it).

    A name that stands twice with the same cast is one parameter, as GROUP BY needs it. `ident` values are quoted names.
    Raises UsageError: a place inside quotes or a comment, the statement's own `$1` beside ours, an identifier that is not
    known yet.
    """
    if "\0" in text:
        raise UsageError(f"{where}: SQL cannot hold a NUL character.", "Remove it.")
    parts = pieces(text, scope, where)
    marked = "".join(part if isinstance(part, str) else f"\0{number}\0" for number, part in enumerate(parts))
    spans = _spans(marked)
    for start, end in spans:
        if found := _MARK.search(marked, start, end):
            raise UsageError(
                f"{where}: ${{{_name(parts[int(found[1])])}}} stands inside quotes or a comment.",
                "Write it without the quotes: it is bound, not pasted. Join texts with ||.",
            )
    binds: list[tuple[Text, str]] = []
    numbers: dict[tuple[str, str], int] = {}

    def spell(found: re.Match[str]) -> str:
        part = parts[int(found[1])]
        assert not isinstance(part, str)
        name = _name(part)
        kind = scope.type_of(name)
        if kind == "ident":
            if not isinstance(part, Given):
                raise UsageError(f"{where}: the identifier ${{{name}}} is not known yet.", "Make it a parameter.")
            return ".".join(f'"{each}"' for each in part.value.text.split("."))
        cast = _CAST.match(marked, found.end())
        key = (name, cast[1].strip().lower() if cast else "")
        if key not in numbers:
            numbers[key] = len(binds) + 1
            binds.append((join((part,)) or ("",), "" if cast else _TYPES.get(kind, "")))
        return f"${numbers[key]}"

    spelt = _MARK.sub(spell, marked)
    if binds and any(not _inside(found.start(), spans) for found in _OWN.finditer(marked)):
        raise UsageError(f"{where}: the statement has a $1 of its own beside ${{…}}.", "Use ${…} for all of them.")
    return spelt, tuple(binds)


def _name(part: Piece) -> str:
    assert not isinstance(part, str)
    return part.name if part.name.partition(".")[0] in ("params", "vars", "run") else f"params.{part.name}"


def _inside(at: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= at < end for start, end in spans)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where quotes and comments are; block comments nest."""
    spans = []
    at = 0
    while found := _SPAN.search(text, at):
        start, at = found.span()
        if found[0] == "/*":
            depth = 1
            while depth and (mark := _COMMENT.search(text, at)):
                depth += 1 if mark[0] == "/*" else -1
                at = mark.end()
            at = len(text) if depth else at
        spans.append((start, at))
    return spans
