"""A plan: everything that a run of a book would do, decided before anything is done.

Its digest covers the ordered acts, the inputs and which reads are required. Whoever makes it again from the same book,
files, manifest and inputs gets the same bytes: that is how an approver checks what is asked for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

import msgspec

from envtui.core.act import Act, Mode, Place, Plan, PlannedStep, Slot, Value
from envtui.core.environment import Environment
from envtui.core.errors import UsageError
from envtui.core.pattern import safe_pattern
from envtui.core.runbook import ManualStep, Runbook, Step, ValueType, WaitStep
from envtui.core.shape import seconds

from .calls import DEFAULT_TIMEOUT, Doing, call_of, doing, doing_of
from .condition import split
from .places import places
from .presets import written_out
from .shows import shows
from .template import Scope, parse, prose
from .unbuilt import refuse_unbuilt, refuse_unheld_policy
from .values import inputs

_INCIDENT = "run.incident"


def make_plan(
    *,
    environment: Environment,
    runbook: Runbook,
    book_sha256: str,
    files: Mapping[str, bytes],
    run: str,
    operator: str,
    date: str,
    params: Mapping[str, str],
    incident: str = "",
) -> Plan:
    """The plan of one run. `files` are the tree's by relative path, `date` is the UTC date, `params` as given.

    Without an `incident` its places stay open and the acts that use it cannot run: the plan is made again when one is
    named. Raises UsageError, with all that is wrong at once: parameters, fields that are not built, texts, targets.
    """
    if runbook.environment != environment.name:
        raise UsageError(
            f"{runbook.id} is a book of {runbook.environment}, not of {environment.name}.", "Open that one."
        )
    refuse_unbuilt(runbook)
    values = inputs(runbook.params, params)
    scope = _scope(environment, runbook, values, run, operator, date, incident)
    planner = _Planner(environment, runbook, files, operator, scope)
    steps: list[PlannedStep] = []
    wrong: list[str] = []
    seen: set[str] = set()
    for step, before in _in_order(runbook):
        if step.id in seen:
            wrong.append(f"step {step.id}: there are two of this id. Ids name the steps; give each its own.")
        seen.add(step.id)
        try:
            steps.append(planner.step(step, before))
        except UsageError as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("\n".join(wrong))
    plan = Plan(
        run=run,
        book=runbook.id,
        book_sha256=book_sha256,
        environment=environment.name,
        operator=operator,
        inputs=values,
        steps=tuple(steps),
        incident=incident,
        date=date,
    )
    if plan.writes:
        refuse_unheld_policy(environment)
    _one_spelling(plan)
    return plan


def known(plan: Plan) -> dict[str, str]:
    """The values that a plan fixes, by name: `params.x`, `run.id`. Secrets are not among them."""
    found = {f"params.{name}": value.text for name, value in plan.inputs if not value.secret}
    found |= {"run.id": plan.run, "run.environment": plan.environment, "run.operator": plan.operator}
    found |= {"run.date": plan.date, **({_INCIDENT: plan.incident} if plan.incident else {})}
    return found


def captured_types(book: Runbook) -> dict[str, ValueType]:
    """The names that steps of the book give values to, with their types. `vars.x.*` stands for any column of x."""
    found: dict[str, ValueType] = {}
    for step, _ in _in_order(book):
        for name, spec in step.capture.items():
            found[f"vars.{name}"] = next(iter(spec.columns.values())) if spec.columns else spec.type
            found |= {f"vars.{name}.{column}": type_ for column, type_ in spec.columns.items()}
            if spec.from_ == "rows" and not spec.columns:
                found[f"vars.{name}.*"] = "string"
            if spec.per_host:
                found[f"vars.{name}.host"] = "host"
        if isinstance(step, ManualStep):
            found |= {f"vars.{step.id}.{name}": type_ for name, type_ in step.ask.items()}
    return found


class _Planner:
    def __init__(
        self, environment: Environment, book: Runbook, files: Mapping[str, bytes], operator: str, scope: Scope
    ) -> None:
        self.environment = environment
        self.book = book
        self.files = files
        self.operator = operator
        self.scope = scope

    def step(self, step: Step, before: bool) -> PlannedStep:
        """One step, planned. Raises UsageError that begins with its id."""
        step = written_out(step)
        kind = step.__struct_config__.tag
        acts: tuple[Act, ...] = ()
        instead: tuple[Act, ...] = ()
        only = ""
        if step.if_:
            self._condition(step)
        late = self._slots(step)
        if kind in ("ssh", "sql", "http"):
            acts, instead, only = self.acts(doing(step), step.id, step.mode, late)
            acts, instead = self._lasting(step, kind, acts), self._lasting(step, kind, instead)
        elif isinstance(step, WaitStep):
            if (step.for_ is None) == (step.until is None):
                raise UsageError(f"step {step.id}: needs either `for` or `until`.", "Say one of the two.")
            if step.until is not None:
                acts, instead, only = self.acts(doing_of(step.until, step, "until"), step.id, "read")
        undo, by_hand = self._undo(step, late)
        probe: tuple[Act, ...] = ()
        if step.probe is not None:
            probe = self.acts(doing_of(step.probe, step, "probe"), f"{step.id}.probe", "read")[0]
        return PlannedStep(
            id=step.id,
            kind=kind,  # type: ignore[arg-type]  # the tag is one of Kind
            mode=step.mode,
            title=prose(step.title, self._shown()) or (shows(acts[0]) if acts else step.id),
            acts=acts,
            before=before,
            required=step.required,
            undo=undo,
            probe=probe,
            instead=instead,
            only=only,
            by_hand=by_hand,
            late=late,
        )

    def _lasting(self, step: Step, kind: str, acts: tuple[Act, ...]) -> tuple[Act, ...]:
        """The acts with what the step says of silence, and of going on alone."""
        if not step.detach and step.idle_timeout is None:
            return acts
        if kind != "ssh":
            field = "detach" if step.detach else "idle_timeout"
            raise UsageError(f"step {step.id}: `{field}` is for steps of kind ssh.", "Use `timeout`.")
        if step.detach and (step.mode != "write" or step.timeout is None):
            raise UsageError(
                f"step {step.id}: `detach` is for a write with a `timeout` of its own.",
                "Nobody watches it meanwhile: say how long it may take.",
            )
        idle = seconds(step.idle_timeout) if step.idle_timeout is not None else 0.0
        return tuple(msgspec.structs.replace(act, idle_timeout=idle, detach=step.detach) for act in acts)

    def _slots(self, step: Step) -> tuple[Slot, ...]:
        """What captured values must be like to stand in this write. Raises UsageError for a slot that nothing can fill."""
        found: list[Slot] = []
        for late in step.late:
            where, name = f"step {step.id}, late {late.name}", f"vars.{late.name}"
            if step.mode != "write":
                raise UsageError(f"{where}: slots are for writes.", "A read uses what was captured as it is.")
            if not self.scope.comes(name):
                raise UsageError(f"{where}: no step captures ${{{name}}}.", "A step must capture it, or ask for it.")
            kind = self.scope.type_of(name)
            if late.type in ("secret", "enum") or late.type != kind:
                raise UsageError(
                    f"{where}: its type is {late.type}, and ${{{name}}} is captured as {kind}.", "Say the same of both."
                )
            try:
                safe_pattern(late.pattern)
            except UsageError as error:
                raise UsageError(f"{where}: {error.message}", error.remedy) from error
            if any(slot.name == late.name for slot in found):
                raise UsageError(f"{where}: it is declared twice.", "Declare it once.")
            found.append(
                Slot(
                    name=late.name,
                    type=late.type,
                    pattern=late.pattern,
                    max_length=late.max_length,
                    fixed=late.fixed,
                )
            )
        return tuple(found)

    def _undo(self, step: Step, late: tuple[Slot, ...]) -> tuple[tuple[Act, ...], str]:
        if step.undo is None:
            return (), ""
        what = doing_of(step.undo, step, "undo")
        if what.kind == "manual":
            return (), prose(what.instructions or "", self._shown())
        return self.acts(what, f"{step.id}.undo", "write", late)[0], ""

    def acts(
        self, what: Doing, step_id: str, mode: Mode, late: tuple[Slot, ...] = ()
    ) -> tuple[tuple[Act, ...], tuple[Act, ...], str]:
        """(what runs, what may run instead when a member is unreachable, the place that names the one that runs)."""
        defaults = self.book.defaults
        target = what.target or defaults.target
        if target is None:
            raise UsageError(f"{what.where}: needs a target.", "Name it in the step, or in `defaults`.")
        if what.kind not in ("ssh", "sql", "http"):
            raise UsageError(f"{what.where}: {what.kind} cannot stand here.", "Use ssh, sql or http.")
        as_ = what.as_ if what.as_ is not None else defaults.as_ if what.kind == "ssh" else None
        if "root" in what.needs:
            as_ = as_ or "root"
        try:
            all_places = places(self.environment, target, mode, self.operator, as_)
        except UsageError as error:
            raise UsageError(f"{what.where}: {error.message}", error.remedy) from error
        if all_places[0].kind != what.kind:
            raise UsageError(
                f"{what.where}: {target} is a target of kind {all_places[0].kind}, the step is {what.kind}.",
                "Name a target of that kind.",
            )
        host = what.host if what.host is not None else defaults.host
        chosen, others, only = self._members(what, all_places, host, mode)
        return (
            tuple(self._act(what, place, step_id, mode, late) for place in chosen),
            tuple(self._act(what, place, step_id, mode, late) for place in others),
            only,
        )

    def _members(
        self, what: Doing, found: tuple[Place, ...], host: str | None, mode: Mode
    ) -> tuple[tuple[Place, ...], tuple[Place, ...], str]:
        if host is None:
            # The servers of one database are alternatives; the hosts of an ssh target are all meant.
            host = "any" if found[0].kind == "sql" else "all"
        if host == "all":
            return found, (), ""
        if host == "any":
            return found[:1], found[1:] if mode == "read" else (), ""
        parts = parse(host, f"{what.where}, host")
        if len(parts) == 1 and not isinstance(parts[0], str):
            name = parts[0].name
            if name in self.scope.known:
                host = self.scope.known[name].text
            elif not self.scope.comes(name):
                raise UsageError(f"{what.where}, host: ${{{name}}} is not known here.", "A step must capture it.")
            elif mode == "write":
                raise _open(what, name)
            else:
                return found, (), name
        named = tuple(place for place in found if place.member == host)
        if not named:
            members = ", ".join(place.member for place in found[:20])
            raise UsageError(f"{what.where}: {found[0].target} has no member {host!r}.", f"There are: {members}.")
        return named, (), ""

    def _act(self, what: Doing, place: Place, step_id: str, mode: Mode, late: tuple[Slot, ...]) -> Act:
        act = Act(
            step=step_id,
            mode=mode,
            place=place,
            call=call_of(what, mode, self.scope.at(place.member), self.files),
            needs=tuple(sorted(set(what.needs))),
            timeout=seconds(what.timeout or self.book.defaults.timeout or f"{DEFAULT_TIMEOUT:.0f}s"),
        )
        if mode == "write":
            slots = {f"vars.{slot.name}" for slot in late}
            for name in act.places():
                if name != _INCIDENT and name not in slots:
                    raise _open(what, name)
        return act

    def _condition(self, step: Step) -> None:
        try:
            name = split(step.if_ or "")[0]
        except UsageError as error:
            raise UsageError(f"step {step.id}, if: {error.message}", error.remedy) from error
        if name not in self.scope.known and not self.scope.comes(name):
            raise UsageError(f"step {step.id}, if: ${{{name}}} is not known here.", "A step must capture it.")

    def _shown(self) -> dict[str, str]:
        return {name: value.text for name, value in self.scope.known.items() if not value.secret}


def _open(what: Doing, name: str) -> UsageError:
    return UsageError(
        f"{what.where}: ${{{name}}} is known only when the run is there, and a write is signed before.",
        "Declare it under `late`, with a pattern; or make it a parameter, read first and run the book with what was found.",
    )


def _in_order(book: Runbook) -> Iterator[tuple[Step, bool]]:
    yield from ((step, True) for step in book.before)
    yield from ((step, False) for step in book.steps)


def _scope(
    environment: Environment,
    book: Runbook,
    values: tuple[tuple[str, Value], ...],
    run: str,
    operator: str,
    date: str,
    incident: str,
) -> Scope:
    fixed = {"run.id": run, "run.environment": environment.name, "run.operator": operator, "run.date": date}
    later = captured_types(book)
    if incident:
        fixed[_INCIDENT] = incident
    else:
        later[_INCIDENT] = "string"
    given = {name: Value(type="string", text=text, origin="run") for name, text in fixed.items()}
    given |= {f"params.{name}": value for name, value in values}
    return Scope(known=given, later=later)


def _one_spelling(plan: Plan) -> None:
    """Canonical bytes are in NFC: what is not would be signed as something else than what runs."""
    for text in _texts(plan.as_data()):
        if not unicodedata.is_normalized("NFC", text):
            raise UsageError(
                f"{text[:80]!r} has characters with two spellings (it is not in Unicode NFC).",
                "Save the book in NFC; bytes that must stay as they are belong into a file.",
            )


def _texts(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _texts(value)
