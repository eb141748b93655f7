"""A run begun without a screen: what a book does, or one unscripted read. What goes on is `driving`'s."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from envtui.engine.session import EnvironmentSession

from .driving import Drive
from .lines import Printer
from .replies import Replies


def run(
    session: EnvironmentSession,
    book: str,
    params: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    blocks: str | None,
    *,
    json: bool,
) -> int:
    """A run of a book, under a grant when `blocks` holds one. Returns the exit code."""

    async def go() -> int:
        replies = Replies(answers, interactive=sys.stdin.isatty() and not json)
        async with session:
            replies.check(session.book(book).runbook)
            if blocks is not None:
                task = await session.start_granted(book, params, blocks)
            else:
                task = await session.start(session.plan(book, params))
            return await Drive(session, task, replies, Printer(json, session, task)).through()

    return asyncio.run(go())


def ask(session: EnvironmentSession, target: str, words: Sequence[str], *, json: bool) -> int:
    """One unscripted read. Returns the exit code."""

    async def go() -> int:
        async with session:
            task = await session.ask(target, words)
            replies = Replies({}, interactive=False)
            return await Drive(session, task, replies, Printer(json, session, task)).through()

    return asyncio.run(go())
