"""Secrets overwritten in whatever passes by: bytes on their way to the disk, text on its way to a person.

Known secrets are found in the spellings that tools give them (`variants`), also when escape sequences or zero-width
characters stand inside, and base64 and hex also when they are wrapped. Each byte becomes a `*`, so offsets and line counts
stay. Text for a person is searched for the *shapes* of secrets besides: tokens, keys and passwords that nobody told us of.

Promised: no chunking of the input makes a difference, and a secret of at least `MINIMUM` bytes never passes in one of its
spellings. Not promised: reversed, encrypted, compressed, spelled in pieces, or encoded twice.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import shlex
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from .secret import Secret
from .text import LIMIT, Clean, clean

MINIMUM = 6
"""Bytes that a secret needs to be searched for: a shorter one would be found in every other word."""

_HALF = 16
_WRAPPED_PREFIX = 4  # the start of a secret before a line's end that is held back; see `_held`
_SLACK = 1024  # bytes of escape sequences that may stand inside a held start of a secret

# What may stand inside a secret without being seen: sequences, and characters that show nothing. Each alternative begins
# with one literal byte, because then `re` looks for those bytes instead of trying the pattern everywhere.
_HIDDEN = (
    rb"\x1b(?:\[[0-?]*+[ -/]*+(?:[@-~]|\Z)"
    rb"|[\]PX^_][^\x07\x1b\n]{0,512}(?:\x07|\x1b\\|\Z)"
    rb"|[ -/]*+[0-OQ-WYZ`-~\\]|\Z)"
    rb"|\x00|\x08|\x0e|\x0f|\x7f"
    rb"|\xe2(?:\x80(?:[\x8b-\x8f\xa8-\xae]|\Z)|\x81(?:[\xa0-\xaf]|\Z)|\Z)"
    rb"|\xef(?:\xb8(?:[\x80-\x8f]|\Z)|\xbb(?:\xbf|\Z)|\Z)"
    rb"|\xc2(?:\xad|\Z)"
)
_INTERRUPTION = re.compile(_HIDDEN)
_WRAPPING = re.compile(_HIDDEN + rb"|\n|\r")
_HINTS = (b"\x1b", b"\x00", b"\x08", b"\x0e", b"\x0f", b"\x7f", b"\xe2", b"\xef", b"\xc2")


class Redactor:
    """Finds the given secrets. Immutable and safe to share between threads; `stream` makes what keeps state."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        plain: dict[bytes, None] = {}
        wrapping: dict[bytes, None] = {}
        self.too_short: tuple[str, ...] = ()
        for secret in secrets:
            value = secret.reveal().encode("utf-8", "surrogateescape")
            if len(value) < MINIMUM:
                self.too_short += (secret.name,)
                continue
            plain.update(dict.fromkeys(_quoted(value)))
            wrapping.update(dict.fromkeys(_encoded(value)))
        # A secret may itself hold what the view without interruptions has lost.
        stripped = (_INTERRUPTION.sub(b"", variant) for variant in tuple(plain))
        plain.update(dict.fromkeys(variant for variant in stripped if len(variant) >= MINIMUM))
        self._wrapping = tuple(wrapping)
        self._all = (*plain, *wrapping)
        # What is looked for in everything that passes: few, because each costs. The rest only where one of them was.
        needles: list[bytes] = []
        for variant in _without_covered(self._all):
            needles.extend(_halves(variant) if variant in wrapping else (variant,))
        self._needles = tuple(dict.fromkeys(needles))
        self._longest = max(map(len, self._all), default=0)

    def __repr__(self) -> str:
        return f"Redactor({len(self._all)} spellings)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a redactor holds secrets and is not written anywhere")

    def stream(self) -> Stream:
        """For bytes that arrive in pieces."""
        return Stream(self)

    def overwritten(self, data: bytes) -> bytes:
        """`data`, complete, with every secret overwritten at equal length."""
        return bytes(_overwritten(bytearray(data), self.spans(data)))

    def masked(self, text: str) -> str:
        """`text` for a person: known secrets and what has the shape of one, overwritten."""
        data = text.encode("utf-8", "surrogatepass")
        spans = self.spans(data)
        if spans:
            text = _overwritten(bytearray(data), spans).decode("utf-8", "replace")
        return shapes(text)

    def shown(self, text: str | bytes, limit: int = LIMIT) -> Clean:
        """`text` cleaned and masked, before and after: cleaning can put together what was apart."""
        text = self.overwritten(text) if isinstance(text, bytes) else self.masked(text)
        return Clean(self.masked(clean(text, limit)))

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets are in `data`: (start, end), possibly overlapping. Fast when there is none."""
        if not self._all:
            return []
        found: list[tuple[int, int]] = []
        suspicious = self._suspicious(data)
        if suspicious:
            found.extend(_occurrences(data, self._all))
        if _may_hide(data) and self._suspicious(_INTERRUPTION.sub(b"", data)):
            found.extend(_View(data, _INTERRUPTION).occurrences(self._all))
            suspicious = True
        if suspicious:
            found.extend(_View(data, _WRAPPING).occurrences(self._wrapping))
        return found

    def held(self, data: bytes) -> int:
        """How many bytes at the end of `data` may be the start of a secret whose rest is still to come."""
        if not self._all:
            return 0
        tail = data[-self._longest :]
        held = _partial(tail, self._all, 1)
        slack = data[-self._longest - _SLACK :]
        hides = _may_hide(slack)
        if hides:
            view = _View(slack, _INTERRUPTION)
            held = max(held, view.from_end(_partial(view.text, self._all, 1)))
        if b"\n" in tail or b"\r" in tail:
            # Nearly every piece of output ends with a newline. To hold back its last letter, because some secret begins
            # with it, would leave the line unfinished on screen.
            least = _WRAPPED_PREFIX if tail[-1:] in (b"\n", b"\r") else 1
            if hides or _partial(tail.translate(None, b"\r\n"), self._wrapping, least):
                view = _View(slack, _WRAPPING)
                held = max(held, view.from_end(_partial(view.text, self._wrapping, least)))
        return held

    def _suspicious(self, data: bytes) -> bool:
        return any(needle in data for needle in self._needles)


class Stream:
    """One stream of bytes through a redactor. What could be the start of a secret stays here until it is known."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._raw = b""
        self._shown = b""  # the same bytes, overwritten where that is decided

    def feed(self, data: bytes) -> bytes:
        """What can go on, secrets overwritten."""
        raw = self._raw + data
        spans = self._redactor.spans(raw)
        held = self._redactor.held(raw)
        shown = self._shown + data
        if spans:
            shown = bytes(_overwritten(bytearray(shown), spans))
        cut = len(raw) - held
        self._raw, self._shown = raw[cut:], shown[cut:]
        return shown[:cut]

    def finish(self) -> bytes:
        """The rest."""
        rest, self._raw, self._shown = self._shown, b"", b""
        return rest


