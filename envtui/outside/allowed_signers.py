"""access/allowed_signers and revoked_keys, read by us and strictly: who may sign in one environment.

    asha@example.org namespaces="request.v1.production@envtui,approve.v1.production@envtui" ssh-ed25519 AAAA… laptop

ssh-keygen's own reading is not used: [M] a principal of `*` or `me*` verifies as anyone, and a line without namespaces
counts in all of them. So: one literal principal a line, literal namespaces of this environment, no certificate authority,
no key twice, and every principal is exactly one person of people.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, get_args

from envtui.core.access import Roster, RosterLine, SignedKind, fingerprint, namespace
from envtui.core.environment import People
from envtui.core.errors import InvalidFiles, Problem
from envtui.core.tree import Tree
from envtui.outside.sshsig import public_key

SIGNERS: Final = "allowed_signers"
REVOKED: Final = "revoked_keys"
PEOPLE: Final = "people.yaml"

_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,99}")
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?')
_TIME = re.compile(r"\d{8}(?:\d{4}(?:\d{2})?)?Z?")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")

Say = Callable[[int, str, str], None]  # line, message, remedy


def roster(
    environment: str, allowed_signers: str, revoked_keys: str, people: People, prefix: str = "access/"
) -> Roster:
    """Who may sign. `prefix` stands before file names in messages (`production/access/`).

    Raises InvalidFiles with every problem of the three files.
    """
    found: list[Problem] = []
    lines = _lines(environment, allowed_signers, _saying(found, prefix + SIGNERS))
    revoked = _revoked(revoked_keys, _saying(found, prefix + REVOKED))
    _check_people(lines, people, _saying(found, prefix + SIGNERS), _saying(found, prefix + PEOPLE))
    if found:
        raise InvalidFiles(tuple(found))
    return Roster(environment=environment, lines=lines, revoked=revoked, people=dict(people.people))


def problems(
    environment: str, allowed_signers: str, revoked_keys: str, people: People, prefix: str = "access/"
) -> tuple[Problem, ...]:
    """What `roster` would refuse, for `envtui check`."""
    try:
        roster(environment, allowed_signers, revoked_keys, people, prefix)
    except InvalidFiles as invalid:
        return invalid.problems
    return ()


def problems_of(trees: Iterable[Tree]) -> tuple[Problem, ...]:
    """What `roster` would refuse in these trees."""
    return tuple(
        problem
        for tree in trees
        for problem in problems(
            tree.environment.name, tree.allowed_signers, tree.revoked_keys, tree.people, f"{tree.root}/access/"
        )
    )


def _saying(found: list[Problem], file: str) -> Say:
    return lambda line, message, remedy: found.append(Problem(file, line, 1 if line else 0, message, remedy))


def _lines(environment: str, text: str, say: Say) -> tuple[RosterLine, ...]:
    read: list[RosterLine] = []
    for number, raw in _meaningful(text, say):
        line = _line(environment, number, raw, say)
        if line is None:
            continue
        twin = next((other for other in read if other.key == line.key), None)
        if twin is not None:
            say(
                number,
                f"This key stands on line {twin.line} already.",
                "A key belongs to one line: remove one of them.",
            )
            continue
        read.append(line)
    return tuple(read)


def _line(environment: str, number: int, raw: str, say: Say) -> RosterLine | None:
    principal, rest = (*raw.split(None, 1), "")[:2]
    if not _PRINCIPAL.fullmatch(principal):
        hint = " Patterns and lists stand for people who are not named." if set(principal) & set("*?!,") else ""
        say(
            number,
            f"{principal[:60]!r} is not one literal principal.{hint}",
            "Write one name such as asha@example.org.",
        )
        return None
    options, key_text = _options(rest.strip())
    if options is None:
        say(
            number,
            "The options before the key cannot be read.",
            'Write namespaces="…",valid-before="20270101" without spaces.',
        )
        return None
    expected = tuple(namespace(kind, environment) for kind in get_args(SignedKind))
    names: tuple[str, ...] = ()
    after = before = 0
    fine = True
    for option, value in options:
        if option == "namespaces" and value is not None and not names:
            names = tuple(value.split(","))
        elif option == "valid-after" and value is not None and not after and (moment := _moment(value)):
            after = moment
        elif option == "valid-before" and value is not None and not before and (moment := _moment(value)):
            before = moment
        else:
            fine = False
            why = "a certificate authority signs for people who are not named" if option == "cert-authority" else ""
            say(number, f"{option} is not accepted here{': ' + why if why else ', or not in this form'}.", _OPTIONS)
    if not names or any(name not in expected for name in names) or len(set(names)) != len(names):
        fine = False
        usual = ",".join(namespace(kind, environment) for kind in _USUAL)
        say(number, "The namespaces are not those of this environment.", f'Write namespaces="{usual}".')
    if after and before and after >= before:
        fine = False
        say(number, "valid-after is not before valid-before.", "")
    try:
        key = public_key(key_text)
    except ValueError as error:
        say(number, f"This is no key that may sign: {error}.", "Copy the line of the .pub file.")
        return None
    if not fine:
        return None
    return RosterLine(
        principal=principal, key=key, namespaces=names, valid_after_ms=after, valid_before_ms=before, line=number
    )


_USUAL: Final[tuple[SignedKind, ...]] = ("request", "approve")
"""What people sign; an owner's line has `policy` too."""

