"""A read whose program cannot do its work in the sandbox without a need that the step does not name: a hint, by the program."""

from __future__ import annotations

from envtui.core.runbook import SshStep

from .writes import first_words

_NETWORK = frozenset(
    [
        "curl",
        "wget",
        "dig",
        "nslookup",
        "host",
        "nc",
        "ncat",
        "telnet",
        "kubectl",
        "helm",
        "psql",
        "mysql",
        "redis-cli",
        "mongosh",
        "etcdctl",
    ]
)
_SOCKETS = frozenset(
    ["systemctl", "loginctl", "hostnamectl", "timedatectl", "busctl", "docker", "podman", "crictl", "nerdctl"]
)


def missing_need(step: SshStep) -> tuple[str, str]:
    """(program, need) of the first program that needs what the step does not have; ('', '') when there is none."""
    for words in first_words(step):
        program = words[0].rpartition("/")[2] if words else ""
        need = "network" if program in _NETWORK else "sockets" if program in _SOCKETS else ""
        if program == "curl" and "--unix-socket" in words:
            need = "sockets"
        if need and need not in step.needs and "root" not in step.needs:
            return program, need
    return "", ""
