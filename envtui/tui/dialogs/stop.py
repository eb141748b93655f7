"""What is under way, and the word that ends it; leaving while something is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envtui.core.shape import span
from envtui.core.text import clean
from envtui.rules.state import ActState

from ..framed import words
from ..moments import moment
from .typed import TypedDialog

STOP = "stop"
LEAVE = "leave"

AT_ITS_TARGET = {
    "ssh": "its process group there gets TERM, after 5 s KILL; then its probe looks what is there",
    "sql": "its statement is cancelled there, then its connection is ended; then its probe looks what is there",
    "http": "nothing more is waited for; what was sent cannot be called back, so its probe looks what is there",
}


class UnderWay(msgspec.Struct, frozen=True):
    """An act that goes on; `kind` of its target, `since_ms` when it was written down (0: not known)."""

    act: ActState
    kind: str
    since_ms: int
    now_ms: int


def stop_dialog(going: Sequence[UnderWay], doubt: str = "") -> TypedDialog:
    """Dismisses with `stop` or ''. `doubt`: an act of unknown outcome that may still run at its target."""
    parts = _listed(going)
    writes = [one for one in going if one.act.mode == "write"]
    if doubt:
        parts.append((f"{clean(doubt, 80)} is in doubt and may still run at its target.\n", "bold $tone-bad"))
    if writes:
        for kind in dict.fromkeys(one.kind for one in writes):
            parts.append((f"\nA write: {AT_ITS_TARGET.get(kind, AT_ITS_TARGET['ssh'])}.\n", "$tone-text"))
        parts.append(("What is done is not taken back by this. u does that, afterwards.\n", "$tone-dim"))
    elif going:
        parts.append(("\nA read: it is cancelled, and changes nothing.\n", "$tone-text"))
    does = "ends it now" if going or doubt else "ends the wait now"
    return TypedDialog("END IT NOW", words(*parts), {STOP: does}, "lets it go on", "It goes on.")


def give_back_dialog(going: Sequence[UnderWay]) -> TypedDialog:
    """Giving write access back while a write is under way, which ends it, too. Dismisses with `stop` or ''."""
    parts = _listed(going)
    for kind in dict.fromkeys(one.kind for one in going):
        parts.append((f"\nA write: {AT_ITS_TARGET.get(kind, AT_ITS_TARGET['ssh'])}.\n", "$tone-text"))
    parts.append(
        ("Write access is over then. What is done is not taken back by this; u still does that.\n", "$tone-dim")
    )
    does = "ends it now at its target, and gives write access back"
    return TypedDialog(
        "GIVE WRITE ACCESS BACK", words(*parts), {STOP: does}, "keeps both", "Write access is as it was."
    )


def leave_dialog(going: Sequence[UnderWay]) -> TypedDialog:
    """Leaving while a write goes on: dismisses with `leave`, `stop` (ends it and stays), or ''."""
    parts = _listed(going)
    attended = [one for one in going if one.act.mode == "write" and not one.act.detached]
    if attended:
        parts.append(
            (
                "\nOn leaving, a write has 5 s to end. Then it goes on at its target and nobody watches it: here it is "
                "IN DOUBT until somebody looks.\n",
                "$tone-text",
            )
        )
    if any(one.act.detached for one in going):
        parts.append(
            ("\nWhat goes on by itself at its target does so when you leave; resume the run later.\n", "$tone-text")
        )
    parts.append(("Pick it up again from the runs (g r), or: envtui run ENV --resume RUN\n", "$tone-dim"))
    answers = {LEAVE: "leaves it to itself"}
    if attended:
        answers[STOP] = "ends it now at its target, and stays here"
    return TypedDialog(
        "LEAVE?",
        words(*parts),
        answers,
        "stays",
        "Nothing was left.",
    )


def _listed(going: Sequence[UnderWay]) -> list[str | tuple[str, str]]:
    parts: list[str | tuple[str, str]] = []
    for one in going:
        act = one.act
        word, tone = ("WRITE", "bold $tone-bad") if act.mode == "write" else ("read", "$tone-good")
        since = f"for {span(one.now_ms - one.since_ms)}, since {moment(one.since_ms)}" if one.since_ms else ""
        parts += [
            (word, tone),
            (f"  {clean(act.id, 80)}", "bold $tone-text"),
            (f"  on {clean(act.member, 60)}  {since}\n", "$tone-dim"),
            (f"       {clean(act.shows, 160)}\n", "$tone-send"),
        ]
    return parts
