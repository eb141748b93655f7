"""What can come next in a run, as values: `decide` proposes one of these, the doors and the runner act on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from envtui.core.act import Act
from envtui.core.events import Finding, Word


class ReadyRead(msgspec.Struct, frozen=True):
    """The acts of a read step that have not run; nobody has to be asked."""

    step: str
    acts: tuple[Act, ...]


class LateValue(msgspec.Struct, frozen=True, kw_only=True):
    """A captured value that is about to be sent in a write. `signed` None: none was known when it was signed. `asks`: it is
    another one than that, and nobody has said yet that it may be sent. `step`: the one that found it."""

    name: str
    value: str
    member: str
    signed: str | None = None
    asks: bool = False
    step: str = ""


class ReadyWrite(msgspec.Struct, frozen=True):
    """The next act of a write step, as it was planned. Without a grant that covers it, `why_not` says what is missing.

    `late`: the values that fill its open places. `held`: why it is not sent as things are, under whatever grant.
    """

    step: str
    act: Act
    granted: bool
    why_not: str = ""
    attempt: int = 1
    late: tuple[LateValue, ...] = ()
    held: str = ""

    @property
    def asks(self) -> tuple[LateValue, ...]:
        """Values of which a person must say first that they may be sent."""
        return tuple(each for each in self.late if each.asks)


class ReadyUndo(msgspec.Struct, frozen=True):
    """The next act of an undo that was begun. As with `ReadyWrite`, `why_not` says what its permit lacks."""

    step: str
    act: Act
    granted: bool
    why_not: str = ""
    attempt: int = 1


class UndoByHand(msgspec.Struct, frozen=True):
    """A person takes this step back, and says so."""

    step: str
    instructions: str


class LookAt(msgspec.Struct, frozen=True):
    """Acts whose step's probe must say what is there, before or after an undo."""

    step: str
    acts: tuple[str, ...]


class StartUndo(msgspec.Struct, frozen=True):
    """The book says that what was done is taken back now."""

    acts: tuple[str, ...]
    cause: Literal["on_failure", "finally"]
    why: str


class Following(msgspec.Struct, frozen=True):
    """A detached write goes on at its target: somebody may wait for it, here or another day."""

    step: str
    act: str


class NeedsAnswer(msgspec.Struct, frozen=True):
    """A person chooses (`options`: label -> where it leads) or does something and says so (`ask`: name -> type).

    `held`: why what they would change is not to be changed yet.
    """

    step: str
    options: Mapping[str, str]
    ask: Mapping[str, str]
    instructions: str
    confirm: str = ""
    held: str = ""


class NeedsPick(msgspec.Struct, frozen=True):
    step: str
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    many: bool = False


class NeedsDecision(msgspec.Struct, frozen=True):
    """A step failed and its book says `on_failure: ask`, or something changed while the run was left.

    `choices`: retry, look (whether a write that failed left something), skip, undo, stop, go on.
    """

    step: str
    why: str
    choices: tuple[str, ...]


class StartWait(msgspec.Struct, frozen=True):
    step: str
    seconds: float


class Waiting(msgspec.Struct, frozen=True):
    step: str
    until_ms: int


class EndStep(msgspec.Struct, frozen=True):
    """Nothing is left to do in the step: write its end down."""

    step: str
    word: Word
    why: str = ""
    goto: str = ""


class Finish(msgspec.Struct, frozen=True):
    word: Word
    why: str = ""


class Doubt(msgspec.Struct, frozen=True):
    """A write's outcome is not known. Nothing goes on until that was looked at, and a person has said what follows.

    `choices`: look (at the target), halt (what still runs there), done, not done. `found` is what looking came to.
    """

    step: str
    act: str
    found: Finding | None = None
    why: str = ""
    choices: tuple[str, ...] = ("look",)


class Done(msgspec.Struct, frozen=True):
    word: Word
    why: str


Next = (
    ReadyRead
    | ReadyWrite
    | ReadyUndo
    | UndoByHand
    | LookAt
    | StartUndo
    | Following
    | NeedsAnswer
    | NeedsPick
    | NeedsDecision
    | StartWait
    | Waiting
    | EndStep
    | Finish
    | Doubt
    | Done
)
