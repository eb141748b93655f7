"""Where the findings about one file are collected."""

from __future__ import annotations

from collections.abc import Mapping

from envtui.core.errors import Problem, UsageError
from envtui.core.pattern import safe_pattern
from envtui.core.tree import Path, Place, place


class Report:
    """Problems of one file, each at the place of a path in it."""

    def __init__(self, file: str, positions: Mapping[Path, Place]) -> None:
        self._file = file
        self._positions = positions
        self.problems: list[Problem] = []

    def error(self, path: Path, message: str, remedy: str = "") -> None:
        self._add(path, message, remedy, "error")

    def warning(self, path: Path, message: str, remedy: str = "") -> None:
        self._add(path, message, remedy, "warning")

    def pattern(self, path: Path, text: str | None) -> None:
        """A regular expression that has to be readable, and cannot hang."""
        if text is None:
            return
        try:
            safe_pattern(text)
        except UsageError as error:
            self.error(path, f"{path[-1]}: {error.message}", error.remedy)

    def known(self, path: Path, what: str, name: str, names: Mapping[str, object]) -> bool:
        """Whether `name` is one of `names`; an error that lists them when it is not."""
        if name in names:
            return True
        self.error(path, f"there is no {what} {name!r}.", f"Known: {', '.join(names) or 'none'}.")
        return False

    def _add(self, path: Path, message: str, remedy: str, severity: str) -> None:
        self.problems.append(Problem(self._file, *place(self._positions, path), message, remedy, severity))
