"""What finds a write again at its server: the backend that does it, its transaction, and which server that is.

`system` and `timeline` say which history of which cluster: after a failover another server answers at the same address.
The timeline is that of the WAL being written; `pg_control_checkpoint()` still tells the old one for a while after a
promotion. `postmaster` is the start of the very process that all backends are children of. `unbroken` is since when the
server has not recovered from a crash (statistics are reset then, and kept otherwise): a crash forgets the ids of
transactions that had written nothing durable, and hands them out again, on the same system and timeline. Measured: the
server then says `committed` of a transaction that it threw away.
"""

from __future__ import annotations

import re

from .wire import ServerSaid, Wire

STARTED = "pg_catalog.to_char({} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'"
"""A time as text, to the microsecond, the same whatever the session's settings are."""

_WHICH = {
    "system": "(select system_identifier::text from pg_catalog.pg_control_system())",
    "timeline": "substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)",
    "postmaster": STARTED.format("pg_catalog.pg_postmaster_start_time()"),
    "unbroken": STARTED.format("pg_catalog.pg_stat_get_bgwriter_stat_reset_time()"),
}
_WHO = {
    "pid": "a.pid::text",
    "backend_start": STARTED.format("a.backend_start"),
    "application_name": "a.application_name",
    "role": "session_user::text",
}
_XID = "pg_catalog.pg_current_xact_id()::text"
_MAY_XID = "select pg_catalog.has_function_privilege('pg_catalog.pg_current_xact_id()', 'execute')::text"
_DIGITS = re.compile(r"[0-9]{1,20}")


async def server(wire: Wire) -> dict[str, str]:
    """Which server this is: `system`, `timeline`, `postmaster`, `unbroken`, each '' where it does not say (a standby has
    no timeline of its own, a role may not ask). Not for use inside a transaction. Raises Lost."""
    try:
        row = await wire.value_row(f"select {', '.join(_WHICH.values())}")
        return dict(zip(_WHICH, (value or "" for value in row), strict=True))
    except ServerSaid:
        return {name: await _one(wire, text) for name, text in _WHICH.items()}


async def begun(wire: Wire, opening: str, xid: bool) -> dict[str, str]:
    """Send `opening` (constant text of ours), and with it ask for the handle: it costs no round trip of its own.

    `xid`: the opening begins a transaction, whose id is part of it. Raises ServerSaid, Lost.
    """
    try:
        return await _asked(wire, opening, _WHO | _WHICH | ({"xid": _XID} if xid else {}))
    except ServerSaid:
        # One of the questions is not for this role, or not for this server: each by itself, then without them.
        if wire.in_transaction:
            await wire.ours("ROLLBACK")
        known = await server(wire)
        may = xid and await _one(wire, _MAY_XID.removeprefix("select ")) == "true"
        return await _asked(wire, opening, _WHO | ({"xid": _XID} if may else {})) | known


async def _asked(wire: Wire, opening: str, wanted: dict[str, str]) -> dict[str, str]:
    text = f"{opening}; SELECT {', '.join(wanted.values())} FROM pg_catalog.pg_stat_get_activity(pg_backend_pid()) a"  # noqa: S608 - constants of ours
    row = await wire.our_row(text)
    handle = dict(zip(wanted, (value or "" for value in row), strict=False))
    return {"xid": "", **handle}


async def _one(wire: Wire, text: str) -> str:
    try:
        row = await wire.value_row(f"select {text}")
    except ServerSaid:
        return ""
    return (row[0] or "") if row else ""


ELSEWHERE = "envtui: not the transaction that was begun"
"""What the server quotes when COMMIT would have gone to another transaction."""


def commit(handle: dict[str, str]) -> str:
    """COMMIT of exactly the transaction of the handle, as one message that nobody on the way can take apart: in another
    backend or another transaction the server stops before the COMMIT, with an error that quotes ELSEWHERE."""
    checks = [f"pg_catalog.pg_backend_pid() = {number(handle['pid'])}"]
    if handle["xid"]:
        checks.append(f"pg_catalog.pg_current_xact_id_if_assigned()::text = '{number(handle['xid'])}'")
    return f"SELECT (CASE WHEN {' AND '.join(checks)} THEN '1' ELSE '{ELSEWHERE}' END)::int; COMMIT"


def number(text: str) -> str:
    """Text that is a number and nothing else. Raises ValueError."""
    if not _DIGITS.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return text
