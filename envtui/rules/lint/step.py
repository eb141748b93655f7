"""One step: fields that fit its kind, a target that is there, a write that can be looked at and taken back."""

from __future__ import annotations

import re
import shlex

from envtui.core.runbook import (
    AnyExpect,
    Capture,
    ChooseStep,
    HttpStep,
    ManualStep,
    Probe,
    Runbook,
    SqlStep,
    SshStep,
    Stdin,
    Step,
    Undo,
    Until,
    WaitStep,
)
from envtui.core.shape import seconds
from envtui.core.tree import Path, Tree
from envtui.rules.calls import DEFAULT_TIMEOUT
from envtui.rules.lint.manifest import kind_of
from envtui.rules.lint.needs import missing_need
from envtui.rules.lint.report import Report
from envtui.rules.lint.writes import looks_like_write
from envtui.rules.presets import PRESETS, problem, written_out
from envtui.rules.protection import minimum

WRITE_ONLY = ("probe", "repeatable", "undo", "point_of_no_return", "fanout", "late", "detach", "finally_")
NOT_FOR_PEOPLE = ("target", "host", "as_", "needs", "poll", "each", "retry", "idle_timeout", "fanout", "detach", "late")
_SOURCES = {
    "ssh": ("stdout", "lines", "json"),
    "sql": ("rows",),
    "http": ("stdout", "lines", "json", "headers"),
    "manual": ("answer",),
}
_USED = {"ssh": ("argv", "sh"), "sql": ("query", "file"), "http": ("path", "check"), "manual": ("instructions",)}
_MATCHERS = {
    "ssh": ("exit", "stdout_matches", "stdout_absent", "json"),
    "sql": ("rows", "rows_min", "rows_max", "value"),
    "http": ("status", "json", "value"),
}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def written(field: str) -> str:
    """A field as the file writes it."""
    return field.rstrip("_")


def lint_step(tree: Tree, runbook: Runbook, step: Step, path: Path, report: Report, unscripted: bool = False) -> None:
    """The problems of one step by itself. `unscripted`: it needs no probe, a person looks; in doubt it stays in doubt."""
    preset = step.probe.preset if step.probe is not None else None
    if preset is not None and (wrong := problem(preset)):
        report.error((*path, "probe", "preset"), f"{wrong}.", f"There are: {', '.join(PRESETS)}.")
    elif preset is not None:
        step = written_out(step)
    kind = str(step.__struct_config__.tag)
    if path[0] == "before" and step.mode == "write":
        report.error(path, "what runs before the steps only reads.", "Move the write to steps.")
    if isinstance(step, ChooseStep | WaitStep | ManualStep):
        looks = isinstance(step, WaitStep) and step.until is not None
        for field in NOT_FOR_PEOPLE:
            if getattr(step, field) and not (looks and field == "poll"):
                report.error((*path, written(field)), f"{written(field)} does not belong to a step of kind {kind}.")
    if isinstance(step, ChooseStep | WaitStep):
        if step.mode == "write":
            report.error((*path, "mode"), f"a step of kind {kind} changes nothing.")
        if step.capture:
            report.error((*path, "capture"), f"a step of kind {kind} has nothing to capture.")
    if isinstance(step, WaitStep) and (step.for_ is None) == (step.until is None):
        report.error(path, "a wait is for or until.", "Say exactly one.")
    if isinstance(step, ManualStep) and step.see is not None:
        report.known((*path, "see"), "book", step.see, tree.books)
    if isinstance(step, SshStep | SqlStep | HttpStep):
        checked = isinstance(step, HttpStep) and step.check is not None
        _doing(tree, step, kind, path, report)
        _target(tree, step.target or runbook.defaults.target, kind, step.mode, path, report, needed=not checked)
        _expect(step, path, report)
    _captures(step, kind, path, report)
    _idle(runbook, step, kind, path, report)
    if step.mode == "write" and not isinstance(step, ChooseStep | WaitStep):
        _write(tree, runbook, step, kind, path, report, unscripted)
    elif step.mode == "read":
        _read(tree, runbook, step, path, report)
    if isinstance(step, WaitStep) and step.until is not None:
        _part(tree, runbook, step, step.until, "until", path, report)