class _View:
    """Bytes without what interrupts them, and the way back to where they were."""

    def __init__(self, data: bytes, interruption: re.Pattern[bytes]) -> None:
        self._data_length = len(data)
        self._starts = [0]  # in the view
        self._shifts = [0]  # what to add there
        pieces: list[bytes] = []
        at = length = 0
        for match in interruption.finditer(data):
            pieces.append(data[at : match.start()])
            length += match.start() - at
            at = match.end()
            if self._starts[-1] == length:
                self._shifts[-1] = at - length
            else:
                self._starts.append(length)
                self._shifts.append(at - length)
        pieces.append(data[at:])
        self.text = b"".join(pieces)

    def occurrences(self, variants: Iterable[bytes]) -> Iterator[tuple[int, int]]:
        for start, end in _occurrences(self.text, variants):
            yield self._back(start), self._back(end - 1) + 1

    def from_end(self, count: int) -> int:
        """`count` bytes at the end of the view, as bytes at the end of the data."""
        return self._data_length - self._back(len(self.text) - count) if count else 0

    def _back(self, at: int) -> int:
        return at + self._shifts[bisect_right(self._starts, at) - 1]


def shapes(text: str) -> str:
    """`text` with everything overwritten that has the shape of a secret."""
    folded = text.lower() if text.isascii() else ""  # beyond ASCII `(?i)` knows more letters than `lower`
    for hints, pattern in _SHAPES:
        if not folded or any(hint in folded for hint in hints):
            text = _compiled(pattern).sub(_mask_group, text)
    return text


