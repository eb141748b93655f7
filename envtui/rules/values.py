"""Typed values: what a person gave for a parameter, or a target said, checked before anything is made of it."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from envtui.core.act import Value
from envtui.core.errors import UsageError
from envtui.core.pattern import safe_pattern
from envtui.core.runbook import Param, ValueType
from envtui.core.shape import seconds

Origin = Literal["default", "given", "answer", "capture", "run"]

MAX_BYTES = 4096
"""Of one value: what is longer is content, and content is a file of the tree."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:\d\d)?)", re.ASCII)
_DURATION = re.compile(r"[0-9]{1,9}(ms|s|m|h|d)")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62}){0,2}")
_SECRET = re.compile(r"(file|env):\S+")
_INT = re.compile(r"-?[0-9]{1,19}")


def typed(name: str, param: Param, text: str | None, origin: Origin = "given") -> Value:
    """The value of `name`, from `text` or its default. Raises UsageError that names it and says what would do.

    A parameter without a default has to be given; one of type string that is not required is empty then.
    """
    if text is None:
        if param.type == "secret" or (param.default is None and (param.required or param.type != "string")):
            raise UsageError(f"{name} is missing.", _wanted(name, param))
        text, origin = param.default or "", "default"
        if param.default is None:
            return Value(type=param.type, origin=origin)
    why = _why_not(param, text, origin)
    if why:
        said = "" if param.type == "secret" else f" {_shown(text)}"
        raise UsageError(f"{name}:{said} {why}.", _wanted(name, param))
    if param.type == "secret":
        return Value(type="secret", origin=origin, secret=True, reference=text)
    return Value(type=param.type, text=str(int(text)) if param.type == "int" else text, origin=origin)


def typed_answer(name: str, type_: ValueType, text: str | None) -> Value:
    """What a person answered to a question of the book, as a value of `type_`. Raises UsageError, also for None."""
    if text is None:
        raise UsageError(f"{name} needs an answer ({type_}).", "Give it.")
    return typed(name, Param(type=type_), text, "answer")


def typed_capture(name: str, type_: ValueType, text: str) -> Value:
    """What a target said, as a value of `type_`. Raises UsageError."""
    return typed(name, Param(type=type_), text, "capture")


def inputs(params: Mapping[str, Param], given: Mapping[str, str]) -> tuple[tuple[str, Value], ...]:
    """The values of all parameters, in the book's order. Raises one UsageError that names all that is wrong."""
    values: list[tuple[str, Value]] = []
    wrong: list[str] = []
    for name in given.keys() - params.keys():
        from difflib import get_close_matches

        close = get_close_matches(name, params, 1)
        known = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(params) or 'none'}."
        wrong.append(f"{_shown(name)} is no parameter of this book. {known}")
    for name, param in params.items():
        try:
            values.append((name, typed(name, param, given.get(name))))
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(sorted(wrong)))
    return tuple(values)


def check_param(name: str, param: Param) -> str:
    """What is wrong with a parameter as the book declares it, '' if nothing: for lint."""
    try:
        if param.type == "enum" and not param.choices:
            return f"{name}: an enum needs `choices`."
        if param.type == "secret" and param.default is not None:
            return f"{name}: a secret has no default; whoever runs the book says where it is."
        for bound in (param.min, param.max):
            if bound is not None and param.type not in _ORDER:
                return f"{name}: `min` and `max` are for int, duration and timestamp."
            if bound is not None and _GRAMMAR[param.type](bound):
                return f"{name}: {_shown(bound)} is no {param.type}."
        if param.pattern is not None:
            safe_pattern(param.pattern)
        if param.default is not None:
            typed(name, param, None)
    except UsageError as error:
        return f"{name}: {error}" if not str(error).startswith(name) else str(error)
    return ""


