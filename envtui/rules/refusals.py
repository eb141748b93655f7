"""Reasons why not, collected in order, and raised together: whoever reads them sees everything at once."""

from __future__ import annotations

from collections.abc import Iterable

from envtui.core.access import Refusal
from envtui.core.errors import Refused


def refuse(refusals: Iterable[Refusal]) -> None:
    """Raises Refused with all of them, the remedy of the first; nothing when there is none."""
    found = tuple(refusals)
    if found:
        rest = "".join(f"\n{refusal}" for refusal in found[1:])
        raise Refused(found[0].sentence, found[0].way_out + rest)


class Refusals:
    """Collects what does not hold, in order."""

    def __init__(self) -> None:
        self._found: list[Refusal] = []

    def unless(self, holds: bool, code: str, sentence: str, way_out: str) -> None:
        if not holds:
            self.add(code, sentence, way_out)

    def add(self, code: str, sentence: str, way_out: str) -> None:
        self._found.append(Refusal(code=code, sentence=sentence, way_out=way_out))

    def extend(self, refusals: Iterable[Refusal]) -> None:
        self._found.extend(refusals)

    @property
    def all(self) -> tuple[Refusal, ...]:
        return tuple(self._found)