def _idle(runbook: Runbook, step: Step, kind: str, path: Path, report: Report) -> None:
    if step.idle_timeout is None or isinstance(step, ChooseStep | WaitStep | ManualStep):
        return
    limit = step.timeout or runbook.defaults.timeout
    if kind != "ssh":
        report.error((*path, "idle_timeout"), f"a step of kind {kind} says nothing until it ends.", "Use timeout.")
    elif seconds(step.idle_timeout) >= (seconds(limit) if limit is not None else DEFAULT_TIMEOUT):
        report.warning((*path, "idle_timeout"), "the timeout is over before.", "Make it shorter, or timeout longer.")


def _doing(tree: Tree, step: SshStep | SqlStep | HttpStep, kind: str, path: Path, report: Report) -> None:
    used = [field for field in _USED[kind] if getattr(step, field) is not None]
    if len(used) != 1:
        report.error(path, f"a step of kind {kind} has exactly one of {' and '.join(_USED[kind])}.")
    _command(tree, step, path, report)
    _needs(step, kind, path, report)
    if isinstance(step, HttpStep):
        if step.method not in ("GET", "HEAD") and step.mode == "read":
            report.error((*path, "method"), f"{step.method} is no read.", "Say mode: write.")
        if step.check is not None:
            report.known((*path, "check"), "check", step.check, tree.environment.monitoring)


def _command(
    tree: Tree, doing: SshStep | SqlStep | HttpStep | Undo | Probe | Until, path: Path, report: Report
) -> None:
    """The fields of whatever does something: a step, its probe, its undo, a wait's until."""
    argv: object = getattr(doing, "argv", None)
    words: list[str] = []
    if isinstance(argv, str):
        try:
            words = shlex.split(argv)
        except ValueError as error:
            report.error((*path, "argv"), f"the command cannot be split: {error}.", "Close the quote, or write a list.")
        else:
            if not words:
                report.error((*path, "argv"), "the command is empty.")
    elif isinstance(argv, tuple):
        words = [*argv]
    if words and "${" in words[0].replace("$${", ""):
        report.error((*path, "argv"), "the program is a value.", "Name it in the book.")
    if any("\0" in word for word in words):
        report.error((*path, "argv"), "a NUL character cannot be in an argument.")
    script: str | None = getattr(doing, "sh", None)
    if script is not None and "${" in script.replace("$${", ""):
        remedy = 'Put it into args and use "$1"; $${ is a literal ${.'
        report.error((*path, "sh"), "${…} cannot stand in sh.", remedy)
    args: object = getattr(doing, "args", ())
    if args and script is None and getattr(doing, "path", None) is None:
        report.error((*path, "args"), "args belong to sh, or to the path of an http step.", "Put them into argv.")
    for name in getattr(doing, "env", None) or {}:
        if not _ENV_NAME.fullmatch(name):
            report.error((*path, "env", name), f"{name!r} is no name of a variable.", "Use letters, digits and _.")
    stdin: Stdin | None = getattr(doing, "stdin", None)
    if stdin is not None:
        if sum(each is not None for each in (stdin.text, stdin.file, stdin.capture)) != 1:
            report.error((*path, "stdin"), "stdin is exactly one of text, file and capture.")
        _file(tree, stdin.file, (*path, "stdin", "file"), report)
    _file(tree, getattr(doing, "file", None), (*path, "file"), report)
    url: str | None = getattr(doing, "path", None)
    if url is not None and not url.startswith("/"):
        report.error((*path, "path"), "a path begins with /.", "The target's base comes before it.")


def _file(tree: Tree, file: str | None, path: Path, report: Report) -> None:
    if file is None or file in tree.files:
        return
    close = [name for name in tree.files if name.endswith(f"/{file}")]
    remedy = f"Write {close[0]}." if close else f"Known: {', '.join(tree.files) or 'none'}."
    report.error(path, f"there is no file {file!r} below sql/ or files/ of this tree.", remedy)


def _target(
    tree: Tree, name: str | None, kind: str, mode: str, path: Path, report: Report, needed: bool = True
) -> None:
    targets = tree.environment.targets
    if name is None:
        if needed:
            report.error(path, "target is missing.", f"Known: {', '.join(targets) or 'none'}.")
        return
    at = (*path, "target")
    if not report.known(at, "target", name, targets):
        return
    target = targets[name]
    if kind_of(target) != kind:
        report.error(at, f"{name} is a target of kind {kind_of(target)}, and this is {kind}.")
    elif mode == "write" and target.write is None:
        report.error(at, f"{name} has no write credential.", "Its owner adds write: to environment.yaml.")


