"""What a person says of a write in doubt, in the words of the command line: done, not-done, halt, look, with a reason."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from envtui.core.errors import UsageError
from envtui.rules.proposals import Doubt

_CHOICES = {"done": "done", "not-done": "not done", "not done": "not done", "halt": "halt", "look": "look"}
REASON = 3
"""Characters that a reason has at least, as the engine asks for."""


class Verdict(msgspec.Struct, frozen=True):
    """`choice` is one of `Doubt.choices`."""

    choice: str
    why: str = ""


def possible(name: str, text: str, others: Sequence[str] = ()) -> Verdict:
    """An answer as far as it can be understood before it is asked for. Raises UsageError for any other word."""
    word, _, why = text.partition(":")
    choice = _CHOICES.get(word.strip().lower())
    if choice is None:
        words = ", ".join((*others, "done", "not-done", "halt"))
        raise UsageError(
            f"{text!r} is no answer to {name}.", f"One of: {words}; a reason after a colon: 'done: I saw it'."
        )
    return Verdict(choice, why.strip())


def verdict(doubt: Doubt, text: str) -> Verdict:
    """The answer to this doubt. Raises UsageError for what does not follow from what was found, or lacks a reason."""
    said = possible(doubt.act, text)
    if said.choice not in doubt.choices:
        raise UsageError(f"{text!r} is not possible for {doubt.act}: {found(doubt)}", f"One of: {_offered(doubt)}.")
    if doubt.found == "unknown" and said.choice in ("done", "not done") and len(said.why) < REASON:
        raise UsageError(
            f"Nobody could tell what became of {doubt.act}, so your word needs a reason.",
            f"Say how you know: '{_word(said.choice)}: I looked at the host'.",
        )
    return said


def by_hand(name: str, text: str) -> Verdict:
    """That something was taken back by hand: `done`, and what there is to say of it."""
    said = possible(name, text or "done")
    if said.choice != "done":
        raise UsageError(f"{text!r} is no answer to {name}.", "Do what it says, then answer: done.")
    return said


def found(doubt: Doubt) -> str:
    """What is known of it, in a sentence."""
    why = f" ({doubt.why})" if doubt.why else ""
    if doubt.found == "applied":
        return f"it was found to be there{why}."
    if doubt.found == "absent":
        return f"it was found not to be there{why}."
    if doubt.found is None:
        return f"it was not looked at yet{why}."
    return f"nobody could tell what became of it{why}."


def question(doubt: Doubt) -> str:
    """What is asked, with what may be answered."""
    return f"  {doubt.act} is in doubt: {found(doubt)}\n  one of: {_offered(doubt)}"


def way_on(doubt: Doubt, command: Sequence[str]) -> str:
    """The command that goes on from here, as it is typed, for each answer that is possible."""
    lines = []
    for choice in doubt.choices:
        if choice == "look":
            continue
        reason = ": HOW YOU KNOW" if doubt.found == "unknown" and choice != "halt" else ""
        words = (*command, "--answer", f"{doubt.act}={_word(choice)}{reason}")
        lines.append("  " + shlex.join(words))
    return "\n".join(lines or ["  " + shlex.join(command)])


def _offered(doubt: Doubt) -> str:
    unsure = doubt.found == "unknown"
    return ", ".join(f"{_word(c)}: REASON" if unsure and c in ("done", "not done") else _word(c) for c in doubt.choices)


def _word(choice: str) -> str:
    return choice.replace(" ", "-")
