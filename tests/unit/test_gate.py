"""The gate of SQL reads: what it refuses, with place and way out, and what it lets pass."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from envtui.core.errors import Refused
from envtui.outside.sql.functions import ALLOWED
from envtui.outside.sql.gate import Called
from envtui.outside.sql.statements import called_read, check_read

CORPORA = Path(__file__).parents[1] / "corpora"

NAMELESS = {
    # Nothing in their text names what they call: the transaction, its rollback and the role are for these.
    "table-cmd-view", "fn-view", "fn-operator", "fn-attr-notation", "fdw-select-sneaky", "fdw-secdef-view",
    # What it reads is the role's to say, how long it takes the timeout's.
    "read-pg-authid", "dos-cartesian",
}  # fmt: skip
BY_DESIGN = {"r068"}  # COPY … TO STDOUT: a SELECT says the same


def corpus(name: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((CORPORA / name).read_text())[key]
    return found


def refused(text: str) -> bool:
    try:
        check_read(text)
    except Refused:
        return True
    return False


@pytest.mark.parametrize("attack", corpus("sql_attacks.yaml", "attacks"), ids=lambda attack: attack["id"])
def test_every_attack_of_the_corpus_that_can_be_seen_in_its_text_is_refused(attack: dict[str, Any]) -> None:
    statements = attack["sql"] if isinstance(attack["sql"], list) else [attack["sql"]]
    assert any(refused(str(each)) for each in statements) == (attack["id"] not in NAMELESS)


@pytest.mark.parametrize("read", corpus("sql_legit_reads.yaml", "must_pass"), ids=lambda read: read["id"])
def test_legitimate_reads_pass(read: dict[str, Any]) -> None:
    assert refused(read["sql"]) == (read["id"] in BY_DESIGN)


@pytest.mark.parametrize(
    ("text", "why", "way_out"),
    [
        ("insert into t values (1)", "INSERT changes rows", "mode: write"),
        ("merge into t using u on true when matched then delete", "MERGE changes rows", "mode: write"),
        ("with x as (delete from t returning *) select * from x", "DELETE changes rows wherever", "mode: write"),
        ("select * from (select 1) x, lateral (with y as (update t set a = 1 returning 1) table y) z", "UPDATE", "mode"),
        ("select a into b from c", "SELECT INTO writes a table", "Leave INTO out"),
        ("select 1 union select 2 into x", "SELECT INTO", "Leave INTO out"),
        ("select * from t for update", "lock rows", "Leave it out"),
        ("select * from (select * from t for share) x", "lock rows", "Leave it out"),
        ("explain analyze delete from t", "EXPLAIN ANALYZE runs its statement, and DELETE", "Leave ANALYZE out"),
        ("explain (analyze off) update t set a = 1", "EXPLAIN ANALYZE runs", "Leave ANALYZE out"),
        ("explain (analyze) create table x as select 1", "CREATE TABLE AS writes", "Leave ANALYZE out"),
        ("explain execute p", "EXECUTE runs", "Write the SELECT"),
        ("explain (nonsense) select 1", "no option 'nonsense'", "analyze"),
        ("explain delete from t using (select nextval('s')) x", "does not call nextval", "last_value"),
        ("set role boss", "SET changes the session", "timeout"),
        ("reset all", "SET changes the session", "timeout"),
        ("lock table t", "LOCK", "snapshot"),
        ("do 'begin end'", "DO runs a program", "SELECT"),
        ("listen x", "LISTEN outlives", "SELECT"),
        ("vacuum t", "VACUUM", "mode: write"),
        ("create view v as select 1", "CREATE VIEW is no query", "mode: write"),
        ("alter system set work_mem = '1GB'", "ALTER SYSTEM is no query", "mode: write"),
        ("grant select on t to u", "GRANT SELECT is no query", "mode: write"),
        ("security label on table t is 'x'", "SECURITY LABEL is no query", "mode: write"),
        ("create event trigger e on ddl_command_start execute function f()", "CREATE EVENT is no query", "mode"),
        ("select\n  pg_terminate_backend(1)", "line 2, column 3: a read does not call pg_terminate_backend", "mode"),
        ("select 'é', nextval('s')", "line 1, column 13: a read does not call nextval", "last_value"),
        ("select set_config('a', 'b', false)", "does not call set_config", "timeout"),
        ("select public.lower('A')", r"public\.lower\(\) is not PostgreSQL's own", r"pg_catalog\.lower"),
        ("select dblink('x', 'y')", "does not call dblink", "Ask without it"),
        ("select lowr('A')", "does not call lowr", r"Did you mean lower\(\)"),
        ("select query_to_xml('delete from t', true, true, '')", "does not call query_to_xml", ""),
        ("select * from ts_stat('delete from t')", "does not call ts_stat", ""),
        ("select ts_rewrite('a'::tsquery, 'select 1')", "does not call ts_rewrite", ""),
        ("select table_to_xml('t', true, true, '')", "does not call table_to_xml", ""),
        ("select lo_get(1)", "does not call lo_get", ""),
        ("select count(*) filter (where pg_notify('a', 'b') is null) from t", "does not call pg_notify", ""),
        ("select max(a) over (order by pg_advisory_lock(1)) from t", "does not call pg_advisory_lock", ""),
        ("select * from rows from (pg_ls_dir('/'), generate_series(1, 2)) x", "does not call pg_ls_dir", "ssh step"),
        ("select * from t tablesample mine(1)", "TABLESAMPLE", "SYSTEM"),
        ("select * from t tablesample system(pg_backend_pid() + pg_promote()::int)", "does not call pg_promote", ""),
        ("select case when true then pg_reload_conf() end", "does not call pg_reload_conf", ""),
        ("select array[pg_switch_wal()]", "does not call pg_switch_wal", ""),
        ("select (row(pg_rotate_logfile())).f1", "does not call pg_rotate_logfile", ""),
        ("values (pg_stat_reset())", "does not call pg_stat_reset", ""),
        ("select 1 order by pg_create_restore_point('x')", "does not call pg_create_restore_point", ""),
        ("select 1 limit (select 1 from pg_drop_replication_slot('x'))", "does not call pg_drop", ""),
        ("select json_object('a' value pg_export_snapshot())", "does not call pg_export_snapshot", ""),
        ("select * from json_table('[]', '$[*]' columns (a int path '$')) x, pg_sleep_until(now())", "sleep_until", "pg_sleep"),
        ("select xmlelement(name a, lo_export(1, '/tmp/x'))", "does not call lo_export", ""),
        ("select 1 operator(public.+) 2", "operator public", "Write what it does"),
        ("explain delete from t where current of c", "CurrentOfExpr", ""),
    ],
)  # fmt: skip
def test_what_is_refused_says_why_and_what_to_do(text: str, why: str, way_out: str) -> None:
    with pytest.raises(Refused, match=why) as refusal:
        check_read(text)
    assert re.search(way_out, refusal.value.remedy), refusal.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "select 'delete from t' as \"update\" /* drop table t */ -- insert",
        "with recursive r(n) as (values (1) union all select n + 1 from r where n < 5) search depth first by n set o select * from r",
        "select a, count(*) filter (where b > 1), rank() over w from t group by grouping sets ((a), ()) window w as (order by a)",
        "select * from t tablesample system (1) repeatable (2), lateral (select now()) x",
        "select distinct on (a) a[1:2], (b).c, d::numeric(10, 2)[], e collate \"C\" from t order by a using <",
        "explain (format json, settings) update t set a = b from c where t.id = c.id",
        "explain insert into t select generate_series(1, 3)",
        "explain analyze verbose select 1",
        "show search_path",
        "select json_object('a': 1), json_arrayagg(x), json_value('{}', '$.a' default '1' on empty) from t",
        "select * from xmltable('/a' passing '<a/>' columns b int path 'c')",
        "select * from json_to_record('{\"a\": 1}') as x(a int)",
        "select current_user, localtimestamp, coalesce(null, 1), greatest(1, 2), nullif(1, 2), overlay('ab' placing 'c' from 1)",
        "select date '2026-01-01' at time zone 'UTC', extract(year from now()), interval '1 day', position('a' in 'b'), trim(' x ')",
        "select * from a natural join b left join c using (d) where (a, b) in (select 1, 2) and e = any (array[1]) and f like 'x%' escape '!'",
        "select pg_catalog.lower('A'), 1 operator(pg_catalog.+) 2, percentile_cont(0.5) within group (order by a) from t",
        "select public.pgstattuple('t'), extensions.similarity('a', 'b')",
    ],
)  # fmt: skip
def test_whatever_a_query_is_made_of_passes(text: str) -> None:
    check_read(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("delete from t", "line 1, column 1: DELETE changes rows"),
        ("-- é\n  /* a /* b */ c */ delete from t", "line 2, column 21: DELETE changes rows"),
        ("\n  drop table t", "line 2, column 3: DROP TABLE is no query"),
        ("begin", "line 1, column 1: BEGIN is refused"),
        ("  copy t to stdout", "line 1, column 3: COPY is no query"),
        ("select 1;\n select 1", "line 2, column 2: A read is exactly one statement; this is 2"),
        ("explain (foo) select 1", "line 1, column 1: EXPLAIN has no option"),
        ("explain analyze\ndelete from t", "line 1, column 1: EXPLAIN ANALYZE runs"),
        ("select a\ninto b from c", "line 2, column 6: SELECT INTO"),
        ("select a from c\nfor update of c", "line 2, column 15: FOR UPDATE"),
        ("with x as (\n delete from t returning *) select * from x", "line 2, column 14: DELETE changes rows"),
        ("show x; select 1", "line 1, column 9: A read is exactly one"),
    ],
)
def test_every_refusal_says_where(text: str, place: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_read(text)
    assert str(refusal.value).startswith(place)


def test_the_functions_that_are_named_are_told() -> None:
    _, called = called_read("select lower(a), pg_catalog.upper(b), lower(c), public.pgstattuple('t') from t")
    assert called == (Called("", "lower"), Called("pg_catalog", "upper"), Called("public", "pgstattuple"))


def test_no_function_that_does_something_is_on_the_list() -> None:
    never = """nextval setval set_config pg_notify pg_advisory_lock pg_terminate_backend pg_cancel_backend lo_import lo_export
    pg_read_file pg_ls_dir pg_reload_conf pg_switch_wal pg_promote pg_stat_reset dblink dblink_exec query_to_xml ts_stat
    pg_logical_slot_get_changes pg_replication_slot_advance pg_current_xact_id pg_export_snapshot"""
    assert ALLOWED.isdisjoint(never.split())


def test_an_expression_that_nests_too_deeply_is_refused() -> None:
    with pytest.raises(Refused, match="too deeply"):
        check_read("select " + "(" * 3000 + "1" + ")+1" * 3000)
