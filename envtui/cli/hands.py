"""Whoever sits at the command line: told what is waited for, and lending the terminal to ssh-keygen for a passphrase."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from envtui.core.text import clean, clean_line


class AtTerminal:
    """The port `Hands`. stdin and stdout may be a block's: it is the controlling terminal that is lent."""

    def __call__(self, text: str) -> None:
        print(clean(text, 8000), file=sys.stderr, flush=True)

    @contextmanager
    def terminal(self, why: str) -> Iterator[bool]:
        """False without a controlling terminal, and in the background, where ssh-keygen would be stopped when it reads."""
        import termios

        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            yield False
            return
        try:
            try:
                before = termios.tcgetattr(descriptor)
                mine = os.tcgetpgrp(descriptor) == os.getpgrp()
            except (OSError, termios.error):
                mine = False
            if not mine:
                yield False
                return
            os.write(descriptor, f"{clean_line(why, 600)}\n".encode())
            try:
                yield True
            except BaseException:
                termios.tcflush(descriptor, termios.TCIFLUSH)  # half a passphrase is nobody's next command
                raise
            finally:
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        finally:
            os.close(descriptor)


hands = AtTerminal()
