"""The gate of reads: one statement that asks, made of nothing but what is known, calling nothing but what is allowed.

It works on PostgreSQL's own parse tree and is an allow-list throughout: statements, nodes, their fields, functions,
operators' schemas. What it does not know it refuses, with the place and the nearest form that is allowed.

It sees names, and only names: functions, and types that are cast to. A view, an operator or a column may lead to a
function that has no name in the text: those are what the READ ONLY transaction, its ROLLBACK and the role are for, and
what the probe at connect counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from envtui.core.errors import Refused

from .functions import ALLOWED, EXTENSIONS
from .grammar import EXPLAIN_OPTIONS, PLANNED, QUERY, SAMPLING, Fields

_WRITE = "If it is to change something, say mode: write: it is then signed, probed and undone."
_SESSION = "The step's own timeout, statement_timeout and lock_timeout are for that; leave it out."
_ASK = "Write a SELECT, EXPLAIN or SHOW."
_REFUSED: Mapping[str, tuple[str, str]] = {
    # kind of statement -> (what it does, the way out)
    "InsertStmt": ("INSERT changes rows", _WRITE),
    "UpdateStmt": ("UPDATE changes rows", _WRITE),
    "DeleteStmt": ("DELETE changes rows", _WRITE),
    "MergeStmt": ("MERGE changes rows", _WRITE),
    "TruncateStmt": ("TRUNCATE empties tables", _WRITE),
    "VariableSetStmt": ("SET changes the session", _SESSION),
    "DiscardStmt": ("DISCARD changes the session", _SESSION),
    "DoStmt": ("DO runs a program", "Write what it asks as a SELECT."),
    "CallStmt": ("CALL runs a procedure", _WRITE),
    "LockStmt": ("LOCK makes others wait", "A SELECT sees one snapshot without it."),
    "NotifyStmt": ("NOTIFY speaks to other sessions", _WRITE),
    "ListenStmt": ("LISTEN outlives its transaction", _ASK),
    "UnlistenStmt": ("UNLISTEN changes the session", _ASK),
    "PrepareStmt": ("PREPARE leaves a statement behind", "Write the SELECT itself; values are bound."),
    "ExecuteStmt": ("EXECUTE runs what cannot be seen here", "Write the SELECT itself."),
    "DeclareCursorStmt": ("DECLARE opens a cursor", "Write the SELECT itself, with a LIMIT."),
    "FetchStmt": ("FETCH needs a cursor", "Write the SELECT itself, with a LIMIT."),
    "VacuumStmt": ("VACUUM and ANALYZE write", _WRITE),
    "CreateTableAsStmt": ("CREATE TABLE AS writes a table", "Write the SELECT itself."),
}
_NEAREST: Mapping[str, str] = {
    "nextval": "To see it: select last_value from the sequence.",
    "setval": "To see it: select last_value from the sequence.",
    "set_config": _SESSION,
    "txid_current": "pg_current_xact_id_if_assigned() takes none.",
    "pg_current_xact_id": "pg_current_xact_id_if_assigned() takes none.",
    "pg_read_file": "Read the file with an ssh step.",
    "pg_read_binary_file": "Read the file with an ssh step.",
    "pg_ls_dir": "List the folder with an ssh step.",
    "pg_sleep_until": "pg_sleep(seconds) ends with the step's timeout.",
}


class Called(msgspec.Struct, frozen=True):
    """A function that a read names, or a type that it casts to: its schema ('' when it says none) and its name."""

    schema: str
    name: str
    type: bool = False


def gate(kind: str, tree: Mapping[str, Any], text: bytes, begins: int = 0) -> tuple[Called, ...]:
    """The functions and types that a read names, each once. `tree` is the parsed statement of `kind`; `text` is for the place, and
    `begins` is where in it the statement's first word is, in bytes.

    Raises Refused with the place, what is refused and why.
    """
    walk = _Walk(text, begins)
    if kind == "VariableShowStmt":
        return ()
    if kind == "ExplainStmt":
        _explain(walk, tree)
    elif kind == "SelectStmt":
        walk.node(kind, tree, QUERY)
    else:
        raise walk.of_statement(kind)
    return tuple(dict.fromkeys(walk.called))


def _explain(walk: _Walk, tree: Mapping[str, Any]) -> None:
    options = [option.get("DefElem", {}) for option in tree.get("options", ())]
    names = {str(option.get("defname", "")).lower() for option in options}
    if unknown := sorted(names - EXPLAIN_OPTIONS):
        raise Refused(
            f"{walk.begins}EXPLAIN has no option {unknown[0]!r} here.",
            f"There are: {', '.join(sorted(EXPLAIN_OPTIONS))}.",
        )
    [(kind, query)] = tree["query"].items()
    runs = "analyze" in names
    if kind == "SelectStmt":
        walk.node(kind, query, QUERY)
    elif kind in PLANNED and not runs:
        walk.node(kind, query, {**QUERY, **PLANNED})
    elif runs:
        what = _REFUSED.get(kind, (f"it is no SELECT ({kind})", ""))[0]
        raise Refused(
            f"{walk.begins}EXPLAIN ANALYZE runs its statement, and {what}.",
            "Leave ANALYZE out: EXPLAIN alone plans it.",
        )
    else:
        raise walk.of_statement(kind)


class _Walk:
    """Goes through a tree and refuses the first thing that it does not know."""

    def __init__(self, text: bytes, begins: int) -> None:
        self.text = text
        self._begins = begins
        self.called: list[Called] = []

    def node(self, kind: str, node: Mapping[str, Any], known: Fields) -> None:
        """One node and all below it. Statements inside (WITH, sub-queries) are queries and nothing else."""
        fields = known.get(kind)
        if fields is None:
            raise self._unknown(kind, node)
        for name, value in node.items():
            if name == "location":
                continue
            inner = fields.get(name)
            if inner is None:
                raise self._field(kind, name, node)
            if inner:
                self.node(inner, value, QUERY)
            else:
                self._below(value)
        if kind == "FuncCall":
            self._function(node)
        elif kind == "TypeName":
            *schemas, name = _words(node.get("names", ()))
            if schemas != ["pg_catalog"]:  # which `int` is; a domain's CHECK and a cast may be anybody's function
                self.called.append(Called(".".join(schemas), name, type=True))
        elif kind == "A_Expr":
            self._operator(node)
        elif kind == "RangeTableSample" and _words(node.get("method", ())) not in ([each] for each in SAMPLING):
            raise Refused(f"{self._at(node)}TABLESAMPLE by a method that is not PostgreSQL's own.", "Use SYSTEM.")

    def _below(self, value: object) -> None:
        if isinstance(value, list):
            for each in value:
                self._below(each)
        elif isinstance(value, dict):
            for kind, node in value.items():
                self.node(kind, node, QUERY)

    def _function(self, node: Mapping[str, Any]) -> None:
        *schemas, name = _words(node.get("funcname", ()))
        schema = ".".join(schemas)
        if name not in ALLOWED or (schema not in ("", "pg_catalog") and name not in EXTENSIONS):
            raise self._call(schema, name, node)
        self.called.append(Called(schema, name))

    def _operator(self, node: Mapping[str, Any]) -> None:
        words = _words(node.get("name", ()))
        if len(words) > 1 and words[0] != "pg_catalog":
            raise Refused(
                f"{self._at(node)}the operator {'.'.join(words)} is not PostgreSQL's own.", "Write what it does."
            )

    def _call(self, schema: str, name: str, node: Mapping[str, Any]) -> Refused:
        whole = f"{schema}.{name}" if schema else name
        if name in _NEAREST:
            return Refused(f"{self._at(node)}a read does not call {whole}().", _NEAREST[name])
        if name in ALLOWED:
            return Refused(f"{self._at(node)}{whole}() is not PostgreSQL's own.", f"Write pg_catalog.{name}().")
        from difflib import get_close_matches

        near = get_close_matches(name, ALLOWED, 1, 0.85)
        return Refused(
            f"{self._at(node)}a read does not call {whole}(): it is not known to change nothing.",
            f"Did you mean {near[0]}()?" if near else f"Ask without it. {_WRITE}",
        )

    def _field(self, kind: str, name: str, node: Mapping[str, Any]) -> Refused:
        if name == "intoClause":
            return Refused(
                f"{self._at(node[name])}SELECT INTO writes a table: a read cannot do that.", "Leave INTO out."
            )
        if name == "lockingClause":
            return Refused(
                f"{self._at(node[name])}FOR UPDATE and its kin lock rows: a read cannot do that.", "Leave it out."
            )
        return Refused(f"{self._at(node)}{name} of {kind} is nothing that a read is known to use.", _ASK)

    def _unknown(self, kind: str, node: Mapping[str, Any]) -> Refused:
        if kind in _REFUSED:
            what, way_out = _REFUSED[kind]
            return Refused(f"{self._at(node)}{what} wherever it stands: a read cannot do that.", way_out)
        return Refused(f"{self._at(node)}{kind} is nothing that a read is known to use.", _ASK)

    def of_statement(self, kind: str) -> Refused:
        """Why the statement itself is none of a read's."""
        if kind in _REFUSED:
            what, way_out = _REFUSED[kind]
            return Refused(f"{self.begins}{what}: a read cannot do that.", way_out)
        words = self.text[self._begins :].decode(errors="replace").split(None, 2)[:2]
        return Refused(
            f"{self.begins}{' '.join(words).upper()[:60]} is no query: a read cannot do that.", f"{_ASK} {_WRITE}"
        )

    @property
    def begins(self) -> str:
        """The place of the statement."""
        return self._place(self._begins)

    def _at(self, node: object) -> str:
        """The place of a node, or of the first thing in it that has one, or of the statement."""
        return self._place(min(_locations(node), default=self._begins))

    def _place(self, offset: int) -> str:
        before = self.text[:offset].decode(errors="replace")
        return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}: "


def _locations(node: object) -> Iterator[int]:
    if isinstance(node, Mapping):
        own = node.get("location", 0)
        if isinstance(own, int) and own > 0:
            yield own
            return
        for value in node.values():
            yield from _locations(value)
    elif isinstance(node, list):
        for value in node:
            yield from _locations(value)


def _words(items: Any) -> list[str]:
    return [str(item.get("String", {}).get("sval", "")) for item in items]
