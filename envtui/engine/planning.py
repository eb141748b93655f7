"""The plans of a session: of a book of its tree, of one that was edited in the incident, of a step that is in no book."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from envtui.core.access import Operator, Request
from envtui.core.act import Plan, Value
from envtui.core.environment import Environment
from envtui.core.errors import UsageError
from envtui.core.ids import new_id
from envtui.core.tree import Book, Tree
from envtui.rules.plan import make_plan

from .ways import Ways

if TYPE_CHECKING:
    from envtui.rules.unscripted import Proposal

    from .bringing import Bringing


class Planning:
    """The part of a session that says what would be done. Nothing here is written down or sent."""

    tree: Tree
    ways: Ways
    operator: Operator

    @property
    def environment(self) -> Environment:
        return self.tree.environment

    @functools.cached_property
    def bringing(self) -> Bringing:
        """Books that are in no checkout: an unscripted step, or one edited in the incident."""
        from .bringing import Bringing

        return Bringing(self.tree, self.ways)

    def book(self, book_id: str) -> Book:
        """Raises UsageError naming the nearest book when there is none of that id."""
        found = self.tree.books.get(book_id)
        if found is None:
            import difflib

            near = difflib.get_close_matches(book_id[:200], self.tree.books, 1)
            raise UsageError(
                f"There is no book {book_id[:200]!r} in {self.environment.name}.",
                f"Did you mean {near[0]}?" if near else f"`envtui list {self.environment.name}` names them all.",
            )
        return found

    def plan(self, book_id: str, params: Mapping[str, str], incident: str = "", text: str = "", name: str = "") -> Plan:
        """All that a run of the book would do. `text`: of the book as it was edited, `name` is its file's.

        Raises UsageError for parameters and for fields not built yet, InvalidFiles and Refused for an edited text.
        """
        book = self.book(book_id)
        run, date = self.begin()
        if text:
            book = self.bringing.take(text, book_id, run, name or book.path).book
        return self.made(book, run, self.operator.name, date, params, incident)

    def begin(self) -> tuple[str, str]:
        """(id, UTC date) of a new run."""
        now = self.ways.clock.wall_ms()
        date = dt.datetime.fromtimestamp(now / 1000, dt.UTC).date().isoformat()
        return new_id(now, self.ways.clock.randomness(5)), date

    def made(self, book: Book, run: str, operator: str, date: str, params: Mapping[str, str], incident: str) -> Plan:
        """The plan of a run of this book. Raises UsageError when it cannot be made here."""
        return make_plan(
            environment=self.environment,
            runbook=book.runbook,
            book_sha256=book.sha256,
            files=self.tree.files,
            run=run,
            operator=operator,
            date=date,
            params=params,
            incident=incident,
        )

    def replan(self, request: Request) -> Plan:
        """The plan that a request speaks of, from this checkout: its targets, credentials and files, and its book unless
        that came along. Raises UsageError when it cannot be made here; InvalidFiles, Refused for a book that came along."""
        book = self.bringing.look_at(request).book if request.book_text else self.book(request.book)
        person, given = request.requester.person, given_in(request.inputs)
        return self.made(book, request.run, person, request.date, given, request.incident.id)

    def book_of(self, plan: Plan) -> Book:
        """The book that a plan of this session was made from."""
        known = self.bringing.of(plan.run, plan.book_sha256) if "bringing" in vars(self) else None
        return known.book if known is not None else self.book(plan.book)

    def text_of(self, plan: Plan) -> str:
        """The text of a plan's book where that is in no checkout, to travel with what is asked for; else ''."""
        return self.bringing.text(plan.run, plan.book_sha256) if "bringing" in vars(self) else ""

    def with_incident(self, plan: Plan, incident: str) -> Plan:
        """The same plan under an incident, as it is asked for and signed."""
        given = given_in(dict(plan.inputs))
        return self.made(self.book_of(plan), plan.run, plan.operator, plan.date, given, incident)

    def propose(self, proposal: Proposal, incident: str = "") -> Plan:
        """An unscripted write: the plan of a book of one step, which is asked for and signed like any other.

        Raises UsageError for what the proposal lacks, InvalidFiles for what no book may say.
        """
        from envtui.rules import book_text, brought, unscripted

        run, date = self.begin()
        runbook = unscripted.write(self.environment, proposal, brought.unscripted_id(run), self.operator.name)
        taken = self.bringing.take(book_text.written(runbook), runbook.id, run, "the proposal")
        return self.made(taken.book, run, self.operator.name, date, {}, incident)


def given_in(inputs: Mapping[str, Value]) -> dict[str, str]:
    """The parameters that a person gave, as they were given."""
    return {name: value.reference or value.text for name, value in inputs.items() if value.origin == "given"}
