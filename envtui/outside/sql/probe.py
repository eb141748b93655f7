"""What a role may do on a server besides reading, asked when a connection for reads is made: the level that may be claimed.

`role-enforced`: the role can change nothing, whatever a statement says. What it could reach without a name in the text is
counted and named beside it: functions that a view, a cast or an operator may call, tables of other servers, temporary
tables. `session-enforced`: the role could write, and the READ ONLY transaction and the gate are what holds it.

Privileges drift (CREATE FUNCTION grants EXECUTE to everybody), so every connection asks anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from envtui.core.errors import Refused

from .functions import EXTENSIONS
from .gate import Called

_NAMED = 5  # side channels that are named; the others are counted
LACKS = 20  # clauses at most

_OURS = "not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(toast_)?temp_'"

POWERS = f"""
set local search_path = pg_catalog;
select pg_catalog.concat_ws(', ',
         case when r.rolcreaterole then 'creates roles' end,
         case when r.rolcreatedb then 'creates databases' end,
         (select pg_catalog.string_agg(g.rolname::text, ', ' order by g.rolname) from pg_catalog.pg_roles g
          where g.rolname in ('pg_write_all_data', 'pg_maintain', 'pg_signal_backend', 'pg_checkpoint',
                              'pg_create_subscription', 'pg_signal_autovacuum_worker', 'pg_database_owner')
            and pg_catalog.pg_has_role(session_user, g.oid, 'member')),
         case when pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') then 'creates schemas' end,
         (select 'creates in schema ' || pg_catalog.min(n.nspname) from pg_catalog.pg_namespace n
          where n.nspname {_OURS} and pg_catalog.has_schema_privilege(n.oid, 'CREATE') having pg_catalog.count(*) > 0),
         (select 'writes ' || pg_catalog.count(*) || ' of its tables: ' || pg_catalog.min(n.nspname || '.' || c.relname)
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where n.nspname {_OURS} and c.relkind in ('r', 'p', 'v', 'm', 'f')
            and (pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
                 or pg_catalog.has_any_column_privilege(c.oid, 'INSERT, UPDATE')) having pg_catalog.count(*) > 0),
         (select 'moves sequence ' || pg_catalog.min(n.nspname || '.' || c.relname)
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where n.nspname {_OURS} and case when c.relkind = 'S'
                then pg_catalog.has_sequence_privilege(c.oid, 'USAGE, UPDATE') end having pg_catalog.count(*) > 0)),
       (select pg_catalog.array_agg(said order by said) from (
          select 'temporary tables' as said where pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP')
          union all
          select 'function ' || n.nspname || '.' || p.proname
          from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
               join pg_catalog.pg_language l on l.oid = p.prolang
          where n.nspname {_OURS} and pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
            and p.prorettype not in ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)
            and (p.provolatile = 'v' or p.prosecdef
                 or not l.lanpltrusted and not exists (
                   select from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
                   where d.objid = p.oid and d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.deptype = 'e'
                     and e.extname in ('btree_gin', 'btree_gist', 'citext', 'cube', 'fuzzystrmatch', 'hstore', 'intarray',
                                       'isn', 'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'unaccent', 'uuid-ossp')))
          union all
          select 'foreign table ' || n.nspname || '.' || c.relname
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'f' and (pg_catalog.has_any_column_privilege(c.oid, 'SELECT') or c.oid in (
            with recursive seen (oid) as (
              select v.oid from pg_catalog.pg_class v join pg_catalog.pg_namespace n on n.oid = v.relnamespace
              where n.nspname {_OURS} and v.relkind in ('v', 'm')
                and pg_catalog.has_any_column_privilege(v.oid, 'SELECT')
              union
              select d.refobjid from seen join pg_catalog.pg_rewrite w on w.ev_class = seen.oid
                join pg_catalog.pg_depend d on d.objid = w.oid and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                  and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass)
            select oid from seen))) as channels)::text[],
       (select pg_catalog.array_agg(distinct p.proname::text) from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname {_OURS} and not exists (
                select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e'
                  and d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
          and (p.proname = any ('{{{",".join(sorted(EXTENSIONS))}}}') or exists (
                select from pg_catalog.pg_proc o
                where o.proname = p.proname and o.pronamespace = 'pg_catalog'::pg_catalog.regnamespace))),
       (with named as (
          select n.nspname, t.typname, n.nspname = 'pg_catalog' or not exists (
                   select from pg_catalog.pg_cast c where c.casttarget = t.oid and c.castfunc <> 0 and not exists (
                     select from pg_catalog.pg_depend d where d.objid = c.castfunc and d.deptype = 'e'
                       and d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass))
                 and (t.typtype = 'e' or t.typtype = 'b' and exists (
                        select from pg_catalog.pg_depend d where d.objid = t.oid and d.deptype = 'e'
                          and d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass)
                      or t.typtype = 'd' and exists (
                        select from pg_catalog.pg_type b where b.oid = t.typbasetype
                          and b.typnamespace = 'pg_catalog'::pg_catalog.regnamespace)
                        and not exists (select from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
                 as still
          from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
          where n.nspname = 'pg_catalog' and t.typtype <> 'c' or n.nspname {_OURS})
        select pg_catalog.array_agg(said) from (
          select typname::text as said from named group by typname having pg_catalog.bool_and(still)
          union all select nspname || '.' || typname from named where still and nspname <> 'pg_catalog') as types)
from pg_catalog.pg_roles r where r.rolname = session_user
"""  # noqa: S608 - made of constants of ours
"""One row: why the role is no reader (''), side channels, names of functions that stand beside PostgreSQL's own, and of types
whose values come about without anybody's function: PostgreSQL's, of extensions, enums, domains without a CHECK."""


class Reach(msgspec.Struct, frozen=True):
    """`powers` '' : the role can change nothing. `channels`: what it may reach without naming it. `beside`: functions of
    other schemas that are called like one of PostgreSQL's own, or of an extension that is trusted. `types`: what may be cast
    to, by its name where that means nothing else, and by its schema and name."""

    powers: str = ""
    channels: tuple[str, ...] = ()
    beside: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    @property
    def protection(self) -> str:
        """The level that reads over this connection may claim."""
        if self.powers:
            return "session-enforced"
        if not self.channels:
            return "role-enforced"
        named = ", ".join(self.channels[:_NAMED])
        more = f" and {len(self.channels) - _NAMED} more" if len(self.channels) > _NAMED else ""
        plural = "s" if len(self.channels) > 1 else ""
        return f"role-enforced, {len(self.channels)} side channel{plural}: {named}{more}"

    @property
    def lacks(self) -> tuple[str, ...]:
        """What stands between the role and the next level, a clause each."""
        if self.powers:
            return tuple(f"a role of its own: this one {each}" for each in self.powers.split(", ")[:LACKS])
        return tuple(f"what it could reach without naming it: {each}" for each in self.channels[:LACKS])

    def check(self, called: Iterable[Called]) -> None:
        """Raises Refused when it cannot be seen which function a name means on this server, or for a cast to a type that
        may run a function: a domain's CHECK, a cast of somebody's own. A type that was made since is not known, and refused."""
        for one in called:
            if one.type:
                whole = f"{one.schema}.{one.name}" if one.schema else one.name
                if whole not in self.types:
                    raise Refused(
                        f"{whole} is no type of PostgreSQL's own here: making a value of it may run somebody's function.",
                        "Ask without the cast, or compare as text; write pg_catalog.NAME for a type of PostgreSQL's.",
                    )
            elif one.name in self.beside and one.schema != "pg_catalog":
                raise Refused(
                    f"{one.name}() may mean a function of somebody's own here, beside the one that is known.",
                    f"Write pg_catalog.{one.name}()." if one.name not in EXTENSIONS else "Ask without it.",
                )


def reach(row: Sequence[str | None]) -> Reach:
    """What the answer to POWERS says. A role that the server does not know may do anything."""
    if len(row) != 4:
        return Reach(powers="unknown to the server")
    return Reach(
        powers=row[0] or "", channels=_array(row[1]), beside=frozenset(_array(row[2])), types=frozenset(_array(row[3]))
    )


def _array(text: str | None) -> tuple[str, ...]:
    """The elements of a PostgreSQL array of text, as it prints it."""
    import csv

    if not text or text == "{}":
        return ()
    return tuple(next(csv.reader([text[1:-1]], escapechar="\\", doublequote=False)))
