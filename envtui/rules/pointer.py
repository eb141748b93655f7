"""JSON pointers (RFC 6901) into what a target answered."""

from __future__ import annotations

import json

from envtui.core.errors import Failed
from envtui.core.pointer import found


def parsed(data: bytes) -> object:
    """The JSON in `data`. Raises Failed when it is none."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Failed("The output is not JSON.", "Look at it; the head of 64 KiB is what is read.") from error
    return value


def at(value: object, pointer: str) -> str:
    """What stands at `pointer`, as text: true, false, null, numbers as JSON writes them. Raises Failed."""
    try:
        value = found(value, pointer)
    except KeyError:
        raise Failed(f"The answer has nothing at {pointer}.", "Look at the output.") from None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
