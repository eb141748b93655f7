"""The seccomp filter of a read, as BPF for each machine: an allow-list of system calls, of ioctls, of socket families.

Built here and sent as bytes: the host only hands it to the kernel. Offsets are those of `struct seccomp_data`; both machines
are little-endian. See seccomp(2) and linux/filter.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

from .calls import DENIED, FREE, MACHINES, WEIGHED

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
KILL = 0x80000000
ENOTTY, ENOSYS = 25, 38

REFUSED = 0x7FC00001
"""Answered by the keeper, with EPERM, and told (SECCOMP_RET_USER_NOTIF). Where nobody listens the host makes ERRNO of it."""

TOLD = 0x7FC00002
"""Told by the keeper and let through, to Landlock. Where nobody listens the host makes ALLOW of it."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
_NUMBER, _ARCH = 0, 4

_AT_ONCE = 24
"""Calls of neighbouring numbers in one block, that the others jump over."""

_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW* of clone(2): namespaces in which a process could be root."""

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_NETLINK_PROTOCOLS = (0, 4)  # ROUTE, SOCK_DIAG
_STREAM, _SEQPACKET = 1, 5
_SOCKET_FLAGS = (0, 0o2000000, 0o4000, 0o2004000)  # SOCK_CLOEXEC, SOCK_NONBLOCK
_TALK = (
    "recvfrom", "recvmsg", "recvmmsg", "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown",
    "sendto", "sendmsg", "sendmmsg",
)  # fmt: skip
"""Calls on a socket that was opened."""

_FCNTL = (0, 1, 2, 3, 4, 9, 11, 16, 1030, 1032, 1034)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETOWN, F_GETSIG, F_GETOWN_EX, F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_GET_SEALS."""

_TO_CHANGE = 0o1103
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC."""

_ASYNC = 0o20000
"""O_ASYNC: a signal to whoever is in front of the terminal when something is typed there."""

_REQUEUE = (3, 4, 11, 12, 256 + 11)
"""FUTEX_REQUEUE and its kin on memory that is shared: those who wait at a file would wait elsewhere, for ever."""

_PROTOCOLS = (0, 1, 6, 17, 58)
"""What is asked for, ICMP, TCP, UDP, ICMPv6. Landlock knows TCP: not MPTCP, nor SCTP."""

_CORE = 4
"""RLIMIT_CORE: what a child would lower to 0. At 1 the kernel starts no program for cores; at 0 it does, see core(5)."""

_LOCKS = (5, 6, 7, 36, 37, 38)
"""F_GETLK, F_SETLK, F_SETLKW and F_OFD_*: answered with success and not done. A read lock would make a writer wait, and
sqlite or rpm do not read without one; what they see may be half of a change."""

_IOCTLS = (
    # what a terminal or pipe is, FIONREAD, FIONBIO
    0x5401, 0x802C542A, 0x5413, 0x540F, 0x5429, 0x541B, 0x5411, 0x5421, 0x5450, 0x5451,
    0x80086601, 0x80046601, 0x801C581F, 0xC020660B, 0x80087601,  # flags, attributes and extents of a file, its version
    0x1260, 0x1268, 0x127B, 0x80081272, 0x125E,  # size, sector size and mode of a block device
)  # fmt: skip
_IOCTLS_NETWORK = (
    0x8910, 0x8911, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942, 0x8970,
)  # fmt: skip
"""SIOCGIF…: what an interface is."""

_PRCTL = (1, 2, 3, 7, 15, 16, 21, 23, 25, 27, 30, 38, 39, 40, 0x53564D41)
"""PDEATHSIG, dumpable (read), names, what seccomp, capabilities, securebits, timing, subreaper (read) and THP are, no_new_privs."""

_SYSLOG = (3, 9, 10)
"""Read all of the kernel's log, and its size. 2 (READ) would take away what it reads."""


_Rule = tuple[tuple[tuple[float, int, int], ...], int]
"""((argument, comparison, value)…, action): all of them hold. Of an argument the lower 32 bits, of argument + _HIGH the upper."""

_HIGH = 0.5


