"""Run-time values into the places of a read: what was captured becomes data of the act, never syntax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec

from envtui.core.act import Act, Call, HttpCall, Part, Ref, SqlCall, SshCall, Text
from envtui.core.errors import UsageError

from .template import merged


def bind(act: Act, values: Mapping[str, str]) -> Act:
    """`act` with its run-time places filled from `values` (name -> text); secrets stay references.

    Raises UsageError when a value is missing or would become syntax, and for writes: what was signed has no open places.
    """
    if act.complete:
        return act
    if act.mode == "write":
        raise UsageError(
            f"Step {act.step} writes and has open places: {', '.join(act.places())}.", "Plan it again with all values."
        )
    missing = [name for name in act.places() if name not in values]
    if missing:
        raise UsageError(
            f"Step {act.step} needs {', '.join(missing)}, and no step has captured it.",
            "Run the step that captures it first.",
        )
    return with_values(act, values)


def with_values(act: Act, values: Mapping[str, str]) -> Act:
    """`act` with every place filled from `values`, whatever its mode: who may do that to a write is `late`'s to say.

    Raises UsageError when a value would become syntax.
    """
    if act.complete:
        return act
    call = _call(act.call, values, act.step)
    return Act(
        **{name: getattr(act, name) for name in Act.__struct_fields__} | {"call": call}
    )  # with a digest of its own


def _call(call: Call, values: Mapping[str, str], step: str) -> Call:
    replace = msgspec.structs.replace
    if isinstance(call, SshCall):
        return replace(
            call,
            argv=tuple(fill_item(item, values, f"step {step}, argument {n}") for n, item in enumerate(call.argv)),
            env=tuple((name, fill(text, values)) for name, text in call.env),
            stdin_text=fill(call.stdin_text, values) if call.stdin_text is not None else None,
        )
    if isinstance(call, SqlCall):
        return replace(call, binds=tuple((fill(text, values), type_) for text, type_ in call.binds))
    return _http(call, values, step)


def _http(call: HttpCall, values: Mapping[str, str], step: str) -> HttpCall:
    path = fill(call.path, values, lambda text: segment(text, f"step {step}, path"))
    check_path("".join(part for part in path if isinstance(part, str)), f"step {step}, path")
    headers = tuple((name, fill(text, values)) for name, text in call.headers)
    for name, text in headers:
        check_header("".join(part for part in text if isinstance(part, str)), f"step {step}, header {name}")
    return msgspec.structs.replace(
        call,
        path=path,
        query=tuple((name, fill(text, values)) for name, text in call.query),
        headers=headers,
        body=fill(call.body, values) if call.body is not None else None,
    )


def fill(text: Text, values: Mapping[str, str], spelt: Callable[[str], str] = str) -> Text:
    """`text` with its places filled, each value spelt by `spelt`."""
    filled: tuple[Part, ...] = tuple(spelt(values[p.name]) if isinstance(p, Ref) else p for p in text)
    return merged(filled)


def fill_item(text: Text, values: Mapping[str, str], where: str) -> Text:
    """An argument: as `fill`, and a value does not make it an option."""
    opens = bool(text) and isinstance(text[0], Ref)
    filled = fill(text, values)
    check_item("".join(part for part in filled if isinstance(part, str)), opens, where)
    return filled


def check_item(item: str, opens: bool, where: str) -> None:
    """Raises UsageError when an argument whose beginning comes from a value (`opens`) would be read as an option."""
    if opens and item.startswith("-"):
        raise UsageError(
            f"{where}: a value may not begin with `-` here, it would be read as an option.",
            "Write the option's name before it: --name=${…}.",
        )
    if "\0" in item:
        raise UsageError(f"{where}: an argument cannot hold a NUL character.", "Send it by stdin.")


def segment(value: str, where: str) -> str:
    """A value in a URL path: encoded, so that it stays one segment. Raises UsageError for an empty one."""
    if not value:
        raise UsageError(f"{where}: an empty value would change which path this is.", "Give it a value.")
    return quote(value, safe="")


def check_path(path: str, where: str) -> None:
    """Raises UsageError for a path that leads elsewhere than it says."""
    if any(part in (".", "..") for part in path.partition("?")[0].lower().replace("%2e", ".").split("/")):
        raise UsageError(f"{where}: `.` and `..` cannot be parts of a path.", "Write the path that is meant.")


def check_header(value: str, where: str) -> None:
    """Raises UsageError for a value that would end the header."""
    if any((ord(c) < 0x20 and c != "\t") or ord(c) == 0x7F for c in value):
        raise UsageError(f"{where}: a header cannot hold control characters.", "Send it in the body.")
