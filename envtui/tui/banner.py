"""What the frame says, on every screen and around every dialog: derived here, from the resolved state, and nowhere else.

(k9s 504: a style that followed the switch event was wrong for whoever started in another context.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from envtui.core.text import clean

if TYPE_CHECKING:
    from envtui.engine.lobby import Shape
    from envtui.engine.session import EnvironmentSession
    from envtui.rules.state import Run


class Banner(msgspec.Struct, frozen=True):
    """`write` true: the frame's title is filled; `broken`: by break-glass, and the border says so. All text is clean."""

    title: str
    subtitle: str
    shape: Shape | None
    write: bool = False
    broken: bool = False


def banner(
    session: EnvironmentSession | None, run: Run | None, now_ms: int, lobby: str = "", needs: Iterable[str] = ()
) -> Banner:
    """The banner for an open environment, or of the lobby with a line about it. `needs`: what the reads of the run open."""
    if session is None:
        return Banner(" envtui ", f" {lobby} " if lobby else "", None)
    from envtui.engine.lobby import shape  # here: the first frame of the lobby needs nothing of the engine

    name = session.environment.name.upper()
    granted = run is not None and run.write_active and run.grant is not None
    if granted:
        assert run is not None
        grant = run.grant
        assert grant is not None
        left = max(0, (grant.until_ms - now_ms) // 1000)
        acts = f"{grant.acts_left} act{'' if grant.acts_left == 1 else 's'} left"
        time = f"{left // 60}:{left % 60:02}"
        incident = grant.incident or "no incident"
        words = [name, f"WRITE {time}", incident, f"signed by {', '.join(grant.signed_by)}", acts]
        if grant.break_glass:
            words = [name, f"BREAK-GLASS {time}", incident, acts, "nobody else signed"]
    else:
        words = [name, "READ-ONLY"]
    if run is not None and run.mark:
        words.insert(1, run.mark)
    return Banner(
        clean(f" {' │ '.join(words)} ", 160),
        clean(f" {' · '.join([*_below(session, needs), *_told(run)])} ", 200),
        shape(session.order, session.last),
        granted,
        run is not None and granted and run.grant is not None and run.grant.break_glass,
    )


def _told(run: Run | None) -> list[str]:
    """Of a break-glass, whether people know of it: the last that is left out where it is narrow."""
    if run is None or run.grant is None or run.grant.ended or not run.grant.break_glass:
        return []
    told = run.grant.told
    return ["PEOPLE NOT TOLD" if told.startswith("NOT") else told or "calling people"]


def _below(session: EnvironmentSession, needs: Iterable[str]) -> list[str]:
    status = session.status()
    says = [f"{session.operator.name}@{session.operator.machine}"]
    for kind, word in (("ssh", "ssh"), ("sql", "pg"), ("http", "http")):
        good, tried = status.count(kind)
        if tried:
            says.append(f"{word} ok" if good == tried == 1 else f"{word} {good}/{tried}")
    says.append(f"ledger {status.ledger}")
    levels = status.protection
    if levels:
        opened = ", ".join(sorted(set(needs)))
        says.append(f"reads {_weakest(levels.values())}" + (f", with {opened}" if opened else ""))
    says.append(f"write gate {status.write_gate}")
    if session.environment.access.signoff.same_machine == "allowed":
        says.append("same-machine sign-off")
    return says


def _weakest(levels: Iterable[str]) -> str:
    """The level that can be claimed of all reads: the one that promises least."""
    order = (
        "advisory",
        "method-enforced",
        "account-enforced",
        "session-enforced",
        "role-enforced",
        "kernel-enforced",
        "gate-enforced",
    )

    def place(level: str) -> int:
        name = level.partition(",")[0]
        return order.index(name) if name in order else -1

    return min(levels, key=place).partition(":")[0]  # the names of side channels are doctor's to tell
