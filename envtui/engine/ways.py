"""What a session uses to reach the outside: one bundle of ports, handed in by `compose`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor

import msgspec

from envtui.core.access import Permit
from envtui.core.act import Act
from envtui.core.errors import Problem
from envtui.core.ports import (
    Clock,
    Ender,
    Hold,
    Journal,
    Notifier,
    Reader,
    Secrets,
    Signer,
    Spool,
    Tracker,
    Verifier,
    Writer,
)
from envtui.core.secret import Secret
from envtui.core.tree import Book, Tree


class Ways(msgspec.Struct, frozen=True):
    """`readers` by target kind; `writer` makes one for a permit and its act, and is the only way to write."""

    journal: Journal
    spool: Spool
    readers: Mapping[str, Reader]
    writer: Callable[[Permit, Act], Writer]
    ender: Callable[[Act], Ender]  # finds and ends what a permit started; needs no grant
    secrets: Secrets
    resolved: Callable[[], tuple[Secret, ...]]  # every secret that this session has resolved: they are redacted
    masked: Callable[[str], str]  # text without them
    shown: Callable[[bytes], str]  # a line of output, masked and made harmless
    check: Callable[[Act], None]  # raises what the target's kind refuses before anything is sent
    clock: Clock
    tracker: Tracker
    notifier: Notifier | None  # None: the manifest names nobody to call
    signer: Callable[[str], Awaitable[Signer]]  # by reference; '' is the user's own key
    verifier: Verifier
    executor: Executor
    hold: Callable[[str], Hold]  # a run, for this process alone; raises Refused while another one has it
    verify: Callable[[], str]  # the whole ledger, recomputed: what was found, or LedgerBroken
    # A book from its bytes, as strictly as a tree's file: (bytes, path in the tree, sha256) -> book, what is wrong.
    read_book: Callable[[bytes, str, str], tuple[Book | None, tuple[Problem, ...]]]
    book_file: Callable[[str], str]  # the text of a book's file, as it was opened; raises Unsound when it changed
    trees: Callable[[], Sequence[Tree]]  # every environment's, read afresh: a brought book keeps away from the others


def quiet(_: str) -> None:
    """For signers that need nobody's hand."""
