"""From plain data to the types of the file formats, with every error at its place.

msgspec converts in one go and stops at the first error. Only when it refuses, a walk over the same types collects all of
them, in words: what was expected, what is unknown (and what was probably meant), what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from envtui.core.environment import Environment
from envtui.core.errors import Problem
from envtui.core.runbook import Runbook
from envtui.core.tree import Path
from envtui.outside.trees.yaml import Document

T = TypeVar("T")

_QUOTE = "Quote it if the ': ' belongs to the text."


def shape(document: Document, kind: type[T], file: str) -> tuple[T | None, tuple[Problem, ...]]:
    """The document as a `kind`, or None and every problem of the file: those of its YAML and those of its fields."""
    if document.data is None:
        return None, document.problems
    try:
        value = msgspec.convert(document.data, kind, strict=False)
    except msgspec.ValidationError as error:
        found = list(_walk(document.data, inspect.type_info(kind), ()))
        if not found:  # a rule of msgspec's that the walk does not know
            found = [((), f"{error}.", "")]
    else:
        return (None, document.problems) if document.problems else (value, ())
    said = {(problem.line, problem.column) for problem in document.problems}
    problems = [
        Problem(file, *place, message, remedy)
        for path, message, remedy in found
        if (place := document.place(path)) not in said
    ]
    return None, tuple(sorted((*document.problems, *problems)))


def json_schema(what: str) -> dict[str, Any]:
    """JSON Schema of a `runbook` or an `environment`, from the types that the loader uses."""
    kinds: dict[str, type] = {"runbook": Runbook, "environment": Environment}
    schema: dict[str, Any] = msgspec.json.schema(kinds[what])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"envtui {what}", **schema}


Finding = tuple[Path, str, str]


def _walk(data: object, kind: inspect.Type, path: Path, description: str = "") -> Iterator[Finding]:
    """Every way in which `data` is not a `kind`."""
    if isinstance(kind, inspect.Metadata):
        text = (kind.extra_json_schema or {}).get("description", "")
        yield from _walk(data, kind.type, path, text)
    elif isinstance(kind, inspect.UnionType):
        yield from _union(data, kind, path, description)
    elif isinstance(kind, inspect.StructType):
        yield from _struct(data, kind, path)
    elif isinstance(kind, inspect.DictType):
        if not isinstance(data, Mapping):
            yield _expected(data, "an object", path)
            return
        for key, item in data.items():
            for _, message, remedy in _walk(key, kind.key_type, (*path, key)):
                yield (*path, key), f"the key {key!r}: {message}", remedy
            yield from _walk(item, kind.value_type, (*path, key))
        yield from _length(data, kind, path)
    elif isinstance(kind, inspect.VarTupleType):
        if not isinstance(data, list):
            yield _expected(data, "a list", path)
            return
        for index, item in enumerate(data):
            yield from _walk(item, kind.item_type, (*path, index))
        yield from _length(data, kind, path)
    else:
        wanted = _scalar(data, kind, description)
        if wanted:
            yield _expected(data, wanted, path)


def _union(data: object, kind: inspect.UnionType, path: Path, description: str) -> Iterator[Finding]:
    members = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    structs = [each for each in members if isinstance(each, inspect.StructType) and each.tag_field]
    if structs and isinstance(data, dict):
        yield from _tagged(data, structs, path)
        return
    fits = [each for each in members if isinstance(data, _python(each))]
    if not fits:
        names = dict.fromkeys(_name(each) for each in members)
        yield _expected(data, " or ".join(names), path)
        return
    findings = [list(_walk(data, each, path, description)) for each in fits]
    if all(findings):
        # The first is the type that is meant most often; a mix of complaints about one value helps nobody.
        yield from findings[0]


def _tagged(data: dict[str, object], structs: list[inspect.StructType], path: Path) -> Iterator[Finding]:
    field = structs[0].tag_field or ""
    tags = [str(each.tag) for each in structs]
    tag = data.get(field)
    if tag is None:
        yield path, f"{field} is missing: one of {', '.join(tags)}.", ""
        return
    for each in structs:
        if each.tag == tag:
            yield from _struct(data, each, path, others=structs)
            return
    yield (*path, field), f"{field}: expected one of {', '.join(tags)}, found {_found(tag)}.", _did_you_mean(tag, tags)


def _struct(
    data: object, kind: inspect.StructType, path: Path, others: list[inspect.StructType] | None = None
) -> Iterator[Finding]:
    if not isinstance(data, dict):
        yield _expected(data, "an object", path)
        return
    fields = {field.encode_name: field for field in kind.fields}
    known = [*fields, *([kind.tag_field] if kind.tag_field else [])]
    for key, item in data.items():
        if key in fields:
            yield from _walk(item, fields[key].type, (*path, key))
        elif key != kind.tag_field:
            yield (*path, key), f"unknown key {key!r}.", _elsewhere(key, others or []) or _did_you_mean(key, known)
    missing = [name for name, field in fields.items() if field.required and name not in data]
    if missing:
        yield path, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.", ""


def _elsewhere(key: str, others: list[inspect.StructType]) -> str:
    """For a field in a step of the wrong kind."""
    kinds = [str(each.tag) for each in others if any(field.encode_name == key for field in each.fields)]
    return f"It is a field of {' and '.join(kinds)}." if kinds else ""


def _did_you_mean(word: object, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(word), known, 1, 0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _scalar(data: object, kind: inspect.Type, description: str) -> str:
    """What was expected, or '' when the data is that."""
    if isinstance(kind, inspect.LiteralType):
        values = [str(value) for value in kind.values]
        return "" if isinstance(data, str) and data in values else _name(kind)
    if isinstance(kind, inspect.StrType):
        if not isinstance(data, str):
            return description or "text"
        if kind.pattern is not None and not re.search(kind.pattern, data):
            return description or f"text like {kind.pattern}"
        if kind.max_length is not None and len(data) > kind.max_length:
            return f"at most {kind.max_length} characters"
        if kind.min_length is not None and len(data) < kind.min_length:
            return "text that is not empty" if kind.min_length == 1 else f"at least {kind.min_length} characters"
        return ""
    if isinstance(kind, inspect.BoolType):
        return "" if _converts(data, bool) else "true or false"
    if isinstance(kind, inspect.IntType):
        if not _converts(data, int):
            return _name(kind)
        number = msgspec.convert(data, int, strict=False)
        low = kind.ge is None or number >= kind.ge
        high = kind.le is None or number <= kind.le
        return "" if low and high else _name(kind)
    return ""


def _converts(data: object, kind: type) -> bool:
    try:
        msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError:
        return False
    return True


def _length(data: Mapping[str, object] | list[object], kind: Any, path: Path) -> Iterator[Finding]:
    if kind.min_length is not None and len(data) < kind.min_length:
        yield path, f"{_label(path)}at least {kind.min_length} is needed.", ""


def _python(kind: inspect.Type) -> type:
    """The plain type that data for `kind` has."""
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    if isinstance(kind, inspect.StructType | inspect.DictType):
        return dict
    return list if isinstance(kind, inspect.VarTupleType) else str


def _name(kind: inspect.Type) -> str:
    """A type in words."""
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or _name(kind.type)
    if isinstance(kind, inspect.LiteralType):
        values = [str(value) for value in kind.values]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if isinstance(kind, inspect.IntType):
        bounds = [f"at least {kind.ge}"] if kind.ge is not None else []
        bounds += [f"at most {kind.le}"] if kind.le is not None else []
        return "a whole number" + (f", {' and '.join(bounds)}" if bounds else "")
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.VarTupleType):
        return "a list"
    return "an object" if _python(kind) is dict else "text"


def _expected(data: object, wanted: str, path: Path) -> Finding:
    # `[echo, a: b]` is a list of text and an object: YAML's doing, and nearly never meant.
    remedy = _QUOTE if isinstance(data, dict) and path and isinstance(path[-1], int) and wanted != "an object" else ""
    return path, f"{_label(path)}expected {wanted}, found {_found(data)}.", remedy


def _label(path: Path) -> str:
    return f"{path[-1]}: " if path and isinstance(path[-1], str) else ""


def _found(data: object) -> str:
    if isinstance(data, str):
        return repr(data if len(data) <= 60 else data[:57] + "…")
    return "an object" if isinstance(data, dict) else "a list"
