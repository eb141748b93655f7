"""The words that put a command behind the sandbox, for any host with python3; and the file that an owner installs instead."""

from __future__ import annotations

import base64
import re
import zlib
from functools import cache
from pathlib import Path

_START = (
    b"import sys,zlib,binascii,marshal;V,_,D=sys.argv[1].rpartition(chr(45));D=zlib.decompress(binascii.a2b_base64(D));"
    b"CODE=%s;exec(CODE);main(*sys.argv[2:6],sys.argv[6:])"
)
START = _START % b"compile(D,sys.argv[0],exec.__name__)"
START_COMPILED = _START % b"marshal.loads(D)if(int(V)==sys.hexversion)else(sys.exit(97))"
"""Without quote, backslash, dollar, bang or newline: they stand between quotes of any shell."""

GATE = "/usr/local/libexec/envtui-gate"
"""Where the file of an owner is. What sudo starts is this file and never text that a client sent: whoever may start python3
with words of their own as another account is that account."""

REFUSED = 97
"""Exit status when the host could not put the sandbox up; nothing ran. A command may exit with it, too: the mark tells."""

SAID = "envtui-sandbox: "
"""How the reason begins that it then writes to stderr."""

LATER = 5.0
"""Seconds after the step's own timeout when the host ends the command by itself: a client that lives does it before."""

ENV = "envtui_env_"
"""What stands before the names of the book's environment until the sandbox is up: a loader would obey LD_PRELOAD before it."""


_COMPILED = re.compile(r"[0-9]{1,12}-[A-Za-z0-9+/=]{100,30000}")


def words(
    nonce: str, seconds: float, needs: tuple[str, ...] = (), dated: bool = False, code: str = ""
) -> tuple[bytes, ...]:
    """What stands before the command's own words. `nonce` marks the beginning of its output, once everything holds; with
    `dated` a line follows on stderr: the host's clock in whole seconds, and the text as python there has compiled it. `code`
    is that; it saves a fifth of the time. `needs`: network, sockets, root."""
    text, filters = code.encode() or _text(), _filters("network" in needs, "sockets" in needs)
    limit = f"{seconds + LATER:.3f}".encode()
    marks = letters(needs) if not dated else letters(needs) + "d"
    start = START_COMPILED if code else START
    return (b"python3", b"-I", b"-S", b"-c", start, text, filters, nonce.encode(), marks.encode(), limit)


def compiled(told: str) -> str:
    """What a host told of the text that it compiled, for that host; '' if that is nothing that can be sent back."""
    return told if _COMPILED.fullmatch(told) else ""


def through_gate(nonce: str, seconds: float, needs: tuple[str, ...] = ()) -> tuple[bytes, ...]:
    """The same for what sudo starts."""
    limit = f"{seconds + LATER:.3f}".encode()
    return (GATE.encode(), b"--read", letters(needs).encode(), nonce.encode(), limit)


def letters(needs: tuple[str, ...]) -> str:
    """The first letters of the needs, in order; `-` for none."""
    return "".join(sorted(need[0] for need in needs)) or "-"


def gate() -> str:
    """The whole file for a host's owner, every filter in it."""
    filters = ",\n".join(
        f'    "{letters(needs)}": "{_filters("network" in needs, "sockets" in needs).decode()}"'
        for needs in ((), ("network",), ("sockets",), ("network", "sockets"))
    )
    behind = _source("gate.py").replace('"""', '_ABOUT = """', 1)
    return f"#!/usr/bin/python3 -I\n{source()}\n\nFILTERS = {{\n{filters},\n}}\n\n{behind}"


def source() -> str:
    """What runs on the host, as it is read there."""
    return _source("holding.py") + "\n\n" + _source("keeping.py")


@cache
def _text() -> bytes:
    return _packed(stripped(source()).encode())


def stripped(text: str) -> str:
    """Without comments and docstrings: it is sent with the first read over each connection."""
    return re.sub(r"(?ms)^\s*#.*?\n|^\s*\"\"\".*?\"\"\"\n|\n(?=\n)|  #[^\n]*$", "", text)


def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


@cache
def _filters(network: bool, sockets: bool) -> bytes:
    from .calls import MACHINES  # here: most environments never put a read into it
    from .filter import program

    parts = []
    for machine in MACHINES:
        for mark, scoped in (("", False), ("+", True)):
            code = program(machine, network, sockets, scoped)
            parts.append(f"{machine}{mark} {len(code):05d}".encode() + code)
    return _packed(b"".join(parts))


def _packed(data: bytes) -> bytes:
    return base64.b64encode(zlib.compress(data, 9))
