"""Regular expressions that cannot hang: Python's syntax, matched in time that grows with the text and never explodes.

`re` backtracks: a nested quantifier takes 4 s on 26 characters, and even `.*x` is quadratic. Patterns here come from books
and the text from targets, so neither is trusted. All threads of a match advance together instead (Pike's machine), each
place of the program once for each character, and a count of steps ends what would still be too much. What such a machine
cannot do (back references, look-around, atomic groups) is refused when the pattern is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import msgspec

from .errors import Refused, UsageError

MAX_PROGRAM = 600
"""Places of a program. `[a-z]{0,500}` has 1000; counted repeats are written out."""

MAX_STEPS = 2_000_000
"""Of one match: about a second of work, and far more than an honest pattern needs on 64 KiB."""

_parser: Any = import_module("re._parser")  # the parser of `re` itself, so that the syntax is the same; see the tests
_Test = Callable[[str], bool]
_WORD = re.compile(r"\w")
_CATEGORIES = {
    "CATEGORY_DIGIT": re.compile(r"\d"),
    "CATEGORY_NOT_DIGIT": re.compile(r"\D"),
    "CATEGORY_SPACE": re.compile(r"\s"),
    "CATEGORY_NOT_SPACE": re.compile(r"\S"),
    "CATEGORY_WORD": _WORD,
    "CATEGORY_NOT_WORD": re.compile(r"\W"),
}


class Found(msgspec.Struct, frozen=True):
    """Where a pattern was found: the text, and what its first group holds (None: no group, or not taken part)."""

    start: int
    end: int
    text: str
    group: str | None


class _Place(msgspec.Struct):
    """One place of a program: `char` (test), `split` (first, second), `jump`, `save`, `at` (what), `match`."""

    do: str
    test: _Test | None = None
    first: int = 0
    second: int = 0
    what: str = ""


class Pattern:
    """A pattern that was read. `^` and `$` match at lines; the rest is as in Python's `re`."""

    __slots__ = ("_program", "_starts", "groups", "text")

    def __init__(self, text: str, program: tuple[_Place, ...], groups: int) -> None:
        self.text = text
        self.groups = groups
        self._program = program
        self._starts = _starts(program)

    def search(self, subject: str) -> Found | None:
        """The leftmost match, the one that `re.search` gives. Raises Refused when it takes too many steps."""
        found = self._match(subject, whole=False)
        if found is None:
            return None
        start, end, group_start, group_end = found
        group = subject[group_start:group_end] if group_start >= 0 and group_end >= 0 else None
        return Found(start, end, subject[start:end], group)

    def fullmatch(self, subject: str) -> bool:
        """Whether all of `subject` matches. Raises Refused when it takes too many steps."""
        return self._match(subject, whole=True) is not None

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def _match(self, subject: str, whole: bool) -> tuple[int, int, int, int] | None:
        program = self._program
        budget = _Budget(self.text)
        best: tuple[int, int, int, int] | None = None
        live: list[tuple[int, tuple[int, int, int]]] = []
        seen: set[int] = set()
        known: dict[tuple[int, str], bool] = {}
        at = 0
        while True:
            if best is None and (at == 0 or not whole):
                if not live and self._starts is not None and not whole:
                    at = self._starts(subject, at)
                _follow(program, live, seen, 0, (at, -1, -1), subject, at, budget)
            if not live and (whole or best is not None or at >= len(subject)):
                break
            character = subject[at] if at < len(subject) else ""
            after: list[tuple[int, tuple[int, int, int]]] = []
            seen_after: set[int] = set()
            for place, marks in live:
                step = program[place]
                if step.do == "match":
                    if whole and at < len(subject):
                        continue
                    best = (marks[0], at, marks[1], marks[2])
                    break  # what comes later in the list is a worse match
                if not character:
                    continue
                fits = known.get((place, character))
                if fits is None:
                    assert step.test is not None
                    fits = known[place, character] = step.test(character)
                if fits:
                    _follow(program, after, seen_after, place + 1, marks, subject, at + 1, budget)
            budget.spend(len(live))
            if at >= len(subject):
                break
            live, seen = after, seen_after
            at += 1
        return best


