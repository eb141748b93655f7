"""What an event about one act makes of a run: intended, sent, ended, found, resolved. Forward acts, undos and probes alike."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from envtui.core.events import ActEnded, ActIntended, ActSent, Probed, Resolved

from .state import ActState, Run, StepState, index, on_step

_replace = msgspec.structs.replace
_Change = Callable[[ActState], ActState]


def about_act(run: Run, event: ActIntended | ActSent | ActEnded | Probed | Resolved) -> Run:
    """`run` after the event; as it is when it has no such act."""
    match event:
        case ActIntended():
            return on_step(run, event.step, lambda s: _intended(s, event))
        case ActSent():
            handle = tuple(sorted(event.handle.items()))
            return _on_act(run, event, lambda a: _replace(a, handle=handle or a.handle, detached=event.detached))
        case ActEnded():
            return _on_act(run, event, lambda a: _ended(a, event))
        case Probed():
            return _probed(run, event)
        case Resolved():
            return _resolved(run, event)


def covers(step: StepState, undo: ActState) -> tuple[ActState, ...]:
    """The forward acts that an undo act takes back: the one on its member, or all where it happens elsewhere."""
    return tuple(act for act in step.acts if act.member == undo.member) or step.acts


def _on_act(run: Run, event: ActSent | ActEnded | Probed | Resolved, change: _Change) -> Run:
    return on_step(run, event.step, lambda step: _changed(step, event.act, change))


def _changed(step: StepState, act_id: str, change: _Change) -> StepState:
    for name in ("acts", "undo", "probes"):
        acts: tuple[ActState, ...] = getattr(step, name)
        for at, act in enumerate(acts):
            if act.id == act_id:
                return _replace(step, **{name: (*acts[:at], change(act), *acts[at + 1 :])})
    return step


def _intended(step: StepState, event: ActIntended) -> StepState:
    def intended(act: ActState) -> ActState:
        return _replace(
            act,
            intended=True,
            word=None,
            why="",
            shows=event.shows or act.shows,
            digest=event.act_digest,
            late=tuple(sorted(event.late.items())),
            member=event.member,
            attempt=event.attempt,
            transcript=event.transcript,
            permit=event.permit,
            handle=(),
            detached=False,
            untouched=False,
            refused=(),
            found=None,
            found_why="",
            dead=False,
            undone=False,
        )

    if any(act.id == event.act for act in step.acts):
        step = _replace(step, word=None, why="", failed="")
    return _changed(step, event.act, intended)


def _ended(act: ActState, event: ActEnded) -> ActState:
    counts = act.mode == "write" and event.word != "IN DOUBT" and not event.untouched
    return _replace(
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
        untouched=event.untouched,
        refused=event.refused,
        transcript=event.transcript or act.transcript,
        detached=False,
        counted=act.counted + counts,
    )


def _probed(run: Run, event: Probed) -> Run:
    at = index(run, event.step)
    if at is None:
        return run
    step = run.steps[at]
    forward = any(act.id == event.act for act in step.acts)
    undoing = run.undo is not None

    def found(act: ActState) -> ActState:
        gone = forward and undoing and event.found == "absent" and not act.in_doubt
        return _replace(
            act, found=event.found, found_why=event.why, dead=event.dead, undone=act.undone or (gone and act.intended)
        )

    run = _on_act(run, event, found)
    return run if forward else _taken_back(run, event.step, event.act)


def _resolved(run: Run, event: Resolved) -> Run:
    if event.act == event.step:  # what a person took back by hand
        return on_step(run, event.step, _by_hand)
    run = _on_act(run, event, lambda act: _settled(act, event, undoing=run.undo is not None))
    return _taken_back(run, event.step, event.act)


def _settled(act: ActState, event: Resolved, undoing: bool) -> ActState:
    said = f"{event.by} looked: {event.why}"
    if act.in_doubt and event.done:
        return _replace(act, word="OK", why=said, found="applied", dead=True, counted=act.counted + 1)
    if act.in_doubt:
        # To be done again, if at all, as a new attempt: this one was none.
        return _replace(act, intended=False, word=None, why="", found=None, dead=False, counted=max(0, act.counted - 1))
    if act.word == "OK" and act.id.partition("@")[0].endswith(".undo"):
        return _replace(act, found="applied") if event.done else _replace(act, word="FAILED", why=said)
    if undoing:
        return _replace(act, found="applied" if event.done else "absent", undone=not event.done)
    return act


def _taken_back(run: Run, step_id: str, undo_id: str) -> Run:
    """Forward acts are undone once their undo act is done and was found to hold."""

    def change(step: StepState) -> StepState:
        undo = next((act for act in step.undo if act.id == undo_id), None)
        if undo is None or undo.word != "OK" or undo.found != "applied":
            return step
        covered = {act.id for act in covers(step, undo)}
        acts = tuple(_replace(act, undone=True) if act.id in covered else act for act in step.acts)
        return _replace(step, acts=acts)

    return on_step(run, step_id, change)


def _by_hand(step: StepState) -> StepState:
    return _replace(step, undone=True, acts=tuple(_replace(act, undone=True) for act in step.acts))
