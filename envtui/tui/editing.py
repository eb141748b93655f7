"""A book edited in the incident: the user's own editor over a private copy, then the difference, taken by a person's choice.

The checkout is never written. What the editor left is read as strictly as a tree's file; while it has errors it can be edited
again, and nothing of it is lost until somebody throws it away.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from textual.screen import ModalScreen

from envtui.core.canonical import SIGNED_LIMIT
from envtui.core.errors import EnvtuiError, Failed, UsageError

from .dialogs.choose import Choose

if TYPE_CHECKING:
    from .app import EnvtuiApp

T = TypeVar("T")

TAKE, AGAIN, AWAY = "use it for this run", "edit it again", "throw the edit away"
LONGEST = 3 * SIGNED_LIMIT
"""Characters of a difference: all of both texts, and more than can be signed."""


async def edit_book(
    app: EnvtuiApp, book: str, text: str, judge: Callable[[str], Awaitable[tuple[T, Sequence[str]]]]
) -> tuple[T, str] | None:
    """Have the text edited until it is taken. `judge` says what it makes of one and how that differs, or raises what is
    wrong. None: nothing was changed, or it was put aside (for the next time) or thrown away."""
    now = app.drafts.get(book, text)
    while True:
        now = await in_editor(app, now, book)
        if now == text:
            app.drafts.drop(book)
            app.tell("Nothing was changed.")
            return None
        app.drafts.keep(book, now)
        try:
            found, lines = await judge(now)
        except EnvtuiError as error:
            chosen = await _asked(
                app, Choose(f"{book}: not as a book can be", str(error), (AGAIN, AWAY), limit=LONGEST)
            )
            word = (AGAIN, AWAY)[chosen] if chosen is not None else ""
        else:
            options = (TAKE, AGAIN, AWAY)
            chosen = await _asked(app, Choose(f"EDITED: {book}", "\n".join(lines), options, limit=LONGEST))
            word = options[chosen] if chosen is not None else ""
            if word == TAKE:
                app.drafts.drop(book)
                return found, now
        if word == AGAIN:
            continue
        if word == AWAY:
            app.drafts.drop(book)
        else:
            app.tell("Put aside: E goes on with it.")
        return None


async def in_editor(app: EnvtuiApp, text: str, book: str) -> str:
    """The text as $VISUAL or $EDITOR left it. Raises UsageError without a terminal or an editor, Failed when that failed."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    if not command or shutil.which(command[0]) is None:
        raise UsageError(f"There is no editor {' '.join(command)[:80]!r}.", "Set EDITOR to yours.")
    folder = Path(tempfile.mkdtemp(prefix="envtui-edit-"))  # 0700
    file = folder / f"{book}.yaml"
    try:
        file.touch(0o600)
        file.write_bytes(text.encode())
        with app.hands.terminal(
            f"{book}: a copy, in your editor. What it saves is checked, shown, and yours to take."
        ) as lent:
            if not lent:
                raise UsageError("This terminal cannot be lent to an editor.", "Use --book FILE on the command line.")
            process = await asyncio.create_subprocess_exec(*command, str(file))
            code = await process.wait()
        if code:
            raise Failed(f"The editor ended with exit {code}.", "The book is as it was.")
        with file.open("rb") as saved:
            return saved.read(4 * SIGNED_LIMIT).decode()
    except UnicodeDecodeError as error:
        raise UsageError("What the editor saved is not UTF-8.", "Save it as UTF-8.") from error
    except OSError as error:
        raise Failed(f"The copy cannot be edited: {error.strerror}.", "Look at TMPDIR and EDITOR.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _asked(app: EnvtuiApp, dialog: ModalScreen[int | None]) -> int | None:
    answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    app.push_screen(dialog, lambda chosen: None if answer.done() else answer.set_result(chosen))
    return await answer
