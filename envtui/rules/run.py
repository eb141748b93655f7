"""A run is the fold of its events; nothing else holds its state.

The screens, the headless twin, the report and the runner all look at this one value, so what is shown is what was written
down. `apply` is total: an event that makes no sense here (another run's, a newer version's order) changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from envtui.core.act import Value
from envtui.core.events import (
    ActEnded,
    ActIntended,
    Answered,
    Captured,
    Entry,
    GrantActivated,
    GrantEnded,
    Noted,
    PermitSpent,
    PickOffered,
    Requested,
    RunEnded,
    RunStarted,
    SignedOff,
    SignOffRefused,
    StepEnded,
    WaitStarted,
    Word,
    WriteNeeded,
)

from . import written


class ActState(msgspec.Struct, frozen=True, kw_only=True):
    """One act as far as it went. `word` None: planned or running; `intended` tells which."""

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

    @property
    def running(self) -> bool:
        return self.intended and self.word is None


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

    @property
    def acts_left(self) -> int:
        return max(0, self.acts - len(self.spent))


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    sha256: str
    incident: str
    reason: str
    bundle: str
    verdicts: tuple[SignedOff, ...] = ()
    refusals: tuple[str, ...] = ()


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

    @property
    def current(self) -> StepState | None:
        """The step whose turn it is."""
        return self.steps[self.position] if self.position < len(self.steps) else None

    @property
    def in_doubt(self) -> tuple[ActState, ...]:
        """Writes with an intent and no outcome, or whose outcome is not known."""
        return tuple(
            act
            for step in self.steps
            if step.mode == "write"
            for act in step.acts
            if act.word == "IN DOUBT" or (act.running and act.mode == "write")
        )

    @property
    def write_active(self) -> bool:
        return self.grant is not None and not self.grant.ended

    def step(self, step_id: str) -> StepState | None:
        return next((s for s in self.steps if s.id == step_id), None)

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


def fold(entries: Iterable[Entry], run_id: str) -> Run:
    """The state of one run after `entries`, which may hold other runs' events too."""
    run = Run(id=run_id)
    for entry in entries:
        run = apply(run, entry)
    return run


def fold_all(entries: Iterable[Entry]) -> tuple[Run, ...]:
    """Every run in `entries`, the newest first."""
    by_run: dict[str, list[Entry]] = {}
    for entry in entries:
        run_id = getattr(entry.event, "run", "")
        if run_id:
            by_run.setdefault(run_id, []).append(entry)
    runs = (fold(of_one, run_id) for run_id, of_one in by_run.items())
    return tuple(sorted(runs, key=lambda run: run.started_ms, reverse=True))


def apply(run: Run, entry: Entry) -> Run:
    """`run` after one more entry."""
    event = entry.event
    if getattr(event, "run", "") != run.id:
        return run
    change = msgspec.structs.replace
    match event:
        case RunStarted() if not run.started_ms:  # a run starts once: no second start makes it forget
            return change(
                run,
                book=event.book,
                book_sha256=event.book_sha256,
                title=event.title,
                plan_digest=event.plan_digest,
                operator=event.operator,
                started_ms=entry.at_ms,
                steps=_planned(event.plan),
                unscripted=event.unscripted,
            )
        case ActIntended():
            return _step(run, event.step, lambda s: _intended(s, event))
        case ActEnded():
            return _step(run, event.step, lambda s: _ended(s, event))
        case StepEnded():
            return _step_ended(run, event)
        case Captured():
            kept = tuple(c for c in run.captures if (c.name, c.member) != (event.name, event.member))
            new = Capture(
                name=event.name,
                step=event.step,
                member=event.member,
                value=event.value,
                columns=event.columns,
                rows=event.rows,
            )
            run = change(run, captures=(*kept, new))
            return _step(run, event.step, lambda s: change(s, offer=None))
        case PickOffered():
            return _step(run, event.step, lambda s: change(s, offer=event))
        case Answered():
            named = {f"{event.step}.{name}": value for name, value in event.values.items()}
            kept_answers = tuple((n, v) for n, v in run.answers if n not in named)
            run = change(run, answers=(*kept_answers, *named.items()))
            if event.answer == RETRY:
                return _step(run, event.step, _fresh)
            return _step(run, event.step, lambda s: change(s, answer=event.answer, failed=""))
        case WaitStarted():
            return _step(run, event.step, lambda s: change(s, wait_until_ms=event.until_ms))
        case WriteNeeded():
            return _step(run, event.step, lambda s: change(s, write_needed=True))
        case Noted():
            return change(run, notes=(*run.notes, Note(entry.at_ms, event.text, event.by)))
        case RunEnded():
            return change(run, ended_ms=entry.at_ms, word=event.word, why=event.why)
        case Requested():
            asked = RequestState(
                id=event.request,
                sha256=event.request_sha256,
                incident=event.incident,
                reason=event.reason,
                bundle=event.bundle,
            )
            return change(run, requests=(*run.requests, asked))
        case SignedOff():
            return _request(run, event.request, lambda r: change(r, verdicts=(*r.verdicts, event)))
        case SignOffRefused():
            return _request(run, event.request, lambda r: change(r, refusals=(*r.refusals, event.why)))
        case GrantActivated() if run.grant is not None and event.nonce and run.grant.nonce == event.nonce:
            return run  # another process activated the same request: the first in the ledger counts
        case GrantActivated():
            grant = GrantState(
                id=event.grant,
                incident=event.incident,
                signed_by=event.signed_by,
                plan_digest=event.plan_digest,
                until_ms=event.until_ms,
                acts=event.acts,
                nonce=event.nonce,
            )
            return change(run, grant=grant)
        case PermitSpent() if run.grant is not None and run.grant.id == event.grant:
            spent = (*run.grant.spent, (event.act_digest, event.attempt))
            return change(run, grant=change(run.grant, spent=spent))
        case GrantEnded() if run.grant is not None and run.grant.id == event.grant:
            return change(run, grant=change(run.grant, ended=event.reason))
        case _:
            return run


