"""SQL read by PostgreSQL's own grammar, with no connection."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtui.core.act import Act, HttpCall, Place, SqlCall
from envtui.core.errors import Refused
from envtui.outside.sql.statements import (
    TEXT_LIMIT,
    check_act,
    check_read,
    check_write,
    needs_literals,
    parse,
    quote_ident,
)


def test_text_is_split_where_postgresql_splits_it() -> None:
    text = """
      -- a comment; with a semicolon
      select 'a;b', $$x;y$$, $tag$ ; $tag$, E'it\\'s; me', "odd;name", é /* ; /* nested; */ */;;
      create function f() returns int language sql begin atomic select 1; select 2; end;
      insert into t values ('ü') -- the end"""
    first, second, third = parse(text)
    assert (first.kind, second.kind, third.kind) == ("SelectStmt", "CreateFunctionStmt", "InsertStmt")
    assert first.text.endswith("*/ */")
    assert second.text.endswith("select 2; end")
    assert third.text.startswith("insert into t values ('ü')")
    assert parse("") == parse(" ;; -- nothing\n") == ()


def test_the_grammar_is_that_of_postgresql_18() -> None:
    [statement] = parse("create table t (a int, b int generated always as (a * 2) virtual)")
    assert statement.kind == "CreateStmt"
    parse("update t set a = 1 returning with (old as o, new as n) o.a, n.a")
    parse("select * from json_table(jsonb '[1]', '$[*]' columns (a int path '$'))")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("selec 1", "line 1, column 1: syntax error"),
        ("select 1;\nselect é\nfrom where", "line 3, column 6: syntax error"),
        ("select 'é', 'ü' frm t x", "line 1, column 21: syntax error"),
        ("select 1; insert into", "line 1, column 22: syntax error"),
        ("select 'open", "line 1, column 8: unterminated"),
        ("select 1\\; drop table t", "line 1, column 9: syntax error"),
        ("select 1\x00; drop table t", "line 1, column 9: a NUL"),
        ("select '\ud800'", "line 1, column 9: this character"),
    ],
)
def test_errors_say_where(text: str, place: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert caught.value.message.startswith(place)
    assert caught.value.remedy


def test_text_that_nests_deeply_or_is_long_does_not_end_the_process() -> None:
    for depth in (900, 20_000, 400_000):
        with pytest.raises(Refused, match="nests too deeply"):
            parse("select " + "1+" * depth + "1")
    with pytest.raises(Refused):
        parse("select " + "(" * 50_000 + "1" + ")" * 50_000)
    with pytest.raises(Refused, match="bytes of SQL"):
        parse("select '" + "x" * TEXT_LIMIT + "'")
    assert len(parse(";\n".join(f"insert into t values ({n})" for n in range(20_000)))) == 20_000


def test_it_can_be_used_from_several_threads() -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(len(parse("select 1; select 2")) for _ in range(50)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 200


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "this is none"),
        ("-- nothing", "this is none"),
        ("select 1; select 2", "this is 2"),
        ("commit; insert into t values (1)", "this is 2"),
        ("begin", "BEGIN is refused"),
        ("start transaction read write", "START is refused"),
        ("commit and chain", "COMMIT is refused"),
        ("rollback", "ROLLBACK is refused"),
        ("savepoint a", "SAVEPOINT is refused"),
        ("prepare transaction 'a'", "PREPARE is refused"),
        ("copy t to program 'id'", "starts a program"),
        ("copy (select 1) to stdout", "COPY is no query"),
    ],
)
def test_what_no_read_may_be(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        check_read(text)


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "table t",
        "values (1)",
        "show all",
        "explain analyze select 1",
        "with x as (select 1) table x;",
    ],
)
def test_what_a_read_may_be(text: str) -> None:
    assert check_read(text).text == text.rstrip(";")


def test_writes_leave_the_transaction_alone() -> None:
    assert [s.kind for s in check_write("update t set a = 1; select 2; vacuum")] == [
        "UpdateStmt",
        "SelectStmt",
        "VacuumStmt",
    ]
    for verb in ("begin", "commit", "end", "abort", "rollback to a", "release a", "commit prepared 'a'"):
        for transaction in ("single", "none"):
            with pytest.raises(Refused):
                check_write(f"update t set a = 1; {verb}", transaction)  # type: ignore[arg-type]
        with pytest.raises(Refused, match="own transaction"):
            check_write(verb, "none")
    with pytest.raises(Refused, match="one statement; these are 2"):
        check_write("vacuum; vacuum", "none")
    assert len(check_write("create index concurrently i on t (a)", "none")) == 1


@pytest.mark.parametrize("text", ["", ";", "copy t from stdin", "copy t to stdout", "copy t from program 'id'"])
def test_what_no_write_may_be(text: str) -> None:
    with pytest.raises(Refused):
        check_write(text)


def test_affected_max_only_where_it_can_be_counted() -> None:
    check_write("update t set a = 1", affected_max=3)
    with pytest.raises(Refused, match="before COMMIT"):
        check_write("update t set a = 1", "none", affected_max=3)
    with pytest.raises(Refused, match="inside WITH"):
        check_write("with x as (delete from t returning a) select * from x", affected_max=3)


def test_an_act_is_checked_by_its_mode() -> None:
    place = Place(target="db", kind="sql", member="db1", address="db1:5432")
    commit = SqlCall(text="commit; insert into t values (1)")
    for mode in ("read", "write"):
        with pytest.raises(Refused):
            check_act(Act(step="s", mode=mode, place=place, call=commit))  # type: ignore[arg-type]
    check_act(Act(step="s", mode="write", place=place, call=SqlCall(text="select 1; delete from t")))
    check_act(Act(step="s", mode="read", place=place, call=SqlCall(text="select $1", binds=((("x",), ""),))))
    check_act(Act(step="s", mode="read", place=place, call=HttpCall(path=("/commit;",))))


def test_every_value_has_a_place_that_postgresql_sees() -> None:
    check_read("select $1, $2, $1", binds=2)
    for text, binds in (("select '$1'", 1), ("select 1 -- $1", 1), ("select $1", 2), ("select a$1 from t", 1)):
        with pytest.raises(Refused, match="sees no parameter"):
            check_read(text, binds)
    with pytest.raises(Refused, match="has no value"):
        check_read("select $2, $1", 1)
    with pytest.raises(Refused, match="sees no parameter"):
        check_write("do $body$begin perform $1; end$body$", binds=1)


def test_places_are_numbered_for_each_statement_by_itself() -> None:
    first, second = check_write(
        "insert into é values ($1, $3); -- c\n update t set a = $2 where b = $3 or c = $2", binds=3
    )
    assert first.renumbered() == ("insert into é values ($1, $2)", (1, 3))
    text, order = second.renumbered()
    assert text.endswith("update t set a = $1 where b = $2 or c = $1")
    assert order == (2, 3)
    many = " or ".join(f"a = ${n}" for n in range(1, 13))
    assert check_read(f"select 1 from t where {many}", 12).renumbered()[0].endswith("a = $11 or a = $12")


def test_utility_statements_get_literals() -> None:
    assert needs_literals("set work_mem = $1")
    assert needs_literals("select 1; alter table t add check (a > $1)")
    for text in ("select $1", "explain select $1", "call f($1)", "create table t as select $1::int", "delete from t"):
        assert not needs_literals(text)
    [statement] = check_write("alter role é password $1", binds=1)
    assert statement.composed({1: "'it''s'"}) == "alter role é password 'it''s'"


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=15))
def test_a_quoted_identifier_is_one_identifier(name: str) -> None:
    [statement] = parse(f"table {quote_ident(name)}")
    assert statement.kind == "SelectStmt"


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 64, "é" * 32])
def test_what_is_no_identifier(name: str) -> None:
    with pytest.raises(Refused):
        quote_ident(name)
