"""`if` of a step: one comparison, decided by what was captured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from envtui.core.act import Ref
from envtui.core.errors import UsageError

from .template import parse

_SHAPE = re.compile(r"\s*(\$\{[^}]*\})\s*(==|!=|<=|>=|<|>)\s*(.*?)\s*", re.DOTALL)
_REMEDY = "Write ${vars.NAME} == text, !=, or <, <=, >, >= and a number."


def holds(expression: str, values: Mapping[str, str]) -> bool:
    """Whether `${name} OPERATOR literal` is true. `==` and `!=` compare text, the others numbers.

    An empty expression holds. Raises UsageError when it is no condition, names a value that is not there, or compares
    what is no number: no step is skipped, and none runs, for lack of data.
    """
    if not expression.strip():
        return True
    name, operator, literal = split(expression)
    if name not in values:
        raise UsageError(f"The condition {expression!r} needs ${{{name}}}, and no step has captured it.", _REMEDY)
    return compare(values[name], operator, literal)


def split(expression: str) -> tuple[str, str, str]:
    """(name, operator, literal) of a condition. Raises UsageError; `lint` asks before anything runs."""
    found = _SHAPE.fullmatch(expression)
    if found is None:
        raise UsageError(f"{expression!r} is no condition.", _REMEDY)
    (place,) = parse(found[1])
    assert isinstance(place, Ref)
    literal = unquoted(found[3])
    if found[2] not in ("==", "!="):
        _number(literal)
    return place.name, found[2], literal


def unquoted(literal: str) -> str:
    """The literal without the quotes that may stand around it."""
    return literal[1:-1] if len(literal) > 1 and literal[0] in "\"'" and literal[-1] == literal[0] else literal


def compare(value: str, operator: str, literal: str) -> bool:
    """`value OPERATOR literal`: text for `==` and `!=` (1.10 is not 1.1), numbers otherwise. Raises UsageError."""
    if operator in ("==", "!="):
        return (value == literal) == (operator == "==")
    left, right = _number(value), _number(literal)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise UsageError(f"{text[:80]!r} is no number.", _REMEDY)
    return number
