from __future__ import annotations

import base64
import json
import pickle
import shlex
import textwrap
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import yaml

from envtui.core.redact import MINIMUM, Redactor, shapes
from envtui.core.secret import Secret

CORPUS = yaml.safe_load((Path(__file__).parents[1] / "corpora" / "terminal_attacks.yaml").read_text())
CASES = CORPUS["redaction_cases"]
SECRET = "Tr0ub4dor&3/x+y='zQ"


def of(*secrets: str) -> Redactor:
    return Redactor(Secret(f"s{index}", value) for index, value in enumerate(secrets))


def streamed(redactor: Redactor, data: bytes, size: int) -> bytes:
    stream = redactor.stream()
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    return b"".join(map(stream.feed, pieces)) + stream.finish()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_case_of_the_corpus_in_every_chunking(case: dict) -> None:
    redactor = of(*case["secrets"])
    data = case["text"].encode()
    outcomes = {streamed(redactor, data, size) for size in {*case["chunk_sizes"], *range(1, len(data))}}
    assert len(outcomes) == 1
    (out,) = outcomes
    assert len(out) == len(data)
    shown = redactor.shown(out)
    assert [word for word in case.get("must_not_contain") or () if word in shown] == []
    if case["expect"] == "unchanged":
        assert shown == case["text"]


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        quote(quote(SECRET, safe=""), safe=""),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        "\\x" + SECRET.encode().hex(),
        json.dumps(SECRET),
        shlex.quote(SECRET),
        SECRET.replace("'", "'\\''"),
        SECRET.replace("'", "''"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"u:" + SECRET.encode() + b"@h").decode(),
        base64.urlsafe_b64encode(b"x" + SECRET.encode()).decode().rstrip("="),
        SECRET[:5] + "\x1b[1m\x1b[31m" + SECRET[5:],
        SECRET[:5] + "\u200b\ufeff" + SECRET[5:],
        "\x00".join(SECRET),
    ],
)
def test_every_usual_spelling_is_overwritten_whatever_the_pieces(spelling: str) -> None:
    data = f"before {spelling} after".encode()
    for size in range(len(data) + 1):
        out = streamed(of(SECRET), data, size)
        assert len(out) == len(data)
        assert out.startswith(b"before ")
        assert out.endswith(b" after")
        assert [at for at in range(len(spelling) - 9) if spelling[at : at + 10].encode() in out] == []


@pytest.mark.parametrize("before", range(50, 60))
def test_wrapped_base64_is_overwritten_wherever_the_line_ends(before: int) -> None:
    encoded = base64.b64encode(b"p" * before + SECRET.encode() + b"q" * 9).decode()
    data = "\n".join(textwrap.wrap(encoded, 76)).encode()
    out = of(SECRET).overwritten(data)
    assert out.count(b"\n") == data.count(b"\n") == 1
    left = base64.b64decode(out.replace(b"\n", b"").replace(b"*", b"A"))
    assert left.startswith(b"p" * before)
    assert SECRET.encode()[1:-1] not in left
    assert not any(SECRET.encode()[at : at + 4] in left for at in range(1, len(SECRET) - 5))


def test_a_secret_with_an_invisible_character_in_it_is_found_also_when_that_is_lost() -> None:
    redactor = of("pass\u00adphrase")
    for spelled in ("pass\u00adphrase", "passphrase", "pass\x1b[mphrase", "pa\u200bss\u00adphrase"):
        data = spelled.encode()
        assert {streamed(redactor, data, size) for size in range(len(data))} == {b"*" * len(data)}


def test_two_secrets_that_overlap_are_both_gone() -> None:
    for size in range(17):
        assert streamed(of("abcdef123", "def123456"), b"x abcdef123456 y", size) == b"x ************ y"


def test_one_secret_inside_another_leaves_nothing_of_the_longer() -> None:
    assert of("hunter2hunter2", "hunter2").overwritten(b"hunter2hunter2 hunter2") == b"************** *******"


def test_a_finished_line_is_not_held_back() -> None:
    stream = of("nginx-secret").stream()
    assert stream.feed(b"systemctl status nginx\n") == b"systemctl status nginx\n"
    assert stream.feed(b"password: ngi") == b"password: "
    assert stream.feed(b"nx\n") == b"nginx\n"


def test_a_short_secret_is_named_and_not_searched_for() -> None:
    redactor = Redactor([Secret("pin", "x" * (MINIMUM - 1)), Secret("empty", "")])
    assert redactor.too_short == ("pin", "empty")
    assert redactor.masked("xxxxx") == "xxxxx"


def test_error_messages_and_command_lines_lose_secrets_and_their_shapes() -> None:
    assert of(SECRET).masked(f"psql: password={SECRET} wrong") == "psql: password=******************* wrong"
    assert SECRET[3:9] not in of(SECRET).shown(f"\x1b[1m{SECRET[:4]}\x1b[0m{SECRET[4:]}".encode())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgres://app:s3cr3tpass@db/app", "postgres://app:**********@db/app"),
        ('{"password": "hunter22"}', '{"password": "********"}'),
        ("Authorization: Bearer abcdefghijklmnopqrst", "Authorization: Bearer ********************"),
        ("AKIAIOSFODNN7EXAMPLE x", "******************** x"),
    ],
)
def test_shapes_of_secrets_are_overwritten(text: str, left: str) -> None:
    assert shapes(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "token: expired",
        "password policy: see wiki",
        "403 claim tenant missing",
        "http://host:8080/path@x",
        "secret service ok",
    ],
)
def test_words_about_secrets_stay_readable(text: str) -> None:
    assert shapes(text) == text


def test_a_redactor_shows_and_writes_no_secret() -> None:
    redactor = of(SECRET)
    assert "Tr0u" not in repr(redactor)
    with pytest.raises(TypeError):
        pickle.dumps(redactor)
