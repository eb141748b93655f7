from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from envtui.core.errors import UsageError
from envtui.outside.ssh import bootstrap
from envtui.outside.ssh.bootstrap import Command, Frame, as_account, body, encoded, launch, quoted
from envtui.outside.ssh.following import Passage
from envtui.outside.ssh.wrapper import state

NONCE = "abcabd0123456789"


def frame(chunks: list[bytes], nonce: str = NONCE) -> tuple[bytes, Frame]:
    got: list[bytes] = []
    f = Frame(nonce, got.append)
    for chunk in chunks:
        f.feed(chunk)
    f.finish()
    return b"".join(got), f


def run(command: Command, stdin: bytes = b"") -> tuple[bytes, bytes, str]:
    start = launch(command, NONCE)
    done = subprocess.run(["sh", "-c", start.line], input=start.preamble + stdin, capture_output=True, check=False)
    out, out_frame = frame([done.stdout])
    err, err_frame = frame([done.stderr])
    assert out_frame.status == err_frame.status
    return out, err, out_frame.status


@pytest.mark.parametrize("constant", [bootstrap.DECODE, bootstrap.DECODE_STDIN])
def test_the_constant_has_nothing_that_a_shell_reads_differently_in_single_quotes(constant: str) -> None:
    assert not set("'\\!\n") & set(constant)


def test_the_login_shell_sees_a_constant_and_underscores_and_digits() -> None:
    line = launch(Command(argv=(b"echo", b"it's; !rm", b"\xff")), NONCE, reads=False).line
    assert re.fullmatch(rf"exec /bin/sh -c '{re.escape(bootstrap.DECODE)}' sh [_0-9]+", line)


@pytest.mark.parametrize(
    ("command", "reads"),
    [
        (Command(argv=(b"true", b"x" * 30000)), False),
        (Command(argv=(b"echo", b"it's"), hidden=True), False),
        (Command(argv=(b"true",)), True),
    ],
)
def test_a_long_or_hidden_command_or_one_with_input_goes_by_stdin(command: Command, reads: bool) -> None:
    start = launch(command, NONCE, reads)
    assert start.line == f"exec /bin/sh -c '{bootstrap.DECODE_STDIN}' sh {NONCE[::-1]}"
    assert re.fullmatch(NONCE[::-1].encode() + rb"[_0-9]+\n", start.preamble)


def test_stdin_after_a_command_by_stdin_is_the_commands_own() -> None:
    data = bytes(range(256)) * 100
    assert run(Command(argv=(b"cat",), hidden=True), data) == (data, b"", "000")
    assert run(Command(argv=(b"sh", b"-c", b"cat", b"x" * 20000)), data) == (data, b"", "000")


@pytest.mark.parametrize(
    ("command", "out", "status"),
    [
        (
            Command(argv=(b"printf", b"%s|", b"a b", b"", b"it's", b"$HOME", b"\\", b"-n")),
            b"a b||it's|$HOME|\\|-n|",
            "000",
        ),
        (Command(sh=b"echo $0 $#; printf '<%s>' \"$@\"; exit 7", argv=(b"a  b", b"*")), b"sh 2\n<a  b><*>", "007"),
        (Command(argv=(b"pwd",), cwd=b"/"), b"/\n", "000"),
        (Command(argv=(b"printenv", b"K"), env=(("K", b"v '\n"),)), b"v '\n\n", "000"),
        (
            Command(argv=(b"printenv", b"PATH"), env=(("PATH", b"/usr/bin:/bin:/x"), ("IFS", b"e0"))),
            b"/usr/bin:/bin:/x\n",
            "000",
        ),
        (Command(argv=(b"/nonexistent",)), b"", "127"),
        (Command(sh=b"kill -9 $$"), b"", "137"),
        (Command(argv=(b"cd", b"/")), b"", "127"),  # a shell's builtin is no program
    ],
)
def test_what_runs_is_what_was_said(command: Command, out: bytes, status: str) -> None:
    got, _, code = run(command)
    assert (got, code) == (out, status)


def test_a_missing_directory_runs_nothing() -> None:
    out, _, status = run(Command(argv=(b"echo", b"ran"), cwd=b"/nonexistent dir"))
    assert (out, status) == (b"", bootstrap.NO_DIRECTORY)


def test_both_streams_are_framed() -> None:
    assert run(Command(sh=b"echo out; echo err >&2")) == (b"out\n", b"err\n", "000")


@pytest.mark.parametrize(
    ("account", "sudo"), [("root", b"'sudo' '-n' '--' "), ("app", b"'sudo' '-n' '-u' 'app' '--' ")]
)
def test_another_account_is_by_sudo_without_a_password(account: str, sudo: bytes) -> None:
    assert b"(exec %s'id' )" % sudo in b"".join(bootstrap._parts(Command(argv=(b"id",), account=account), NONCE))
    with_env = b"\n".join(bootstrap._parts(Command(argv=(b"id",), env=(("A", b"1"),), account=account), NONCE))
    assert b"(exec %s'/usr/bin/env' 'A=1' 'id' )" % sudo in with_env


@pytest.mark.parametrize(
    "command",
    [
        Command(),
        Command(argv=(b"",)),
        Command(argv=(b"-v",)),
        Command(argv=(b"a\0b",)),
        Command(argv=(b"id",), account="a b"),
        Command(argv=(b"id",), account="-x"),
        Command(argv=(b"id",), env=(("A B", b""),)),
        Command(argv=(b"a=b",), env=(("A", b""),), account="root"),
    ],
)
def test_what_sh_cannot_carry_is_refused(command: Command) -> None:
    with pytest.raises(UsageError):
        launch(command, NONCE)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_frame_is_found_in_whatever_pieces_it_comes(size: int) -> None:
    whole = b"noise abcab\n" + NONCE.encode() + b"b" + b"out abcabcabd abcabd0123456789" + NONCE.encode() + b"e042after"
    out, f = frame([whole[i : i + size] for i in range(0, len(whole), size)])
    assert (out, f.status, f.begun, f.noise) == (b"out abcabcabd abcabd0123456789", "042", True, b"noise abcab\n")


