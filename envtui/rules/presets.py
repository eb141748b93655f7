"""Probes by a word: `service active NAME`, `file exists PATH`, `row exists QUERY`, written out as a book would write them.

A preset brings the undo of what it recognises: of `systemctl start NAME` that is `systemctl stop NAME`, and the other way
round. Where the write stops a service, the service's absence is what is wanted.
"""

from __future__ import annotations

import re
import shlex

import msgspec

from envtui.core.errors import UsageError
from envtui.core.runbook import AnyExpect, Probe, SshStep, Step, Undo

PRESETS = ("service active NAME", "file exists PATH", "row exists QUERY")
_OPPOSITE = {"start": "stop", "stop": "start"}
_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:\\-]*|\$\{[a-z][a-z0-9_.-]*\}")
_ACTIVE = AnyExpect(exit=0, stdout_matches=r"^active\s*$")
_INACTIVE = AnyExpect(exit=(3, 4), stdout_matches=r"^(inactive|failed|unknown)\s*$")


def written_out(step: Step) -> Step:
    """The step with its probe's preset, and the undo that comes with it, written out. Raises UsageError for no preset."""
    if step.probe is None or step.probe.preset is None:
        return step
    probe = _probe(step, step.probe)
    undo = step.undo
    if undo is None and step.point_of_no_return is None and not step.repeatable:
        undo = _undo(step)
    return msgspec.structs.replace(step, probe=probe, undo=undo)


def problem(preset: str) -> str:
    """What is wrong with a preset's text; '' when it is one."""
    first, _, rest = preset.partition(" ")
    second, _, what = rest.partition(" ")
    if f"{first} {second}" not in ("service active", "file exists", "row exists") or not what.strip():
        return f"{preset!r} is no preset"
    if first == "service" and not _SERVICE.fullmatch(what):
        return f"{what!r} is no name of a service"
    if first == "file" and not what.startswith(("/", "${")):
        return f"{what!r} is no whole path"
    return ""


def _probe(step: Step, probe: Probe) -> Probe:
    assert probe.preset is not None
    if wrong := problem(probe.preset):
        raise UsageError(f"step {step.id}, probe: {wrong}.", f"There are: {', '.join(PRESETS)}.")
    what, _, rest = probe.preset.partition(" ")
    name = rest.partition(" ")[2]
    said = {field: getattr(probe, field) for field in ("target", "host", "as_", "timeout")}
    if what == "row":
        return Probe(kind="sql", query=name, applied=AnyExpect(rows_min=1), absent=AnyExpect(rows=0), **said)
    if what == "file":
        return Probe(kind="ssh", argv=("test", "-e", name), applied=AnyExpect(exit=0), absent=AnyExpect(exit=1), **said)
    stops = _verb(step, name) == "stop"
    return Probe(
        kind="ssh",
        argv=("systemctl", "is-active", name),
        applied=_INACTIVE if stops else _ACTIVE,
        absent=_ACTIVE if stops else _INACTIVE,
        **said,
    )


def _undo(step: Step) -> Undo | None:
    preset = step.probe.preset if step.probe is not None else None
    if preset is None or not preset.startswith("service active "):
        return None
    name = preset.removeprefix("service active ")
    verb = _verb(step, name)
    return Undo(kind="ssh", argv=("systemctl", _OPPOSITE[verb], name)) if verb else None


def _verb(step: Step, name: str) -> str:
    """`start` or `stop` of a step that does exactly that with this service; '' for every other."""
    if not isinstance(step, SshStep) or step.argv is None:
        return ""
    words: tuple[str, ...]
    try:
        words = tuple(shlex.split(step.argv)) if isinstance(step.argv, str) else step.argv
    except ValueError:
        return ""
    return (
        words[1] if len(words) == 3 and words[0] == "systemctl" and words[1] in _OPPOSITE and words[2] == name else ""
    )
