"""Answers for a run without a screen: from --answer, else asked on the terminal, else missing by name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar, cast

from envtui.core.act import Act
from envtui.core.errors import UsageError
from envtui.core.runbook import ChooseStep, ManualStep, Runbook, Step, ValueType
from envtui.core.text import clean
from envtui.rules.proposals import Doubt, LateValue, NeedsAnswer, NeedsDecision, NeedsPick, UndoByHand
from envtui.rules.run import RESUME
from envtui.rules.values import typed_answer

from . import verdicts

T = TypeVar("T")
Read = Callable[[str], object]
"""An answer, understood. Raises UsageError for one that is not possible."""


class Replies:
    """`given`: STEP or STEP.NAME -> values, each used once, in order. `interactive`: ask whoever sits at the terminal for
    the rest."""

    def __init__(self, given: Mapping[str, Sequence[str]], interactive: bool) -> None:
        self._given = {name: list(values) for name, values in given.items()}
        self.interactive = interactive

    def check(self, book: Runbook) -> None:
        """Before anything runs: raises one UsageError for every answer that no step of the book asks for or offers."""
        asked = dict(_questions(book))
        steps = {step.id for step in (*book.before, *book.steps)}
        wrong = []
        for name, text in ((name, text) for name, texts in self._given.items() for text in texts):
            step = name.partition("@")[0]  # of a write in doubt one host may be meant
            try:
                if name in asked or (step != name and step in asked):
                    asked[step](text)
                elif name in steps:
                    raise UsageError(f"The step {name} asks for no answer.", _asked(asked))
                else:
                    raise UsageError(f"{book.id} has no step that asks for {name!r}.", _asked(asked))
            except UsageError as error:
                wrong.append(f"--answer {name}={text}: {error}")
        if wrong:
            raise UsageError("\n".join(wrong))

    async def answer(self, needs: NeedsAnswer) -> tuple[str, dict[str, str]]:
        """(answer, values) for a `choose` or a `manual` step."""
        if needs.options:
            labels = list(needs.options)
            shown = "\n".join(f"  {i}. {label}" for i, label in enumerate(labels, 1))
            return await self._one(needs.step, shown, labels[0], partial(_choice, needs.step, needs.options)), {}
        values = {}
        for name, kind in needs.ask.items():
            asked = f"{needs.step}.{name}"
            values[name] = await self._one(asked, f"  {name} ({kind})", "VALUE", partial(_typed, asked, kind))
        word = needs.confirm or "done"
        said = await self._one(needs.step, f"  {needs.instructions}", word, partial(_word, needs.step, needs.confirm))
        return said, values

    async def pick(self, needs: NeedsPick) -> list[int]:
        """Row indexes from 0. An answer is a row's number, or the text of its first cell."""
        table = "\n".join(
            f"  {i}. " + " | ".join(f"{c}={v}" for c, v in zip(needs.columns, row, strict=False))
            for i, row in enumerate(needs.rows, 1)
        )
        return await self._one(needs.step, table, "1", partial(_rows, needs, table))

    async def decision(self, needs: NeedsDecision) -> str:
        """What to do about a failed step."""
        shown = f"  {needs.why}\n  one of: {', '.join(needs.choices)}"
        return await self._one(needs.step, shown, needs.choices[-1], partial(_one_of, needs.step, needs.choices))

    async def confirm(self, step: str, phrase: str | None) -> None:
        """A phrase that a write step wants typed in full."""
        if phrase is not None:
            await self._one(step, f"  type in full: {phrase}", phrase, partial(_word, step, phrase))

    async def late(self, act: Act, values: Sequence[LateValue]) -> None:
        """That values which are other ones than those signed may be sent: each is typed, or given, in full."""
        for each in values:
            short, full = f"{act.step}.{each.name}", f"{act.step}.{each.name}@{each.member}"
            was = f"signed {each.signed}" if each.signed is not None else "none was known when it was signed"
            now = f"{was}, now {each.value} (found by {each.step})"
            shown = f"  {each.name} on {each.member}: {now}\n  type the new value to send it"
            name = full if self._given.get(full) else short
            await self._one(name, shown, each.value, partial(_same, name, each.value))

    async def doubt(self, doubt: Doubt) -> verdicts.Verdict | None:
        """What follows from a write in doubt, as was found; None when nobody is there to say it."""
        step = doubt.act.partition("@")[0]
        name = doubt.act if self._given.get(doubt.act) else step
        if not self._given.get(name) and not self.interactive:
            return None
        return await self._one(name, verdicts.question(doubt), "done", partial(verdicts.verdict, doubt))

    async def by_hand(self, needs: UndoByHand) -> str:
        """That a person took the step back, and what they say of it."""
        name = f"{needs.step}.undo"
        shown = f"  take it back by hand, then answer done: {needs.instructions}"
        return (await self._one(name, shown, "done", partial(verdicts.by_hand, name))).why

    async def accepted(self, word: str, shown: str) -> bool:
        """Whether whoever sits there typed `word`."""
        print(clean(f"{shown}\nType {word} to go on: ", 8000), end="", file=sys.stderr, flush=True)
        return (await _line()).strip() == word

    async def _one(self, name: str, shown: str, example: str, read: Callable[[str], T]) -> T:
        """The answer as `read` understands it. Whoever sits there is asked again; what was given is refused."""
        if self._given.get(name):
            return read(self._given[name].pop(0))
        while self.interactive:
            print(clean(shown, 8000), file=sys.stderr)
            print(f"{clean(name)} ? ", end="", file=sys.stderr, flush=True)
            line = await _line()
            if not line:
                break
            try:
                return read(line.strip())
            except UsageError as error:
                print(clean(str(error), 8000), file=sys.stderr)
        raise UsageError(f"Step {name} needs an answer:\n{shown}", f"Give it: --answer {name}={example!r}")


