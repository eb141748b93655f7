"""What the file formats share: the base of every document object, and the annotated scalars."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An object of a file. Frozen; unknown keys are errors; `as`, `if`, `for`, … end in `_` in Python only."""


# `$` alone would also match before a final line end: "(?!\n)" says the end, in Python and in JSON Schema alike.
Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]*$(?!\n)", max_length=64, description="lower-case letters, digits, - and _")
]
StepId = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]*$(?!\n)", max_length=24, description="a name of at most 24 characters")
]
# 24: the id travels in PostgreSQL's application_name, which ends after 63 bytes.
Duration = Annotated[
    str, Meta(pattern=r"^[0-9]+(ms|s|m|h|d)$(?!\n)", description="a number and a unit: 500ms, 30s, 15m, 4h, 7d")
]
Title = Annotated[str, Meta(min_length=1, max_length=200)]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str) -> float:
    """Seconds in a `Duration`. Raises ValueError when the text is none."""
    digits = duration.rstrip("mshd")
    unit = _UNITS.get(duration[len(digits) :])
    if unit is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise ValueError(f"{duration[:80]!r} is no duration: a number and ms, s, m, h or d")
    return int(digits) * unit


def span(milliseconds: int) -> str:
    """A length of time for people, the two largest units of it: `0.42 s`, `12 s`, `3 min 5 s`, `2 h`, `1 d 6 h`."""
    whole = max(0, milliseconds) // 1000
    if whole < 10:
        return f"{max(0, milliseconds) / 1000:.2f}".rstrip("0").rstrip(".") + " s"
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s"))
    first = next(at for at, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)
