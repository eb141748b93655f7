"""Books that come along: read as strictly as the tree's, bound to this environment, and nothing else than what was named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from envtui.core.access import Incident, Party, Request
from envtui.core.environment import HttpTarget
from envtui.core.errors import EnvtuiError, InvalidFiles, Refused, UsageError
from envtui.core.runbook import AnyExpect, HttpStep, Probe, Runbook
from envtui.core.tree import Tree
from envtui.engine.bringing import Bringing
from envtui.outside.trees.load import read_book, read_forest
from envtui.rules import book_text, brought, conditions, unscripted
from envtui.rules.unscripted import Proposal
from tests.unit.tree_kit import grow

RUN = "1M83W1NJQQVVNMMS"
STEP = """\
  - id: write
    kind: ssh
    target: web
    mode: write
    argv: [touch, /tmp/x]
    probe: {argv: [ls, /tmp/x], applied: {stdout_matches: "x"}, absent: otherwise}
    undo: {argv: [rm, /tmp/x]}
"""


@dataclass
class Outside:
    """The parts of the session's ways that a brought book needs, over real trees."""

    folder: Path

    def read_book(self, source: bytes, path: str, sha256: str) -> Any:
        return read_book(source, path, sha256, path)

    def book_file(self, path: str) -> str:
        return (self.folder / "staging" / path).read_text()

    def trees(self) -> tuple[Tree, ...]:
        return tuple(read_forest(self.folder).trees.values())


@pytest.fixture
def bringing(tmp_path: Path) -> Bringing:
    outside = Outside(grow(tmp_path, "dev", "staging"))
    tree = next(tree for tree in outside.trees() if tree.name == "staging")
    return Bringing(tree, cast("Any", outside))


def head(id_: str, environment: str = "staging") -> str:
    return f'schema: envtui/runbook@1\nid: {id_}\nenvironment: {environment}\ntitle: "T"\nowner: team\nsteps:\n'


def one(step: str = STEP, environment: str = "staging") -> str:
    return head(brought.unscripted_id(RUN), environment) + step


def asked(text: str, **fields: Any) -> Request:
    named = {
        "environment": "staging",
        "id": "R",
        "nonce": "n",
        "requester": Party(person="asha", key="SHA256:x"),
        "incident": Incident(id="INC-1", state="open"),
        "reason": "r",
        "run": RUN,
        "book": brought.unscripted_id(RUN),
        "book_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "manifest_sha256": "",
        "policy_sha256": "",
        "roster_sha256": "",
        "inputs": {},
        "date": "2026-01-01",
        "targets": {},
        "plan_digest": "",
        "ttl_ms": 1,
        "undo_for_ms": 1,
        "created_ms": 1,
        "expires_ms": 2,
        "ledger": "",
        "ledger_seq": 0,
        "ledger_hash": "",
        "book_text": text,
    }
    return Request(**{**named, **fields})


