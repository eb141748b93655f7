"""The filter of system calls, carried out as the kernel would, for both machines: this one cannot run programs of the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from envtui.outside.ssh.sandbox.calls import DENIED, FREE, MACHINES, WEIGHED
from envtui.outside.ssh.sandbox.filter import ALLOW, ENOSYS, ENOTTY, ERRNO, KILL, REFUSED, TOLD, program

HIGH = 1 << 32
EVERY = [(machine, network, sockets, scoped) for machine in MACHINES for network in (False, True) for sockets in (False, True) for scoped in (False, True)]  # fmt: skip


def answer(code: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = 0) -> int:
    """What the program returns for a call: LD W ABS, JEQ, JGE, JSET, JA and RET of linux/filter.h."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *((*arguments, 0, 0, 0, 0, 0, 0)[:6]))
    steps = list(struct.iter_unpack("<HBBI", code))
    at = loaded = 0
    while True:
        kind, yes, no, value = steps[at]
        at += 1
        if kind == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif kind == 0x06:
            return int(value)
        elif kind == 0x05:
            at += value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[kind]
            at += yes if holds else no


def asked(
    machine: str, name: str, *arguments: int, network: bool = False, sockets: bool = False, scoped: bool = True
) -> int:
    number = {**FREE[machine], **WEIGHED[machine], **DENIED[machine]}[name]
    return answer(program(machine, network, sockets, scoped), number, arguments, MACHINES[machine])


@pytest.mark.parametrize("which", EVERY)
def test_every_call_is_answered_by_its_table_and_any_other_as_unknown(which: tuple[str, bool, bool, bool]) -> None:
    machine, code = which[0], program(*which)
    assert len(code) // 8 <= 4096  # BPF_MAXINSNS
    tables = {number: name for table in (FREE, WEIGHED, DENIED) for name, number in table[machine].items()}
    for number in range(700):
        got, name = answer(code, number, (0,) * 6, MACHINES[machine]), tables.get(number)
        if name is None:
            assert got == ERRNO | ENOSYS, number
        elif name in FREE[machine]:
            assert got == ALLOW, name
        elif name in DENIED[machine]:
            assert got == REFUSED, name


@pytest.mark.parametrize("which", EVERY)
def test_another_architecture_ends_the_program(which: tuple[str, bool, bool, bool]) -> None:
    for other in (0x40000003, 0x40000028, *(arch for name, arch in MACHINES.items() if name != which[0])):
        assert answer(program(*which), 0, (), other) == KILL
    if which[0] == "x86_64":
        assert answer(program(*which), 0x40000000 | 1, (), MACHINES["x86_64"]) == ERRNO | ENOSYS


def high(value: int) -> Iterator[int]:
    """The kernel takes the lower half of an int: what stands above changes nothing."""
    yield from (value, value | HIGH, value | 0xFFFFFFFF << 32)


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide(machine: str) -> None:
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o2000101):
        for said in high(flags):
            assert asked(machine, "openat", 0, 0, said) == TOLD
    assert asked(machine, "openat", 0, 0, 0o2000000) == ALLOW
    for family, protocol, got in ((1, 0, REFUSED), (2, 0, REFUSED), (16, 0, ALLOW), (16, 4, ALLOW), (16, 9, REFUSED), (17, 0, REFUSED)):  # fmt: skip
        for said in high(family):
            assert asked(machine, "socket", said, 3, protocol) == got
    assert asked(machine, "socket", 2, network=True) == asked(machine, "socket", 1, sockets=True) == ALLOW
    assert asked(machine, "socket", 1, network=True) == asked(machine, "socket", 2, sockets=True) == REFUSED
    for said in high(0x541C):
        assert asked(machine, "ioctl", 0, said) == ERRNO | ENOTTY
    assert asked(machine, "ioctl", 0, 0x5413) == ALLOW
    for said in high(0x10000000):
        assert asked(machine, "clone", said) == REFUSED
    assert asked(machine, "clone", 0x1200011) == ALLOW
    assert asked(machine, "bind", 3, 0, 12) == asked(machine, "bind", 3, 0, 110, sockets=True) == ALLOW
    assert asked(machine, "bind", 3, 0, 16, network=True) == asked(machine, "bind", 3, 0, 28, network=True) == ERRNO
    assert asked(machine, "bind", 3, 0, 16) == asked(machine, "bind", 3, 0, 30, network=True) == REFUSED
    for protocol, got in ((6, ALLOW), (17, ALLOW), (132, REFUSED), (136, REFUSED), (262, REFUSED)):
        assert asked(machine, "socket", 2, 1, protocol, network=True) == got
    assert asked(machine, "openat", 0, 0, 0o200) == asked(machine, "openat", 0, 0, 0o1200) == REFUSED
    assert asked(machine, "openat", 0, 0, 0o300) == TOLD
    assert asked(machine, "futex", 0, 4) == asked(machine, "fcntl", 3, 4, 0o20000) == REFUSED
    assert (
        asked(machine, "futex", 0, 128 + 4)
        == asked(machine, "futex", 0, 0)
        == asked(machine, "fcntl", 3, 4, 0o4000)
        == ALLOW
    )
    assert (asked(machine, "fadvise64", 3, 0, 0, 4), asked(machine, "fadvise64", 3, 0, 0, 3)) == (ERRNO, ALLOW)
    assert asked(machine, "flock", 3, 2) == asked(machine, "fcntl", 3, 6) == ERRNO
    assert asked(machine, "fcntl", 3, 1024) == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_are_read_and_the_one_of_cores_is_not_lowered(machine: str) -> None:
    core = 4
    assert asked(machine, "setrlimit", core) == asked(machine, "prlimit64", 0, core, 0x7FFF) == ERRNO
    assert asked(machine, "prlimit64", 0, core, HIGH) == ERRNO  # the address of a new limit, its lower half 0
    assert asked(machine, "prlimit64", 0, core, 0) == asked(machine, "prlimit64", 0, 7, 0x7FFF) == ALLOW
    assert asked(machine, "prlimit64", 4711, 7, 0) == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_without_a_scope_signals_go_to_the_own_group_only(machine: str) -> None:
    assert asked(machine, "kill", 4711, 9) == ALLOW  # Landlock holds it
    assert asked(machine, "kill", 4711, 9, scoped=False) == asked(machine, "tgkill", 1, 1, 9, scoped=False) == REFUSED
    assert asked(machine, "kill", 4711, 0, scoped=False) == asked(machine, "kill", 0, 9, scoped=False) == ALLOW
