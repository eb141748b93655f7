"""Books that somebody edited and has not taken yet."""

from __future__ import annotations


class Drafts:
    """What was edited and not taken, by book: the next edit goes on with it. In memory only."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def get(self, book: str, text: str) -> str:
        return self._texts.get(book, text)

    def keep(self, book: str, text: str) -> None:
        self._texts[book] = text

    def drop(self, book: str) -> None:
        self._texts.pop(book, None)
