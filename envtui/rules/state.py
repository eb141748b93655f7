"""The state of a run, as values: what its events come to. `run.fold` makes them, everybody else reads them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from envtui.core.act import Value
from envtui.core.events import Finding, PickOffered, SignedOff, Word


class ActState(msgspec.Struct, frozen=True, kw_only=True):
    """One act as far as it went. `word` None: planned or running; `intended` tells which.

    `attempt` is the last one that was intended; `found` what was found of it since, `dead` that nothing of it goes on, and
    `undone` that its effect was taken back, or found not to be there when that was to be done.
    """

    id: str
    target: str
    member: str
    mode: str
    shows: str
    digest: str = ""
    intended: bool = False
    word: Word | None = None
    why: str = ""
    attempt: int = 0
    transcript: str = ""
    exit: int | None = None
    status: int | None = None
    rows: int | None = None
    affected: int | None = None
    milliseconds: int = 0
    output_bytes: int = 0
    truncated: bool = False
    permit: str = ""
    handle: tuple[tuple[str, str], ...] = ()
    detached: bool = False
    untouched: bool = False
    refused: tuple[str, ...] = ()
    counted: int = 0  # attempts that count against the book's `attempts`: not those that never came to anything
    found: Finding | None = None
    found_why: str = ""
    dead: bool = False
    undone: bool = False
    late: tuple[tuple[str, str], ...] = ()  # slot and value of what was sent last

    @property
    def running(self) -> bool:
        return self.intended and self.word is None

    @property
    def in_doubt(self) -> bool:
        """A write with an intent and no outcome, or whose outcome is not known; not one that goes on as it was told to."""
        return self.mode == "write" and (self.word == "IN DOUBT" or (self.running and not self.detached))

    @property
    def touched(self) -> bool:
        """Something of it may be there: it was sent, and nothing says that nothing remains."""
        return self.mode == "write" and self.intended and not self.untouched and not self.undone


class StepState(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `visits` counts how often it ended: a jump back to a read starts it again."""

    id: str
    kind: str
    mode: str
    title: str
    before: bool = False
    word: Word | None = None
    why: str = ""
    acts: tuple[ActState, ...] = ()
    answer: str = ""
    wait_until_ms: int = 0
    offer: PickOffered | None = None
    write_needed: bool = False
    visits: int = 0
    failed: str = ""  # why it failed, while a person decides (`on_failure: ask`)
    undo: tuple[ActState, ...] = ()
    probes: tuple[ActState, ...] = ()
    by_hand: bool = False  # its undo is a person's work
    undone: bool = False  # by hand

    @property
    def running(self) -> bool:
        return any(act.running for act in self.acts)

    @property
    def milliseconds(self) -> int:
        return sum(act.milliseconds for act in self.acts)