class _Program:
    """Instructions in order. Jumps are over the next instructions only."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []

    def add(self, code: int, value: int, yes: int = 0, no: int = 0) -> None:
        self._code.append((code, yes, no, value & 0xFFFFFFFF))

    def answer(self, action: int) -> None:
        self.add(_RETURN, action)

    def when(self, number: int, action: int) -> None:
        """`action` for the call of this number."""
        self.add(_EQUAL, number, 0, 1)
        self.answer(action)

    def weighed(self, number: int, rules: Iterable[_Rule], otherwise: int) -> None:
        """For one call: the action of the first rule whose conditions all hold, else `otherwise`."""
        inner = _Program()
        for conditions, action in rules:
            left = 2 * len(conditions) + 1
            for argument, comparison, value in conditions:
                left -= 2
                inner.add(_LOAD, 16 + int(8 * argument))
                inner.add(comparison, value, 0, left)
            inner.answer(action)
        inner.answer(otherwise)
        self.add(_EQUAL, number, 1, 0)
        self.add(_JUMP, len(inner))  # too far for a conditional jump
        self.join(inner)

    def join(self, other: _Program) -> None:
        self._code += other._code

    def __len__(self) -> int:
        return len(self._code)

    def bytes(self) -> bytes:
        return b"".join(struct.pack("<HBBI", *each) for each in self._code)


@cache
def program(machine: str, network: bool, sockets: bool, scoped: bool) -> bytes:
    """The filter for one machine. `scoped`: Landlock keeps signals inside (ABI 6), so they need not be held here."""
    made = _Program()
    made.add(_LOAD, _ARCH)
    made.add(_EQUAL, MACHINES[machine], 1, 0)
    made.answer(KILL)  # a 32-bit program: its numbers mean other calls
    made.add(_LOAD, _NUMBER)
    if machine == "x86_64":
        made.add(_AT_LEAST, 0x40000000, 0, 1)
        made.answer(ERRNO | ENOSYS)  # x32
    known: dict[int, _Program] = {}
    for number in FREE[machine].values():
        known.setdefault(number, _Program()).when(number, ALLOW)
    calls = WEIGHED[machine]
    for name, rules, otherwise in _rules(network, sockets, scoped):
        if name in calls:
            known.setdefault(calls[name], _Program()).weighed(calls[name], rules, otherwise)
    for number in DENIED[machine].values():
        known.setdefault(number, _Program()).when(number, REFUSED)
    # The kernel walks through all of it for each call that there is, when the filter is put up: so it is kept short.
    for first in range(0, max(known) + 1, _AT_ONCE):
        block = _Program()
        for number in range(first, first + _AT_ONCE):
            if number in known:
                block.join(known[number])
        block.answer(ERRNO | ENOSYS)
        made.add(_AT_LEAST, first + _AT_ONCE, 0, 1)
        made.add(_JUMP, len(block))
        made.join(block)
    made.answer(ERRNO | ENOSYS)
    return made.bytes()


def _rules(network: bool, sockets: bool, scoped: bool) -> list[tuple[str, list[_Rule], int]]:
    """(call, rules, otherwise) for those whose arguments decide."""
    no, yes = REFUSED, ALLOW
    families = [*([_INET, _INET6] if network else []), *([_UNIX] if sockets else [])]
    opened = [
        (((0, _EQUAL, family), *(((2, _EQUAL, protocol),) if family != _UNIX else ())), yes)
        for family in families
        for protocol in (_PROTOCOLS if family != _UNIX else (0,))
    ]
    # Netlink tells about routes and sockets; NETLINK_USERSOCK and the like would reach a service of this host.
    opened += [(((0, _EQUAL, _NETLINK), (2, _EQUAL, protocol)), yes) for protocol in _NETLINK_PROTOCOLS]
    # A pair that could be sent elsewhere with an address (datagrams) would reach one, too.
    pairs = [kind | flags for kind in (_STREAM, _SEQPACKET) for flags in _SOCKET_FLAGS]
    reads = ((2, _EQUAL, 0), (2 + _HIGH, _EQUAL, 0))  # there is no new limit
    limits: tuple[_Rule, ...] = ((reads, yes), (((1, _EQUAL, _CORE),), ERRNO), ((), yes))
    # The length of an address tells families apart, and most names that a daemon would miss from what netlink needs.
    # An address of the internet is answered and not taken: who only asks is given one, who would listen takes no other's.
    internet = (16, 28) if network else ()
    found: list[tuple[str, list[_Rule], int]] = [
        ("bind", [*_equal(2, (12,), yes), *_equal(2, internet, ERRNO)], yes if sockets else no),
        ("clone", [(((0, _ANY_BIT, _NEW_NAMESPACES),), no)], yes),
        ("fadvise64", _equal(3, (4,), ERRNO), yes),  # DONTNEED would empty the cache of everybody
        (
            "fcntl",
            [(((1, _EQUAL, 4), (2, _ANY_BIT, _ASYNC)), no), *_equal(1, _FCNTL, yes), *_equal(1, _LOCKS, ERRNO)],
            no,
        ),
        ("futex", _equal(1, _REQUEUE, no), yes),
        ("flock", [], ERRNO),
        ("ioctl", _equal(1, _IOCTLS + (_IOCTLS_NETWORK if network else ()), yes), ERRNO | ENOTTY),
        ("prctl", _equal(0, _PRCTL, yes), no),
        ("open", _opening(1), yes),
        ("openat", _opening(2), yes),
        ("prlimit64", [(((0, _EQUAL, 0), *condition), action) for condition, action in limits], no),
        ("setrlimit", _equal(0, (_CORE,), ERRNO), yes),
        # Its own part of the processor and of the disk, and nobody else's.
        ("setpriority", [(((0, _EQUAL, 0), (1, _EQUAL, 0)), yes)], no),
        ("ioprio_set", [(((0, _EQUAL, 1), (1, _EQUAL, 0)), yes)], no),
        ("sched_setaffinity", _equal(0, (0,), yes), no),
        ("syslog", _equal(0, _SYSLOG, yes), no),
        ("personality", _equal(0, (0xFFFFFFFF,), yes), no),
        ("socket", opened, no),
        ("socketpair", [(((0, _EQUAL, _UNIX), (1, _EQUAL, kind)), yes) for kind in pairs], no),
        ("connect", [], yes if families else no),
        # Without Landlock's scope a signal goes to the own group, or only asks whether somebody is there.
        ("kill", [] if scoped else [*_equal(1, (0,), yes), *_equal(0, (0,), yes)], yes if scoped else no),
        ("tgkill", [], yes if scoped else no),
        ("tkill", [], yes if scoped else no),
    ]
    return [*found, *((name, [], yes) for name in _TALK)]


def _opening(argument: int) -> list[_Rule]:
    """Of what the flags say: to make is Landlock's affair; to have a disk for itself nobody may; to write is Landlock's, too."""
    create, exclusive = 0o100, 0o200
    ways = ((create, TOLD), (exclusive, REFUSED), (_TO_CHANGE, TOLD))
    return [(((argument, _ANY_BIT, flags),), action) for flags, action in ways]


def _equal(argument: int, values: Iterable[int], action: int) -> list[_Rule]:
    return [(((argument, _EQUAL, value),), action) for value in values]
