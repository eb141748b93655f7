"""`capture`: a part of what came back, typed, under a name; or a table for a person to pick from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from envtui.core.act import Value
from envtui.core.errors import Failed, UsageError
from envtui.core.pattern import Pattern, safe_pattern
from envtui.core.ports import HEAD_BYTES, Reading
from envtui.core.runbook import Capture

from .expect import filled
from .pointer import at, parsed
from .values import typed_capture


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was captured: one value, or rows of a table (`columns` name their cells)."""

    value: Value | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of which a person picks one, or `many`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    many: bool = False


def capture(name: str, spec: Capture, reading: Reading, values: Mapping[str, str] | None = None) -> Taken | Offer:
    """What `spec` takes from `reading`. `values` fill `${…}` in `where` and `regex`.

    Raises Failed when it is not there, is not the only one where one was expected, or is not of its type.
    """
    known = values or {}
    try:
        match spec.from_:
            case "stdout":
                return _value(name, spec, _stdout(name, spec, reading, known))
            case "json":
                return _value(name, spec, at(parsed(reading.stdout), spec.path or ""))
            case "headers":
                return _value(name, spec, _header(name, spec, reading))
            case "lines":
                return _lines(name, spec, reading, known)
            case "rows":
                return _rows(name, spec, reading, known)
            case "answer":
                raise Failed(
                    f"{name} is a person's answer, not a part of the output.", "Capture it from a manual step."
                )
    except UsageError as error:
        raise Failed(f"Capture of {error.message}", "Look at the output; the book may expect another.") from error


def _value(name: str, spec: Capture, text: str) -> Taken:
    return Taken(value=typed_capture(name, spec.type, text))


def _stdout(name: str, spec: Capture, reading: Reading, values: Mapping[str, str]) -> str:
    head = reading.stdout[:HEAD_BYTES].decode(errors="replace")
    if spec.regex is None:
        if _cut(reading):
            raise Failed(f"Capture of {name}: the output is longer than what is read.", "Capture a part, by `regex`.")
        return head.strip()
    found = _pattern(spec.regex, values).search(head)
    if found is None:
        raise Failed(f"Capture of {name}: nothing in the output matches {spec.regex}.", "Look at the output.")
    return found.text if found.group is None else found.group


def _header(name: str, spec: Capture, reading: Reading) -> str:
    wanted = (spec.path or name).lower()
    found = [value for header, value in reading.headers if header.lower() == wanted]
    if len(found) != 1:
        raise Failed(f"Capture of {name}: the answer has {len(found)} headers {wanted}, not one.", "Look at it.")
    return found[0].strip()


def _lines(name: str, spec: Capture, reading: Reading, values: Mapping[str, str]) -> Taken | Offer:
    pattern = _pattern(spec.regex, values) if spec.regex is not None else None
    found: list[tuple[str, ...]] = []
    text = reading.stdout[:HEAD_BYTES].decode(errors="replace")
    for line in (each.rstrip("\r") for each in text.split("\n")):
        if not line.strip():
            continue
        if pattern is not None:
            match = pattern.search(line)
            if match is None:
                continue
            line = match.text if match.group is None else match.group
        found.append((typed_capture(name, spec.type, line).text,))
    chosen = _chosen(name, spec, (name,), tuple(found), _cut(reading))
    if isinstance(chosen, Taken) and spec.pick == "only":
        return _value(name, spec, chosen.rows[0][0])
    return chosen


def _rows(name: str, spec: Capture, reading: Reading, values: Mapping[str, str]) -> Taken | Offer:
    wanted = tuple(spec.columns) or reading.columns
    for column in (*wanted, *spec.where):
        if reading.columns.count(column) != 1:
            raise Failed(
                f"Capture of {name}: the result has {reading.columns.count(column)} columns {column!r}, not one.",
                f"It has: {', '.join(reading.columns) or 'none'}.",
            )
    at_ = {column: reading.columns.index(column) for column in (*wanted, *spec.where)}
    terms = [(at_[column], filled(text, values)) for column, text in spec.where.items()]
    found = tuple(
        tuple(_cell(name, spec, column, row[at_[column]]) for column in wanted)
        for row in reading.rows
        if all(row[index] == text for index, text in terms)
    )
    more = reading.truncated or (reading.row_count is not None and reading.row_count > len(reading.rows))
    return _chosen(name, spec, wanted, found, more)


def _cell(name: str, spec: Capture, column: str, cell: str | None) -> str:
    type_ = spec.columns.get(column, "string" if len(spec.columns) else spec.type)
    if cell is None:
        if type_ != "string":
            raise Failed(f"Capture of {name}: {column} is null, expected {type_}.", "Filter it out in the query.")
        return ""
    return typed_capture(f"{name}.{column}", type_, cell).text


def _chosen(
    name: str, spec: Capture, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...], more: bool
) -> Taken | Offer:
    if spec.pick in ("one", "many"):
        if not rows:
            raise Failed(f"Capture of {name}: there is nothing to pick from.", "Look at the output.")
        return Offer(columns=columns, rows=rows, many=spec.pick == "many")
    if more:
        raise Failed(f"Capture of {name}: there is more than what is read.", "Ask for less, or let a person pick.")
    if spec.pick == "only" and len(rows) != 1:
        raise Failed(
            f"Capture of {name}: there are {len(rows)} and not exactly one.", "Narrow it down, or let a person pick."
        )
    return Taken(columns=columns, rows=rows)


def picked(offer: Offer, indexes: Sequence[int]) -> Taken:
    """The rows that a person picked. Raises UsageError for none, for too many, and for rows that are not there."""
    if not indexes or (len(indexes) > 1 and not offer.many):
        raise UsageError(f"Pick {'at least one row' if offer.many else 'exactly one row'}.")
    if len(set(indexes)) != len(indexes) or any(not 0 <= index < len(offer.rows) for index in indexes):
        raise UsageError(f"There are rows 1 to {len(offer.rows)}.", "Pick of them, each once.")
    return Taken(columns=offer.columns, rows=tuple(offer.rows[index] for index in indexes))


def _pattern(regex: str, values: Mapping[str, str]) -> Pattern:
    return safe_pattern(filled(regex, values, pattern=True))


def _cut(reading: Reading) -> bool:
    return reading.truncated or len(reading.stdout) >= HEAD_BYTES
