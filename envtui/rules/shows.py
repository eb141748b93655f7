"""An act in words for people: screens, ledger, reports, clipboard. Secrets and run-time places stand as ‹name›.

Readable first, but never ambiguous: quoting is a shell's, control characters are spelt out, and ‹ in data is escaped, so
that no value can pass for a mask or for another command.
"""

from __future__ import annotations

import re
import unicodedata

from envtui.core.act import Act, HttpCall, SqlCall, SshCall, Text

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+|‹[a-z0-9_.-]+›")
_LIMIT = 4096


def shows(act: Act) -> str:
    """One line. Long scripts and SQL are one line with spaces; at most 4 KiB, cut with a count."""
    return _cut(" ".join(_lines(act, wide=False)))


def multiline(act: Act) -> str:
    """As many lines as it takes: scripts and SQL as they were written, stdin and environment in full."""
    return "\n".join(_lines(act, wide=True))


def clipboard(act: Act) -> str:
    """What a copy of the act puts on the clipboard: a read as it is, a write as a comment, not a way around the gate."""
    if act.mode == "read":
        return shows(act)
    return f"# {act.place.target} {act.place.member}, step {act.step} (write): {shows(act)}"


def _lines(act: Act, wide: bool) -> list[str]:
    call = act.call
    if isinstance(call, SqlCall):
        return _sql(call, wide)
    if isinstance(call, HttpCall):
        return _http(call, act.place.address, wide)
    return _ssh(call, act, wide)


def _ssh(call: SshCall, act: Act, wide: bool) -> list[str]:
    words = [f"[as {_visible(act.place.as_)}]"] if act.place.as_ else []
    words += [f"[with {', '.join(act.needs)}]"] if act.needs else []
    words += [f"[in {_visible(call.cwd)}]"] if call.cwd else []
    words += [f"{name}={_quoted(text)}" for name, text in call.env]
    arguments = [_quoted(item) for item in call.argv]
    lines = []
    if call.sh is None:
        words += arguments
    elif wide:
        lines = [f"  {_visible(line)}" for line in call.sh.rstrip("\n").split("\n")]
        words += ["sh, with", *arguments] if arguments else ["sh"]
        words[-1] += ":"
    else:
        words += ["sh", "-c", _quoted((call.sh,)), *(["sh", *arguments] if arguments else [])]
    if call.stdin is not None:
        lines.append(f"< {call.stdin.size:,} bytes, sha256 {call.stdin.sha256 if wide else call.stdin.sha256[:12]}")
    if call.stdin_text is not None:
        lines.append(f"<<< {_quoted(call.stdin_text)}")
    return [" ".join(words), *lines]


def _sql(call: SqlCall, wide: bool) -> list[str]:
    lines = [line.rstrip() if wide else line.strip() for line in call.text.strip().split("\n")]
    lines = [_visible(line, also="⏎") for line in lines if line.strip()]
    text = "\n".join(lines) if wide else " ⏎ ".join(lines)
    binds = [
        f"${number}{f' {type_}' if type_ else ''} = {_quoted(value, always=True)}"
        for number, (value, type_) in enumerate(call.binds, 1)
    ]
    if call.transaction == "none":
        binds.append("without a transaction")
    return [text, *([f"[{', '.join(binds)}]"] if binds else [])]


def _http(call: HttpCall, base: str, wide: bool) -> list[str]:
    query = "&".join(f"{_visible(name)}={_quoted(value)}" for name, value in call.query)
    url = base.rstrip("/") + _spelt(call.path) + (f"?{query}" if query else "")
    lines = [f"{call.method} {url}", *(f"{_visible(name)}: {_quoted(value)}" for name, value in call.headers)]
    if call.body is not None:
        lines.append(_spelt(call.body, breaks=True) if wide else _quoted(call.body, always=True))
    return lines


def _quoted(text: Text, always: bool = False) -> str:
    """A word as a POSIX shell (or bash, where control characters are in it) reads it."""
    spelt = _spelt(text)
    if not always and _PLAIN.fullmatch(spelt):
        return spelt
    raw = "".join(part for part in text if isinstance(part, str))
    if any(_hidden(character) for character in raw):
        body = "".join(
            _visible(part.replace("\\", "\\\\").replace("'", "\\'")) if isinstance(part, str) else _mask(part.name)
            for part in text
        )
        return f"$'{body}'"
    return "'" + "".join(p.replace("'", "'\\''") if isinstance(p, str) else _mask(p.name) for p in text) + "'"


def _spelt(text: Text, breaks: bool = False) -> str:
    return "".join(
        ("\n".join(_visible(line) for line in part.split("\n")) if breaks else _visible(part))
        if isinstance(part, str)
        else _mask(part.name)
        for part in text
    )


def _mask(name: str) -> str:
    return f"‹{name}›"


def _hidden(character: str) -> bool:
    return character in "‹›" or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _visible(text: str, also: str = "") -> str:
    """`text` with what cannot be seen, and what looks like a mask, spelt out."""
    return "".join(_escape(c) if _hidden(c) or c in also else c for c in text)


def _escape(character: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e"}.get(character)
    if short:
        return short
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _cut(text: str) -> str:
    return text if len(text) <= _LIMIT else f"{text[:_LIMIT]}… ({len(text) - _LIMIT:,} more characters)"