def safe_pattern(text: str) -> Pattern:
    """The pattern in `text`. Raises UsageError when it is none, or could not be matched in bounded time."""
    try:
        tree = _parser.parse(text, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{text[:200]!r} is no regular expression: {error}.", "See docs/plan.md, Patterns.") from error
    flags: int = tree.state.flags
    if flags & ~(re.MULTILINE | re.IGNORECASE | re.DOTALL | re.VERBOSE | re.UNICODE):
        raise _not_built(text, "this inline flag")
    compiler = _Compiler(text)
    compiler.add(_Place("save", first=0))
    compiler.sequence(tree, flags)
    compiler.add(_Place("match"))
    return Pattern(text, tuple(compiler.program), tree.state.groups - 1)


class _Budget:
    __slots__ = ("left", "text")

    def __init__(self, text: str) -> None:
        self.left = MAX_STEPS
        self.text = text

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Refused(
                f"The pattern {self.text[:200]!r} needs more than {MAX_STEPS:,} steps on this text.",
                "Use a simpler pattern, or a command that prints less.",
            )


def _follow(
    program: tuple[_Place, ...],
    live: list[tuple[int, tuple[int, int, int]]],
    seen: set[int],
    place: int,
    marks: tuple[int, int, int],
    subject: str,
    at: int,
    budget: _Budget,
) -> None:
    """Add to `live` every place that reads a character and is reached from `place` without reading one, best first."""
    todo = [(place, marks)]
    count = 0
    while todo:
        place, marks = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        count += 1
        step = program[place]
        if step.do in ("char", "match"):
            live.append((place, marks))
        elif step.do == "split":
            todo.append((step.second, marks))
            todo.append((step.first, marks))
        elif step.do == "jump":
            todo.append((step.first, marks))
        elif step.do == "save":
            if step.first == 1:
                marks = (marks[0], at, -1)
            elif step.first == 2:
                marks = (marks[0], marks[1], at)
            todo.append((place + 1, marks))
        elif _here(step.what, subject, at):
            todo.append((place + 1, marks))
    budget.spend(count)


def _here(what: str, subject: str, at: int) -> bool:
    if what == "AT_BEGINNING":
        return at == 0 or subject[at - 1] == "\n"
    if what == "AT_END":
        return at == len(subject) or subject[at] == "\n"
    if what == "AT_BEGINNING_STRING":
        return at == 0
    if what == "AT_END_STRING":
        return at == len(subject)
    before = at > 0 and _WORD.match(subject[at - 1]) is not None
    after = at < len(subject) and _WORD.match(subject[at]) is not None
    return (before != after) == (what == "AT_BOUNDARY")


def _starts(program: tuple[_Place, ...]) -> Callable[[str, int], int] | None:
    """The next position where a match could begin; None when it could begin anywhere."""
    tests: list[_Test] = []
    todo, seen = [0], set[int]()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        step = program[place]
        if step.do == "match":
            return None
        if step.do == "char":
            assert step.test is not None
            tests.append(step.test)
        elif step.do == "split":
            todo += [step.first, step.second]
        else:
            todo.append(step.first if step.do == "jump" else place + 1)
    known: dict[str, bool] = {}

    def first(subject: str, at: int) -> int:
        for position in range(at, len(subject)):
            character = subject[position]
            fits = known.get(character)
            if fits is None:
                if len(known) > 4096:
                    known.clear()
                fits = known[character] = any(test(character) for test in tests)
            if fits:
                return position
        return len(subject)

    return first


class _Compiler:
    def __init__(self, text: str) -> None:
        self.text = text
        self.program: list[_Place] = []

    def add(self, place: _Place) -> int:
        if len(self.program) >= MAX_PROGRAM:
            raise UsageError(
                f"The pattern {self.text[:200]!r} is too large: counted repeats are written out.",
                "Use + or * instead of large counts; `max` and the 4 KiB of a value limit its length anyway.",
            )
        self.program.append(place)
        return len(self.program) - 1

    def sequence(self, nodes: Iterable[tuple[Any, Any]], flags: int) -> None:
        for code, value in nodes:
            self.node(str(code), value, flags)

    def node(self, code: str, value: Any, flags: int) -> None:
        if code in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            self.add(_Place("char", test=_test(code, value, flags)))
        elif code == "AT":
            self.add(_Place("at", what=str(value)))
        elif code == "SUBPATTERN":
            group, more, less, body = value
            if (more | less) & ~(re.IGNORECASE | re.DOTALL | re.MULTILINE):
                raise _not_built(self.text, "this inline flag")
            if group == 1:
                self.add(_Place("save", first=1))
            self.sequence(body, (flags | more) & ~less)
            if group == 1:
                self.add(_Place("save", first=2))
        elif code == "BRANCH":
            self.branch(value[1], flags)
        elif code in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = value
            self.repeat(low, None if str(high) == "MAXREPEAT" else high, body, flags, code == "MAX_REPEAT")
        else:
            raise _not_built(self.text, _NAMES.get(code, code.lower()))

    def branch(self, ways: list[Any], flags: int) -> None:
        ends = []
        for way in ways[:-1]:
            split = self.add(_Place("split"))
            self.program[split].first = split + 1
            self.sequence(way, flags)
            ends.append(self.add(_Place("jump")))
            self.program[split].second = len(self.program)
        self.sequence(ways[-1], flags)
        for end in ends:
            self.program[end].first = len(self.program)

    def repeat(self, low: int, high: int | None, body: Any, flags: int, greedy: bool) -> None:
        for _ in range(low):
            self.sequence(body, flags)
        if high is None:
            split = self.add(_Place("split"))
            self.sequence(body, flags)
            self.add(_Place("jump", first=split))
            self.aim(split, greedy)
            return
        splits = []
        for _ in range(high - low):
            splits.append(self.add(_Place("split")))
            self.sequence(body, flags)
        for split in splits:
            self.aim(split, greedy)

    def aim(self, split: int, greedy: bool) -> None:
        into, past = split + 1, len(self.program)
        self.program[split].first, self.program[split].second = (into, past) if greedy else (past, into)


_NAMES = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ASSERT": "look-ahead or look-behind",
    "ASSERT_NOT": "look-ahead or look-behind",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}


