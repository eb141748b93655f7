"""`envtui run` on accounts with other login shells: hostile parameters arrive byte for byte, and no start file of the account
can corrupt a command, run a part of one, or fake how it ended. Needs root: useradd."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
from pathlib import Path

import pytest

from envtui.core.events import ActEnded, Captured
from tests.servers.sshd import SSHD
from tests.servers.world_kit import NAME, Kit, kit, machines, one

__all__ = ["kit", "machines", "one"]  # fixtures

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(SSHD is None, reason="NO sshd: login shells WERE NOT TESTED"),
    pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: other login shells WERE NOT TESTED through envtui run"),
]

HOSTILE = (
    "it's", 'say "it"', "a b", "", "\\", "\\'", "; touch PWN ; : '", "hi!there", "!!", "!-1", "$HOME", "$(touch PWN)", "`touch PWN`",
    "a\nb", "a\n!b\n", "\ttab", "*", "~", "{a,b}", "${HOME}", "%s%n", "-n", "--", "#", "é€😀", "&& touch PWN", "^a^b", "$?", "$1", "<(id)",
)  # fmt: skip
VALUES = tuple(word for word in HOSTILE if word.isprintable())
"""What a parameter may be: the rest stands in books only."""

LONGEST = 128 * 1024 - 1
"""Bytes that Linux takes as one argument."""

RC = {"bash": ".bashrc", "fish": ".config/fish/config.fish", "tcsh": ".cshrc"}
NOISE = {
    "bash": "echo welcome; echo careful >&2; printf 'e000'\n",
    "fish": "echo welcome; echo careful >&2; printf 'e000'\n",
    "tcsh": "echo welcome; echo careful > /dev/stderr; printf 'e000'\n",
}


def login(kit: Kit, shell: str, name: str, start: str | None = None) -> Kit:
    """`kit` as an account of that login shell, with a start file."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} IS NOT INSTALLED: it WAS NOT TESTED through envtui run")
    files = {RC[shell]: start} if start is not None else None
    kit.user = kit.servers.account(f"run-{name}", path, files)
    kit.manifest()
    return kit


def digest(words: tuple[str, ...]) -> str:
    return hashlib.sha256(b"".join(word.encode() + b"\0" for word in words)).hexdigest()


def sums(kit: Kit) -> list[str]:
    return [e.value.text for e in kit.events(Captured) if e.value]


SUM = 'printf "%s\\0" "$@" | sha256sum'


def step(name: str, *words: str, more: str = "") -> str:
    """A step that says the digest of its words. JSON is YAML."""
    argv = json.dumps(["sh", "-c", SUM, "sh", *(word.replace("${", "$${") for word in words)], ensure_ascii=False)
    taken = "{sum: {from: stdout, regex: '^[0-9a-f]{64}'}}"
    return f"  - {{id: {name}, kind: ssh, argv: {argv}, capture: {taken}{more}}}\n"


