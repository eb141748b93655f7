"""From an argv to one command line that every login shell reads alike, and from its answer back to what the command said.

sshd hands the line to the account's login shell, and shells differ: fish carries out text that is quoted for sh, tcsh
breaks on `!`. So the login shell sees only a constant and a payload of `_` and digits; /bin/sh behind it turns the payload
into the program. A backslash may not be written, so `tr` makes it: it is the character after `[` in the range `Z-^`.

A command of plain words that reads nothing of its own needs no payload: its program holds no character that any login shell
reads differently in single quotes, so it stands there as it is. That saves the four processes that decoding takes, and whoever
looks at the processes of the host can read what runs.

Start files may read, and would take a part of what a command reads. So a command with input of its own gets its program by
stdin too, before it: what was touched is not run.

Start files print, too. The program frames each stream with a nonce: `NONCEb` before, `NONCEe` and three digits after. What
comes before the first is dropped, and a host that does not send it never ran the program.
"""

from __future__ import annotations

import re
import secrets as randomness
from collections.abc import Callable

import msgspec

from envtui.core.errors import UsageError

DECODED = '$(printf %b "$(echo {}|LC_ALL=C tr XY_ Z-^)")'
"""For /bin/sh: what a payload says."""

DECODE = f'eval "{DECODED.format("$1")}"'
"""For /bin/sh, with the payload as `$1`; without quote, backslash, bang or newline, so that any shell may single-quote it."""

DECODE_STDIN = f'read envtui_p&&case $envtui_p in $1_*)eval "{DECODED.format("${envtui_p#$1}")}";;*)exit 98;esac'
"""The same with the payload as the first line of stdin; `read` takes not a byte more, the rest belongs to the command. The
line begins with a token, `$1`: of what a start file has left over of it, nothing is run, nor of the command's own input."""

LINE_LIMIT = 24 * 1024
"""Bytes of program or payload on the command line; a longer one goes by stdin."""

NOISE_KEPT = 2048
"""Bytes of what start files printed that are kept, for the message when nothing else comes."""

ASIDE_KEPT = 16 * 1024
"""Bytes of what a keeper tells that are kept: it tells of few calls."""

NO_DIRECTORY = "cwd"
"""The status of a program whose directory does not exist: nothing ran."""

Quote = Callable[[bytes], bytes]

_PLAIN = re.compile(rb"[A-Za-z0-9_@%+=:,./ -]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*\$?")


class Behind(msgspec.Struct, frozen=True):
    """`words` start it and stand before the command's own; it writes the marks of the output, and nobody else does.

    They hold no quote, backslash, dollar, bang or newline. What the book puts into the environment reaches them with `prefix`
    before each name: it is for the command alone.
    """

    words: tuple[bytes, ...]
    prefix: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, in bytes: `argv`, or the script `sh` with `argv` as $1… ; as another account when `account` is not ''."""

    argv: tuple[bytes, ...] = ()
    sh: bytes | None = None
    env: tuple[tuple[str, bytes], ...] = ()
    cwd: bytes = b""
    account: str = ""
    hidden: bool = False  # nothing of it on the command line, which every account of the host can see
    dated: bool = False  # its stderr begins with the host's clock, in whole seconds, on a line
    behind: Behind | None = None  # what it is put behind, on the host


class Launch(msgspec.Struct, frozen=True):
    """`line` is for the login shell, `preamble` goes to stdin before the command's own input.

    `account`: as whom sudo starts /bin/sh itself, and not only the command; '' for nobody else. `held`: the command is put
    behind something, which begins its output.
    """

    line: str
    preamble: bytes
    nonce: str
    account: str = ""
    held: bool = False


def nonce() -> str:
    """What frames one command's output: 96 bits that no output can contain by chance or by intent."""
    return randomness.token_hex(12)


