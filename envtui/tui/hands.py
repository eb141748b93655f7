"""Whoever sits at the screens: told what is waited for, and given the plain terminal when ssh-keygen asks for a passphrase."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from envtui.core.text import clean_line

if TYPE_CHECKING:
    from .app import EnvtuiApp


class AtScreens:
    """The port `Hands` of the application."""

    def __init__(self, app: EnvtuiApp) -> None:
        self._app = app
        self._lent = False

    def __call__(self, text: str) -> None:
        self._app.tell(text)

    @contextmanager
    def terminal(self, why: str) -> Iterator[bool]:
        """The screens step aside and come back, whatever happens meanwhile; what the session does goes on."""
        if self._lent:
            yield False
            return
        happened: BaseException | None = None
        self._lent = True
        # Ctrl-C is ssh-keygen's now; a handler of ours, because one that is ignored would be ignored by it too.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            with self._app.suspend():
                assert sys.__stderr__ is not None
                print(f"\n{clean_line(why, 600)}", file=sys.__stderr__, flush=True)
                try:
                    yield True
                except BaseException as error:
                    happened = error  # Textual brings the screens back only after an ordinary end
        except SuspendNotSupported:
            yield False
            return
        finally:
            signal.signal(signal.SIGINT, before)
            self._lent = False
        if happened is not None:
            raise happened
