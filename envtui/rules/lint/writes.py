"""A read that looks like a write: a hint for whoever wrote the book. What stops it is the protection, not this list."""

from __future__ import annotations

import re
import shlex

from envtui.core.runbook import HttpStep, SqlStep, SshStep, Step

_PROGRAMS = frozenset(
    {"rm", "rmdir", "mv", "cp", "dd", "mkfs", "tee", "touch", "truncate", "chmod", "chown", "ln", "kill", "pkill"}
    | {"killall", "reboot", "shutdown", "halt", "poweroff", "useradd", "userdel", "usermod", "passwd", "mount"}
    | {"umount", "iptables", "nft", "crontab"}
)
_VERBS = {
    "systemctl": "start stop restart reload enable disable mask unmask kill isolate daemon-reload set-property",
    "service": "start stop restart reload",
    "docker": "rm rmi run start stop restart kill exec prune pull push",
    "podman": "rm rmi run start stop restart kill exec prune pull push",
    "kubectl": "apply delete create edit patch scale rollout drain cordon uncordon exec replace set label annotate",
    "apt": "install remove purge upgrade",
    "apt-get": "install remove purge upgrade",
    "dnf": "install remove upgrade",
    "yum": "install remove upgrade",
    "pip": "install uninstall",
    "git": "push pull commit reset checkout clean",
    "ip": "add del set flush",
}
_SHELL_WRITE = re.compile(r"(?<![0-9&<>-])>{1,2}\s*(?!/dev/null|&|\s)[^\s&>|]|\|\s*(?:xargs\s+rm|tee)\b|\bsed\s+-\w*i")
_SQL_WRITE = re.compile(
    r"^\s*(?:with\b.*?\)\s*)?(insert|update|delete|merge|truncate|drop|alter|create|grant|revoke|vacuum|reindex|cluster"
    r"|refresh|call|do|copy|lock|comment|analyze)\b|\bfor\s+(?:no\s+key\s+)?update\b"
    r"|\b(pg_terminate_backend|pg_cancel_backend|nextval|setval|pg_reload_conf|pg_switch_wal|lo_import|dblink_exec)\s*\(",
    re.IGNORECASE | re.DOTALL,
)
_SQL_NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)


def looks_like_write(step: Step) -> str:
    """What in a read looks like a write, '' if nothing does."""
    if isinstance(step, SqlStep) and step.query is not None:
        for statement in _SQL_NOISE.sub(" ", step.query).split(";"):
            if found := _SQL_WRITE.search(statement):
                return found.group().split()[-1].rstrip("(").upper()
    elif isinstance(step, SshStep):
        return _command(step)
    elif isinstance(step, HttpStep) and step.body is not None:
        return "body"
    return ""


def _command(step: SshStep) -> str:
    if step.sh is not None and (found := _SHELL_WRITE.search(step.sh)):
        return found.group().strip()
    return next((seen for words in first_words(step) if (seen := _words(words))), "")


def first_words(step: SshStep) -> list[list[str]]:
    """The commands of a step as words, roughly: one of argv, or one for each part of a script."""
    if step.sh is not None:
        found = [_split(line) for line in re.split(r"[\n;|]|&&", step.sh)]
    else:
        found = [_split(step.argv) if isinstance(step.argv, str) else list(step.argv or ())]
    for words in found:
        while words and words[0] in ("sudo", "env", "nice", "timeout", "-n", "nohup", "command"):
            del words[0]
    return found


def _words(words: list[str]) -> str:
    if not words:
        return ""
    program = words[0].rpartition("/")[2]
    if program in _PROGRAMS:
        return program
    verbs = _VERBS.get(program, "").split()
    verb = next((word for word in words[1:] if not word.startswith("-")), "")
    if program == "ip":
        verb = next((word for word in words[1:] if word in verbs), "")
    return f"{program} {verb}" if verb in verbs else ""


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()