def _questions(book: Runbook) -> Iterator[tuple[str, Read]]:
    """What a run of the book may ask for, and how an answer is understood as far as that can be said before."""
    for step in (*book.before, *book.steps):
        if isinstance(step, ChooseStep):
            yield step.id, partial(_choice, step.id, step.options)
        elif isinstance(step, ManualStep):
            yield step.id, partial(_word, step.id, step.confirm or "")
            for name, kind in step.ask.items():
                asked = f"{step.id}.{name}"
                yield asked, partial(_typed, asked, kind)
        elif any(capture.pick in ("one", "many") for capture in step.capture.values()):
            yield step.id, str  # a row: which there are, the run shows
        elif _words(step):
            yield step.id, partial(_fits, step)
        for slot in step.late:
            yield f"{step.id}.{slot.name}", str  # a value that is another one than the signed: which, the run shows
        if step.mode == "write":  # its undo may be in doubt, or a person's work
            yield f"{step.id}.undo", partial(verdicts.possible, f"{step.id}.undo")
    yield RESUME, partial(_one_of, RESUME, ("go on", "stop"))


def _words(step: Step) -> tuple[str, ...]:
    """What a step of acts may ask for, besides what is known of a write in doubt."""
    confirm = (step.confirm,) if step.confirm else ()
    if step.mode == "write":  # of one that failed a person says how it goes on, at the latest when it is taken up again
        return (*confirm, "retry", "look", "skip", "undo", "stop")
    asks = step.on_failure == "ask" or step.required  # of what is waived, a person says that it is passed over
    return (*confirm, "retry", "skip", "undo", "stop") if asks else confirm


def _fits(step: Step, text: str) -> None:
    if text in _words(step):
        return
    if step.mode == "write":
        verdicts.possible(step.id, text, _words(step))
    else:
        _one_of(step.id, _words(step), text)


def _asked(asked: Mapping[str, Read]) -> str:
    names = [name for name in asked if name != RESUME and not name.endswith(".undo")]
    return f"It asks for: {', '.join(names)}." if names else "Leave it out: no step of this book asks for one."


def _choice(step: str, options: Mapping[str, str], text: str) -> str:
    """The label of an option, named by its number, by itself, or by where it alone leads."""
    labels = list(options)
    if text in options:
        return text
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= len(labels):
        return labels[int(text) - 1]
    leads = [label for label, to in options.items() if to == text]
    if len(leads) != 1:
        offers = "; ".join(f"{label!r} (leads to {to})" for label, to in options.items())
        raise UsageError(f"{text!r} is no answer to {step}.", f"One of: {offers}.")
    return leads[0]


def _rows(needs: NeedsPick, table: str, text: str) -> list[int]:
    indexes: list[int] = []
    for word in (part.strip() for part in text.split(",")):
        by_cell = [i for i, row in enumerate(needs.rows) if row and row[0] == word]
        if len(by_cell) == 1:
            indexes += by_cell
        elif word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= len(needs.rows):
            indexes.append(int(word) - 1)
        else:
            raise UsageError(f"{word!r} is no row of {needs.step}.", f"Rows:\n{table}")
    return indexes


def _one_of(step: str, words: Sequence[str], text: str) -> str:
    if text not in words:
        raise UsageError(f"{text!r} is no answer to {step}.", f"One of: {', '.join(words)}.")
    return text


def _word(step: str, phrase: str, text: str) -> str:
    """What confirms a step: its phrase, else `done`, or nothing but Enter."""
    if phrase and text != phrase:
        raise UsageError(f"Step {step} is confirmed by typing: {phrase}", "Type it in full.")
    if not phrase and text not in ("", "done"):
        raise UsageError(f"{text!r} is no answer to {step}.", "Do what it says, then answer: done.")
    return text


def _same(name: str, value: str, text: str) -> str:
    if text != value:
        raise UsageError(
            f"{name}: {text!r} was said, and it is {value!r} now.", "Look at it, and say the value as it is."
        )
    return text


def _typed(name: str, kind: str, text: str) -> str:
    typed_answer(name, cast("ValueType", kind), text)
    return text


async def _line() -> str:
    """The next line of the terminal. The loop goes on meanwhile: write access runs out, and a signal is heard."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline()  # a terminal hands out whole lines