def _expect(step: SshStep | SqlStep | HttpStep, path: Path, report: Report) -> None:
    for field in ("stdout_matches", "stdout_absent"):
        report.pattern((*path, "expect", field), getattr(step.expect, field, None))
    expect = step.expect
    low, high = getattr(expect, "rows_min", None), getattr(expect, "rows_max", None)
    if low is not None and high is not None and low > high:
        report.error((*path, "expect"), "rows_min is more than rows_max.")
    if getattr(expect, "affected_max", None) is not None and step.mode == "read":
        report.error((*path, "expect", "affected_max"), "a read affects no rows.", "Use rows_max.")
    if step.poll is not None and step.mode == "write":
        report.error((*path, "poll"), "a write is not polled.", "Poll with a read after it.")


def _captures(step: Step, kind: str, path: Path, report: Report) -> None:
    for name, capture in step.capture.items():
        at = (*path, "capture", name)
        sources = _SOURCES.get(kind, ())
        if sources and capture.from_ not in sources:
            report.error(
                (*at, "from"), f"a step of kind {kind} has no {capture.from_}.", f"It has: {', '.join(sources)}."
            )
        if capture.regex is not None and capture.path is not None:
            report.error(at, "a capture is by regex or by path.")
        if capture.path is not None and capture.from_ != "json":
            report.error((*at, "path"), "a path leads into json.", "Say from: json.")
        if capture.columns and capture.from_ not in ("rows", "lines"):
            report.error((*at, "columns"), "columns are for rows.")
        if capture.from_ in ("rows", "lines") and capture.per_host:
            report.error((*at, "per_host"), "per_host is for one value, not for rows.")
        report.pattern((*at, "regex"), capture.regex)
        _pid(name, capture, at, report)


def _pid(name: str, capture: Capture, at: Path, report: Report) -> None:
    """A process id is used again by the system; with its start time it is the one that was seen."""
    named = {name, *capture.columns}
    if not any(re.fullmatch(r"(.*[_-])?pids?", each) for each in named):
        return
    if not any("start" in each for each in (*capture.columns, capture.regex or "")):
        remedy = "Capture its start time beside it, and compare both."
        report.warning(at, "a process id without its start time can mean another process later.", remedy)


def _read(tree: Tree, runbook: Runbook, step: Step, path: Path, report: Report) -> None:
    for field in WRITE_ONLY:
        if getattr(step, field):
            report.error((*path, written(field)), f"{written(field)} belongs to a write.", "Say mode: write.")
    if step.attempts != 1:
        report.error((*path, "attempts"), "attempts belong to a write; a read has retry.")
    if seen := looks_like_write(step):
        remedy = "If it is one, say mode: write: in a read it will be refused or undone."
        report.warning(path, f"a read that looks like a write: {seen}.", remedy)
    target = step.target or runbook.defaults.target
    if isinstance(step, SshStep) and target in tree.environment.targets:
        program, need = missing_need(step)
        level = minimum(tree.environment, target)[1]
        if program and level in ("kernel-enforced", "gate-enforced"):
            remedy = f"Add needs: [{need}] when it has to reach something; it lowers what is shown for the step."
            report.warning(path, f"{program} may need {need}, and {target} is read in a sandbox.", remedy)