def launch(command: Command, nonce: str, reads: bool = True) -> Launch:
    """How to start `command`. `nonce`: letters and digits that nobody can guess; `reads`: it has input of its own.

    Raises UsageError for what sh cannot carry.
    """
    held = command.behind is not None
    behind = "".join(f" '{word.decode()}'" for word in command.behind.words) if command.behind else ""
    if not (reads or command.hidden) and is_plain(command):
        program = b";".join(_parts(command, nonce, bare, b"</dev/null")).decode()
        if len(program) <= LINE_LIMIT:
            return Launch(f"exec /bin/sh -c '{program}'" + (f" sh -{behind}" if behind else ""), b"", nonce, held=held)
    payload = encoded(b"\n".join(_parts(command, nonce)))
    if reads or command.hidden or len(payload) > LINE_LIMIT:
        token = nonce[::-1]  # not the nonce: a command may list the processes of its host
        return Launch(
            f"exec /bin/sh -c '{DECODE_STDIN}' sh {token}{behind}", f"{token}{payload}\n".encode(), nonce, held=held
        )
    return Launch(f"exec /bin/sh -c '{DECODE}' sh {payload}{behind}", b"", nonce, held=held)


def as_account(account: str) -> tuple[str, ...]:
    """What makes another account of the words after it; nothing for ''. Raises UsageError for what is no account's name."""
    if not account:
        return ()
    if not _ACCOUNT.fullmatch(account):
        raise UsageError(f"{account!r} is no account's name.", "Check `as:`.")
    return ("sudo", "-n", *(() if account == "root" else ("-u", account)), "--")


def encoded(program: bytes) -> str:
    """The payload that stands for a program."""
    return "".join(f"_0{byte:03o}" for byte in program)


def body(command: Command, quote: Quote, before: bytes) -> bytes:
    """For a subshell that becomes the command, whoever its account is: its environment, `before`, and the command itself."""
    command = msgspec.structs.replace(command, account="")
    return b"%s%s;exec %s" % (_exports(command, quote), before, b" ".join(map(quote, _words(command))))


class Frame:
    """One framed stream as it arrives: what lies between the marks goes to `sink` at once, the rest nowhere.

    Linear, and only what could be the beginning of a mark is held back.
    """

    def __init__(self, nonce: str, sink: Callable[[bytes], None]) -> None:
        self._begin = f"{nonce}b".encode()
        self._nonce = nonce.encode()
        self._end = f"{nonce}e".encode()
        self._sink = sink
        self._held = b""
        self.begun = False
        self.status = ""  # three characters once the end was seen
        self.noise = b""
        self.aside: bytes | None = None  # what a keeper told before the end, between `NONCEs` and the end mark

    def feed(self, data: bytes) -> None:
        if self.status:
            return
        data = self._held + data if self._held else data
        self._held = b""
        if not self.begun:
            at = data.find(self._begin)
            if at < 0:
                self._hold(data, self._begin, self._ignore)
                return
            self._ignore(data[:at])
            self.begun = True
            data = data[at + len(self._begin) :]
        while not self.status:
            take = self._sink if self.aside is None else self._put_aside
            at = data.find(self._nonce)
            if at < 0:
                self._hold(data, self._nonce, take)
                return
            if at:
                take(data[:at])
            data = data[at:]
            kind, rest = data[len(self._nonce) : len(self._end)], data[len(self._end) :]
            if not kind or (kind == b"e" and len(rest) < 3):
                self._held = data
                return
            if kind == b"e":
                self.status = rest[:3].decode("ascii", "replace")
            elif kind == b"s":
                self.aside, data = b"", rest
            else:  # the command knows it, and says it
                take(self._nonce)
                data = data[len(self._nonce) :]

    def finish(self) -> None:
        """The stream ended: what was held back is no mark."""
        if self._held and not self.status:
            (self._sink if self.begun else self._ignore)(self._held)
        self._held = b""

    def _hold(self, data: bytes, mark: bytes, rest: Callable[[bytes], None]) -> None:
        at = next(
            (i for i in range(max(0, len(data) - len(mark) + 1), len(data)) if mark.startswith(data[i:])), len(data)
        )
        self._held = data[at:]
        if at:
            rest(data[:at])

    def _put_aside(self, data: bytes) -> None:
        self.aside = (self.aside or b"")[:ASIDE_KEPT] + data[:ASIDE_KEPT]

    def _ignore(self, data: bytes) -> None:
        self.noise += data[: NOISE_KEPT - len(self.noise)]


