"""What is left at the targets once write access ended, as it was looked at from outside: in words, for the ledger."""

from __future__ import annotations

from .state import Run

ENVTUI = "envtui"
"""Who says what nobody typed."""

NOTHING_LEFT = "Looked at after write access ended: nothing of this run is under way at any target."


def looked(run: Run) -> str:
    """One sentence: nothing is left, or what is, by the ids of its acts."""
    left = [f"{act.id} goes on there by itself, as it was signed to" for act in run.detached]
    for act in run.in_doubt:
        if not act.dead:
            left.append(f"{act.id} may still be at it ({act.found_why or 'its target could not be asked'})")
    if not left:
        known = [act.id for act in run.in_doubt]
        return NOTHING_LEFT + (f" What {', '.join(known)} did there, nobody could tell." if known else "")
    return f"Looked at after write access ended, and left: {'; '.join(left)}."