class GrantState(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    incident: str
    signed_by: tuple[str, ...]
    plan_digest: str
    until_ms: int
    acts: int
    nonce: str = ""  # of the request that it came from
    spent: tuple[tuple[str, int], ...] = ()  # (act digest, attempt)
    ended: str = ""  # the reason, once it ended
    break_glass: bool = False  # nobody else signed
    review_by_ms: int = 0  # of a break-glass: until when somebody else looks at it
    told: str = ""  # of a break-glass: whether people were called, in words; '' while that is not known
    waived: frozenset[str] = frozenset()  # required reads that may be left out
    late: dict[str, str] = {}  # slot -> the value that was known when it was signed
    accepted: frozenset[tuple[str, str, str]] = frozenset()  # (act, slot, value) that a person let pass since

    @property
    def acts_left(self) -> int:
        return max(0, self.acts - len({digest for digest, _ in self.spent}))


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    sha256: str
    incident: str
    reason: str
    bundle: str
    verdicts: tuple[SignedOff, ...] = ()
    refusals: tuple[str, ...] = ()


class UndoState(msgspec.Struct, frozen=True, kw_only=True):
    """The undo that the run is in, or was in last. `items`: ids of undo acts, or of steps undone by hand, in order."""

    items: tuple[str, ...]
    cause: str  # person | on_failure | finally
    why: str = ""
    by: str = ""


class Changed(msgspec.Struct, frozen=True):
    """A captured value that was another one when it was read again."""

    name: str
    before: str
    now: str


class Note(msgspec.Struct, frozen=True):
    at_ms: int
    text: str
    by: str


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """A captured value; `columns` and `rows` for a table. `member` '' unless it is per host."""

    name: str
    step: str
    member: str = ""
    value: Value | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one run."""

    id: str
    book: str = ""
    book_sha256: str = ""
    title: str = ""
    plan_digest: str = ""
    operator: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    word: Word | None = None
    why: str = ""
    steps: tuple[StepState, ...] = ()
    position: int = 0  # index of the step whose turn it is; len(steps): past the last
    captures: tuple[Capture, ...] = ()
    answers: tuple[tuple[str, Value], ...] = ()  # "step.name" -> value
    notes: tuple[Note, ...] = ()
    requests: tuple[RequestState, ...] = ()
    grant: GrantState | None = None
    unscripted: bool = False
    edited: bool = False  # its book is another one than the checkout's, by the text that it has in the ledger
    permits: frozenset[tuple[str, int]] = frozenset()  # (act digest, attempt) of every permit, under whatever grant
    undo: UndoState | None = None
    stopping: str = ""  # why a person ends it; what `finally` undoes comes first
    again: tuple[str, ...] = ()  # steps to read again before it goes on, after a resume
    changed: tuple[Changed, ...] = ()  # what came out otherwise then, until a person has seen it
    resumed: int = 0

    @property
    def mark(self) -> str:
        """UNSCRIPTED or EDITED where the run's book is in no checkout, else ''."""
        return "UNSCRIPTED" if self.unscripted else "EDITED" if self.edited else ""

    @property
    def lone_read(self) -> bool:
        """One unscripted read: there is nothing to go on with, and nothing to take back."""
        return self.unscripted and all(step.mode == "read" for step in self.steps)

    @property
    def current(self) -> StepState | None:
        """The step whose turn it is: one that is read again after a resume comes first."""
        if self.again:
            return self.step(self.again[0])
        return self.steps[self.position] if self.position < len(self.steps) else None

    @property
    def in_doubt(self) -> tuple[ActState, ...]:
        """Writes with an intent and no outcome, or whose outcome is not known; undo acts too."""
        return tuple(act for step in self.steps for act in (*step.acts, *step.undo) if act.in_doubt)

    @property
    def detached(self) -> tuple[ActState, ...]:
        """Writes that go on at their targets, as they were told to."""
        return tuple(a for s in self.steps if s.mode == "write" for a in s.acts if a.detached and a.running)

    @property
    def write_active(self) -> bool:
        return self.grant is not None and not self.grant.ended

    def step(self, step_id: str) -> StepState | None:
        return next((s for s in self.steps if s.id == step_id), None)

    def act(self, act_id: str) -> ActState | None:
        """An act of the plan, an undo or a probe, by its id."""
        every = (act for step in self.steps for act in (*step.acts, *step.undo, *step.probes))
        return next((act for act in every if act.id == act_id), None)

    def values(self, member: str = "") -> dict[str, str]:
        """Run-time places by name: `vars.NAME`, `vars.STEP.NAME`, `vars.NAME.COLUMN`; a member's own first."""
        found: dict[str, str] = {}
        for capture in self.captures:
            if capture.member and capture.member != member:
                if sum(1 for other in self.captures if other.name == capture.name) == 1:
                    found[f"vars.{capture.name}.host"] = capture.member  # the one that has it: the leader, say
                continue
            base = f"vars.{capture.name}"
            if capture.value is not None:
                found[base] = capture.value.text
            elif len(capture.rows) == 1:
                for column, cell in zip(capture.columns, capture.rows[0], strict=False):
                    found[f"{base}.{column}"] = cell
                found[base] = capture.rows[0][0] if capture.rows[0] else ""
            if capture.member:
                found[f"{base}.host"] = capture.member
        for name, value in self.answers:
            found[f"vars.{name}"] = value.text
        return found


def writes_left(run: Run) -> bool:
    """Whether a step that changes something is still to come, a person's too."""
    return any(step.mode == "write" and step.word is None for step in run.steps[run.position :])


def on_step(run: Run, step_id: str, change: Callable[[StepState], StepState]) -> Run:
    """`run` with one step changed; as it is when there is none of that id."""
    at = index(run, step_id)
    if at is None:
        return run
    steps = run.steps
    return msgspec.structs.replace(run, steps=(*steps[:at], change(steps[at]), *steps[at + 1 :]))


def index(run: Run, step_id: str) -> int | None:
    """Where a step stands; nearly always it is the one whose turn it is."""
    if run.position < len(run.steps) and run.steps[run.position].id == step_id:
        return run.position
    for at, step in enumerate(run.steps):
        if step.id == step_id:
            return at
    return None
