"""What comes next in a run: a pure function of its state, its plan and its book. It has no clock.

The runner does what is proposed and turns what happened into events; a replay of the same events proposes the same. A
write is proposed once: an act with an intent is never proposed again, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from envtui.core.act import Act, Plan, PlannedStep
from envtui.core.events import Word
from envtui.core.runbook import ChooseStep, ManualStep, Runbook, Step, WaitStep
from envtui.core.shape import seconds

from .condition import holds
from .plan import known
from .run import ASKS, STAYS, ActState, Run, StepState
from .template import prose


class ReadyRead(msgspec.Struct, frozen=True):
    """The acts of a read step that have not run; nobody has to be asked."""

    step: str
    acts: tuple[Act, ...]


class ReadyWrite(msgspec.Struct, frozen=True):
    """The next act of a write step. Without a grant that covers it, `why_not` says what is missing."""

    step: str
    act: Act
    granted: bool
    why_not: str = ""


class NeedsAnswer(msgspec.Struct, frozen=True):
    """A person chooses (`options`: label -> where it leads) or does something and says so (`ask`: name -> type)."""

    step: str
    options: Mapping[str, str]
    ask: Mapping[str, str]
    instructions: str
    confirm: str = ""


class NeedsPick(msgspec.Struct, frozen=True):
    step: str
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    many: bool = False


class NeedsDecision(msgspec.Struct, frozen=True):
    """A step failed and its book says `on_failure: ask`. `choices`: retry (reads only), skip, stop."""

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
    """A write's outcome is not known. Nothing goes on until a person has looked."""

    step: str
    act: str


class Done(msgspec.Struct, frozen=True):
    word: Word
    why: str


Next = (
    ReadyRead
    | ReadyWrite
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

END = "end"


def decide(run: Run, plan: Plan, book: Runbook) -> Next:
    """The next thing to do."""
    if run.word is not None:
        return Done(run.word, run.why)
    if in_doubt := run.in_doubt:
        first = in_doubt[0]
        return Doubt(next(s.id for s in run.steps if first in s.acts), first.id)
    state = run.current
    if state is None:
        return _finish(run)
    if state.failed:
        return NeedsDecision(state.id, state.failed, _choices(state))
    if state.word is not None:  # the run stopped here
        return Finish(state.word, f"step {state.id}: {state.why}" if state.why else f"step {state.id}")
    step = _step_of(book, state.id)
    planned = next(s for s in plan.steps if s.id == state.id)
    if (
        step.if_
        and not state.running
        and not any(a.intended for a in state.acts)
        and not holds(step.if_, values(run, plan))
    ):
        return EndStep(state.id, "SKIPPED", f"not needed: {step.if_}")
    if isinstance(step, ChooseStep):
        if state.answer:
            return EndStep(state.id, "OK", state.answer, step.options.get(state.answer, ""))
        return NeedsAnswer(state.id, dict(step.options), {}, prose(step.doc, values(run, plan)))
    if isinstance(step, ManualStep):
        if state.answer:
            return EndStep(state.id, "OK", goto=step.next or "")
        said = prose(step.instructions, values(run, plan))
        return NeedsAnswer(state.id, {}, dict(step.ask), said, step.confirm or "")
    if state.kind == "wait" and not planned.acts:
        return _wait(step, state)
    return _acts(run, plan, step, state, planned)


def _wait(step: Step, state: StepState) -> Next:
    assert isinstance(step, WaitStep)
    if state.wait_until_ms:
        return Waiting(state.id, state.wait_until_ms)
    return StartWait(state.id, seconds(step.for_ or "0s"))


def _acts(run: Run, plan: Plan, step: Step, state: StepState, planned: PlannedStep) -> Next:
    by_id = {act.id: act for act in planned.acts}
    if step.mode == "write":
        bad = next((a for a in state.acts if a.word not in (None, "OK")), None)
        if bad is not None:
            return failing(step, bad.word or "FAILED", f"{bad.member}: {bad.why}")
        pending = next((a for a in state.acts if not a.intended), None)
        if pending is not None:
            granted, why_not = _granted(run, by_id[pending.id])
            return ReadyWrite(state.id, by_id[pending.id], granted, why_not)
        return EndStep(state.id, "OK", goto=step.next or "")
    pending_reads = tuple(by_id[a.id] for a in _wanted(run, plan, state, planned) if a.word is None)
    if pending_reads:
        return ReadyRead(state.id, pending_reads)
    if state.offer is not None:
        offer = state.offer
        many = step.capture[offer.name].pick == "many" if offer.name in step.capture else False
        return NeedsPick(state.id, offer.name, offer.columns, offer.rows, many)
    wanted = _wanted(run, plan, state, planned)
    if not wanted:
        return failing(step, "FAILED", f"{planned.only} names no member of the target")
    bad = next((a for a in wanted if a.word != "OK"), None)
    one_is_enough = bool(getattr(getattr(step, "expect", None), "any_host", False))
    if bad is None or (one_is_enough and any(a.word == "OK" for a in wanted)):
        return EndStep(state.id, "OK", goto=step.next or "")
    return failing(step, bad.word or "FAILED", f"{bad.member}: {bad.why}")


def _wanted(run: Run, plan: Plan, state: StepState, planned: PlannedStep) -> tuple[ActState, ...]:
    """The acts of a read that run: all, or the one member that a captured name says."""
    if not planned.only:
        return state.acts
    member = values(run, plan).get(planned.only, "")
    return tuple(a for a in state.acts if a.member == member)


def _granted(run: Run, act: Act) -> tuple[bool, str]:
    grant = run.grant
    if grant is None:
        return False, "needs write access: an open incident and a signature"
    if grant.ended:
        return False, f"write access ended ({grant.ended.lower().replace('_', ' ')}); ask for it again"
    if any(act_digest == act.digest() for act_digest, _ in grant.spent):
        return False, "this act was already permitted once"
    return True, ""


def failing(step: Step, word: Word, why: str) -> EndStep:
    """The end of a step that failed, leading where its book says."""
    if step.on_failure == "ask":
        return EndStep(step.id, word, why, ASKS)
    if step.on_failure.startswith("goto:"):
        return EndStep(step.id, word, why, step.on_failure.removeprefix("goto:"))
    return EndStep(step.id, word, why, STAYS)


def _choices(state: StepState) -> tuple[str, ...]:
    # A write is attempted once: a second attempt needs `attempts`, which this version does not run.
    return ("skip", "stop") if state.mode == "write" else ("retry", "skip", "stop")


def _finish(run: Run) -> Finish:
    skipped = [s.id for s in run.steps if s.word == "SKIPPED" and s.mode == "write"]
    return Finish("OK", f"skipped: {', '.join(skipped)}" if skipped else "")


def values(run: Run, plan: Plan, member: str = "") -> dict[str, str]:
    """Every name that a step may use now: `params.x`, `run.x`, and what was captured or answered (a member's own first)."""
    return {**known(plan), **run.values(member)}


def _step_of(book: Runbook, step_id: str) -> Step:
    return next(s for s in (*book.before, *book.steps) if s.id == step_id)
