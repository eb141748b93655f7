"""What holds reads on a host: found out when a connection is made, never taken on trust. Blocks; no event loop.

The host is asked as much as the environment's minimum needs and no more: `sudo -l` leaves a line in a log. Levels and what
they mean: docs/protection.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .sandbox.send import GATE

ORDER = ("advisory", "account-enforced", "kernel-enforced", "gate-enforced")
"""The levels of an ssh target, the weakest first."""

ROOT_LIKE = frozenset(
    {"docker", "podman", "lxd", "incus", "incus-admin", "libvirt", "disk", "kmem", "sudo", "wheel", "admin", "root"}
)
"""Groups whose members can become root, or write where root does."""

NEEDS = {"n": "network", "s": "sockets", "r": "root"}

LOOK = f"""LC_ALL=C; export LC_ALL; umask 077
echo "uid $(id -u)"
echo "groups $(id -Gn)"
echo "gate ${{ENVTUI_GATE-}}"
while read -r name rest; do case $name in NoNewPrivs:|Seccomp:) echo "$name $rest"; esac; done </proc/self/status
( : >/proc/self/comm ) 2>/dev/null && echo "canary wrote"
case $(mkdir /proc/self/envtui-canary 2>&1) in *ermitted*|*denied*) ;; *) echo "canary changed"; esac
sudo -n -l 2>/dev/null </dev/null | while read -r line; do case $line in
*{GATE}*) ;; "("*) echo "sudo $line"; esac; done
echo end
"""
"""For sh at the host. It changes nothing anywhere: the first canary is the name of the shell's own process."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`shown`: what the host showed of itself. `behind`: what reads are put behind there; a gate does it by itself.

    `allowed`: needs that a gate allows. `lacks`: what is missing for the next level, a clause each.
    """

    shown: str
    protection: str = "advisory"
    lacks: tuple[str, ...] = ()
    behind: Literal["", "sandbox", "gate"] = ""
    code: str = ""  # the sandbox's text as that host has compiled it
    allowed: tuple[str, ...] = ()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What LOOK told."""

    powers: tuple[str, ...]  # why Unix permissions do not hold it, a clause each
    gate: str | None = None  # letters of needs; None: there is none, or it does not hold
    why: str = ""  # why what calls itself a gate is none
    around: tuple[str, ...] = ()  # what leads around the gate, a clause each


def account(text: str) -> Account:
    """What the answer to LOOK says. Whatever it does not say counts against the account."""
    lines = [line.strip() for line in text.splitlines()]
    facts = {name.rstrip(":"): rest.strip() for name, _, rest in (line.partition(" ") for line in lines)}
    if "end" not in facts or not facts.get("uid", "").isdigit():
        return Account(powers=("the host did not say what the account may do",))
    powers: list[str] = []
    if facts["uid"] == "0":
        powers.append("the read account is root")
    powers += [
        f"the read account is in the group {name}" for name in facts.get("groups", "").split() if name in ROOT_LIKE
    ]
    powers += [f"the read account may use sudo: {line[5:105]}" for line in lines if line.startswith("sudo ")][:5]
    gate, why = facts.get("gate") or None, ""
    if gate is not None:
        if facts.get("NoNewPrivs") != "1" or facts.get("Seccomp") != "2" or "canary" in facts:
            gate, why = None, "the gate there does not hold: a canary write was not refused"
        elif set(gate) - {*NEEDS, "-"}:
            gate, why = None, "the gate there is of another version"
    return Account(powers=tuple(dict.fromkeys(powers)), gate=gate, why=why)


def standing(shown: str, found: Account, sandbox: str | None, asked: bool = True) -> Standing:
    """From what the account is, and why the sandbox could not be put up ('' : it could; None: it was not tried).

    `asked`: the environment asks for a sandbox there, so reads have one where they can.
    """
    if found.gate is not None:
        allowed = tuple(NEEDS[letter] for letter in found.gate if letter in NEEDS)
        more = f", with {', '.join(allowed)}" if allowed else ""
        level = "kernel-enforced" if found.around else "gate-enforced"
        return Standing(shown=shown, protection=f"{level}{more}", lacks=found.around, behind="gate", allowed=allowed)
    lacks = (found.why,) if found.why else ()
    if sandbox == "" and asked:
        lacks = lacks or ("a gate: the host's owner can make the server refuse everything else for this key",)
        return Standing(shown=shown, protection="kernel-enforced", lacks=lacks, behind="sandbox")
    if sandbox:
        lacks = (*lacks, f"a sandbox: {sandbox}")
    elif not asked or sandbox == "":
        lacks = (
            *lacks,
            "nothing there: `protection: {ssh: kernel-enforced}` in environment.yaml puts its reads into a sandbox",
        )
    level = "advisory" if found.powers else "account-enforced"
    return Standing(shown=shown, protection=level, lacks=(*lacks, *found.powers))