def _why_not(param: Param, text: str, origin: Origin) -> str:
    """Why `text` will not do, '' if it will."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    hidden = _hidden(text, captured=origin == "capture" and param.type == "string")
    if hidden:
        return f"holds {hidden}"
    why = _GRAMMAR[param.type](text)
    if why:
        return why
    if param.type == "path" and text.startswith("/") and not _absolute_allowed(param):
        return "is absolute, and this parameter's pattern does not begin with /"
    if param.choices and text not in param.choices:
        return "is none of the choices"
    if param.pattern is not None and not safe_pattern(param.pattern).fullmatch(text):
        return f"does not match {param.pattern}"
    order = _ORDER.get(param.type)
    if order is not None:
        if param.min is not None and order(text) < order(param.min):
            return f"is less than {param.min}"
        if param.max is not None and order(text) > order(param.max):
            return f"is more than {param.max}"
    return ""


def _hidden(text: str, captured: bool) -> str:
    """The first character that a reader could not see, in words. A captured text may have tabs and lines."""
    for character in text:
        kind = unicodedata.category(character)
        if captured and (character in "\t\n" or kind == "Cf"):
            continue
        if kind in ("Cc", "Cs", "Zl", "Zp"):
            return f"a control character (U+{ord(character):04X})"
        if kind == "Cf":
            return f"an invisible character (U+{ord(character):04X})"
    if not captured and not unicodedata.is_normalized("NFC", text):
        return "characters that have two spellings (it is not in Unicode NFC)"
    return ""


def _duration(text: str) -> str:
    return "" if _DURATION.fullmatch(text) else "is no duration (500ms, 30s, 15m, 4h, 7d)"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _timestamp(text: str) -> str:
    wrong = "is no time with its zone (2026-01-31T18:05:00Z)"
    if not _TIMESTAMP.fullmatch(text):
        return wrong
    try:
        _moment(text)
    except ValueError:
        return wrong
    return ""


def _host(text: str) -> str:
    if _HOST.fullmatch(text) and ".." not in text:
        return ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "is no host name and no IP address"
    return "" if "%" not in text else "is an address with a scope"


def _path(text: str) -> str:
    if not text:
        return "is empty"
    if ".." in text.split("/"):
        return "leads up with .."
    if text.startswith("~"):
        return "begins with ~, which means nothing without a shell"
    return ""


def _absolute_allowed(param: Param) -> bool:
    return (param.pattern or "").removeprefix("^").startswith("/") or any(c.startswith("/") for c in param.choices)


def _no(_: str) -> str:
    return ""


_GRAMMAR: Mapping[str, Callable[[str], str]] = {
    "string": _no,
    "enum": _no,
    "int": lambda text: "" if _INT.fullmatch(text) else "is no whole number",
    "bool": lambda text: "" if text in ("true", "false") else "is neither true nor false",
    "duration": _duration,
    "timestamp": _timestamp,
    "host": _host,
    "ident": lambda text: "" if _IDENT.fullmatch(text) else "is no identifier (letters, digits and _)",
    "secret": lambda text: "" if _SECRET.fullmatch(text) else "a secret is given by where it is, never by its value",
    "path": _path,
}

_ORDER: Mapping[str, Callable[[str], float]] = {
    "int": int,
    "duration": seconds,
    "timestamp": lambda text: _moment(text).timestamp(),
}


def _wanted(name: str, param: Param) -> str:
    if param.type == "secret":
        return f"Give -p {name}=file:PATH or -p {name}=env:NAME."
    if param.choices:
        return f"Give -p {name}=… one of: {', '.join(param.choices)}."
    bounds = [f"at least {param.min}"] if param.min else []
    bounds += [f"at most {param.max}"] if param.max else []
    bounds += [f"matching {param.pattern}"] if param.pattern else []
    kind = param.type + (f", {', '.join(bounds)}" if bounds else "")
    question = f" {param.ask}" if param.ask else ""
    return f"Give -p {name}=… ({kind}).{question}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
