"""`expect`: whether what came back is what the book says, and why not, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envtui.core.act import Ref
from envtui.core.errors import EnvtuiError, Failed
from envtui.core.pattern import safe_pattern
from envtui.core.ports import HEAD_BYTES, Reading
from envtui.core.runbook import AnyExpect, HttpExpect, HttpStep, SqlExpect, SqlStep, SshExpect, SshStep, Step, WaitStep

from .condition import compare, unquoted
from .pointer import at, parsed
from .template import parse

Expect = SshExpect | SqlExpect | HttpExpect | AnyExpect
_OPERATOR = re.compile(r"(==|!=|<=|>=|<|>)\s*(.*)", re.DOTALL)


def judge(step: Step, reading: Reading, values: Mapping[str, str] | None = None) -> tuple[bool, str]:
    """(whether `reading` is what `step` expects, why in one sentence). `values` fill `${…}` in the expectations.

    Nothing passes for lack of data: an answer that is cut, missing or too hard to match is not as expected.
    """
    if isinstance(step, SshStep | SqlStep | HttpStep):
        return meets(step.expect, reading, values or {})
    if isinstance(step, WaitStep) and step.until is not None:
        return meets(step.until.expect, reading, values or {})
    return True, ""


def meets(expect: Expect, reading: Reading, values: Mapping[str, str]) -> tuple[bool, str]:
    """As `judge`, for one set of matchers: those of a step, of an `until`, or of a probe."""
    try:
        return compared(expect, reading, values)
    except EnvtuiError as error:
        return False, error.message


def compared(expect: Expect, reading: Reading, values: Mapping[str, str]) -> tuple[bool, str]:
    """As `meets`, but raises EnvtuiError where nothing can be compared: no JSON, no value, a pattern that is too hard.

    Who takes "it is not so" for a fact, as a probe's `absent: otherwise` does, must not take it from an answer like that.
    """
    why_not = _why_not(expect, reading, values)
    return not why_not, why_not or _why(reading)


def _why_not(expect: Expect, reading: Reading, values: Mapping[str, str]) -> str:
    """What is not as expected, '' when all is."""
    if isinstance(expect, HttpExpect) or (isinstance(expect, AnyExpect) and reading.status is not None):
        why = _status(expect.status, reading.status)
    elif isinstance(expect, SqlExpect):
        why = ""
    else:
        sql = isinstance(expect, AnyExpect) and reading.row_count is not None
        why = "" if sql and expect.exit is None else _exit(expect.exit, reading)
    if why:
        return why
    if isinstance(expect, SshExpect | AnyExpect):
        why = _stdout(expect.stdout_matches, expect.stdout_absent, reading, values)
    if not why and isinstance(expect, SqlExpect | AnyExpect):
        why = _rows(expect, reading)
    if not why and isinstance(expect, SqlExpect) and expect.affected_max is not None:
        why = _affected(expect.affected_max, reading)
    if not why and not isinstance(expect, SqlExpect) and expect.json:
        why = _json(expect.json, reading, values)
    if not why and not isinstance(expect, SshExpect) and expect.value is not None:
        why = _value(expect.value, reading, values)
    return why


def _exit(expected: int | tuple[int, ...] | None, reading: Reading) -> str:
    allowed = (0,) if expected is None else (expected,) if isinstance(expected, int) else expected
    if reading.exit is None:
        return f"it was ended by signal {reading.signal}" if reading.signal else "it ended without an exit status"
    return "" if reading.exit in allowed else f"exit {reading.exit}, expected {_either(allowed)}"


def _status(expected: int | tuple[int, ...] | None, status: int | None) -> str:
    if status is None:
        return "there was no answer with a status"
    if expected is None:
        return "" if 200 <= status < 300 else f"status {status}, expected 2xx"
    allowed = (expected,) if isinstance(expected, int) else expected
    return "" if status in allowed else f"status {status}, expected {_either(allowed)}"


def _stdout(matches: str | None, absent: str | None, reading: Reading, values: Mapping[str, str]) -> str:
    if matches is None and absent is None:
        return ""
    head = _head(reading)
    if matches is not None:
        pattern = filled(matches, values, pattern=True)
        if safe_pattern(pattern).search(head) is None:
            return f"the output does not match {pattern}"
    if absent is not None:
        pattern = filled(absent, values, pattern=True)
        if safe_pattern(pattern).search(head) is not None:
            return f"the output matches {pattern}"
        if reading.truncated or len(reading.stdout) >= HEAD_BYTES:
            raise Failed(
                f"The output is longer than the {HEAD_BYTES // 1024} KiB that are read, so {pattern} may still be in it."
            )
    return ""


def _rows(expect: SqlExpect | AnyExpect, reading: Reading) -> str:
    if expect.rows is None and expect.rows_min is None and expect.rows_max is None:
        return ""
    if reading.row_count is None and not reading.columns:
        raise Failed("It returned no table.", "Ask with a query that returns rows.")
    count = reading.row_count if reading.row_count is not None else len(reading.rows)
    said = f"{count} row{'' if count == 1 else 's'}"
    if expect.rows is not None and count != expect.rows:
        return f"{said}, expected {expect.rows}"
    if expect.rows_min is not None and count < expect.rows_min:
        return f"{said}, expected at least {expect.rows_min}"
    if expect.rows_max is not None and count > expect.rows_max:
        return f"{said}, expected at most {expect.rows_max}"
    return ""


def _affected(limit: int, reading: Reading) -> str:
    if reading.affected is None:
        raise Failed("The server did not say how many rows it changed.")
    return f"it changed {reading.affected} rows, expected at most {limit}" if reading.affected > limit else ""


def _json(expected: Mapping[str, str], reading: Reading, values: Mapping[str, str]) -> str:
    answer = parsed(reading.stdout)
    for pointer, wanted in expected.items():
        found = at(answer, pointer)
        literal = filled(wanted, values)
        if not _fits(found, literal):
            return f"{pointer} is {_short(found)}, expected {_short(literal)}"
    return ""


def _value(expected: str, reading: Reading, values: Mapping[str, str]) -> str:
    literal = filled(expected, values)
    if reading.columns or reading.rows:
        first = reading.rows[0][0] if reading.rows and reading.rows[0] else None
        if first is None:
            raise Failed(f"There is no value, expected {_short(literal)}.")
        found = first
    else:
        found = _head(reading).strip()
    return "" if _fits(found, literal) else f"the value is {_short(found)}, expected {_short(literal)}"


def _fits(found: str, expected: str) -> bool:
    operator = _OPERATOR.fullmatch(expected)
    return compare(found, operator[1], unquoted(operator[2])) if operator else found == expected


def filled(text: str, values: Mapping[str, str], pattern: bool = False) -> str:
    """An expectation with its values; in a pattern they stand for themselves. Raises Failed for one that is missing."""
    parts = []
    for part in parse(text):
        if isinstance(part, Ref) and part.name not in values:
            raise Failed(f"The expectation needs ${{{part.name}}}, and no step has captured it.")
        literal = part if isinstance(part, str) else values[part.name]
        parts.append(re.escape(literal) if pattern and isinstance(part, Ref) else literal)
    return "".join(parts)


def _head(reading: Reading) -> str:
    return reading.stdout[:HEAD_BYTES].decode(errors="replace")


def _why(reading: Reading) -> str:
    if reading.status is not None:
        return f"status {reading.status}"
    if reading.row_count is not None:
        return f"{reading.row_count} row{'' if reading.row_count == 1 else 's'}"
    if reading.affected is not None:
        return f"{reading.affected} changed"
    return f"exit {reading.exit}" if reading.exit is not None else ""


def _either(allowed: tuple[int, ...]) -> str:
    return " or ".join(str(each) for each in allowed)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
