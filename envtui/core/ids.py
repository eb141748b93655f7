"""Names for runs and requests: sortable by time, short enough to read out on a call."""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: no I, L, O, U


def new_id(milliseconds: int, randomness: bytes) -> str:
    """A 16-character id: 9 characters of wall time in ms since 1970, 7 of the 5 random bytes given (35 bits)."""
    if len(randomness) < 5:
        raise ValueError("an id needs 5 random bytes")
    return _encode(milliseconds, 9) + _encode(int.from_bytes(randomness[:5], "big"), 7)


def _encode(number: int, length: int) -> str:
    out = ""
    for _ in range(length):
        number, digit = divmod(number, 32)
        out = _ALPHABET[digit] + out
    return out
