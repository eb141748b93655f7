"""A secret: a value that only its target may see."""

from __future__ import annotations


class Secret:
    """Text that never shows itself: repr, str, format and pickling give a mask.

    Not a dataclass on purpose: nothing may walk its fields (a crash screen, a serializer, a comparison in a test report).
    """

    __slots__ = ("__value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.__value = value

    def reveal(self) -> str:
        """The value. Call it at the place that hands it to its target and keep no reference."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, ***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not written anywhere")
