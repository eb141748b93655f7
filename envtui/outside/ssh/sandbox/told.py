"""What the keeper tells at the end: calls that the sandbox refused, in words, so that a person sees what a read tried.

An ordinary "not permitted" is not among them: this one comes from the sandbox, and the other from the host's own rules.
"""

from __future__ import annotations

import base64
import binascii

from envtui.core.text import clean_line

from .calls import DENIED, MACHINES, WEIGHED

MOST = 5
"""So many are named; of others it is said that there are more."""

_QUIET = {
    "fsync", "fdatasync", "sync", "sync_file_range", "syncfs", "setgroups", "sched_setattr", "sched_setparam", "kcmp",
    "sched_setscheduler", "sched_setaffinity", "setpriority", "ioprio_set", "prctl", "fcntl", "personality", "socket",
    "socketpair", "bind", "connect", "mq_getsetattr",
}  # fmt: skip
"""Programs that only read call these, too, and go on without: of interest when the command failed."""

_NAMES = {
    "ls", "id", "ps", "stat", "find", "who", "w", "last", "whoami", "groups", "getent", "top", "bash", "sh", "df", "du", "tar",
    "lsof", "ss", "netstat", "sudo", "crontab", "curl", "wget", "git",
}  # fmt: skip
"""They ask a daemon for the names of accounts if there is one, and read files if not: nobody misses that socket."""

_FAMILIES = {
    "1": "a UNIX socket (a step with `needs: [sockets]` may open one)",
    "2": "a socket of the network (a step with `needs: [network]` may open one)",
    "10": "a socket of the network (a step with `needs: [network]` may open one)",
}


def refused(said: bytes, ok: bool) -> tuple[str, ...]:
    """A clause for each kind of call, in the order in which they came. `said`: the machine, and lines in base64.

    `ok`: the command says that all went well; then only what would have changed something is told.
    """
    machine, _, lines = said.partition(b" ")
    try:
        entries = [line.split(b"\0") for line in base64.b64decode(lines, validate=True).split(b"\n")]
    except binascii.Error:
        return ()
    calls = _names(machine.decode("ascii", "replace"))
    found: dict[str, int] = {}
    for entry in entries:
        if len(entry) != 4 or not (entry[0].isdigit() and entry[1].isdigit()):
            continue
        times, number, who, what = (part.decode("utf-8", "replace") for part in entry)
        name = calls.get(int(number), f"call {number}")
        quiet = name in _QUIET or what == "/dev/tty"
        if not (ok and quiet) and not (name == "socket" and what == "1" and who in _NAMES):
            clause = _clause(name, clean_line(what, 120), clean_line(who, 20))
            found[clause] = found.get(clause, 0) + int(times)
    clauses = [f"{clause}, {times} times" if times > 1 else clause for clause, times in found.items()]
    return (*clauses[:MOST], *(["and more"] if len(clauses) > MOST else []))


def _clause(name: str, what: str, who: str) -> str:
    if name == "socket":
        said = _FAMILIES.get(what, f"a socket of family {what}")
    elif name in ("open", "openat"):
        said = f"open {what} to write"
    elif name in _QUIET or what.isdigit() or not what:
        said = name
    else:
        said = f"{name} {what}"
    return f"{said}: {who}" if who else said


def _names(machine: str) -> dict[int, str]:
    if machine not in MACHINES:
        return {}
    return {number: name for table in (DENIED, WEIGHED) for name, number in table[machine].items()}
