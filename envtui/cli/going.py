"""A run begun without a screen: what a book does, or one unscripted read. What goes on is `driving`'s."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from envtui.engine.session import EnvironmentSession

from .driving import Drive
from .lines import Printer
from .replies import Replies
from .run import say


def run(
    session: EnvironmentSession,
    book: str | None,
    params: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    blocks: str | None,
    text: str = "",
    name: str = "",
    *,
    json: bool,
) -> int:
    """A run of a book, under a grant when `blocks` holds one. Returns the exit code.

    `book` None: the one that came along in `blocks`. `text`: of the book as it was edited, from the file `name`.
    """

    async def go() -> int:
        replies = Replies(answers, interactive=sys.stdin.isatty() and not json)
        async with session:
            if blocks is not None:
                task = await session.start_granted(book, params, blocks, replies.check)
            else:
                assert book is not None  # run.py asked for one
                plan = session.plan(book, params, text=text, name=name)
                if text:
                    from .access import hints

                    for line in hints(session, plan):
                        say(line)
                replies.check(session.book_of(plan).runbook)
                task = await session.start(plan)
            return await Drive(session, task, replies, Printer(json, session, task)).through()

    return asyncio.run(go())


def ask(session: EnvironmentSession, target: str, words: Sequence[str], needs: Sequence[str], *, json: bool) -> int:
    """One unscripted read. Returns the exit code."""

    async def go() -> int:
        async with session:
            task = await session.ask(target, words, needs)
            replies = Replies({}, interactive=False)
            return await Drive(session, task, replies, Printer(json, session, task)).through()

    return asyncio.run(go())