def _parts(command: Command, nonce: str, quote: Quote | None = None, redirect: bytes = b"") -> list[bytes]:
    """The program as commands in order; `redirect` is the command's own."""
    quote = quote or quoted
    begin = b"printf ${envtui_n}b;printf ${envtui_n}b>&2"
    lines = [f"envtui_n={nonce}".encode()]
    if command.behind is None:
        lines.append(begin)
        begin = b":"
        if command.dated:
            lines.append(b"date +%s>&2")
    else:
        lines.append(b"shift")
    if command.cwd:
        folder = command.cwd if command.cwd.startswith(b"/") else b"./" + command.cwd
        without = b"%s;%s" % (begin, _ending(NO_DIRECTORY)) if command.behind is None else b"printf ${envtui_n}d>&2"
        lines.append(b"CDPATH= cd %s||{ %s; exit 1; }" % (quote(folder), without))
    words = _words(command)
    if command.behind is not None:
        return [*lines, _held(command, words, quote, redirect)]
    # In a subshell, so that neither env nor exec reach the shell that writes the end mark.
    lines.append(b"(%sexec %s %s)" % (_exports(command, quote), b" ".join(map(quote, words)), redirect))
    lines.append(b"envtui_r=$?;%s;exit $envtui_r" % _ending("$envtui_r"))
    return lines


def _held(command: Command, words: tuple[bytes, ...], quote: Quote, redirect: bytes) -> bytes:
    """What it is put behind takes the shell's place, and writes the marks.

    It starts in /, because a directory may decide which python3 that is, and goes where it should be by itself. Behind sudo
    it is named by its path.
    """
    before = tuple(word.encode() for word in as_account(command.account))
    said = b" ".join((*map(quote, before), b'"$@"', *map(quote, words[len(before) :])))
    away = b"" if command.account else b"envtui_cwd=$PWD;export envtui_cwd;cd /;"
    return b"%s%sexec %s %s" % (_exports(command, quote), away, said, redirect)


def is_plain(command: Command) -> bool:
    """Nothing in it is syntax to any shell."""
    return all(_PLAIN.fullmatch(text) for text in (*_words(command), command.cwd, *(value for _, value in command.env)))


def _ending(status: str) -> bytes:
    layout = "%s" if status == NO_DIRECTORY else "%03d"
    mark = f"printf ${{envtui_n}}e{layout} {status}"
    return f"{mark};{mark}>&2".encode()


def _words(command: Command) -> tuple[bytes, ...]:
    words = command.argv if command.sh is None else (b"/bin/sh", b"-c", command.sh, b"sh", *command.argv)
    if not words or not words[0]:
        raise UsageError("There is no program to run.", "Give argv at least one word.")
    if words[0].startswith(b"-"):
        raise UsageError("A program's name does not begin with '-'.", "Check the first word of argv.")
    if not command.account:
        return words
    sudo = tuple(word.encode() for word in as_account(command.account))
    if command.env:  # sudo clears the environment
        if b"=" in words[0]:
            raise UsageError("With env and as, a program's name has no '='.", "Check the first word of argv.")
        words = (b"/usr/bin/env", *(f"{_checked(name)}=".encode() + value for name, value in command.env), *words)
    return (*sudo, *words)


def _exports(command: Command, quote: Quote) -> bytes:
    if command.account:
        return b""
    prefix = command.behind.prefix if command.behind is not None else ""
    return b"".join(
        b"export %s%s=%s;" % (prefix.encode(), _checked(name).encode(), quote(v)) for name, v in command.env
    )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of an environment variable.", "Letters, digits and _, no digit first.")
    return name


def quoted(word: bytes) -> bytes:
    if b"\0" in word:
        raise UsageError("A zero byte cannot be part of a command.", "Give such data by stdin.")
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


def bare(word: bytes) -> bytes:
    """A plain word, for a program that stands in single quotes itself."""
    return b'"' + word + b'"'
