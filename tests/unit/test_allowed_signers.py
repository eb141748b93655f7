"""access/allowed_signers: one literal person a line, this environment's namespaces, nothing that stands for anyone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from access_kit import ENVIRONMENT, PEOPLE, Keys, make_keys, signers_text

from envtui.core.access import fingerprint
from envtui.core.environment import People, Person
from envtui.core.errors import InvalidFiles
from envtui.outside.allowed_signers import problems, roster
from envtui.outside.sshsig import KEY_TYPES

NAMES = 'namespaces="request.v1.production@envtui,approve.v1.production@envtui"'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


def said(text: str, revoked: str = "", people: People = PEOPLE) -> list[str]:
    return [str(problem) for problem in problems(ENVIRONMENT, text, revoked, people)]


def test_a_roster_knows_whose_key_is_whose(keys: Keys) -> None:
    read = roster(ENVIRONMENT, "# people\n\n" + signers_text(keys), f"{keys.public('ravi')} lost\n", PEOPLE)
    assert read.person(keys.public("asha")) == read.person(keys.public("asha-second")) == "asha"
    assert read.person(fingerprint(keys.public("tom"))) == "tom"
    assert read.person(keys.public("stranger")) == ""
    assert read.revoked == {fingerprint(keys.public("ravi"))}
    assert read.approvers(("approver",), besides="asha") == ("meera", "tom", "ines")
    assert read.approvers(()) == ("asha", "meera", "tom", "ines")  # ravi's only key is revoked


def test_any_change_of_the_roster_changes_its_digest(keys: Keys) -> None:
    text = signers_text(keys)
    base = roster(ENVIRONMENT, text, "", PEOPLE).sha256
    assert roster(ENVIRONMENT, "# a comment\n" + text, "", PEOPLE).sha256 == base
    roles = msgspec_replace_role()
    for other in (
        roster(ENVIRONMENT, "".join(text.splitlines(keepends=True)[:-1]), "", PEOPLE),
        roster(ENVIRONMENT, text, fingerprint(keys.public("tom")), PEOPLE),
        roster(ENVIRONMENT, text, "", roles),
    ):
        assert other.sha256 != base


def msgspec_replace_role() -> People:
    people = dict(PEOPLE.people)
    people["ravi"] = Person(name="Ravi", principals=("ravi@lab",), roles=("approver",))
    return People(schema="envtui/people@1", people=people)


@pytest.mark.parametrize(
    "principal",
    ["*", "me*", "?sha@lab", "!asha@lab", "asha@lab,meera@lab", '"asha@lab"', "*@lab", "-asha", "ash\u0430@lab"],
)
def test_a_pattern_is_nobody(keys: Keys, principal: str) -> None:
    assert said(f"{principal} {NAMES} {keys.public('asha')}")


@pytest.mark.parametrize(
    "options",
    [
        "",
        'namespaces="*"',
        'namespaces="approve.v1.*@envtui"',
        'namespaces="approve.v1.staging@envtui"',
        'namespaces="approve.v1.production@envtui,file"',
        'namespaces="approve.v1.production@envtui,approve.v1.production@envtui"',
        'namespaces=""',
        "namespaces=approve.v1.production@envtui",
        f"cert-authority,{NAMES}",
        f"{NAMES},cert-authority",
        f"{NAMES},{NAMES}",
        f'{NAMES},valid-before="tomorrow"',
        f'{NAMES},valid-before="20261399"',
        f'{NAMES},valid-after="20270101",valid-before="20260101"',
        f'{NAMES},no-touch-required="yes"',
        f'{NAMES}, valid-before="20270101"',
        'namespaces="approve.v1.production@envtui',
    ],
)
def test_options_that_say_too_much_or_cannot_be_read(keys: Keys, options: str) -> None:
    assert said(f"asha@lab {options} {keys.public('asha')}")


def test_validity_is_utc(keys: Keys) -> None:
    text = f'asha@lab {NAMES},valid-after="20260101",valid-before="202602010930Z" {keys.public("asha")}'
    (line,) = roster(ENVIRONMENT, text, "", PEOPLE).lines
    assert (line.valid_after_ms, line.valid_before_ms) == (1767225600000, 1769938200000)


def test_one_key_stands_on_one_line_and_the_place_is_named(keys: Keys) -> None:
    text = f"asha@lab {NAMES} {keys.public('asha')}\n# twice\nmeera@lab {NAMES} {keys.public('asha')}\n"
    (problem,) = said(text)
    assert problem.startswith("access/allowed_signers:3:1: This key stands on line 1 already.")


def test_a_principal_may_have_two_keys_because_it_is_one_person(keys: Keys) -> None:
    text = f"asha@lab {NAMES} {keys.public('asha')}\nasha@lab {NAMES} {keys.public('asha-second')}\n"
    assert said(text) == []


def test_a_principal_is_exactly_one_person(keys: Keys) -> None:
    text = f"nobody@lab {NAMES} {keys.public('stranger')}"
    assert "nobody in people.yaml" in said(text)[0]
    two = {"a": Person(name="A", principals=("x@lab",)), "b": Person(name="B", principals=("x@lab",))}
    found = said("", people=People(schema="envtui/people@1", people=two))
    assert found == ["access/people.yaml: x@lab is a and b. A principal is one person."]


def test_keys_that_do_not_sign_here(keys: Keys) -> None:
    blob = keys.public("asha").split()[1]
    for key in (
        "ssh-dss AAAA",
        "ssh-ed25519",
        "ssh-ed25519 %%%",
        f"ecdsa-sha2-nistp256 {blob}",
        f"ssh-ed25519 {blob[:-4]}",
    ):
        assert said(f"asha@lab {NAMES} {key}"), key
    assert "ssh-dss" not in KEY_TYPES


def test_a_short_rsa_key_does_not_sign(tmp_path: Path) -> None:
    made = ["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", str(tmp_path / "short")]
    subprocess.run(made, check=True)
    (problem,) = said(f"asha@lab {NAMES} {(tmp_path / 'short.pub').read_text()}")
    assert "at least 2048 bits" in problem


def test_all_problems_come_at_once(keys: Keys) -> None:
    text = f"* {NAMES} {keys.public('asha')}\nmeera@lab {keys.public('meera')}\n"
    with pytest.raises(InvalidFiles) as raised:
        roster(ENVIRONMENT, text, "not a key\n", PEOPLE, "production/access/")
    places = [(problem.file, problem.line) for problem in raised.value.problems]
    assert places == [
        ("production/access/allowed_signers", 1),
        ("production/access/allowed_signers", 2),
        ("production/access/revoked_keys", 1),
    ]


def test_control_characters_and_endless_lines(keys: Keys) -> None:
    for line in (f"asha@lab\x1b[2K {NAMES} {keys.public('asha')}", "asha@lab " + "x" * 20_000, "asha@lab\u202e x"):
        assert said(line)
