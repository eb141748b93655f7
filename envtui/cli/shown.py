"""An environment and a book as lines of text: what `envtui show` prints. Templates stay as they are written."""

from __future__ import annotations

from collections.abc import Iterator

from envtui.core.environment import Credential, HttpTarget, SqlTarget
from envtui.core.runbook import ChooseStep, HttpStep, ManualStep, Param, SqlStep, SshStep, Step, Undo, WaitStep
from envtui.core.tree import Book, Tree


def environment_lines(tree: Tree) -> Iterator[str]:
    """Purpose, rules, targets, policy. Accounts by name; of secrets only that there is one."""
    environment = tree.environment
    yield f"{environment.name}: {environment.purpose}"
    yield f"  data {environment.data}, reset {environment.reset}" + (
        f", promotes from {environment.promotes_from}" if environment.promotes_from else ""
    )
    for rule in environment.rules:
        yield f"  - {rule}"
    yield "targets"
    for name, target in environment.targets.items():
        where = target.base if isinstance(target, HttpTarget) else ", ".join(target.hosts)
        database = f" {target.dbname}" if isinstance(target, SqlTarget) else ""
        write = f", write as {_account(environment.credentials.get(target.write))}" if target.write else ", read only"
        via = f", via {target.via}" if target.via else ""
        kind = target.__struct_config__.tag
        yield f"  {name}  {kind}{database}  {where}{via}"
        yield f"    read as {_account(environment.credentials.get(target.read))}{write}"
    access = environment.access
    yield "write access"
    yield f"  incident {'required' if access.incident.required else 'not required'} (tracker {access.incident.tracker})"
    roles = f" with role {' or '.join(access.signoff.roles)}" if access.signoff.roles else ""
    count = access.signoff.min
    who = f"{count} other {'person' if count == 1 else 'people'}{roles}" if count else "the requester alone"
    yield f"  signed off by {who}, for at most {access.grant.max}"
    yield f"  write gate: {access.write_gate or 'advisory'}"
    yield f"books: {len(tree.books)}"


def book_lines(tree: Tree, book: Book) -> Iterator[str]:
    """One book: when to use it, what it asks for, and each step with R or W."""
    runbook = book.runbook
    yield f"{tree.name}/{runbook.id}: {runbook.title}"
    yield f"  {book.path}, sha256 {book.sha256[:16]}, owner {runbook.owner}"
    if runbook.use_when:
        yield f"  use when {runbook.use_when}"
    if runbook.params:
        yield "parameters"
        for name, param in runbook.params.items():
            yield f"  {name}  {_param(param)}"
    for section, steps in (("before", runbook.before), ("steps", runbook.steps)):
        if steps:
            yield section
        for number, step in enumerate(steps, 1):
            yield from _step(number, step, runbook.defaults.target)


def _step(number: int, step: Step, target: str | None) -> Iterator[str]:
    kind = step.__struct_config__.tag
    reaches = isinstance(step, SshStep | SqlStep | HttpStep)
    where = f" {step.target or target or '?'}" if reaches else ""
    at = f"/{step.host}" if step.host else ""
    yield f"  {number:>2} {'W' if step.mode == 'write' else 'R'} {step.id}  {kind}{where}{at}  {step.title}"
    for line in _does(step):
        yield f"       {line}"
    if needs := getattr(step, "needs", ()):
        yield f"       needs: {', '.join(needs)}"
    if step.if_:
        yield f"       if {step.if_}"
    if step.undo is not None:
        yield f"       undo: {_undo(step.undo)}"
    if step.point_of_no_return:
        yield f"       no way back: {step.point_of_no_return}"
    if step.next:
        yield f"       next: {step.next}"


def _does(step: Step) -> Iterator[str]:
    if isinstance(step, SshStep):
        yield from (step.sh or _words(step.argv)).strip().splitlines()
    elif isinstance(step, SqlStep):
        yield from (step.query or f"file {step.file}").strip().splitlines()
    elif isinstance(step, HttpStep):
        yield f"{step.method} {step.path}" if step.path else f"check {step.check}"
    elif isinstance(step, ManualStep):
        yield from step.instructions.strip().splitlines()
    elif isinstance(step, ChooseStep):
        yield from (f"{label} → {to}" for label, to in step.options.items())
    elif isinstance(step, WaitStep):
        yield f"wait {step.for_}" if step.for_ else "wait until a read shows it"


def _undo(undo: Undo) -> str:
    return undo.instructions or undo.query or undo.sh or undo.file or undo.path or _words(undo.argv)


def _words(argv: tuple[str, ...] | str | None) -> str:
    return argv if isinstance(argv, str) else " ".join(repr(word) if " " in word else word for word in argv or ())


def _param(param: Param) -> str:
    words: list[str] = [param.type]
    words += [f"one of {', '.join(param.choices)}"] if param.choices else []
    words += [f"default {param.default}"] if param.default is not None else []
    words += [f"at most {param.max}"] if param.max else []
    return ", ".join(words) + (f"  {param.ask}" if param.ask else "")


def _account(credential: Credential | None) -> str:
    return (credential.user or credential.header or "?") if credential else "?"
