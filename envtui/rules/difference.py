"""Where two plans differ first, in words: what an approver reads when the digests do not agree."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from envtui.core.access import Request
from envtui.core.act import Plan, Value
from envtui.core.canonical import canonical

from .grants import targets_of


def first_difference(theirs: object, mine: object, where: str = "") -> str:
    """The first place, in order, at which two JSON values differ; '' when they do not."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for key in (*theirs, *(key for key in mine if key not in theirs)):
            place = f"{where}.{key}" if where else str(key)
            if key not in theirs:
                return f"{place}: only here"
            if key not in mine:
                return f"{place}: only there"
            if found := first_difference(theirs[key], mine[key], place):
                return found
        return ""
    if isinstance(theirs, list) and isinstance(mine, list):
        for index, (one, other) in enumerate(zip(theirs, mine, strict=False)):
            if found := first_difference(one, other, f"{where}[{index}]"):
                return found
        return "" if len(theirs) == len(mine) else f"{where}: {len(theirs)} there, {len(mine)} here"
    same = theirs == mine and isinstance(theirs, bool) == isinstance(mine, bool)
    return "" if same else f"{where}: {_short(theirs)} there, {_short(mine)} here"


def of_plans(request: Request, sent: str, mine: Plan) -> tuple[str, ...]:
    """What can be said of why two plans differ: from the sent plan if there is one, else from the targets."""
    if request.plan_digest == mine.digest():
        return ()
    found: list[str] = []
    if sent:
        both = json.loads(sent), json.loads(canonical(mine.as_data()))
        # That the book's digest is another one is no news when something in the plan is.
        theirs, here = ({key: value for key, value in each.items() if key != "book_sha256"} for each in both)
        found.append(first_difference(theirs, here, "plan") or first_difference(*both, "plan"))
    else:
        theirs_in, mine_in = (
            {k: msgspec.to_builtins(v) for k, v in sorted(given)} for given in (request.inputs.items(), mine.inputs)
        )
        found.append(first_difference(theirs_in, mine_in, "inputs"))
        found.append(
            first_difference(dict(sorted(request.targets.items())), dict(sorted(targets_of(mine).items())), "targets")
        )
    return tuple(one for one in found if one) or ("Ask for the request with --full: it says which step differs.",)


def _plain(inputs: Iterable[tuple[str, Value]]) -> dict[str, object]:
    return {name: msgspec.to_builtins(value) for name, value in sorted(inputs, key=lambda each: each[0])}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 120 else text[:117] + "…"
