"""Requests and sign-offs as blocks of text for a chat.

    -----BEGIN ENVTUI REQUEST-----
    eJyNVE1v2zAM_SuGz0…          base64url of zlib of the bundle's canonical JSON, in lines of 64
    -----END ENVTUI REQUEST-----

Reading is tolerant of what chats and mail do to text (quoting, code marks, indentation, wrapping, CRLF, clever dashes) and
strict about what is inside: one spelling only, sizes capped before anything is unpacked.
"""

from __future__ import annotations

import base64
import binascii
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
_BEGIN = re.compile(r"BEGIN\s+ENVTUI\s+(REQUEST|SIGN-OFF|RECORD|POLICY)\s*[-–—]{1,5}")
_QUOTE = re.compile(r"^[\s>|`*]+", re.MULTILINE)
_INVISIBLE = dict.fromkeys(map(ord, "`\u200b\u200c\u200d\u2060\ufeff\u00ad"))  # code marks, zero-width, soft hyphen
_BODY = re.compile(r"[A-Za-z0-9_-]+={0,2}")
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


def block(signed: Signed) -> str:
    """The text to paste; ends with a newline."""
    word = _WORDS[signed.kind]
    packed = base64.urlsafe_b64encode(zlib.compress(bundle(signed).encode(), 9)).decode().rstrip("=")
    lines = textwrap.wrap(packed, 64, break_on_hyphens=False)
    return "\n".join([f"-----BEGIN ENVTUI {word}-----", *lines, f"-----END ENVTUI {word}-----", ""])


def blocks(text: str) -> tuple[Signed, ...]:
    """Every block in a text, in order. Raises UsageError for one that is cut off or damaged, Refused for its content."""
    if len(text) > TEXT_LIMIT:
        raise UsageError("The pasted text is too long.", "Paste the block alone.")
    plain = _QUOTE.sub("", text.replace("\r\n", "\n").translate(_INVISIBLE))
    found: list[Signed] = []
    at = 0
    while begin := _BEGIN.search(plain, at):
        word = begin.group(1)
        end = re.compile(rf"END\s+ENVTUI\s+{word}").search(plain, begin.end())
        following = _BEGIN.search(plain, begin.end())
        if end is None or (following and following.start() < end.start()):
            raise UsageError(f"The {word.lower()} block has no end.", "Copy it down to its END line.")
        found.append(_unpack(plain[begin.end() : end.start()], _KINDS[word]))
        at = end.end()
    return tuple(found)


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


def _unpack(inside: str, kind: SignedKind) -> Signed:
    packed = re.sub(r"\s+", "", inside).rstrip("–—")
    packed = packed[:-5] if packed.endswith("-----") else packed
    # What remains of the BEGIN line's dashes cannot be told from text, so BEGIN takes five at most.
    if not _BODY.fullmatch(packed):
        raise UsageError("There is something else inside the block.", _AGAIN)
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
