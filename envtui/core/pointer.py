"""JSON pointers (RFC 6901): what stands where in a JSON value."""

from __future__ import annotations


def found(value: object, pointer: str) -> object:
    """What stands at `pointer`. Raises KeyError when nothing does."""
    for token in pointer.split("/")[1:] if pointer.startswith("/") else ([pointer] if pointer else []):
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise KeyError(pointer)
    return value
