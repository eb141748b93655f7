"""The books of a session that are in no checkout: an unscripted step, or a book edited in the incident.

Each is read from its text, as strictly as a file of the tree and against the same rules; whoever approves does the same with
the text that travelled. Imported when there is one: most sessions never have any.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from envtui.core.access import Refusal, Request
from envtui.core.act import Plan
from envtui.core.errors import InvalidFiles, Problem, Refused
from envtui.core.tree import Tree
from envtui.rules import brought as rules
from envtui.rules.brought import Brought

if TYPE_CHECKING:
    from .ways import Ways

SAYS = 20
"""Problems of a text that are said at once."""


class Bringing:
    """`tree` is the session's own. What was brought is known by its run and sha256."""

    def __init__(self, tree: Tree, ways: Ways) -> None:
        self._tree = tree
        self._ways = ways
        self._known: dict[tuple[str, str], Brought] = {}

    def of(self, run: str, sha256: str) -> Brought | None:
        """The brought book that a run's plan was made from; None when it is one of the checkout's."""
        return self._known.get((run, sha256))

    def text(self, run: str, sha256: str) -> str:
        """Its text; '' when the run's book is one of the checkout's."""
        found = self.of(run, sha256)
        return found.text if found is not None else ""

    def unscripted(self, plan: Plan) -> bool:
        """Whether the plan's book is one unscripted step."""
        found = self.of(plan.run, plan.book_sha256)
        return found is not None and found.unscripted

    def take(self, text: str, book_id: str, run: str, name: str = "the book that came along") -> Brought:
        """A book from its text, to be known as the run's. `name` is the file's in what is said of it.

        Raises Refused for a text that may not travel or a book of another id, InvalidFiles for everything else.
        """
        found = self._read(text, book_id, run, name)
        own = self._tree.books.get(book_id)
        if own is None or own.sha256 != found.book.sha256:  # byte for byte the checkout's: that is no edit
            self._known[run, found.book.sha256] = found
        return found

    def look_at(self, request: Request) -> Brought:
        """The book that travelled in a request, known to nobody yet. Raises as `take`, Refused when it is another one."""
        found = self._read(request.book_text, request.book, request.run, "the book that came along")
        if found.book.sha256 != request.book_sha256:
            raise Refused(
                f"The book that came along ({found.book.sha256[:12]}) is not the one that the request names "
                f"({request.book_sha256[:12]}).",
                "Ask again.",
            )
        return found

    def _read(self, text: str, book_id: str, run: str, name: str) -> Brought:
        source = rules.fitting(text)
        own = self._tree.books.get(book_id)
        unscripted = book_id == rules.unscripted_id(run)
        if unscripted and own is not None:
            raise Refused(f"{book_id} is a book of this checkout, and no unscripted step.", "Run that book.")
        sha256 = hashlib.sha256(source).hexdigest()
        book, problems = self._ways.read_book(source, own.path if own is not None else "books/brought.yaml", sha256)
        if book is not None and not any(each.severity == "error" for each in problems):
            if book.runbook.id != book_id:
                raise Refused(
                    f"The text is the book {book.runbook.id}, and {book_id} is the one that is meant.",
                    "An edited book keeps its id.",
                )
            if unscripted:
                rules.refuse_more(book.runbook)
            problems = rules.problems(self._tree, book, unscripted, self._ways.trees(), name)
        errors = [msgspec.structs.replace(each, file=name) for each in problems if each.severity == "error"]
        if errors or book is None:
            raise InvalidFiles(_some(errors))
        return Brought(book=book, text=text, unscripted=unscripted)

    def difference(self, found: Brought) -> tuple[str, ...]:
        """Lines that say how it differs from this checkout's book; of an unscripted step, the whole of it."""
        if found.unscripted:
            return rules.whole(found.text)
        book_id = found.book.runbook.id
        return rules.difference(self.checkout(book_id), found.text, book_id)

    def checkout(self, book_id: str) -> str | None:
        """The text of the checkout's book as it was opened. Raises Unsound when the file is another one now."""
        own = self._tree.books.get(book_id)
        return self._ways.book_file(own.path) if own is not None else None

    def compare(self, request: Request) -> tuple[tuple[str, ...], tuple[Refusal, ...]]:
        """What an approver reads of a request's book: how it differs from theirs, and why it is none to be signed."""
        if not request.book_text:
            return (), ()
        found = self.look_at(request)
        own = self._tree.books.get(request.book)
        if own is not None and own.sha256 == found.book.sha256:
            return (), (
                Refusal(code="book", sentence=rules.SAME, way_out="Ask again for the book as the checkouts have it."),
            )
        return self.difference(found), ()


def _some(problems: list[Problem]) -> tuple[Problem, ...]:
    """As many as are read. The order is that of the text."""
    return tuple(sorted(problems)[:SAYS])
