"""One step that is in no book, as a book: what a person types in an incident, with how it is looked at and taken back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypeVar, cast, get_args

import msgspec

from envtui.core.environment import Environment, HttpTarget, SqlTarget, SshTarget, Target
from envtui.core.errors import UsageError
from envtui.core.runbook import AnyExpect, HttpStep, ManualStep, Need, Probe, Runbook, SqlStep, SshStep, Step, Undo

_S = TypeVar("_S", SshStep, SqlStep, HttpStep)

WRITE, CHECK = "write", "check"
"""Ids of the step that writes, and of a person's look after it."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A write as it is typed. `words`: a command's words, one SQL statement, or METHOD PATH [BODY].

    `probe` (a command, a query or a path) tells by `applied` whether it is there, and by `absent`, or otherwise, that it is
    not; else `check` says what a person looks at. `undo` takes it back, else `no_undo` says why nothing does.
    """

    target: str
    words: tuple[str, ...]
    member: str = ""
    account: str = ""
    timeout: str = ""
    probe: str = ""
    applied: str = ""
    absent: str = ""
    check: str = ""
    undo: str = ""
    no_undo: str = ""


def target_of(environment: Environment, name: str) -> Target:
    """Raises UsageError, naming them all, when there is none of that name."""
    found = environment.targets.get(name)
    if found is None:
        raise UsageError(f"{environment.name} has no target {name!r}.", f"It has: {', '.join(environment.targets)}.")
    return found


def read(environment: Environment, target: str, words: Sequence[str], owner: str, needs: Sequence[str] = ()) -> Runbook:
    """A read of one step. `needs`: what the sandbox is to leave open. Raises UsageError for a target or a need that is not
    there."""
    described = target_of(environment, target)
    title = "an unscripted read"
    step: Step
    if needs and not isinstance(described, SshTarget):
        raise UsageError(f"{target} is no host: what a read needs is for targets of kind ssh.", "Leave it out.")
    if isinstance(described, SshTarget):
        step = SshStep(
            id="ask", target=target, argv=tuple(map(_plain, words)), title=title, needs=tuple(map(_need, needs))
        )
    elif isinstance(described, SqlTarget):
        step = SqlStep(id="ask", target=target, query=_plain(" ".join(words)), title=title)
    else:
        step = HttpStep(id="ask", target=target, path=_plain(words[0] if words else "/"), title=title)
    return _book("ask", environment, f"Unscripted read on {target}", owner, (step,))


def _need(name: str) -> Need:
    for known in get_args(Need):
        if name == known:
            return cast(Need, known)
    raise UsageError(f"{name!r} is nothing that a read can need.", f"One of {', '.join(get_args(Need))}.")


def write(environment: Environment, proposal: Proposal, id_: str, owner: str) -> Runbook:
    """A write of one step, and a person's look after it where there is no probe. Raises UsageError for what lacks."""
    described = target_of(environment, proposal.target)
    _complete(proposal)
    step: dict[str, object] = {"id": WRITE, "target": proposal.target, "mode": "write", "title": "UNSCRIPTED write"}
    step |= {"host": proposal.member or None, "timeout": proposal.timeout or None}
    step |= {"probe": _probe(proposal, described) if proposal.probe else None}
    step |= {"undo": _undo(proposal, described) if proposal.undo else None}
    step |= {"point_of_no_return": proposal.no_undo or None}
    if proposal.account and not isinstance(described, SshTarget):
        raise UsageError("Only a target of kind ssh has other accounts.", "Leave it out.")
    done: Step
    if isinstance(described, SshTarget):
        argv = tuple(map(_plain, proposal.words))
        done = _step({"kind": "ssh", "argv": argv, "as": proposal.account or None, **step}, SshStep)
    elif isinstance(described, SqlTarget):
        if len(proposal.words) != 1:
            raise UsageError("A statement is one argument.", "Put it into quotes.")
        done = _step({"kind": "sql", "query": _plain(proposal.words[0]), **step}, SqlStep)
    else:
        method, path, body = _call(proposal.words)
        done = _step({"kind": "http", "method": method, "path": path, "body": body, **step}, HttpStep)
    look = ManualStep(id=CHECK, title="A person looks", instructions=_plain(proposal.check))
    steps = (done, look) if proposal.check else (done,)
    return _book(id_, environment, f"UNSCRIPTED write on {proposal.target}", owner, steps)


