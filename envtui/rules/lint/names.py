"""`${…}`: that every name is there before it is used, that no secret shows, that no value becomes syntax."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envtui.core.errors import UsageError
from envtui.core.pattern import safe_pattern
from envtui.core.runbook import HttpStep, ManualStep, Runbook, SqlStep, SshStep, Step, WaitStep
from envtui.core.tree import Path, Tree
from envtui.rules.condition import split
from envtui.rules.lint.report import Report
from envtui.rules.plan import captured_types
from envtui.rules.template import RUN_NAMES, names

_DOING = ("cwd", "body", "path", "query", "host")


def lint_names(tree: Tree, runbook: Runbook, report: Report) -> None:
    """Each text of each step against the names that exist by then."""
    known = {f"params.{name}" for name in runbook.params} | {f"run.{name}" for name in RUN_NAMES}
    secrets = {f"params.{name}" for name, param in runbook.params.items() if param.type == "secret"}
    types = captured_types(runbook)
    comes_later = {name for step in (*runbook.before, *runbook.steps) for name in _brings(step)}
    for section, steps in (("before", runbook.before), ("steps", runbook.steps)):
        for index, step in enumerate(steps):
            path: Path = (section, index)
            here = {*known, "each.*"} if step.each is not None else known
            names_ = _Names(here, secrets, comes_later, report, types)
            _step(tree, step, path, names_)
            known |= _brings(step)


def _brings(step: Step) -> set[str]:
    """The names that exist once the step has run; `vars.x.*` stands for all columns of x."""
    brings: set[str] = set()
    for name, capture in step.capture.items():
        brings |= {f"vars.{name}", f"vars.{name}.host"} | {f"vars.{name}.{column}" for column in capture.columns}
        if capture.from_ == "rows" and not capture.columns:
            brings.add(f"vars.{name}.*")
    if isinstance(step, ManualStep):
        brings |= {f"vars.{step.id}.{name}" for name in step.ask}
    return brings


class _Names:
    """What may be named at one step."""

    def __init__(
        self, known: set[str], secrets: set[str], later: set[str], report: Report, types: Mapping[str, str]
    ) -> None:
        self._known = known
        self.types = types
        self._secrets = secrets
        self._later = later
        self.report = report

    def check(self, path: Path, text: str, secret: bool = False, prose: bool = False) -> list[str]:
        """The names in `text`; says which are unknown, and which are secrets where none may stand."""
        if "${" not in text:
            return []
        try:
            found = names(text)
        except UsageError as error:
            if not prose:  # a shell example in a text for people is no template
                self.report.error(path, error.message, error.remedy)
            return []
        for name in found:
            if name in self._secrets and not secret:
                remedy = "Secrets go to stdin or into SQL."
                self.report.error(path, f"the secret ${{{name}}} would be seen here.", remedy)
            elif not self._has(name, self._known):
                self._unknown(path, name, prose)
        return list(found)

    def has(self, name: str) -> bool:
        """Whether there is a value of that name here."""
        return self._has(name, self._known)

    def condition(self, path: Path, text: str) -> None:
        try:
            name = split(text)[0]
        except UsageError as error:
            self.report.error(path, error.message, error.remedy)
            return
        self.check(path, f"${{{name}}}")

    def _unknown(self, path: Path, name: str, prose: bool) -> None:
        if self._has(name, self._later):
            message, remedy = (
                f"${{{name}}} is captured later.",
                "A step has what was captured before it: move that one up.",
            )
        elif name.startswith("vars."):
            message, remedy = f"no step captures ${{{name}}}.", "capture: {…} brings a name, ask brings STEP.NAME."
        else:
            message, remedy = f"there is no ${{{name}}}.", f"Known: {', '.join(sorted(self._known)) or 'none'}."
        (self.report.warning if prose else self.report.error)(path, message, remedy)

    @staticmethod
    def _has(name: str, names_: set[str]) -> bool:
        return name in names_ or f"{name.rpartition('.')[0]}.*" in names_


def _step(tree: Tree, step: Step, path: Path, known: _Names) -> None:
    used: list[tuple[Path, str]] = []
    for at, text in _texts(step, path):
        secret = at[-1] == "query" or at[-2:] == ("stdin", "text")
        used += [(at, name) for name in known.check(at, text, secret=secret)]
    if isinstance(step, SqlStep) and step.file is not None and step.file in tree.files:
        content = tree.files[step.file].decode("utf-8", "replace")
        used += [((*path, "file"), name) for name in known.check((*path, "file"), content, secret=True)]
    if step.if_ is not None:
        known.condition((*path, "if"), step.if_)
    for field in ("title", "doc", "instructions", "confirm"):
        known.check((*path, field), getattr(step, field, None) or "", prose=True)
    if step.mode == "write":
        used_late = list(used)
        if step.undo is not None and step.undo.instructions is None:
            used_late += [(at, name) for at, text in _texts(step.undo, (*path, "undo")) for name in _named(text)]
        if not isinstance(step, ManualStep):
            _slots(step, path, used_late, known)
    for expect, at in _expectations(step, path):
        for where, text in _matched(expect, at):
            known.check(where, text)
    for part in ("probe", "undo"):
        doing = getattr(step, part)
        if doing is not None:
            for at, text in _texts(doing, (*path, part)):
                known.check(at, text, secret=at[-1] == "query" or at[-2:] == ("stdin", "text"))
    if isinstance(step, WaitStep) and step.until is not None:
        for at, text in _texts(step.until, (*path, "until")):
            known.check(at, text, secret=at[-1] == "query")
    for name, capture in step.capture.items():
        for column, text in capture.where.items():
            known.check((*path, "capture", name, "where", column), text)


def _slots(step: Step, path: Path, used: list[tuple[Path, str]], known: _Names) -> None:
    """Each captured value in a write or its undo has a slot, and each slot a place and a capture of its type."""
    report = known.report
    slots = {f"vars.{late.name}" for late in step.late}
    for at, name in used:
        if name.startswith("vars.") and name not in slots and at[-1] != "host":
            report.error(
                at,
                f"a write uses the captured ${{{name}}}, which nobody can sign beforehand.",
                "Declare it under late, with a pattern, or make it a parameter.",
            )
    seen: set[str] = set()
    for index, late in enumerate(step.late):
        at, name = (*path, "late", index), f"vars.{late.name}"
        if late.name in seen:
            report.error((*at, "name"), f"the slot {late.name} is declared twice.", "Declare it once.")
        seen.add(late.name)
        if all(name != each for _, each in used):
            report.error((*at, "name"), f"no place of this write uses ${{{name}}}.", "Leave the slot out.")
        kind = known.types.get(name, "string")
        if late.type in ("secret", "enum"):
            report.error((*at, "type"), f"a slot is no {late.type}: nothing is captured as one.")
        elif known.has(name) and late.type != kind:
            report.error((*at, "type"), f"{late.name} is captured as {kind}.", "Say the same of both.")
        if late.type == "string" and _takes_anything(late.pattern):
            report.warning(
                (*at, "pattern"),
                f"{late.pattern} matches anything.",
                "Say what the value looks like: it is what is signed.",
            )


_ANYTHING = ("a b;'\"`$(){}<>|&*?!#%", "x" * 64, "-r", "../..")


def _takes_anything(pattern: str) -> bool:
    try:
        compiled = safe_pattern(pattern)
    except UsageError:
        return False  # said elsewhere
    return all(compiled.fullmatch(text) for text in _ANYTHING)


def _named(text: str) -> tuple[str, ...]:
    try:
        return names(text)
    except UsageError:
        return ()  # said elsewhere


def _expectations(step: Step, path: Path) -> Iterator[tuple[object, Path]]:
    """Everything of a step that an answer is held against. A value that is missing there is known too late: in doubt."""
    yield getattr(step, "expect", None), (*path, "expect")
    if isinstance(step, WaitStep) and step.until is not None:
        yield step.until.expect, (*path, "until", "expect")
    if step.probe is not None:
        yield step.probe.applied, (*path, "probe", "applied")
        yield step.probe.absent, (*path, "probe", "absent")


def _matched(expect: object, path: Path) -> Iterator[tuple[Path, str]]:
    """(path, text) of what an expectation compares with."""
    for field in ("stdout_matches", "stdout_absent", "value"):
        text = getattr(expect, field, None)
        if text is not None:
            yield (*path, field), text
    yield from (((*path, "json", pointer), text) for pointer, text in (getattr(expect, "json", None) or {}).items())


def _texts(doing: object, path: Path) -> Iterator[tuple[Path, str]]:
    """(path, text) of everything that a call is made of; `sh` is none, it takes no names."""
    argv = getattr(doing, "argv", None)
    if isinstance(argv, str):
        yield (*path, "argv"), argv
    else:
        yield from (((*path, "argv", index), word) for index, word in enumerate(argv or ()))
    args = getattr(doing, "args", None) or ()
    if isinstance(args, Mapping):
        yield from (((*path, "args", name), text) for name, text in args.items())
    else:
        yield from (((*path, "args", index), text) for index, text in enumerate(args))
    for field in ("env", "headers"):
        yield from (((*path, field, name), text) for name, text in (getattr(doing, field, None) or {}).items())
    for field in _DOING:
        text = getattr(doing, field, None)
        if text is not None:
            yield (*path, field), text
    stdin = getattr(doing, "stdin", None)
    if stdin is not None and stdin.text is not None:
        yield (*path, "stdin", "text"), stdin.text
    if stdin is not None and stdin.capture is not None:
        yield (*path, "stdin", "capture"), f"${{vars.{stdin.capture}}}"
    each = getattr(doing, "each", None)
    if isinstance(doing, SshStep | SqlStep | HttpStep) and each is not None:
        yield (*path, "each", "in"), each.in_