_OPTIONS = "Known here: namespaces, valid-after, valid-before, each once."


def _options(rest: str) -> tuple[list[tuple[str, str | None]] | None, str]:
    """Options up to the first space outside quotes, and what follows; a key type holds no quote and no equals sign."""
    options: list[tuple[str, str | None]] = []
    at = 0
    while True:
        matched = _OPTION.match(rest, at)
        if matched is None:
            return None, ""
        if matched.group(2) is None and not options and matched.group(1).lower() not in _FLAGS:
            return [], rest  # no options at all: the key comes at once
        options.append((matched.group(1).lower(), matched.group(2)))
        at = matched.end()
        if rest[at : at + 1] == ",":
            at += 1
        elif rest[at : at + 1] in (" ", "\t"):
            return options, rest[at:].strip()
        else:
            return None, ""


_FLAGS = ("cert-authority", "namespaces", "valid-after", "valid-before")


def _moment(text: str) -> int | None:
    """Wall ms of YYYYMMDD[HHMM[SS]][Z]. Without Z ssh-keygen would take local time, which differs by reader: UTC here."""
    if not _TIME.fullmatch(text):
        return None
    digits = text.rstrip("Z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[len(digits)]
    try:
        return int(datetime.strptime(digits, form).replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None


def _revoked(text: str, say: Say) -> frozenset[str]:
    """Fingerprints of revoked keys: a line is a public key or SHA256:…; a binary KRL is refused."""
    found: set[str] = set()
    for number, raw in _meaningful(text, say):
        words = raw.split()
        if _FINGERPRINT.fullmatch(words[0]):
            found.add(words[0])
            continue
        try:
            found.add(fingerprint(public_key(raw)))
        except ValueError as error:
            say(number, f"This is neither a public key nor SHA256:…: {error}.", "Copy the line of the .pub file.")
    return frozenset(found)


def _check_people(lines: tuple[RosterLine, ...], people: People, say_signer: Say, say_people: Say) -> None:
    owner: dict[str, str] = {}
    for person, entry in people.people.items():
        for principal in entry.principals:
            if owner.setdefault(principal, person) != person:
                say_people(0, f"{principal} is {owner[principal]} and {person}.", "A principal is one person.")
    for line in lines:
        if line.principal not in owner:
            say_signer(line.line, f"{line.principal} is nobody in people.yaml.", "Say there whose principal it is.")


_LONGEST = 16_384


def _meaningful(text: str, say: Say) -> list[tuple[int, str]]:
    """Lines that are neither empty nor comments, numbered from 1. A comment too shows all that is in it."""
    found: list[tuple[int, str]] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t")
        comment = line.startswith("#")
        if why := _unseen(raw, comment):
            say(number, *why)
        elif line and not comment:
            found.append((number, line))
    return found


def _unseen(raw: str, comment: bool) -> tuple[str, str] | None:
    """What a line hides from a reader, and what to do about it; None when it hides nothing."""
    if "\r" in raw:
        return "The line ends or breaks as on Windows (CR).", "Save the file with line ends of LF alone."
    if len(raw) > _LONGEST:
        return f"The line has {len(raw)} characters, more than {_LONGEST}.", "Keep one key on it."
    odd = next(
        (each for each in raw.replace("\t", " ") if not each.isprintable() or not (comment or each.isascii())), ""
    )
    if odd:
        why = "is not plain ASCII" if odd.isprintable() else "cannot be seen"
        return f"The line has a character that {why}: U+{ord(odd):04X}.", "Take it out."
    return None
