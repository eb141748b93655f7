"""Statements drawn at random from a small grammar: reads, writes, and reads with something in them that may write."""

from __future__ import annotations

from random import Random

TABLES = (
    "accounts",
    "events",
    "docs",
    "t",
    "v_accounts",
    "v_sneaky",
    "mv",
    "pg_class",
    "pg_stat_activity",
    "ft_sneaky",
)
COLUMNS = (
    *(
        "1",
        "'a'",
        "NULL",
        "2",
        "id",
        "name",
        "balance",
        "v",
        "1",
        "'b'",
        "x",
        "rowfn",
        "payload",
        "*",
        "accounts.rowfn",
        "true",
    ),
)
FUNCTIONS = (
    *(
        "lower",
        "count",
        "now",
        "coalesce",
        "pg_backend_pid",
        "random",
        "to_jsonb",
        "generate_series",
        "length",
        "max",
        "agg",
    ),
    *(
        "nextval",
        "setval",
        "lo_create",
        "lo_unlink",
        "lo_put",
        "pg_notify",
        "set_config",
        "pg_advisory_lock",
        "secdef_write",
    ),
    *(
        "vol_write",
        "stable_write",
        "f",
        "pg_terminate_backend",
        "pg_stat_reset",
        "pg_reload_conf",
        "dblink_exec",
        "txid_current",
    ),
    *(
        "pg_logical_emit_message",
        "pg_create_restore_point",
        "pg_stat_reset_shared",
        "query_to_xml",
        "ts_stat",
        "pg_export_snapshot",
    ),
    *(
        "pg_create_physical_replication_slot",
        "pg_replication_origin_create",
        "lo_from_bytea",
        "opw",
        "checks",
        "to_ticket",
    ),
)
ARGUMENTS = (
    "",
    "1",
    "'s'",
    "'s', 1",
    "0, 'x'",
    "'c', 'x'",
    "900001",
    "900001, 0, 'x'",
    "'role', 'postgres', false",
    "*",
    "id",
    "pid",
)
TYPES = (
    "int",
    "text",
    "mine",
    "public.mine",
    "ticket",
    "regclass",
    "jsonb",
    "with_mine",
    "public.ticket",
    "_mine",
    "numeric(3)",
)
OPERATORS = ("=", "<>", "===", "+", "||", "OPERATOR(public.+)", "OPERATOR(pg_catalog.+)", "IS DISTINCT FROM", "LIKE")
WRITES = (
    *("INSERT INTO t VALUES (1)", "UPDATE t SET v = 'x'", "DELETE FROM t", "UPDATE accounts SET balance = 0"),
    *(
        "MERGE INTO t USING accounts a ON t.id = a.id WHEN MATCHED THEN DELETE",
        "INSERT INTO audit SELECT name FROM accounts",
    ),
)
UTILITY = (
    *(
        "TRUNCATE t",
        "DROP TABLE t",
        "CREATE TABLE n (a int)",
        "CREATE TEMP TABLE n (a int)",
        "ALTER TABLE t ADD c int",
        "VACUUM t",
    ),
    *(
        "SET ROLE postgres",
        "RESET ALL",
        "SET work_mem = '1GB'",
        "COMMIT",
        "ROLLBACK AND CHAIN",
        "BEGIN READ WRITE",
        "LISTEN c",
    ),
    *(
        "NOTIFY c",
        "DO $$BEGIN DELETE FROM t; END$$",
        "CALL proc_write()",
        "LOCK TABLE t",
        "COPY t TO STDOUT",
        "COPY audit FROM STDIN",
    ),
    *(
        "PREPARE q AS DELETE FROM t",
        "EXECUTE q",
        "DECLARE k CURSOR WITH HOLD FOR SELECT 1",
        "REFRESH MATERIALIZED VIEW mv",
    ),
    *(
        "GRANT ALL ON t TO PUBLIC",
        "CREATE ROLE n",
        "COMMENT ON TABLE t IS 'x'",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "CHECKPOINT",
    ),
    *(
        "PREPARE TRANSACTION 'x'",
        "SHOW work_mem",
        "SHOW ALL",
        "ANALYZE t",
        "CREATE VIEW n AS SELECT 1",
        "SELECT lo_creat(1)",
    ),
)


class Texts:
    """A stream of statements; the same seed is the same stream."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def one(self) -> str:
        pick = self._random.random()
        if pick < 0.06:
            return self._of(UTILITY)
        if pick < 0.10:
            return self._of(WRITES)
        if pick < 0.13:
            return f"{self._of(('EXPLAIN', 'EXPLAIN ANALYZE', 'EXPLAIN (FORMAT json)'))} {self._of((*WRITES, self.select(1)))}"
        if pick < 0.16:
            return f"{self.select(1)}; {self._of((*WRITES, *UTILITY))}"
        if pick < 0.20:
            body = self._of((*WRITES, self.select(2)))
            return f"WITH w AS ({body}{self._of(('', ' RETURNING *'))}) {self.select(1)}"
        return self.select(0)

    def select(self, depth: int) -> str:
        parts = ["SELECT", ", ".join(self.value(depth) for _ in range(self._random.randint(1, 2)))]
        if self._chance(0.05):
            parts.append("INTO n")
        if self._chance(0.85):
            parts += ["FROM", self.source(depth)]
        if self._chance(0.4):
            parts += ["WHERE", self.value(depth), self._of(OPERATORS), self.value(depth)]
        if self._chance(0.15):
            parts += ["ORDER BY", self.value(depth)]
        if self._chance(0.4):
            parts += ["LIMIT", self._of(("1", "3", "(SELECT 1)", "setval('s', 1)"))]
        if self._chance(0.05):
            parts.append(self._of(("FOR UPDATE", "FOR KEY SHARE")))
        if depth == 0 and self._chance(0.05):
            parts += ["UNION ALL", self.select(2)]
        return " ".join(parts)

    def source(self, depth: int) -> str:
        if depth < 2 and self._chance(0.15):
            return f"({self.select(depth + 1)}) q"
        if self._chance(0.1):
            return f"{self._of(FUNCTIONS)}({self._of(ARGUMENTS)}) r"
        return self._of(TABLES)

    def value(self, depth: int) -> str:
        pick = self._random.random()
        if depth < 2 and pick < 0.1:
            return f"({self.select(depth + 1)})"
        if pick < 0.28:
            return f"{self._of(('', '', '', 'public.', 'pg_catalog.'))}{self._of(FUNCTIONS)}({self._of(ARGUMENTS)})"
        if pick < 0.38:
            return f"({self._of(COLUMNS[:-3])})::{self._of(TYPES)}"
        if pick < 0.45:
            return f"1 {self._of(OPERATORS)} 1"
        if pick < 0.48:
            return f"CASE WHEN true THEN {self._of(FUNCTIONS)}({self._of(ARGUMENTS)}) END"
        return self._of(COLUMNS)

    def _of(self, among: tuple[str, ...]) -> str:
        return self._random.choice(among)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share
