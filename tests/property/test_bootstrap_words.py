"""Whatever the words, whatever the login shell: the program gets exactly them. Real shells."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from envtui.outside.ssh.bootstrap import Command, Frame, launch

NONCE = "0f1e2d3c4b5a69788796a5b4"
SHELLS = {
    "dash": ["dash", "-c"],
    "bash": ["bash", "-c"],
    "fish": ["fish", "--no-config", "-c"],
    "tcsh": ["tcsh", "-f", "-c"],
}
hostile = st.sampled_from(
    [
        b"'",
        b"\\",
        b"!",
        b"!!",
        b"\n",
        b"`id`",
        b"$(id)",
        b"${x}",
        b";",
        b"&",
        b"|",
        b"*",
        b"~",
        b"-n",
        b"\\'",
        b"%s",
        b"\xff",
        b"\x81\x88",
    ]
)
word = st.one_of(
    st.binary(max_size=12).map(lambda b: b.replace(b"\0", b"")),
    st.text(max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass").replace(b"\0", b"")),
    st.lists(hostile, max_size=5).map(b"".join),
)


def answer(line: list[str], stdin: bytes) -> tuple[bytes, str]:
    done = subprocess.run(line, input=stdin, capture_output=True, check=False)
    got: list[bytes] = []
    frame = Frame(NONCE, got.append)
    frame.feed(done.stdout)
    frame.finish()
    return b"".join(got), frame.status


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=st.lists(word, min_size=1, max_size=4), hidden=st.booleans(), reads=st.booleans())
@example(words=[bytes(range(1, 256))], hidden=False, reads=True)
@example(words=[bytes(range(1, 256))], hidden=True, reads=True)
@example(words=[bytes(range(1, 256))], hidden=False, reads=False)
@example(words=[b"x" * 4600], hidden=False, reads=True)  # just below what goes by stdin
@example(words=[b"x!" * 4000], hidden=False, reads=True)  # above
@example(words=[b"x" * 3700], hidden=False, reads=False)  # just below what is no direct program any more
@example(words=[b"x!" * 4000], hidden=False, reads=False)  # above
def test_words_arrive_byte_for_byte(shell: str, words: list[bytes], hidden: bool, reads: bool) -> None:
    if not shutil.which(SHELLS[shell][0]):
        pytest.skip(f"{shell} IS NOT INSTALLED: hostile words were not tried in it")
    command = Command(argv=(b"printf", b"%s\\0", *words), hidden=hidden)
    start = launch(command, NONCE, reads)
    assert answer([*SHELLS[shell], start.line], start.preamble) == (b"".join(w + b"\0" for w in words), "000")


@settings(max_examples=25, deadline=None)
@given(words=st.lists(word, min_size=1, max_size=4))
@example(words=[bytes(range(1, 256))])
def test_bash_as_sh_decodes_alike(words: list[bytes]) -> None:
    start = launch(Command(argv=(b"printf", b"%s\\0", *words)), NONCE)
    line = start.line.replace("/bin/sh", "bash --posix", 1)
    assert answer(["dash", "-c", line], start.preamble) == (b"".join(w + b"\0" for w in words), "000")


@settings(max_examples=25, deadline=None)
@given(script=word, words=st.lists(word, max_size=3), value=word)
def test_a_script_its_arguments_and_its_environment_arrive(script: bytes, words: list[bytes], value: bytes) -> None:
    text = b'printf \'%s\\0\' "$KEY" "$@"\n#' + script.replace(b"\n", b"")
    start = launch(Command(sh=text, argv=tuple(words), env=(("KEY", value),)), NONCE)
    assert answer(["dash", "-c", start.line], start.preamble) == (b"".join(w + b"\0" for w in [value, *words]), "000")


@given(words=st.lists(word, min_size=1, max_size=6), reads=st.booleans())
def test_the_payload_is_underscores_and_digits(words: list[bytes], reads: bool) -> None:
    start = launch(Command(argv=(b"x'", *words)), NONCE, reads)
    payload = start.preamble.decode().removesuffix("\n").removeprefix(NONCE[::-1]) or start.line.rsplit(" ", 1)[1]
    assert re.fullmatch("[_0-9]+", payload)


@given(
    output=st.binary(max_size=200),
    noise=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    status=st.integers(0, 255),
)
def test_framing_gives_the_output_whatever_surrounds_it(
    output: bytes, noise: bytes, cuts: list[int], status: int
) -> None:
    whole = noise + NONCE.encode() + b"b" + output + NONCE.encode() + b"e%03d" % status + noise
    places = [0, *sorted(c for c in cuts if c < len(whole)), len(whole)]
    got: list[bytes] = []
    frame = Frame(NONCE, got.append)
    for start, end in itertools.pairwise(places):
        frame.feed(whole[start:end])
    frame.finish()
    assert (b"".join(got), frame.status) == (output, f"{status:03d}")


plain = st.text("abcXYZ019_@%+=:,./ -", max_size=12).map(str.encode)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=st.lists(plain, min_size=1, max_size=4), folder=st.sampled_from([b"", b"/", b"/usr/share"]))
@example(words=[b"", b" ", b"- %s", b"a=b,c:d@e/f.g+h"], folder=b"/")
@example(words=[b"x" * 20000], folder=b"")
def test_plain_words_arrive_in_a_program_that_can_be_read(shell: str, words: list[bytes], folder: bytes) -> None:
    if not shutil.which(SHELLS[shell][0]):
        pytest.skip(f"{shell} IS NOT INSTALLED: plain words were not tried in it")
    command = Command(argv=(b"printf", b"%s/", *words), cwd=folder, env=(("LC_ALL", b"C"),))
    start = launch(command, NONCE, reads=False)
    assert (b" ".join(words).decode() in start.line or len(words) > 1, start.preamble) == (True, b"")
    assert answer([*SHELLS[shell], start.line], b"") == (b"".join(w + b"/" for w in words), "000")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    eaten=st.integers(0, 700), data=st.sampled_from([b"", b"echo RAN\n", b"_0145_0143_0150_0157_0040_0122_0101_0116\n"])
)
@example(eaten=10**6, data=b"echo RAN\n")  # the whole line: what follows is the command's own input
@example(eaten=10**6, data=b"_0145_0143_0150_0157_0040_0122_0101_0116\n")  # which looks like a program
def test_a_program_by_stdin_that_lost_its_beginning_runs_nothing(eaten: int, data: bytes) -> None:
    start = launch(Command(argv=(b"printf", b"RAN%s", b"it's")), NONCE)
    eaten = min(eaten, len(start.preamble))
    line = ["dash", "-c", start.line]
    done = subprocess.run(line, input=start.preamble[eaten:] + data, capture_output=True, check=False)
    assert (b"RAN" in done.stdout) == (eaten == 0)
    assert (NONCE.encode() in done.stdout) == (eaten == 0)
    assert (done.returncode != 0) == (eaten != 0)


@given(words=st.lists(word | plain, min_size=1, max_size=3), hidden=st.booleans(), reads=st.booleans())
def test_only_plain_words_stand_on_the_command_line(words: list[bytes], hidden: bool, reads: bool) -> None:
    """Between the single quotes is nothing that a login shell reads differently there; and nothing that is to be hidden."""
    line = launch(Command(argv=(b"printf", *words), hidden=hidden), NONCE, reads).line
    assert line.startswith("exec /bin/sh -c '")
    assert not set("\\!\n") & set(line)
    assert line.count("'") == 2
    if 'printf "' in line or '"printf"' in line:
        assert not hidden
        assert not reads
        assert not set(b"".join(words)) & set(b"'\"\\\n;&|<>()$`#!*?[]{}~")