def _planned(plan: str) -> tuple[StepState, ...]:
    return tuple(
        StepState(
            id=step.id,
            kind=step.kind,
            mode=step.mode,
            title=step.title or step.id,
            before=step.before,
            acts=tuple(
                ActState(id=a.id, target=a.target, member=a.member, mode=step.mode, shows=a.shows, digest=a.digest)
                for a in step.acts
            ),
        )
        for step in written.read(plan)
    )


def _step(run: Run, step_id: str, change: Callable[[StepState], StepState]) -> Run:
    at = _index(run, step_id)
    if at is None:
        return run
    steps = list(run.steps)
    steps[at] = change(steps[at])
    return msgspec.structs.replace(run, steps=tuple(steps))


def _index(run: Run, step_id: str) -> int | None:
    """Where a step stands; nearly always it is the one whose turn it is."""
    current = run.current
    if current is not None and current.id == step_id:
        return run.position
    return next((at for at, step in enumerate(run.steps) if step.id == step_id), None)


def _request(run: Run, request_id: str, change: Callable[[RequestState], RequestState]) -> Run:
    requests = tuple(change(r) if r.id == request_id else r for r in run.requests)
    return msgspec.structs.replace(run, requests=requests)


def _intended(step: StepState, event: ActIntended) -> StepState:
    replace = msgspec.structs.replace
    acts = tuple(
        replace(
            act,
            intended=True,
            word=None,
            why="",
            shows=event.shows or act.shows,
            digest=event.act_digest,
            member=event.member,
            attempt=event.attempt,
            transcript=event.transcript,
        )
        if act.id == event.act
        else act
        for act in step.acts
    )
    return replace(step, acts=acts, word=None, why="", failed="")


def _ended(step: StepState, event: ActEnded) -> StepState:
    replace = msgspec.structs.replace
    acts = tuple(
        replace(
            act,
            intended=True,
            word=event.word,
            why=event.why,
            exit=event.exit,
            status=event.status,
            rows=event.rows,
            affected=event.affected,
            milliseconds=event.milliseconds,
            output_bytes=event.output_bytes,
            truncated=event.truncated,
        )
        if act.id == event.act
        else act
        for act in step.acts
    )
    return replace(step, acts=acts)


def _step_ended(run: Run, event: StepEnded) -> Run:
    replace = msgspec.structs.replace
    asks = event.goto == ASKS
    run = _step(
        run,
        event.step,
        lambda s: replace(
            s,
            word=event.word,
            why=event.why,
            offer=None,
            write_needed=False,
            visits=s.visits + 1,
            failed=event.why if asks else "",
        ),
    )
    if asks:
        return run
    position = _position(run, event)
    if position < len(run.steps) and position != run.position:
        # A jump back starts the step again: what its acts said belongs to the visit before.
        run = _step(run, run.steps[position].id, _fresh)
    return replace(run, position=position)


def _fresh(step: StepState) -> StepState:
    replace = msgspec.structs.replace
    acts = tuple(replace(act, intended=False, word=None, why="") for act in step.acts)
    return replace(step, acts=acts, word=None, why="", failed="", answer="", offer=None, wait_until_ms=0)


RETRY = "retry"
"""The answer that does a failed read again."""

ASKS = "?"
"""`StepEnded.goto` of a failed step with `on_failure: ask`: the run stays here until a person decides."""

STAYS = "="
"""`StepEnded.goto` of a step whose run stops here: the position does not move."""


def _position(run: Run, event: StepEnded) -> int:
    at = _index(run, event.step)
    if at is None or event.goto == STAYS:
        return run.position
    if event.goto == "end":
        return len(run.steps)
    target = _index(run, event.goto) if event.goto else None
    return at + 1 if target is None else target
