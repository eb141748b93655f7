"""What a YAML parser gave up at, in the words of somebody who edits a runbook."""

from __future__ import annotations

from envtui.core.errors import Problem
from envtui.outside.trees.libyaml import MarkedYAMLError, YAMLError

_STARTERS = {
    "@": "",
    "`": "",
    "%": "",
    "|": " in a list or an object in one line",
    ">": " in a list or an object in one line",
}


def syntax_problem(error: YAMLError, text: str, file: str) -> Problem:
    """What the parser gave up at, in words, with the quote that is most likely missing."""
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    if not isinstance(error, MarkedYAMLError) or mark is None:
        return Problem(file, 0, 0, f"not YAML: {error}.")
    context = error.context or ""
    start = error.context_mark
    if context in ("while scanning an alias", "while scanning an anchor", "while scanning a tag") and start is not None:
        mark = start
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    here, before = line[mark.column : mark.column + 1], line[: mark.column]
    message, remedy = f"{error.problem}.", ""
    if here == "{" and before.endswith("$"):
        return Problem(
            file,
            mark.line + 1,
            mark.column,
            "${…} without quotes in a list or object in one line.",
            'Quote it: "${…}".',
        )
    if here in ("*", "&", "!"):
        message, remedy = f"an unquoted text begins with {here}.", "Quote it."
    elif here in _STARTERS and here and "cannot start" in message:
        message, remedy = f"an unquoted text begins with {here}{_STARTERS[here]}.", "Quote it."
    elif here == "\t" or ("\t" in before and not before.strip()):
        message, remedy = "a tab in the indentation.", "Indent with spaces."
    elif "mapping values are not allowed" in message:
        message, remedy = "': ' inside an unquoted text.", "Quote it."
    elif before.rstrip().endswith(('"', "'")) and message.startswith("did not find expected"):
        message, remedy = "text after the closing quote.", "Quote the whole text, in the other kind of quotes."
    elif context in ("while parsing a flow sequence", "while parsing a flow mapping") and start is not None:
        what = "list" if "sequence" in context else "object"
        message = f"the {what} that begins in line {start.line + 1} is not closed here: {error.problem}."
        remedy = "Quote texts with { } [ ] , or ': ' in them."
    elif "quoted scalar" in context and start is not None:
        message, mark = "this quote is never closed.", start
    elif "block mapping" in context:
        message = (
            f"this does not fit the object that begins in line {start.line + 1 if start else '?'}: {error.problem}."
        )
        remedy = "Look at the indentation and the quotes."
    return Problem(file, mark.line + 1, mark.column + 1, message, remedy)