# Each overwrites its group `s`, where one of the words (lower case) stands that it cannot match without. Narrow on purpose:
# a log that says `token: expired` must stay readable.
_SHAPES = tuple(
    (hints.split(), pattern)
    for hints, pattern in (
        (
            "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xox",
            r"\b(?P<s>gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}|xox[abeoprs]-[\w-]{10,})",
        ),
        ("akia asia aiza k_live_", r"\b(?P<s>(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{35}|[rs]k_live_\w{16,})"),
        ("eyj", r"\b(?P<s>eyJ[\w-]{5,}\.[\w-]{3,}\.[\w-]*)"),
        ("scram-sha-256", r"(?P<s>SCRAM-SHA-256\$\d+:[^\s$]+\$[^\s:]+:[^\s'\"]+)"),
        ("private", r"(?P<s>-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?)"),
        ("bearer basic", r"(?i)\b(?:Bearer|Basic)\s+(?P<s>[\w.~+/-]{16,}=*)"),
        ("://", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,200}:(?P<s>[^\s/@]{1,200})@"),
        (
            "password passwd pwd secret key _token",
            r"(?i)(?:password|passwd|pwd|secret|(?:api|access|secret|private)[_-]?key|(?:access|auth|refresh|id)_token)"
            r"(?:\s{0,8}=\s{0,8}|[\"']\s{0,8}:\s{0,8})[\"']?(?P<s>[^\s\"'&;,]{4,})",
        ),
    )
)


@functools.cache  # most runs never see a text that has one of the words
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _mask_group(match: re.Match[str]) -> str:
    whole, start = match.group(), match.start()
    masked = re.sub(r"[^\n]", "*", match["s"])
    return whole[: match.start("s") - start] + masked + whole[match.end("s") - start :]


def _quoted(value: bytes) -> Iterator[bytes]:
    """The secret as it is, and as formats quote it. Spellings that need no quotes are the secret itself."""
    yield value
    yield value.upper()
    url = quote(value, safe="")
    yield from (word.encode() for word in (url, quote(value), quote_plus(value), quote(url, safe=""), url.lower()))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    for ascii_only in (True, False):
        spelled = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield spelled.encode()
        yield spelled.replace("/", "\\/").encode()
        yield json.dumps(spelled, ensure_ascii=ascii_only)[1:-1].encode()
    yield shlex.quote("'" + text)[6:-1].encode()  # as '…' with '"'"' for each '
    yield text.replace("'", "'\\''").encode()
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text).encode()  # backslash before each special character
    yield text.replace("'", "''").encode()
    yield text.replace('"', '""').encode()
    yield text.replace("\\", "\\\\").encode()
    import html  # here, because most sessions never hold a secret

    yield html.escape(text, quote=False).encode()
    yield html.escape(text).encode()
    yield text.replace(":", "\\:").encode()  # .pgpass


def _encoded(value: bytes) -> Iterator[bytes]:
    """Hex, and base64 at each of the three places that a secret can have in a longer text."""
    yield value.hex().encode()  # bytea's \x… too
    yield value.hex().upper().encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).rstrip(b"=")
        # The first and last letters also hold bits of the neighbours; what remains is the same wherever it stands.
        core = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (len(value) + before) % 3 else 0)]
        if len(core) >= MINIMUM:
            yield core
            yield core.translate(bytes.maketrans(b"+/", b"-_"))


def _halves(variant: bytes) -> tuple[bytes, bytes]:
    """Two neighbouring pieces, one of which stays whole when lines are wrapped in it: wraps are wider than both."""
    half = min(len(variant) // 2, _HALF)
    return variant[:half], variant[half : 2 * half]


def _without_covered(variants: Iterable[bytes]) -> tuple[bytes, ...]:
    """Longest first, without those that contain another whole: finding the inner one overwrites all that matters."""
    kept: list[bytes] = []
    for variant in sorted(dict.fromkeys(variants), key=len):
        if not any(inner in variant for inner in kept):
            kept.append(variant)
    return tuple(reversed(kept))


def _may_hide(data: bytes) -> bool:
    return any(hint in data for hint in _HINTS)


def _partial(tail: bytes, variants: Iterable[bytes], least: int) -> int:
    """The longest end of `tail`, at least `least` bytes, that is the start, but not the whole, of a variant."""
    best = least - 1
    for variant in variants:
        at = tail.find(variant[:1], max(0, len(tail) - len(variant) + 1))
        while 0 <= at < len(tail) - best:
            if variant.startswith(tail[at:]):
                best = len(tail) - at
                break
            at = tail.find(variant[:1], at + 1)
    return best if best >= least else 0


def _occurrences(data: bytes, variants: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    for variant in variants:
        at = data.find(variant)
        while at >= 0:
            yield at, at + len(variant)
            at = data.find(variant, at + 1)


def _overwritten(data: bytearray, spans: Iterable[tuple[int, int]]) -> bytearray:
    for start, end in spans:
        data[start:end] = bytes(byte if byte in b"\r\n" else 0x2A for byte in data[start:end])
    return data
