"""Is there a terminal to draw on?"""

from __future__ import annotations

import os
from collections.abc import Mapping


def terminal_problem(variables: Mapping[str, str]) -> str:
    """Why nothing can be drawn here; '' when it can. Textual draws on stderr, and would draw into a file."""
    if not all(os.isatty(stream) for stream in (0, 1, 2)):
        return "This is not a terminal."
    kind = variables.get("TERM", "")
    if kind in ("", "dumb"):
        return f"The terminal says that it is {kind or 'nothing'}: nothing can be drawn on it."
    return ""