def _write(tree: Tree, runbook: Runbook, step: Step, kind: str, path: Path, report: Report, unscripted: bool) -> None:
    if step.probe is None and unscripted:
        report.warning(path, "no probe: UNSCRIPTED, a person looks.", "In doubt, nobody but a person can say.")
    elif step.probe is None and not step.repeatable:
        report.error(
            path, f"the write {step.id} has no probe.", "Add probe, or repeatable: true if twice is as good as once."
        )
    if not step.repeatable and step.undo is None and step.point_of_no_return is None:
        report.error(path, f"the write {step.id} has no undo.", "Add undo, or point_of_no_return: with the reason.")
    if step.undo is not None and step.point_of_no_return is not None:
        report.error((*path, "point_of_no_return"), "there is an undo.", "Leave one of them out.")
    if step.finally_ is not None and (step.undo is None or step.undo.instructions is not None):
        report.error((*path, "finally"), "finally: undo needs an undo that no person has to do.")
    if step.detach and (kind != "ssh" or step.timeout is None):
        remedy = "Nobody watches it meanwhile: say how long it may take."
        report.error((*path, "detach"), "detach is for a write of kind ssh with a timeout of its own.", remedy)
    for field in ("needs", "retry"):
        if getattr(step, field):
            report.error((*path, field), f"{field} belongs to a read.")
    if step.undo is not None and step.undo.needs:
        report.error((*path, "undo", "needs"), "needs belongs to a read.", "A write runs as its account may.")
    for index, late in enumerate(step.late):
        report.pattern((*path, "late", index, "pattern"), late.pattern)
    if step.undo is not None:
        _part(tree, runbook, step, step.undo, "undo", path, report)
    if step.probe is not None:
        _probe(tree, runbook, step, step.probe, path, report)


def _probe(tree: Tree, runbook: Runbook, step: Step, probe: Probe, path: Path, report: Report) -> None:
    at = (*path, "probe")
    if probe.preset is not None:
        return  # no preset at all, which was said
    kind = _part(tree, runbook, step, probe, "probe", path, report)
    if probe.applied is None or probe.absent is None:
        remedy = "Say applied and absent; absent: otherwise when nothing else tells."
        report.error(at, "a probe says how it looks when applied and when absent.", remedy)
    for field in ("applied", "absent"):
        expect = getattr(probe, field)
        if isinstance(expect, AnyExpect):
            _matchers(expect, kind, (*at, field), report)


def _part(
    tree: Tree, runbook: Runbook, step: Step, part: Undo | Probe | Until, name: str, path: Path, report: Report
) -> str:
    """The doing of an undo, a probe or an until. Returns its kind."""
    at = (*path, name)
    said = {kind: [field for field in fields if getattr(part, field) is not None] for kind, fields in _USED.items()}
    kinds = [kind for kind, fields in said.items() if fields]
    own = str(step.__struct_config__.tag)
    kind = part.kind or (kinds[0] if len(kinds) == 1 else own)
    if kinds != [kind] or len(said[kind]) != 1:
        wanted = " or ".join(_USED.get(kind, ("argv",)))
        report.error(at, f"{name} needs exactly one thing to do.", f"For kind {kind}: {wanted}.")
    _command(tree, part, at, report)
    _needs(part, kind, at, report)
    if name != "undo" and part.method not in (None, "GET", "HEAD"):
        report.error((*at, "method"), f"{name} is a read, and {part.method} is none.")
    if part.check is not None:
        report.known((*at, "check"), "check", part.check, tree.environment.monitoring)
    if kind != "manual" and part.check is None:
        inherited = step.target or runbook.defaults.target
        mode = "write" if name == "undo" else "read"
        where = at if part.target is not None else path
        _target(tree, part.target or inherited, kind, mode, where, report)
    if isinstance(part, Until):
        _matchers(part.expect, kind, (*at, "expect"), report)
    return kind


def _needs(doing: Step | Undo | Probe | Until, kind: str, at: Path, report: Report) -> None:
    if doing.needs and kind != "ssh":
        report.error((*at, "needs"), f"needs is for commands on hosts, and this is {kind}.", "Leave it out.")
    if "root" in doing.needs and doing.as_ not in (None, "root"):
        report.error((*at, "needs"), f"the step runs as {doing.as_}, and needs root.", "Leave one of them out.")


def _matchers(expect: AnyExpect, kind: str, at: Path, report: Report) -> None:
    fitting = _MATCHERS.get(kind, ())
    said = [field for field in AnyExpect.__struct_fields__ if getattr(expect, field) is not None]
    if not said:
        report.error(at, "nothing is expected.", f"For kind {kind}: {', '.join(fitting)}.")
    for field in said:
        if field not in fitting:
            report.error((*at, field), f"{field} does not belong to kind {kind}.", f"It has: {', '.join(fitting)}.")
    report.pattern((*at, "stdout_matches"), expect.stdout_matches)
    report.pattern((*at, "stdout_absent"), expect.stdout_absent)
