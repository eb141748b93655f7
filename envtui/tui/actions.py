"""Every action once: its id, key and words. Bindings, footer, help, palette and docs/screens.md are made from here."""

from __future__ import annotations

import msgspec
from textual.binding import Binding


class Action(msgspec.Struct, frozen=True):
    """`screens`: where it works ('*': everywhere). `about`: one sentence for help; `label`: a word or two for the footer."""

    id: str
    key: str
    label: str
    about: str
    screens: tuple[str, ...]
    footer: bool = True


ACTIONS: tuple[Action, ...] = (
    Action("open", "enter", "open", "Open what the cursor is on. It never runs anything.", ("environments", "runbooks", "runs", "ledger")),
    Action("go_environments", "g,e", "environments", "Go to the environments.", ("*",), False),
    Action("go_runbooks", "g,b", "runbooks", "Go to the runbooks of the open environment.", ("*",), False),
    Action("go_runs", "g,r", "runs", "Go to the runs of the open environment.", ("*",), False),
    Action("go_ledger", "g,l", "ledger", "Go to the ledger of the open environment.", ("*",), False),
    Action("find", "slash", "find", "Filter by id, title, alert, tag, or when to use it.", ("runbooks", "ledger")),
    Action("begin", "enter", "start", "Start the run: write down its beginning. Nothing is sent yet.", ("plan",)),
    Action("step", "r", "next read", "Do the next read.", ("run",)),
    Action("run_on", "R", "run on", "Do reads, and an undo that was begun, until a person is needed.", ("run",)),
    Action("examine", "l", "look", "Look at the target what became of a write in doubt: whether it runs, then its probe.", ("run",)),
    Action("answer", "a", "answer", "Choose, pick a row, say that a manual step is done, or what became of a write in doubt.", ("run",)),
    Action("write", "w", "write", "Do the next write, once write access is active.", ("run",)),
    Action("escalate", "e", "escalate", "Ask for write access: an incident, a reason, a signature.", ("run",)),
    Action("give_back", "x", "end write", "Give write access back now; asks for the word stop while a write is under way, and ends it.", ("run",)),
    Action("skip", "s", "skip", "Leave the current step out, with a reason.", ("run",)),
    Action("note", "n", "note", "Write a remark into the ledger.", ("run",)),
    Action("ask", "colon", "ask", "An unscripted read on a target: NAME, then the command or the query.", ("runbooks", "run")),
    Action("propose", "W", "propose", "One write that is in no book: a form, then the request for it.", ("runbooks", "run"), False),
    Action("edit", "E", "edit", "Edit a copy of the book for this incident; the difference is shown, and signed.", ("plan", "run"), False),
    Action("output", "o", "output", "The output in full; again to come back.", ("run",)),
    Action("copy", "y", "copy", "Copy the command, the output, or the run's id.", ("run",)),
    Action("save", "S", "save", "Save the whole output as a file.", ("run",), False),
    Action("stop", "c", "stop", "Stop after the current act; a poll or a wait stops now.", ("run",)),
    Action("cut", "C", "end now", "End what is under way now, a write at its target too; asks for the word stop.", ("run",)),
    Action("undo", "u", "undo", "Take back what the run did, the last first; asks for three letters.", ("runs", "run")),
    Action("resume", "P", "pick up", "Take up a run that was left or that failed, where it stands.", ("runs", "run")),
    Action("verify", "v", "verify", "Recompute every entry of the ledger.", ("ledger",)),
    Action("export", "E", "export", "Write the shown run's report as Markdown.", ("ledger",)),
    Action("accept", "a", "accept", "Accept the tree as it is shown here.", ("trust",)),
    Action("look", "d", "reach", "Connect to every target and see what it is.", ("runbooks",)),
    Action("themes", "t", "theme", "The next theme: dark, light, high contrast, colour-blind safe.", ("*",), False),
    Action("help", "question_mark", "help", "This page.", ("*",)),
    Action("back", "escape", "back", "Back to where you came from.", ("plan", "run", "runs", "runbooks", "ledger", "help", "trust")),
    Action("quit", "q", "quit", "Leave envtui; asks while a run goes on, and says what a write does then.", ("*",)),
)  # fmt: skip

SHOWN_KEYS = {
    "slash": "/",
    "colon": ":",
    "question_mark": "?",
    "escape": "esc",
    "g,e": "g e",
    "g,b": "g b",
    "g,r": "g r",
    "g,l": "g l",
}


def of(screen: str) -> tuple[Action, ...]:
    """The actions of a screen, its own first."""
    own = tuple(a for a in ACTIONS if screen in a.screens)
    return own + tuple(a for a in ACTIONS if "*" in a.screens)


def bindings(screen: str) -> list[Binding]:
    """Textual bindings of a screen; sequences like `g,l` are handled by the application."""
    return [
        # `/` comes before the focused list sees it: what is typed next belongs to the filter.
        Binding(a.key, a.id, a.label, id=f"{screen}.{a.id}", show=False, priority=a.id == "find")
        for a in of(screen)
        if "," not in a.key and "*" not in a.screens
    ]


def shown_key(action: Action) -> str:
    """The key as people read it."""
    return SHOWN_KEYS.get(action.key, action.key)
