from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from envtui.core.redact import MINIMUM, Redactor
from envtui.core.secret import Secret

SECRETS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_categories=("Cf", "Cc")),
    min_size=MINIMUM,
    max_size=40,
)
NOISE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
SPELLINGS = st.sampled_from(
    [
        lambda s: s,
        lambda s: quote(s, safe=""),
        lambda s: s.encode().hex(),
        lambda s: json.dumps(s)[1:-1],
        lambda s: shlex.quote(s),
        lambda s: s.replace("'", "''"),
        lambda s: "\x1b[1m".join(s),
        lambda s: "\u200b".join(s),
    ]
)


@given(SECRETS, SPELLINGS, NOISE, NOISE, st.data())
def test_no_chunking_lets_a_secret_pass(
    secret: str, spell: object, before: str, after: str, data: st.DataObject
) -> None:
    spelled = spell(secret)  # type: ignore[operator]
    raw = f"{before}{spelled}{after}".encode()
    redactor = Redactor([Secret("s", secret)])
    whole = redactor.overwritten(raw)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    stream = redactor.stream()
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    out = b"".join(map(stream.feed, pieces)) + stream.finish()
    assert out == whole
    assert len(out) == len(raw)
    begin = len(before.encode())
    hidden = raw[begin : begin + len(spelled.encode())]
    shown = out[begin : begin + len(hidden)]
    # Quotes around it may stay; nothing of the secret does.
    assert shown.strip(b"'\"").replace(b"*", b"") == b""


@given(SECRETS, st.binary(max_size=5), st.binary(max_size=5), NOISE)
def test_base64_of_a_longer_text_shows_nothing_of_the_secret_in_it(
    secret: str, left: bytes, right: bytes, noise: str
) -> None:
    encoded = base64.b64encode(left + secret.encode() + right)
    out = Redactor([Secret("s", secret)]).overwritten(noise.encode() + encoded)
    kept = out[len(noise.encode()) :].replace(b"*", b"A")
    decoded = base64.b64decode(kept)
    # At most one byte at either edge shares a letter with its neighbour.
    assert secret.encode()[1:-1] not in decoded
