"""A block that comes in parts: what was pasted is kept until all of it is here."""

from __future__ import annotations

from envtui.core.errors import EnvtuiError
from envtui.rules import paste


class Gathering:
    """For one screen. Holds parts, and only parts: a text that is whole, or none, is handed on at once."""

    def __init__(self) -> None:
        self._parts = ""

    def take(self, text: str) -> tuple[str, str]:
        """(the whole text, ''), or ('', what is missing) while parts are."""
        together = f"{self._parts}\n{text}"
        try:
            paste.blocks(together)
        except paste.Incomplete as error:
            self._parts = together
            return "", str(error)
        except EnvtuiError:
            self._parts, together = "", text  # whoever takes it says what is wrong with it
        self._parts = ""
        return together, ""
