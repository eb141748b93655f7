"""`${…}` in the texts of a book: found, checked, and filled with data that is never read again as a template.

`$${` stands for the two characters `${`. There is no logic, no default, no nesting: a name, or an error that says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from envtui.core.act import Part, Ref, SecretRef, Text, Value
from envtui.core.errors import UsageError
from envtui.core.runbook import ValueType

_NAME = re.compile(r"(params|vars|run|each)(\.[A-Za-z_][A-Za-z0-9_-]*){1,2}")
RUN_NAMES = ("id", "environment", "incident", "operator", "date", "host")


class Given(msgspec.Struct, frozen=True):
    """A place whose value is known: data from outside the book, kept apart from the book's own text until it is joined."""

    name: str
    value: Value


Piece = str | Given | Ref | SecretRef


class Scope(msgspec.Struct, frozen=True):
    """What names mean while a plan is made: `known` has values now, `later` has types now and values at run time."""

    known: Mapping[str, Value] = msgspec.field(default_factory=dict)
    later: Mapping[str, ValueType] = msgspec.field(default_factory=dict)

    def at(self, member: str) -> Scope:
        """The same with `${run.host}` being `member`."""
        return replace(self, known={**self.known, "run.host": Value(type="host", text=member, origin="run")})

    def comes(self, name: str) -> bool:
        """Whether a value of that name can come later; `vars.x.*` in `later` stands for any column of x."""
        return name in self.later or f"{name.rpartition('.')[0]}.*" in self.later

    def type_of(self, name: str) -> str:
        """The value type of a name, `string` where none was declared."""
        if name in self.known:
            return self.known[name].type
        return self.later.get(name, "string")


def parse(text: str, where: str = "") -> tuple[str | Ref, ...]:
    """The literal parts and places of `text`. Raises UsageError for a `${` that is none, with its column."""
    parts: list[str | Ref] = []
    literal: list[str] = []
    at = 0
    while (found := text.find("${", at)) >= 0:
        if found > at and text[found - 1] == "$":
            literal.append(text[at : found - 1] + "${")
            at = found + 2
            continue
        literal.append(text[at:found])
        end = text.find("}", found)
        name = text[found + 2 : end] if end >= 0 else ""
        if end < 0 or not _NAME.fullmatch(name):
            shown = text[found : end + 1] if end >= 0 else text[found : found + 24]
            raise UsageError(
                f"{_at(where, text, found)}{shown!r} names nothing.",
                "Write ${params.NAME}, ${vars.NAME} or ${run.NAME}; $${ is a literal ${.",
            )
        if joined := "".join(literal):
            parts.append(joined)
        literal = []
        parts.append(Ref(name))
        at = end + 1
    literal.append(text[at:])
    if joined := "".join(literal):
        parts.append(joined)
    return tuple(parts)


def names(text: str) -> tuple[str, ...]:
    """The names of the places in `text`, in order. Raises UsageError as `parse` does."""
    return tuple(part.name for part in parse(text) if isinstance(part, Ref))


def pieces(text: str, scope: Scope, where: str = "") -> tuple[Piece, ...]:
    """`text` with what is known now in its places. Raises UsageError for a name that is neither known nor comes later."""
    return tuple(piece if isinstance(piece, str) else _named(piece, text, scope, where) for piece in parse(text, where))


def join(parts: tuple[Piece, ...], spelt: Callable[[str], str] = str) -> Text:
    """The pieces as an act carries them: known values spelt by `spelt` and joined to the literal text around them."""
    text: list[Part] = []
    for piece in parts:
        part: Part = spelt(piece.value.text) if isinstance(piece, Given) else piece
        if isinstance(part, str) and text and isinstance(text[-1], str):
            text[-1] += part
        elif part != "":
            text.append(part)
    return tuple(text)


def plain(text: str, scope: Scope, where: str) -> str:
    """`text` filled completely. Raises UsageError where a value comes later or is secret."""
    filled = join(pieces(text, scope, where))
    for part in filled:
        if not isinstance(part, str):
            raise UsageError(
                f"{where}: ${{{_name(part)}}} cannot stand here.",
                "Only parameters that are not secret and ${run.…} can: this text is fixed when the plan is made.",
            )
    return "".join(part for part in filled if isinstance(part, str))


def prose(text: str, values: Mapping[str, str]) -> str:
    """`text` for people: names that have no value yet stand as ‹name›, and what is no template stays as it is."""
    try:
        parts = parse(text)
    except UsageError:
        return text
    return "".join(part if isinstance(part, str) else values.get(part.name, f"‹{part.name}›") for part in parts)


def _named(ref: Ref, text: str, scope: Scope, where: str) -> Piece:
    name = ref.name
    if name in scope.known:
        value = scope.known[name]
        if value.secret:
            return SecretRef(name.partition(".")[2], value.reference)
        return Given(name, value)
    if scope.comes(name):
        return ref
    from difflib import get_close_matches

    close = get_close_matches(name, [*scope.known, *(each for each in scope.later if not each.endswith("*"))], 1)
    remedy = f"Did you mean ${{{close[0]}}}?" if close else _remedy(name)
    raise UsageError(f"{_at(where, text, text.find('${' + name))}${{{name}}} is not known here.", remedy)


def _remedy(name: str) -> str:
    kind = name.partition(".")[0]
    if kind == "vars":
        return "A step must capture it, or ask for it (${vars.STEP.NAME})."
    if kind == "run":
        return f"There are: {', '.join('run.' + n for n in RUN_NAMES)}."
    if kind == "each":
        return "${each.…} belongs to a step with `each`."
    return "Declare it under `params`."


def _name(part: Ref | SecretRef) -> str:
    return part.name if isinstance(part, Ref) else f"params.{part.name}"


def _at(where: str, text: str, column: int) -> str:
    line = text.count("\n", 0, column)
    place = f"character {column - text.rfind(chr(10), 0, column)}"
    if line:
        place = f"line {line + 1}, {place}"
    return f"{where}: {place}: " if where else f"{place}: "


def merged(text: Text) -> Text:
    """The same text with neighbouring literals joined and empty ones left out: one spelling for one meaning."""
    return join(text)