def _test(code: str, value: Any, flags: int) -> _Test:
    """Whether one character fits a node of the parse."""
    if code == "ANY":
        return (lambda _: True) if flags & re.DOTALL else (lambda c: c != "\n")
    if code == "IN":
        items = [(str(kind), item) for kind, item in value]
        negated = bool(items) and items[0][0] == "NEGATE"
        tests = [_item(kind, item) for kind, item in items if kind != "NEGATE"]
    else:
        negated = code == "NOT_LITERAL"
        tests = [_item("LITERAL", value)]
    if flags & re.IGNORECASE:
        return lambda c: any(t(c) or t(c.lower()) or t(c.upper()) for t in tests) != negated
    return lambda c: any(t(c) for t in tests) != negated


def _item(kind: str, item: Any) -> _Test:
    if kind == "LITERAL":
        return lambda c: c == chr(item)
    if kind == "RANGE":
        low, high = item
        return lambda c: len(c) == 1 and low <= ord(c) <= high
    category = _CATEGORIES[str(item)]
    return lambda c: category.match(c) is not None


def _not_built(text: str, what: str) -> UsageError:
    return UsageError(
        f"The pattern {text[:200]!r} uses {what}, which cannot be matched in bounded time.",
        "Write it without; two steps or two matchers can say the rest.",
    )
