"""Books that are in no checkout: one unscripted step, or a book that was edited in the incident. Their text travels.

Such a text is read as strictly as a tree's file and checked by the same rules. What it reaches (targets, credentials, files)
comes from the reader's own checkout; what differs from that checkout's book is shown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from envtui.core.access import Request
from envtui.core.canonical import SIGNED_LIMIT
from envtui.core.errors import Problem, Refused
from envtui.core.runbook import ManualStep, Runbook, Step
from envtui.core.text import clean_line
from envtui.core.tree import Book, Tree

from .isolation import foreign_addresses
from .lint.book import lint_book

MOST_LINES = 2_000
"""Lines of two texts up to which they are compared; a longer one is shown whole."""

SAME = "The text that came along is the book of this checkout, byte for byte."


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """A book with its text. `unscripted`: one step that is in no book; else one of the checkout's, edited."""

    book: Book
    text: str
    unscripted: bool

    @property
    def word(self) -> str:
        return "UNSCRIPTED" if self.unscripted else "EDITED"


def unscripted_id(run: str) -> str:
    """The id of a book of one unscripted step: it names its run, so that it can be no other book's."""
    return f"unscripted-{run.lower()}"


def word_of(request: Request) -> str:
    """UNSCRIPTED or EDITED; '' for a request of a book as the checkouts have it."""
    if not request.book_text:
        return ""
    return "UNSCRIPTED" if request.book == unscripted_id(request.run) else "EDITED"


def fitting(text: str) -> bytes:
    """The bytes of a text that may travel. Raises Refused for one that is too long, or that has another spelling."""
    try:
        source = text.encode()
    except UnicodeEncodeError as error:
        raise Refused("The book's text is not Unicode.", "Save it as UTF-8.") from error
    if len(source) > SIGNED_LIMIT:
        raise Refused(
            f"The book has {len(source)} bytes, and at most {SIGNED_LIMIT} can be signed.",
            "Take out what this incident does not need, or bring the book into the checkouts.",
        )
    if not unicodedata.is_normalized("NFC", text):
        raise Refused("The book has characters with two spellings (it is not in Unicode NFC).", "Save it in NFC.")
    return source


def problems(tree: Tree, book: Book, unscripted: bool, neighbours: Iterable[Tree], name: str) -> tuple[Problem, ...]:
    """Everything wrong with a brought book in this tree, among these trees: what `check` would say of it as a file.

    `name` is the file's in the problems.
    """
    alone = msgspec.structs.replace(tree, books={book.runbook.id: book})
    others = (other for other in neighbours if other.name != tree.name)
    found = [*lint_book(tree, book, unscripted=unscripted), *foreign_addresses((alone, *others))]
    own = tree.file(book.path)
    return tuple(sorted(msgspec.structs.replace(each, file=name) for each in found if each.file == own))


def refuse_more(book: Runbook) -> None:
    """Raises Refused for an unscripted book that is more than one write on a target, and a person's look after it."""
    step, after = book.steps[0], book.steps[1:]
    plain = Runbook(
        schema=book.schema,
        id=book.id,
        environment=book.environment,
        title=book.title,
        owner=book.owner,
        steps=book.steps,
    )
    looks = len(after) <= 1 and all(isinstance(each, ManualStep) and each.mode == "read" for each in after)
    if step.mode != "write" or isinstance(step, ManualStep) or not looks or book != plain:
        raise Refused("An unscripted book is one write, and what a person looks at after it.", "Edit a book instead.")


def refuse_sent(before: Runbook, after: Runbook, sent: Iterable[str]) -> None:
    """Raises Refused where a step that was sent is another one now: what happened is not edited. Its undo may be."""
    old, new = _steps(before), _steps(after)
    for name in sent:
        if name in old and (name not in new or _sends(new[name]) != _sends(old[name])):
            raise Refused(
                f"Step {name} was sent already: what happened is not edited.", "Leave it as it is; its undo may change."
            )


def _steps(book: Runbook) -> dict[str, Step]:
    return {step.id: step for step in (*book.before, *book.steps)}


def _sends(step: Step) -> Step:
    """A step without what may change after it was sent."""
    return msgspec.structs.replace(
        step,
        title="",
        doc="",
        example="",
        undo=None,
        probe=None,
        point_of_no_return=None,
        attempts=1,
        on_failure="stop",
    )


def difference(before: str | None, text: str, name: str) -> tuple[str, ...]:
    """A unified difference in clean lines. `before` None: this checkout has no such book, and all of it is new."""
    ours, theirs = (before or "").splitlines(), text.splitlines()
    if before is None:
        return (f"there is no book {clean_line(name, 80)} here: all of it is new", *_all("+", theirs))
    if max(len(ours), len(theirs)) > MOST_LINES:
        return (f"more than {MOST_LINES} lines: all of it as it came", *_all("+", theirs))
    import difflib

    found = [*difflib.unified_diff(ours, theirs, "this checkout", "as it came", lineterm="", n=2)]
    if not found and before != text:
        return ("only line ends differ",)
    return tuple(clean_line(line) for line in found)


def whole(text: str) -> tuple[str, ...]:
    """All of a text, as something new."""
    return tuple(_all("+", text.splitlines()))


def _all(mark: str, lines: Sequence[str]) -> Iterator[str]:
    return (clean_line(mark + line) for line in lines)