def draft(book: Runbook) -> Runbook:
    """A book made of an unscripted one, to be given a title and an owner and put into the tree."""
    step = book.steps[0]
    verb = "change" if step.mode == "write" else "read"
    title = f"TODO: what this {verb} of {step.target} is for"
    steps = (msgspec.structs.replace(step, title=f"TODO: what it {verb}s"), *book.steps[1:])
    return msgspec.structs.replace(book, id=f"{verb}-{step.target}"[:64], title=title, steps=steps)


def _step(fields: dict[str, object], kind: type[_S]) -> _S:
    """Raises UsageError for a value that its field does not take."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"A proposal cannot say that: {error}.", "docs/runbooks.md says what a step may hold."
        ) from error


def _complete(proposal: Proposal) -> None:
    if not proposal.words or not any(word.strip() for word in proposal.words):
        raise UsageError("There is nothing to do.", "Say the command, the statement, or the method and the path.")
    if bool(proposal.probe) == bool(proposal.check):
        raise UsageError(
            "A write needs a probe that tells whether it is there, or what a person looks at; one of the two.",
            "Give --probe with --applied, or --check.",
        )
    if proposal.probe and not proposal.applied:
        raise UsageError("The probe does not say what it shows when the write is there.", "Give --applied.")
    if not proposal.probe and (proposal.applied or proposal.absent):
        raise UsageError("--applied and --absent belong to a probe.", "Give --probe, or leave them out.")
    if bool(proposal.undo) == bool(proposal.no_undo):
        raise UsageError(
            "A write says how it is taken back, or why it cannot be; one of the two.", "Give --undo, or --no-undo."
        )


def _probe(proposal: Proposal, described: Target) -> Probe:
    absent = _expect(proposal.absent, described) if proposal.absent else "otherwise"
    fields = {"applied": _expect(proposal.applied, described), "absent": absent}
    if isinstance(described, SqlTarget):
        return Probe(kind="sql", query=_plain(proposal.probe), **fields)  # type: ignore[arg-type]  # one of each kind
    if isinstance(described, HttpTarget):
        return Probe(kind="http", path=_plain(proposal.probe), **fields)  # type: ignore[arg-type]
    argv = tuple(map(_plain, _split(proposal.probe, "--probe")))
    return Probe(kind="ssh", argv=argv, **fields)  # type: ignore[arg-type]


def _expect(text: str, described: Target) -> AnyExpect:
    literal = _plain(text)
    return AnyExpect(stdout_matches=literal) if isinstance(described, SshTarget) else AnyExpect(value=literal)


def _undo(proposal: Proposal, described: Target) -> Undo:
    if isinstance(described, SqlTarget):
        return Undo(kind="sql", query=_plain(proposal.undo))
    words = _split(proposal.undo, "--undo")
    if isinstance(described, SshTarget):
        return Undo(kind="ssh", argv=tuple(map(_plain, words)))
    method, path, body = _call(words)
    return Undo(kind="http", method=method, path=path, body=body)


def _split(text: str, option: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{option}: the command cannot be split: {error}.", "Close the quote.") from error
    if not words:
        raise UsageError(f"{option} is empty.", "Say what it does.")
    return words


def _call(words: tuple[str, ...]) -> tuple[str, str, str | None]:
    """METHOD PATH [BODY]."""
    if len(words) not in (2, 3):
        raise UsageError(
            "A write over HTTP is METHOD PATH, and a body where there is one.", "Like: POST /policy/revert"
        )
    body = _plain(words[2]) if len(words) == 3 else None
    return words[0].upper(), _plain(words[1]), body


def _book(id_: str, environment: Environment, title: str, owner: str, steps: tuple[Step, ...]) -> Runbook:
    return Runbook(
        schema="envtui/runbook@1", id=id_, environment=environment.name, title=title[:200], owner=owner, steps=steps
    )


def _plain(word: str) -> str:
    """A word as a literal: `${` is not a place here."""
    return word.replace("${", "$${")
