"""What the server says, as our errors: the one place where SQLSTATE and psycopg's exceptions become sentences.

Codes: PostgreSQL's appendix A. Text of the server's is kept; whoever shows it cleans it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtui.core.errors import AuthenticationFailed, EnvtuiError, Failed, Refused, TimedOut, Unreachable

from .wire import Said

if TYPE_CHECKING:
    from psycopg import Error

_BY_CODE: dict[str, tuple[type[EnvtuiError], str, str]] = {
    "22021": (Failed, "The database holds bytes that are not UTF-8", "Read that column as bytea: convert_to(…)."),
    "25006": (Refused, "This statement writes, and reads run in a READ ONLY transaction", "Make it a write step."),
    "25001": (Failed, "This statement cannot run inside a transaction", "Use `transaction: none`."),
    "42501": (
        Failed,
        "The database role is not allowed to do this",
        "Ask for the privilege, or use another credential.",
    ),
    "55P03": (Failed, "A lock was not free in time", "See who holds it, and try again or raise lock_timeout."),
    "40P01": (Failed, "The server ended a deadlock by ending this", "Try again."),
    "53300": (Unreachable, "The server has no connection left", "See who holds them."),
    "57P03": (Unreachable, "The server is starting, stopping or recovering", "Try again in a moment."),
}
_BY_CLASS: dict[str, tuple[type[EnvtuiError], str, str]] = {
    "08": (Unreachable, "The connection broke", "Try again."),
    "22": (Failed, "A value does not fit", "Check the parameters."),
    "23": (Failed, "A constraint does not allow it", "Check the data."),
    "28": (AuthenticationFailed, "The database did not accept the credential", "Check the user and the secret."),
    "40": (Failed, "The server rolled this back", "Try again."),
    "42": (Failed, "The database does not understand this", "Check names and types in the SQL."),
    "53": (Failed, "The server is out of a resource", "See its disk, memory and connections."),
    "XX": (Failed, "The server has an internal error", "Read the server's log before anything else."),
}
CANCELLED = "57014"
"""A statement was ended: by its statement_timeout, or because somebody asked for it."""


def of_statement(said: Said, note: str = "") -> EnvtuiError:
    """The error for a statement that the server refused; `note` is a sentence on what that leaves behind."""
    parts = [f"{said.message} [{said.sqlstate}]"]
    if said.position:
        parts.append(f"at character {said.position}")
    if said.detail:
        parts.append(said.detail)
    if said.hint:
        parts.append(f"Hint: {said.hint}")
    text = "; ".join(part.rstrip(".") for part in parts)
    if said.sqlstate == CANCELLED:
        known: tuple[type[EnvtuiError], str, str] = (
            TimedOut,
            "The server stopped it",
            "Raise the timeout, or ask less.",
        )
    else:
        known = (
            _BY_CODE.get(said.sqlstate)
            or _BY_CLASS.get(said.sqlstate[:2])
            or (Failed, "The database refused this", "Read what it says.")
        )
    error, sentence, remedy = known
    return error(f"{sentence}: {text}." + (f" {note}" if note else ""), remedy)


def of_connecting(error: Error, where: str) -> EnvtuiError:
    """The error for a connection that was not made.

    libpq hands out no SQLSTATE here, only text: what is not recognised in it (another language) counts as unreachable.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines or ["no reason given"])[0]
    lower = str(error).lower()
    if any(phrase in lower for phrase in _NOT_ACCEPTED):
        return AuthenticationFailed(f"{where} did not accept the credential: {text}.", "Check the user and the secret.")
    if "unsupported startup parameter" in lower:
        return Unreachable(
            f"{where} is a pooler that does not pass settings on: {text}.", "Name the server itself in the target."
        )
    if "certificate" in lower or "ssl" in lower:
        return Unreachable(f"{where} did not get through TLS: {text}.", "Check `tls` and `ca` of the target.")
    return Unreachable(f"{where} cannot be reached: {text}.", "Is it up, and is the way to it open?")


_NOT_ACCEPTED = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "authentication method requirement",
    'role "',
    "certificate authentication",
)
