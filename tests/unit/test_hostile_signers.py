"""Lines of access/allowed_signers that stand for somebody who is not named, or look like what they are not: each is refused at
its line, with a reason. Where ssh-keygen would believe such a line, the test says so by asking it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from access_kit import ENVIRONMENT, PEOPLE, Keys, make_keys

from envtui.core.errors import Problem
from envtui.outside.allowed_signers import problems, roster

NAME = "approve.v1.production@envtui"
NAMES = f'namespaces="{NAME}"'
MESSAGE = b'{"a":1}'

PRINCIPAL, OPTIONS, NAMESPACE, FORM, UNSEEN, KEY = (
    "is not one literal principal",
    "The options before the key cannot be read",
    "The namespaces are not those of this environment",
    "is not accepted here",
    "character that",
    "This is no key that may sign",
)

HOSTILE = {
    # what stands there: (line, with KEY for asha's key; the reason)
    "everybody": (f"* {NAMES} KEY", PRINCIPAL),
    "a beginning": (f"asha* {NAMES} KEY", PRINCIPAL),
    "one letter": (f"?sha@lab {NAMES} KEY", PRINCIPAL),
    "all but one": (f"!ravi@lab,* {NAMES} KEY", PRINCIPAL),
    "a list": (f"asha@lab,meera@lab {NAMES} KEY", PRINCIPAL),
    "a quoted list": (f'"asha@lab,meera@lab" {NAMES} KEY', PRINCIPAL),
    "a quoted pattern": (f'"*" {NAMES} KEY', PRINCIPAL),
    "an escape in the principal": (f"asha\\@lab {NAMES} KEY", PRINCIPAL),
    "a principal that begins with a dash": (f"-asha@lab {NAMES} KEY", PRINCIPAL),
    "a principal of 101 letters": (f"{'a' * 101} {NAMES} KEY", PRINCIPAL),
    "a key alone": ("KEY", KEY),
    "a certificate authority": (f"asha@lab cert-authority,{NAMES} KEY", "a certificate authority signs for people"),
    "a certificate authority in capitals": (f"asha@lab CERT-AUTHORITY,{NAMES} KEY", "a certificate authority"),
    "a certificate authority at the end": (f"asha@lab {NAMES},cert-authority KEY", "a certificate authority"),
    "a certificate": (f"asha@lab {NAMES} ssh-ed25519-cert-v01@openssh.com AAAA", "do not sign here"),
    "no namespaces": ("asha@lab KEY", NAMESPACE),
    "no namespace": ('asha@lab namespaces="" KEY', NAMESPACE),
    "an empty one beside a good one": (f'asha@lab namespaces="{NAME}," KEY', NAMESPACE),
    "every namespace": ('asha@lab namespaces="*" KEY', NAMESPACE),
    "a namespace with a pattern": ('asha@lab namespaces="approve.v1.*" KEY', NAMESPACE),
    "a negated namespace": (f'asha@lab namespaces="!file,{NAME}" KEY', NAMESPACE),
    "another environment's": ('asha@lab namespaces="approve.v1.staging@envtui" KEY', NAMESPACE),
    "another environment's beside": (f'asha@lab namespaces="{NAME},approve.v1.staging@envtui" KEY', NAMESPACE),
    "another version's": ('asha@lab namespaces="approve.v2.production@envtui" KEY', NAMESPACE),
    "ssh-keygen's usual one": ('asha@lab namespaces="file" KEY', NAMESPACE),
    "one twice": (f'asha@lab namespaces="{NAME},{NAME}" KEY', NAMESPACE),
    "a space in it": (f'asha@lab namespaces="{NAME} " KEY', NAMESPACE),
    "capitals in it": (f'asha@lab namespaces="{NAME.upper()}" KEY', NAMESPACE),
    "namespaces twice": (f"asha@lab {NAMES},{NAMES} KEY", "namespaces is not accepted here, or not in this form"),
    "the second one wider": (f'asha@lab {NAMES},namespaces="*" KEY', "namespaces is not accepted here"),
    "no quotes": (f"asha@lab namespaces={NAME} KEY", OPTIONS),
    "an open quote": (f'asha@lab namespaces="{NAME} KEY', OPTIONS),
    "an escaped quote": (f'asha@lab namespaces="{NAME}\\",cert-authority,x=\\"" KEY', OPTIONS),
    "a quote within": (f'asha@lab namespaces="{NAME}"file" KEY', OPTIONS),
    "a space between options": (f'asha@lab {NAMES}, valid-before="20370101" KEY', OPTIONS),
    "a comma at the end": (f"asha@lab {NAMES}, KEY", OPTIONS),
    "an unknown option": (f'asha@lab {NAMES},verify-required="yes" KEY', FORM),
    "an unknown flag": (f"asha@lab {NAMES},no-touch-required KEY", FORM),
    "an unknown flag first": (f"asha@lab no-touch-required,{NAMES} KEY", KEY),
    "a time in words": (f'asha@lab {NAMES},valid-before="tomorrow" KEY', FORM),
    "a time with dashes": (f'asha@lab {NAMES},valid-before="2037-01-01" KEY', FORM),
    "a relative time": (f'asha@lab {NAMES},valid-before="+52w" KEY', FORM),
    "always": (f'asha@lab {NAMES},valid-before="always" KEY', FORM),
    "a month 13": (f'asha@lab {NAMES},valid-before="20371301" KEY', FORM),
    "a 30 February": (f'asha@lab {NAMES},valid-before="20370230" KEY', FORM),
    "an hour 24": (f'asha@lab {NAMES},valid-before="203701012400" KEY', FORM),
    "too many digits": (f'asha@lab {NAMES},valid-before="203701010000000" KEY', FORM),
    "the epoch": (f'asha@lab {NAMES},valid-after="19700101" KEY', FORM),
    "before the epoch's digits": (f'asha@lab {NAMES},valid-before="00000000" KEY', FORM),
    "digits that are not ASCII": (f'asha@lab {NAMES},valid-before="２０３７０１０１" KEY', UNSEEN),
    "another time zone": (f'asha@lab {NAMES},valid-before="20370101z" KEY', FORM),
    "no time": (f'asha@lab {NAMES},valid-before="" KEY', FORM),
    "a time without a value": (f"asha@lab {NAMES},valid-before KEY", FORM),
    "two times": (
        f'asha@lab {NAMES},valid-before="20270101",valid-before="20370101" KEY',
        "valid-before is not accepted",
    ),
    "a time that never is": (
        f'asha@lab {NAMES},valid-after="20370101",valid-before="20270101" KEY',
        "valid-after is not before valid-before",
    ),
    "Windows line ends": (f"asha@lab {NAMES} KEY\r", "as on Windows"),
    "a line within the line": (f"# harmless\rasha@lab {NAMES} KEY", "as on Windows"),
    "NUL": (f"asha@lab\0 {NAMES} KEY", "U+0000"),
    "NUL behind the key": (f"asha@lab {NAMES} KEY\0", "U+0000"),
    "a byte order mark": (f"\ufeffasha@lab {NAMES} KEY", "U+FEFF"),
    "a byte order mark before a comment": (f"\ufeff# asha@lab {NAMES} KEY", "U+FEFF"),
    "a zero-width space": (f"asha\u200b@lab {NAMES} KEY", "U+200B"),
    "a soft hyphen": (f"asha\u00ad@lab {NAMES} KEY", "U+00AD"),
    "right to left": (f"asha@lab {NAMES} KEY \u202eemos", "U+202E"),
    "right to left in a comment line": (f"# asha \u202e {NAMES} KEY", "U+202E"),
    "an escape sequence in a comment line": ("# \x1b[2K\x1b[1A asha", "U+001B"),
    "an invisible tag": (f"asha@lab {NAMES} KEY \U000e0041", "U+E0041"),
    "a letter that looks like another": (f"\u0430sha@lab {NAMES} KEY", "U+0430"),
    "a space that is none": (f"asha@lab\u00a0{NAMES} KEY", "U+00A0"),
    "a wide space before": (f"\u3000asha@lab {NAMES} KEY", "U+3000"),
    "a form feed": (f"\x0casha@lab {NAMES} KEY", "U+000C"),
    "a next line": (f"asha@lab {NAMES} KEY\u0085ravi@lab", "U+0085"),
    "a line separator": (f"asha@lab {NAMES} KEY\u2028ravi@lab", "U+2028"),
    "an endless line": (f"asha@lab {NAMES} KEY {'x' * 20_000}", "characters, more than 16384"),
    "an endless comment": ("#" + "x" * 20_000, "characters, more than 16384"),
    "a key of another type": (f"asha@lab {NAMES} ecdsa-sha2-nistp256 BLOB", "is not of type"),
    "a key that is cut": (f"asha@lab {NAMES} ssh-ed25519 SHORT", "cut off"),
    "a second spelling of base64": (f"asha@lab {NAMES} ssh-ed25519 BLOB=", "second spelling"),
    "no key": (f"asha@lab {NAMES}", OPTIONS),
    "nobody's principal": (f"nobody@lab {NAMES} KEY", "is nobody in people.yaml"),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


def filled(line: str, keys: Keys) -> str:
    key = keys.public("asha")
    blob = key.split()[1]
    return line.replace("KEY", key).replace("BLOB", blob).replace("SHORT", blob[:-4])


def found(text: str) -> tuple[Problem, ...]:
    return problems(ENVIRONMENT, text, "", PEOPLE)


@pytest.mark.parametrize("name", HOSTILE)
def test_each_is_refused_at_its_line_with_a_reason(keys: Keys, name: str) -> None:
    line, why = HOSTILE[name]
    good = f"meera@lab {NAMES} {keys.public('meera')}\n"
    said = found(f"# who may sign\n{good}{filled(line, keys)}\n")
    assert said, "it was taken"
    assert {(problem.file, problem.line) for problem in said} == {("access/allowed_signers", 3)}
    assert any(why in problem.message for problem in said), said
    for problem in said:
        assert str(problem).isprintable()
        assert len(str(problem)) < 400
    assert found(f"# who may sign\n{good}") == ()


def test_what_is_ordinary_is_taken(keys: Keys) -> None:
    text = (
        "# Wer unterschreiben darf: Jörg, 田中\n\n \t\n"
        f'asha@lab {NAMES},valid-after="20260101",valid-before="203701010930Z"\t{keys.public("asha")} asha at home, #2\n'
        f'  meera@lab NAMESPACES="{NAME}" {keys.public("meera")}'
    )
    assert [line.principal for line in roster(ENVIRONMENT, text, "", PEOPLE).lines] == ["asha@lab", "meera@lab"]


def test_one_key_under_two_principals_counts_for_neither_of_two(keys: Keys) -> None:
    twice = f"asha@lab {NAMES} {keys.public('asha')}\nmeera@lab {NAMES} {keys.public('asha')} another comment\n"
    (problem,) = found(twice)
    assert (problem.line, problem.message) == (2, "This key stands on line 1 already.")
    same = f"asha@lab {NAMES} {keys.public('asha')}\n" * 2
    assert [each.line for each in found(same)] == [2]


BELIEVED = (
    "everybody", "a beginning", "one letter", "all but one", "a list", "a quoted list",
    "no namespaces", "every namespace", "a namespace with a pattern", "another environment's beside",
)  # fmt: skip
"""What ssh-keygen takes for asha's word: the reason why it is never handed the environment's file."""


@pytest.mark.parametrize("name", BELIEVED)
def test_ssh_keygen_would_believe_it(keys: Keys, tmp_path: Path, name: str) -> None:
    (tmp_path / "allowed").write_text(filled(HOSTILE[name][0], keys) + "\n")
    signing = ["ssh-keygen", "-Y", "sign", "-f", str(keys.path("asha")), "-n", NAME]
    made = subprocess.run(signing, input=MESSAGE, capture_output=True, check=True)
    (tmp_path / "signature").write_bytes(made.stdout)
    verifying = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "asha@lab", "-n", NAME, "-s", "signature"]
    done = subprocess.run(verifying, input=MESSAGE, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Good .* signature", done.stdout.decode())
