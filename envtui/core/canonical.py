"""Canonical bytes: the one spelling of a value that is hashed, signed and chained.

JSON in ASCII, keys sorted, no spaces, no floats, text in NFC. Verified by parsing, writing again and comparing, so that
two spellings of one meaning cannot both pass (the RunProof serializer collided exactly there).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

import msgspec

from .errors import Refused

_TYPE_ERROR = "only text, whole numbers, true, false, null, lists and text-keyed objects have canonical bytes"

_SORTED = msgspec.json.Encoder(order="sorted")

SIGNED_LIMIT = 64 * 1024
"""Bytes at most in anything that is signed (design: a paste must fit a chat message or two)."""


def canonical(value: object) -> bytes:
    """The canonical bytes of `value`. Raises TypeError for floats and anything that JSON cannot say."""
    return _spelled(_normal(value))


def canonical_record(record: msgspec.Struct | Mapping[str, object]) -> bytes:
    """The canonical bytes of a record without floats: of its fields as an object, or of the object that it was made into.

    In plain ASCII there is nothing to normalize, and msgspec spells the same (a test compares): one pass instead of three.
    """
    plain = _plain(record)
    return canonical(msgspec.to_builtins(record)) if plain is None else plain


def digest(value: object) -> str:
    """sha256 of the canonical bytes, as 64 lower-case hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse(data: bytes, limit: int = SIGNED_LIMIT) -> object:
    """The value of canonical bytes. Raises Refused when they are too long, not JSON, or spelled in any other way."""
    if len(data) > limit:
        raise Refused(f"{len(data)} bytes are more than the {limit} that are allowed.", "Ask for a smaller scope.")
    try:
        import json

        value: object = json.loads(data.decode("ascii"))
        same = canonical(value) == data
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused("These bytes are not canonical JSON.", "Ask for the block to be sent again.") from error
    if not same:
        raise Refused("These bytes are JSON but not in canonical form.", "Ask for the block to be sent again.")
    return value


def _plain(value: object) -> bytes | None:
    """What msgspec spells as the standard library does: anything in plain ASCII. None for anything else."""
    try:
        plain = _SORTED.encode(value)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a number of more than 64 bits
        return None
    return plain if plain.isascii() and b"\x7f" not in plain else None


def _spelled(normal: object) -> bytes:
    plain = _plain(normal)
    if plain is not None:
        return plain
    import json

    return json.dumps(normal, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _normal(value: object) -> object:
    # bool before int: True is an int to Python, not to a reader of the bytes.
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, Mapping):
        normal: dict[str, object] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(_TYPE_ERROR)
            normal[unicodedata.normalize("NFC", key)] = _normal(item)
        if len(normal) != len(value):
            raise TypeError("two keys are the same text in NFC")
        return normal
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_normal(item) for item in value]
    raise TypeError(_TYPE_ERROR)