def test_an_unscripted_step_is_read_as_a_book(bringing: Bringing) -> None:
    found = bringing.look_at(asked(one()))
    assert (found.unscripted, found.word) == (True, "UNSCRIPTED")
    assert bringing.of(RUN, found.book.sha256) is None  # looked at, not taken
    assert brought.word_of(asked(one())) == "UNSCRIPTED"
    lines, refusals = bringing.compare(asked(one()))
    assert "+    argv: [touch, /tmp/x]" in lines
    assert not refusals


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (one(environment="dev"), "this book is for dev"),
        (one(STEP.replace("/tmp/x]", "web1.dev.example]", 1)), "is an address of dev"),
        (one(STEP.replace("target: web", "target: nowhere")), "there is no target 'nowhere'"),
        (one(STEP.replace("[touch, /tmp/x]", '[touch, "${params.token}"]')), "no ${params.token}"),
        (one(STEP + "    stdin: {file: ../../etc/passwd}\n"), "there is no file '../../etc/passwd'"),
        (one(STEP + "    stdin: {file: files/of-dev}\n"), "there is no file 'files/of-dev'"),
        (one(STEP + "    freely: 1\n"), "freely"),
        (one(STEP + "    credential: shell-write\n"), "credential"),
        (one().replace("title:", "\ttitle:"), "a tab"),
        (one().replace("[touch", "&a [touch"), "an anchor"),
        (one() + "more: &a [*a, *a]\n", "an alias"),
        (one() + "more: " + "[" * 40 + "]" * 40 + "\n", "more than 24"),
        (one().replace('"T"', '"T\x1b]0;x"'), "control character"),
        (one().replace('"T"', '"T\u202e"'), "invisible character"),
        (one().replace('"T"', '!!python/object "T"'), "a tag"),
        (one() + "---\n" + one(), "second document"),
        ("", "empty"),
        ("[]", "object"),
        (one(STEP.replace("    undo: {argv: [rm, /tmp/x]}\n", "")), "has no undo"),
        (one().replace("schema: envtui/runbook@1", "schema: envtui/runbook@2"), "schema"),
    ],
)
def test_what_is_no_book_of_this_environment_is_refused(bringing: Bringing, text: str, says: str) -> None:
    with pytest.raises(InvalidFiles) as refused:
        bringing.look_at(asked(text))
    assert says in str(refused.value)
    assert len(refused.value.problems) <= 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (one() + "# " + "x" * 65_536, "at most 65536 can be signed"),
        (one().replace('"T"', '"e\u0301"'), "NFC"),
        (one().replace('"T"', '"\ud800"'), "not Unicode"),
        (one(STEP + STEP.replace("id: write", "id: second")), "one write"),
        (one("  - {id: look, kind: ssh, target: web, argv: [uptime]}\n"), "one write"),
        (one(STEP) + "params: {a: {type: string, default: b}}\n", "one write"),
        (one("  - {id: first, kind: ssh, target: web, argv: [uptime]}\n" + STEP), "one write"),
        (head("look") + STEP, "An edited book keeps its id"),
    ],
)
def test_what_may_not_travel_is_refused(bringing: Bringing, text: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        bringing._read(text, brought.unscripted_id(RUN), RUN, "x")
    assert says in str(refused.value)


def test_one_byte_changed_is_another_book(bringing: Bringing) -> None:
    for at, changed in ((one().index("/tmp/x"), "/"), (len(one()) - 1, "\n"), (one().index("T"), "U")):
        other = f"{one()[:at]}{changed}{one()[at:]}"
        with pytest.raises(EnvtuiError) as refused:
            bringing.look_at(asked(other, book_sha256=asked(one()).book_sha256))
        assert "is not the one that the request names" in str(refused.value)


def test_an_unscripted_id_is_its_runs_alone(bringing: Bringing) -> None:
    """Another run's step is taken for an edited book, and an edited book may be anything but a way around a probe."""
    bare = STEP.replace('    probe: {argv: [ls, /tmp/x], applied: {stdout_matches: "x"}, absent: otherwise}\n', "")
    assert bringing.look_at(asked(one(bare))).unscripted
    with pytest.raises(InvalidFiles, match="has no probe"):
        bringing.look_at(asked(one(bare), run="1M83W1NJQQVVNMMT"))


def test_an_edited_book_shows_how_it_differs_from_this_checkouts(bringing: Bringing) -> None:
    own = bringing.checkout("look")
    assert own is not None
    text = own.replace("[uptime]", "[who]")
    lines, refusals = bringing.compare(asked(text, book="look"))
    assert [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        "-  - {id: first, kind: ssh, argv: [uptime]}",
        "+  - {id: first, kind: ssh, argv: [who]}",
    ]
    assert not refusals
    assert brought.word_of(asked(text, book="look")) == "EDITED"
    lines, refusals = bringing.compare(asked(own, book="look"))
    assert (lines, [refusal.code for refusal in refusals]) == ((), ["book"])
    other = own.replace("id: look", "id: other")
    lines, refusals = bringing.compare(asked(other, book="other"))
    assert lines[0] == "there is no book other here: all of it is new"
    assert len(lines) == 1 + len(other.splitlines())


def test_a_difference_is_clean_and_ends(bringing: Bringing) -> None:
    assert brought.difference("a\n", "b\x9b2J\u202e\n", "x")[-1] == "+b<U+202E>"
    long = "\n".join(map(str, range(5_000)))
    assert len(brought.difference(long, long + "\nmore", "x")) == 5_002
    assert brought.difference("a\n", "a", "x") == ("only line ends differ",)


def test_what_was_sent_is_not_edited_but_its_undo_may_be() -> None:
    def book(step: str) -> Runbook:
        found, problems = read_book((head("b") + step).encode(), "b", "", "b")
        assert found is not None, problems
        return found.runbook

    before = book(STEP)
    brought.refuse_sent(before, book(STEP.replace("[rm,", "[unlink,")), ("write",))
    brought.refuse_sent(before, book(STEP.replace("[touch,", "[tee,")), ())
    for after in (STEP.replace("[touch,", "[tee,"), STEP.replace("id: write", "id: other")):
        with pytest.raises(Refused, match="was sent already"):
            brought.refuse_sent(before, book(after), ("write",))


def test_a_break_glass_brings_no_book() -> None:
    assert conditions.of_brought("x", True)
    assert not conditions.of_brought("x", False)
    assert not conditions.of_brought("", True)


PROPOSED = Proposal(target="web", words=("touch", "a b", "${x}"), probe="ls '/a b'", applied="b$", undo="rm 'a b'")


def test_a_proposal_becomes_a_book_that_reads_back_as_it_is(bringing: Bringing) -> None:
    tree = bringing._tree
    for proposal in (
        PROPOSED,
        msgspec.structs.replace(PROPOSED, member="web1", timeout="5s", account="www", absent="^gone"),
        msgspec.structs.replace(PROPOSED, probe="", applied="", check="Is it there?\nReally?"),
        msgspec.structs.replace(PROPOSED, undo="", no_undo='never: "again"'),
        msgspec.structs.replace(PROPOSED, words=("printf", "\x1b[2J\u200b\U000e0041\n", "yes", "null", "- x", "#")),
    ):
        made = unscripted.write(tree.environment, proposal, brought.unscripted_id(RUN), "asha")
        text = book_text.written(made)
        assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
        found = bringing.take(text, made.id, RUN)
        assert found.book.runbook == made
        assert bringing.text(RUN, found.book.sha256) == text
        drafted = book_text.written(unscripted.draft(made))
        again, problems = read_book(drafted.encode(), "books/d.yaml", "", "d")
        assert again is not None, problems
        assert again.runbook.id == "change-web"
    argv = unscripted.write(tree.environment, PROPOSED, "x", "asha").steps[0].argv  # type: ignore[union-attr]
    assert argv == ("touch", "a b", "$${x}")  # a place of the shell is none of a book


def test_a_proposal_over_sql_and_http_says_the_same_in_their_words(bringing: Bringing) -> None:
    environment = bringing._tree.environment
    service = HttpTarget(read="shell", write="shell-write", base="http://metrics.staging.example")
    environment = msgspec.structs.replace(environment, targets={**environment.targets, "metrics": service})
    made = unscripted.write(
        environment,
        Proposal(
            target="metrics",
            words=("post", "/revert", '{"a": "${x}"}'),
            probe="/version",
            applied="< 5",
            undo="POST /restore 'a b'",
        ),
        "x",
        "asha",
    )
    (step,) = made.steps
    assert isinstance(step, HttpStep)
    assert (step.method, step.path, step.body) == ("POST", "/revert", '{"a": "$${x}"}')
    assert step.undo is not None
    assert (step.undo.method, step.undo.path, step.undo.body) == ("POST", "/restore", "a b")
    assert step.probe == Probe(kind="http", path="/version", applied=AnyExpect(value="< 5"), absent="otherwise")
    assert read_book(book_text.written(made).encode(), "b", "", "b")[0].runbook == made  # type: ignore[union-attr]
    for words, says in ((("POST",), "METHOD PATH"), (("LOOK", "/x"), "cannot say that")):
        with pytest.raises(UsageError, match=says):
            unscripted.write(environment, Proposal(target="metrics", words=words, check="x", no_undo="y"), "x", "asha")
    with pytest.raises(UsageError, match="one argument"):
        unscripted.write(environment, Proposal(target="db", words=("a", "b"), check="x", no_undo="y"), "x", "asha")
    with pytest.raises(UsageError, match="accounts"):
        unscripted.write(
            environment, Proposal(target="db", words=("a",), account="www", check="x", no_undo="y"), "x", "asha"
        )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": "nowhere"}, "has no target"),
        ({"words": ()}, "nothing to do"),
        ({"words": (" ",)}, "nothing to do"),
        ({"probe": "", "applied": ""}, "needs a probe"),
        ({"check": "look"}, "one of the two"),
        ({"applied": ""}, "--applied"),
        ({"probe": "", "check": "look"}, "belong to a probe"),
        ({"undo": ""}, "taken back"),
        ({"no_undo": "why"}, "one of the two"),
        ({"undo": "rm 'a"}, "cannot be split"),
        ({"words": ("touch", "\udcff")}, "not UTF-8"),
        ({"timeout": "soon"}, "cannot say that"),
    ],
)
def test_a_proposal_that_lacks_something_says_what(bringing: Bringing, changes: dict[str, Any], says: str) -> None:
    proposal = msgspec.structs.replace(PROPOSED, **changes)
    with pytest.raises(UsageError) as refused:
        book_text.written(unscripted.write(bringing._tree.environment, proposal, "x", "asha"))
    assert says in str(refused.value)


def test_a_request_that_is_too_long_with_its_book_is_refused_before_anybody_signs() -> None:
    (refusal,) = conditions.of_size(b"x" * 65_537, "text")
    assert "65537 bytes" in refusal.sentence
    assert not conditions.of_size(b"x" * 65_536, "text")


def test_a_book_of_the_checkout_is_no_unscripted_step(bringing: Bringing) -> None:
    tree = bringing._tree
    books = {**tree.books, brought.unscripted_id(RUN): tree.books["look"]}
    other = Bringing(msgspec.structs.replace(tree, books=books), bringing._ways)
    with pytest.raises(Refused, match="is a book of this checkout"):
        other.look_at(asked(one()))
