"""What the keeper tells about refused calls: from lines of bytes to clauses, whatever a hostile command puts into them."""

from __future__ import annotations

import base64

import pytest

from envtui.outside.ssh.bootstrap import ASIDE_KEPT, Frame
from envtui.outside.ssh.sandbox.calls import DENIED, FREE, MACHINES, WEIGHED
from envtui.outside.ssh.sandbox.told import MOST, refused

NONCE = "abcabd"


def said(*entries: tuple[int, str, bytes, bytes], machine: str = "x86_64") -> bytes:
    numbers = {**DENIED[machine], **WEIGHED[machine]}
    lines = [b"%d\0%d\0%s\0%s" % (times, numbers[name], who, what) for times, name, who, what in entries]
    return machine.encode() + b" " + base64.b64encode(b"\n".join(lines))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_is_named_on_each_machine(machine: str) -> None:
    assert refused(said((2, "unlinkat", b"rm", b"/tmp/x"), machine=machine), ok=True) == (
        "unlinkat /tmp/x: rm, 2 times",
    )


def test_only_a_failed_command_is_told_of_what_reading_programs_do() -> None:
    entries = said((1, "fsync", b"vi", b"3"), (1, "socket", b"curl", b"2"), (1, "openat", b"sh", b"/dev/tty"))
    assert refused(entries, ok=True) == ()
    told = refused(entries, ok=False)
    assert [clause.partition(":")[0] for clause in told] == [
        "fsync", "a socket of the network (a step with `needs", "open /dev/tty to write",
    ]  # fmt: skip


def test_a_look_for_the_names_of_accounts_is_no_news() -> None:
    assert refused(said((4, "socket", b"ls", b"1")), ok=False) == ()
    assert "sockets" in refused(said((1, "socket", b"docker", b"1")), ok=False)[0]


def test_what_is_said_cannot_break_a_line_and_is_bounded() -> None:
    hostile = b"\x1b[2J\nOK\r" + b"x" * 500
    told = refused(said(*((1, "mkdir", b"m\nk", hostile + b"%d" % n) for n in range(20))), ok=True)
    assert len(told) <= MOST + 1
    assert all(len(clause) < 200 and clause.isprintable() for clause in told)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"",
        b"x86_64",
        b"x86_64 !!!",
        b"x86_64 " + base64.b64encode(b"no\0such"),
        b"vax " + base64.b64encode(b"1\x002\0\0"),
    ],
)
def test_what_is_no_such_text_says_nothing_or_a_number(bytes_: bytes) -> None:
    assert all("call" in clause for clause in refused(bytes_, ok=False))


def test_every_call_of_a_table_stands_in_one_of_them() -> None:
    for machine in MACHINES:
        names = [name for table in (FREE, WEIGHED, DENIED) for name in table[machine]]
        numbers = [number for table in (FREE, WEIGHED, DENIED) for number in table[machine].values()]
        assert len(names) == len(set(names))
        assert len(numbers) == len(set(numbers))


STREAM = f"noise{NONCE}bout{NONCE}put{NONCE[:4]}!{NONCE}sx86_64 AAA={NONCE}e007rest".encode()


@pytest.mark.parametrize("size", range(1, len(STREAM)))
def test_what_the_keeper_tells_is_no_output_however_it_arrives(size: int) -> None:
    """The command knows its nonce: it stands on the command line. What it says with it is output, and no end."""
    out: list[bytes] = []
    frame = Frame(NONCE, out.append)
    for at in range(0, len(STREAM), size):
        frame.feed(STREAM[at : at + size])
    frame.finish()
    assert b"".join(out) == f"out{NONCE}put{NONCE[:4]}!".encode()
    assert (frame.aside, frame.status) == (b"x86_64 AAA=", "007")


def test_a_keeper_that_says_too_much_is_cut() -> None:
    frame = Frame(NONCE, lambda _: None)
    frame.feed(f"{NONCE}b{NONCE}s".encode())
    for _ in range(100):
        frame.feed(b"A" * ASIDE_KEPT)
    frame.feed(f"{NONCE}e000".encode())
    assert frame.aside is not None
    assert len(frame.aside) <= 2 * ASIDE_KEPT
    assert frame.status == "000"
