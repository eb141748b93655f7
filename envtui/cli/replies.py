"""Answers for a run without a screen: from --answer, else asked on the terminal, else missing by name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from envtui.core.errors import UsageError
from envtui.core.text import clean
from envtui.rules.decide import NeedsAnswer, NeedsDecision, NeedsPick


class Replies:
    """`given`: STEP or STEP.NAME -> value. `interactive`: ask whoever sits at the terminal for the rest."""

    def __init__(self, given: Mapping[str, str], interactive: bool) -> None:
        self._given = dict(given)
        self._interactive = interactive

    async def answer(self, needs: NeedsAnswer) -> tuple[str, dict[str, str]]:
        """(answer, values) for a `choose` or a `manual` step."""
        if needs.options:
            labels = list(needs.options)
            text = await self._one(
                needs.step, "\n".join(f"  {i}. {label}" for i, label in enumerate(labels, 1)), labels[0]
            )
            if text.isdigit() and 1 <= int(text) <= len(labels):
                return labels[int(text) - 1], {}
            leads = [label for label, to in needs.options.items() if text in (label, to)]
            return (leads[0] if len(leads) == 1 else text), {}
        values = {
            name: await self._one(f"{needs.step}.{name}", f"  {name} ({kind})", "VALUE")
            for name, kind in needs.ask.items()
        }
        example = needs.confirm or "done"
        return await self._one(needs.step, f"  {needs.instructions}", example), values

    async def pick(self, needs: NeedsPick) -> list[int]:
        """Row indexes from 0. An answer is a row's number, or the text of its first cell."""
        table = "\n".join(
            f"  {i}. " + " | ".join(f"{c}={v}" for c, v in zip(needs.columns, row, strict=False))
            for i, row in enumerate(needs.rows, 1)
        )
        text = await self._one(needs.step, table, "1")
        indexes: list[int] = []
        for word in text.split(","):
            by_cell = [i for i, row in enumerate(needs.rows) if row and row[0] == word.strip()]
            if len(by_cell) == 1:
                indexes += by_cell
            elif word.strip().isdigit():
                indexes.append(int(word) - 1)
            else:
                raise UsageError(f"{word!r} is no row of {needs.step}.", f"Rows:\n{table}")
        return indexes

    async def decision(self, needs: NeedsDecision) -> str:
        return await self._one(needs.step, f"  {needs.why}\n  one of: {', '.join(needs.choices)}", needs.choices[-1])

    async def confirm(self, step: str, phrase: str | None) -> None:
        """A phrase that a write step wants typed in full."""
        if phrase is not None and await self._one(step, f"  type in full: {phrase}", phrase) != phrase:
            raise UsageError(f"Step {step} is confirmed by typing: {phrase}", "Type it in full.")

    async def _one(self, name: str, shown: str, example: str) -> str:
        if name in self._given:
            return self._given.pop(name)
        if self._interactive:
            print(clean(shown, 8000), file=sys.stderr)
            print(f"{clean(name)} ? ", end="", file=sys.stderr, flush=True)
            line = await _line()
            if line:
                return line.strip()
        raise UsageError(f"Step {name} needs an answer:\n{shown}", f"Give it: --answer {name}={example!r}")


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
