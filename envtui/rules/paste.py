"""Requests and sign-offs as blocks of text for a chat.

    -----BEGIN ENVTUI REQUEST-----
    eJyNVE1v2zAM_SuGz0…          base64url of zlib of the bundle's canonical JSON, in lines of 64
    -----END ENVTUI REQUEST-----

What is longer than a chat takes at once goes in parts, each with the block's mark and a checksum of its own:
`BEGIN ENVTUI REQUEST 2/3 5b1c0a7e 90d2ff13`. They may come in any order, twice, and with talk between them.

Reading is tolerant of what chats and mail do to text (quoting, code marks, indentation, wrapping, CRLF, clever dashes) and
strict about what is inside: one spelling only, sizes capped before anything is unpacked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import re
import textwrap
import zlib

import msgspec

from envtui.core import canonical
from envtui.core.access import Signed, SignedKind
from envtui.core.errors import Refused, UsageError

TEXT_LIMIT = 4 * 1024 * 1024
"""Characters of pasted text that are looked at."""

BUNDLE_LIMIT = 4 * 1024 * 1024
"""Bytes that a block may unpack to: 64 KiB are signed, a `--full` plan may be longer."""

_WORDS: dict[SignedKind, str] = {"request": "REQUEST", "approve": "SIGN-OFF", "record": "RECORD", "policy": "POLICY"}
_KINDS: dict[str, SignedKind] = {word: kind for kind, word in _WORDS.items()}


def _loose(word: str) -> str:
    """The word in a text that was wrapped anywhere."""
    return r"\s*".join(map(re.escape, word))


_PART = r"(?:\s*((?:\d\s*){1,3})/\s*((?:\d\s*){1,3})((?:[0-9a-f]\s*){16}))?"
_BEGIN = re.compile(
    rf"{_loose('BEGINENVTUI')}\s*({'|'.join(map(_loose, _KINDS))})(?![A-Z]){_PART}\s*[-–—]\s*(?:[-–—]\s*){{0,4}}"
)
_ENDS = {word: re.compile(_loose(f"ENDENVTUI{word}")) for word in _KINDS}
_NOISE = dict.fromkeys(
    map(ord, ">|`*\u200b\u200c\u200d\u2060\ufeff\u00ad")
)  # quotes, code marks, what has no width: none is ours
_BODY = re.compile(r"[A-Za-z0-9_-]+={0,2}")
PART_LIMIT = 3_500
"""Characters of a block, or of a part of one: chats cut or wrap at 4,000."""

_AGAIN = "Ask for it again, sent as a code block or a file."


def bundle(signed: Signed) -> str:
    """The canonical JSON of what was signed and its signature: what a block holds, and the ledger keeps."""
    return canonical.canonical(msgspec.to_builtins(signed)).decode()


def unbundle(text: str) -> Signed:
    """What `bundle` wrote. Raises Refused for any other spelling."""
    try:
        signed = msgspec.convert(canonical.parse(text.encode(), BUNDLE_LIMIT), Signed)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Refused("This holds no request and no sign-off.", _AGAIN) from error
    if bundle(signed) != text:
        raise Refused("The block has fields that this version does not know.", "Use the same version on both sides.")
    return signed


class Incomplete(UsageError):
    """Parts of a block are missing; they are named."""


def block(signed: Signed, limit: int = PART_LIMIT) -> str:
    """The text to paste; ends with a newline. In parts with an empty line between them where it is longer than `limit`."""
    word = _WORDS[signed.kind]
    packed = base64.urlsafe_b64encode(zlib.compress(bundle(signed).encode(), 9)).decode().rstrip("=")
    whole = _framed(word, packed)
    if len(whole) <= limit:
        return whole
    size = max(64, (limit - 160) * 64 // 65)  # what the frame and the line ends leave
    pieces = textwrap.wrap(packed, size, break_on_hyphens=False)
    mark = _mark(packed)
    return "\n".join(
        _framed(f"{word} {number}/{len(pieces)} {mark} {_mark(piece)}", piece) for number, piece in enumerate(pieces, 1)
    )


def blocks(text: str) -> tuple[Signed, ...]:
    """Every block in a text, in order; one that comes in parts stands where its first part does.

    Raises UsageError for one that is cut off or damaged, Incomplete where parts are missing, Refused for its content.
    """
    if len(text) > TEXT_LIMIT:
        raise UsageError("The pasted text is too long.", "Paste the block alone.")
    plain = html.unescape(text).translate(_NOISE)
    found: dict[str, tuple[SignedKind, dict[int, str], int]] = {}
    at = 0
    while begin := _BEGIN.search(plain, at):
        word, number, total, marks = (re.sub(r"\s+", "", group) if group else "" for group in begin.groups())
        mark, check = marks[:8], marks[8:]
        which = f"The {word.lower()} block" if not number else f"Part {number} of {total} of the {word.lower()} block"
        end = _ENDS[word].search(plain, begin.end())
        following = _BEGIN.search(plain, begin.end())
        if end is None or (following and following.start() < end.start()):
            raise UsageError(f"{which} has no end.", "Copy it down to its END line.")
        packed = _packed(plain[begin.end() : end.start()])
        at = end.end()
        if not number:
            found[f"whole {len(found)}"] = (_KINDS[word], {1: packed}, 1)
            continue
        if _mark(packed) != check or not 1 <= int(number) <= int(total):
            raise UsageError(f"{which} was changed on its way.", _AGAIN)
        _, parts, count = found.setdefault(f"{word} {mark}", (_KINDS[word], {}, int(total)))
        if count != int(total) or parts.setdefault(int(number), packed) != packed:
            raise UsageError(f"{which} does not belong to the others.", _AGAIN)
    return tuple(_whole(key, *found[key]) for key in found)


def _whole(key: str, kind: SignedKind, parts: dict[int, str], total: int) -> Signed:
    missing = [str(number) for number in range(1, total + 1) if number not in parts]
    word = _WORDS[kind].lower()
    if missing:
        which = f"part {missing[0]} is" if len(missing) == 1 else f"parts {', '.join(missing)} are"
        raise Incomplete(
            f"{len(parts)} of {total} parts of the {word} block are here; {which} missing.", "Paste what is missing."
        )
    packed = "".join(parts[number] for number in range(1, total + 1))
    if total > 1 and _mark(packed) != key.rpartition(" ")[2]:
        raise UsageError(f"The parts of the {word} block do not fit together.", _AGAIN)
    return _unpack(packed, kind)


def _framed(head: str, packed: str) -> str:
    word = head.partition(" ")[0]
    lines = textwrap.wrap(packed, 64, break_on_hyphens=False)
    return "\n".join([f"-----BEGIN ENVTUI {head}-----", *lines, f"-----END ENVTUI {word}-----", ""])


def _mark(packed: str) -> str:
    return hashlib.sha256(packed.encode()).hexdigest()[:8]


def read(text: str, kind: SignedKind) -> Signed:
    """The one block of this kind in a text. Raises UsageError when there is none, or two that differ."""
    found = {bundle(signed): signed for signed in blocks(text) if signed.kind == kind}
    word = _WORDS[kind].lower()
    if not found:
        raise UsageError(
            f"There is no {word} block in this text.", f"It begins with -----BEGIN ENVTUI {_WORDS[kind]}-----."
        )
    if len(found) > 1:
        raise UsageError(f"There are {len(found)} different {word} blocks in this text.", "Paste one of them.")
    return next(iter(found.values()))


def _packed(inside: str) -> str:
    """What stands between the frame's lines, without what a chat did to it. Raises UsageError for anything else."""
    packed = re.sub(r"\s+", "", inside).rstrip("–—")
    packed = packed[:-5] if packed.endswith("-----") else packed
    # What remains of the BEGIN line's dashes cannot be told from text, so BEGIN takes five at most.
    if not _BODY.fullmatch(packed):
        raise UsageError("There is something else inside the block.", _AGAIN)
    return packed


def _unpack(packed: str, kind: SignedKind) -> Signed:
    packed = packed.rstrip("=")
    try:
        squeezed = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(squeezed, BUNDLE_LIMIT + 1)
    except (binascii.Error, zlib.error) as error:
        raise UsageError("The block was changed on its way.", _AGAIN) from error
    if len(content) > BUNDLE_LIMIT:
        raise Refused("The block unpacks to more than is allowed.", "Ask for a smaller scope.")
    if not unpacker.eof or unpacker.unused_data:
        raise UsageError("The block was changed on its way.", _AGAIN)
    try:
        signed = unbundle(content.decode("ascii"))
    except UnicodeDecodeError as error:
        raise Refused("This holds no request and no sign-off.", _AGAIN) from error
    if signed.kind != kind:
        raise Refused(f"The block says {_WORDS[kind]} outside and {_WORDS[signed.kind]} inside.", _AGAIN)
    return signed