@pytest.mark.parametrize("shell", ["bash", "dash", "fish", "tcsh"])
def test_hostile_parameters_arrive_byte_for_byte(kit: Kit, shell: str) -> None:
    kit = login(kit, shell, shell, NOISE.get(shell))
    long = ("'!`$(x)\n\\\"é%" * 20_000).encode()[:LONGEST].decode(errors="ignore")
    fed = "\n".join(HOSTILE)
    names = [f"p{n}" for n in range(len(VALUES))]
    argv = json.dumps(["sh", "-c", SUM, "sh", *(f"v${{params.{name}}}" for name in names)])
    taken = "{sum: {from: stdout, regex: '^[0-9a-f]{64}'}}"
    kit.book(
        step("words", *HOSTILE)
        + step("long", long)
        + f"  - {{id: params, kind: ssh, argv: {argv}, capture: {taken}}}\n"
        + "  - {id: input, kind: ssh, argv: [sha256sum], stdin: {text: "
        + json.dumps(fed.replace("${", "$${"), ensure_ascii=False)
        + "}, capture: "
        + taken
        + "}\n"
        "  - {id: plain, kind: ssh, argv: [printf, '%s-', a b, c=d], expect: {stdout_matches: '^a b-c=d-$'}}\n"
        "  - {id: code, kind: ssh, argv: [sh, -c, 'exit 7'], expect: {exit: 7}}\n"
        "  - {id: bad, kind: ssh, argv: ['false'], expect: {exit: 1}}\n"
        "  - {id: none, kind: ssh, argv: [ls, -A, PWN], expect: {exit: 2}}\n",
        more="params:\n" + "".join(f"  {name}: {{type: string}}\n" for name in names),
    )
    words = [word for name, value in zip(names, VALUES, strict=True) for word in ("-p", f"{name}={value}")]
    done = kit.cli("run", NAME, "book", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sums(kit) == [
        digest(HOSTILE),
        digest((long,)),
        digest(tuple(f"v{value}" for value in VALUES)),
        hashlib.sha256(fed.encode()).hexdigest(),
    ]
    assert "welcome" not in done.stdout
    assert "careful" not in done.stdout


@pytest.mark.parametrize("value", [word for word in HOSTILE if word and not word.isprintable()])
def test_a_parameter_with_a_control_character_is_refused_before_anything_is_sent(kit: Kit, value: str) -> None:
    kit.book("  - {id: a, kind: ssh, argv: [echo, 'v${params.p}']}\n", more="params: {p: {type: string}}\n")
    done = kit.cli("run", NAME, "book", "-p", f"p={value}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "holds a control character" in done.stderr
    assert not kit.ledger.exists() or not kit.events(ActEnded)


READS = {
    "everything": {"bash": "cat\n", "fish": "cat\n", "tcsh": "cat\n"},
    "a line": {"bash": "read -r x\n", "fish": "head -n 1 > /dev/null\n", "tcsh": "set x = $<\n"},
    "some bytes": {"bash": "head -c 30 > /dev/null\n", "fish": "dd bs=1 count=30 2> /dev/null\n", "tcsh": "dd bs=1 count=2 >& /dev/null\n"},
    "all and is gone": {"bash": "cat > /dev/null; exit 0\n", "fish": "cat > /dev/null; exit 0\n", "tcsh": "cat > /dev/null; exit 0\n"},
}  # fmt: skip


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("shell", ["bash", "fish", "tcsh"])
def test_a_start_file_that_reads_gets_no_command_and_what_was_fed_is_a_clean_error(
    kit: Kit, shell: str, what: str
) -> None:
    """Commands stand on the command line, out of its reach; only one with input of its own comes by stdin."""
    kit = login(kit, shell, f"{shell}-{list(READS).index(what)}", READS[what][shell])
    kit.book(
        "  - {id: plain, kind: ssh, argv: [touch, plain], on_failure: 'goto:quoted'}\n"
        "  - {id: quoted, kind: ssh, sh: 'touch \"$PWD/quoted\"', on_failure: 'goto:fed'}\n"
        '  - {id: fed, kind: ssh, sh: "cat; touch fed", stdin: {text: "touch evil\\n"}}\n'
    )
    done = kit.hurried("run", NAME, "book")
    assert done.returncode == 1, done.stdout + done.stderr
    gone = what == "all and is gone" and shell == "bash"  # the others go on after `exit`
    word = "REFUSED" if gone else "OK"
    words = [(e.step, e.word) for e in kit.events(ActEnded)]
    assert words == [("plain", word), ("quoted", word), ("fed", "REFUSED")]
    assert "did not start /bin/sh" in kit.events(ActEnded)[-1].why
    assert touched(kit) == (set() if gone else {"plain", "quoted"})


def touched(kit: Kit) -> set[str]:
    """What commands left in the account's home."""
    home = Path(pwd.getpwnam(kit.user).pw_dir)
    return {p.name for p in home.iterdir()} & {"plain", "quoted", "fed", "evil", "more", "sent"}


COUNTING = {
    "bash": 'n=$(cat ~/n 2>/dev/null || echo 0); echo $((n + 1)) > ~/n; [ "$n" -gt 0 ] && read -r x\n:\n',
    "fish": "set n (cat ~/n 2>/dev/null; or echo 0); math $n + 1 > ~/n; test $n -gt 0; and head -n 1 > /dev/null\n",
}


@pytest.mark.parametrize("shell", COUNTING)
def test_a_start_file_that_begins_to_read_later_does_not_run_what_a_command_was_fed(kit: Kit, shell: str) -> None:
    """The identity still gets through; the next command loses its first line. Its input must not take that line's place."""
    kit = login(kit, shell, f"later-{shell}", COUNTING[shell])
    kit.book(
        '  - {id: fed, kind: ssh, sh: "cat; touch fed", stdin: {text: "touch evil\\n"}, on_failure: "goto:more"}\n'
        "  - {id: more, kind: ssh, argv: [touch, more]}\n"
    )
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(e.step, e.word) for e in kit.events(ActEnded)] == [("fed", "REFUSED"), ("more", "OK")]
    assert touched(kit) == {"more"}


def test_a_write_that_a_start_file_ate_did_not_happen_and_says_so(kit: Kit) -> None:
    kit = login(kit, "bash", "write", READS["everything"]["bash"])
    kit.book(
        "  - {id: a, kind: ssh, mode: write, repeatable: true, sh: 'cat; touch sent', stdin: {text: 'touch evil'}}\n"
    )
    done = kit.hurried("run", NAME, "book", "--grant", str(kit.request("book")))
    assert done.returncode == 1, done.stdout + done.stderr
    assert [e.word for e in kit.events(ActEnded)] == ["REFUSED"]
    assert not kit.run().in_doubt
    assert touched(kit) == set()


@pytest.mark.parametrize("shell", ["bash", "fish", "tcsh"])
def test_what_a_start_file_prints_is_no_exit_code(kit: Kit, shell: str) -> None:
    """It knows how a frame looks, and not this command's nonce."""
    fake = "0123456789abcdef01234567"
    kit = login(kit, shell, f"fake-{shell}", f"printf '{fake}bstaging:one\\n{fake}e000{fake}e000'\n")
    kit.book("  - {id: a, kind: ssh, sh: 'echo real; exit 3'}\n")
    done = kit.cli("run", NAME, "book")
    assert done.returncode == 1, done.stdout + done.stderr
    assert [(e.word, e.exit) for e in kit.events(ActEnded)] == [("FAILED", 3)]
    assert "| real" in done.stdout
    assert fake not in done.stdout