def test_without_a_frame_the_noise_is_kept_in_part() -> None:
    out, f = frame([b"'exec' is not recognized\r\n", b"x" * 5000])
    assert (out, f.begun, len(f.noise)) == (b"", False, bootstrap.NOISE_KEPT)
    assert f.noise.startswith(b"'exec' is not")


def test_an_end_without_a_mark_gives_what_was_held_back() -> None:
    out, f = frame([NONCE.encode() + b"b" + b"half " + NONCE.encode()[:5]])
    assert (out, f.status) == (b"half abcab", "")


def test_output_is_not_held_back_while_it_cannot_be_a_mark() -> None:
    got: list[bytes] = []
    f = Frame(NONCE, got.append)
    f.feed(NONCE.encode() + b"bfirst line\n")
    assert got == [b"first line\n"]


def test_what_sudo_is_given_is_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that shows its options and runs the rest in an empty environment, as sudo does; the real one: servers/."""
    stand_in = tmp_path / "sudo"
    stand_in.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do printf "%s " "$1"; shift; done; shift; exec env -i "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = Command(sh=b'echo "$K $1" && pwd', argv=(b"a 'b",), env=(("K", b"it's"),), cwd=b"/usr", account="app")
    assert run(command) == (b"-n -u app it's a 'b\n/usr\n", b"", "000")


def test_a_body_runs_as_whoever_runs_it() -> None:
    command = Command(argv=(b"id",), env=(("A", b"it's"),), account="app")
    assert body(command, quoted, b"export B=1") == b"export A='it'\\''s';export B=1;exec 'id'"
    assert as_account("app") == ("sudo", "-n", "-u", "app", "--")
    assert as_account("") == ()
    assert encoded(b"a\n") == "_0141_0012"


class Both:
    def __init__(self) -> None:
        self.stdout = b""
        self.stderr = b""

    def out(self, data: bytes) -> None:
        self.stdout += data

    def err(self, data: bytes) -> None:
        self.stderr += data


def test_each_byte_passes_once_whichever_way_it_comes() -> None:
    sink = Both()
    passage = Passage(sink)
    for at, data in ((0, b"abc"), (0, b"ab"), (1, b"bcd"), (9, b"past a gap"), (4, b"ef"), (0, b"abcdefg")):
        passage.take("out", at, data)
    passage.take("err", 0, b"x" * 70_000)
    assert sink.stdout == passage.kept("out") == b"abcdefg"
    assert (passage.seen, len(sink.stderr), len(passage.kept("err"))) == ({"out": 7, "err": 70_000}, 70_000, 65536)
    passage.close()
    passage.take("out", 7, b"h")
    assert (sink.stdout, passage.out) == (b"abcdefg", 7)


def test_a_passage_begins_where_another_ended() -> None:
    sink = Both()
    passage = Passage(sink, 3, 1)
    passage.take("out", 0, b"abcd")
    passage.take("err", 1, b"y")
    assert (sink.stdout, sink.stderr, passage.seen) == (b"d", b"y", {"out": 4, "err": 2})


def test_a_byte_that_its_sink_did_not_take_was_not_seen() -> None:
    class Full(Both):
        def out(self, data: bytes) -> None:
            raise OSError("no space")

    passage = Passage(Full())
    with pytest.raises(OSError, match="no space"):
        passage.take("out", 0, b"a")
    assert passage.out == 0


BOOT = b"1feed2ec-ee78-4edf-8df2-994772f1bf52"


@pytest.mark.parametrize(
    ("seen", "wrote", "expected"),
    [
        (b"1 %s 3 0" % BOOT, b"%s 10 11 12\n." % BOOT, (True, 11, None)),
        (b"0 %s 3 0" % BOOT, b"%s 10 11 12\n143\n." % BOOT, (False, 11, 143)),
        (b"0 %s 3 0" % BOOT, b"%s 10 11 12\n0." % BOOT, (False, 11, None)),
        (b"- - 0 0", b"- 0 11 0\n0\n.", (None, 11, 0)),
        (b"0 %s 0 0" % BOOT, b"", (False, None, None)),
        (b"0 %s 0 0" % BOOT, b".", (False, None, None)),
        (b"0 %s 0 0" % BOOT, b"%s 10." % BOOT, (False, None, None)),
        (b"0 %s 0 0" % BOOT, b"%s 10 11 12\n256\n." % BOOT, None),
        (b"0 %s 0 0" % BOOT, b"%s 10 11 12\nx\n." % BOOT, None),
        (b"0 %s 0 0" % BOOT, b"%s 10 11 12\n0\n0\n." % BOOT, None),
        (b"0 %s 0 0" % BOOT, b"%s 10 0 12\n." % BOOT, None),
        (b"0 %s 0 0" % BOOT, b"%s -1 11 12\n." % BOOT, None),
        (b"0 %s 0 0" % BOOT, "%s ١ ١١ ١\n.".encode() % BOOT, None),
        (b"", b"", None),
        (b"2 %s 0 0" % BOOT, b"", None),
    ],
)
def test_what_a_host_says_of_a_write_is_read_strictly(
    seen: bytes, wrote: bytes, expected: tuple[bool | None, int | None, int | None] | None
) -> None:
    found = state(seen, wrote)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.leads, found.who.pid if found.who else None, found.exit) == expected
