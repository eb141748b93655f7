"""What a run says without a screen: a line for what matters, or every ledger entry as JSON."""

from __future__ import annotations

import datetime as dt
import sys

import msgspec

from envtui.core.canonical import canonical
from envtui.core.events import (
    ActEnded,
    ActIntended,
    ActSent,
    Answered,
    Captured,
    Entry,
    Finding,
    GrantActivated,
    GrantEnded,
    IdentityShown,
    LateAccepted,
    Noted,
    Probed,
    Resolved,
    RunEnded,
    StepEnded,
    StopAsked,
    Told,
    UndoStarted,
    WaitStarted,
)
from envtui.core.shape import span
from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.engine.session import EnvironmentSession
from envtui.rules.past import CUTTING

from .streams import unread

SHOWN_LINES = 60
"""Lines of an act's output that are printed; the rest is counted and stays in the transcript."""


class Printer:
    """Follows one run. Text from outside is cleaned here; nothing needs colour to be understood."""

    def __init__(self, as_json: bool, session: EnvironmentSession, task: RunTask) -> None:
        self._json = as_json
        self._session = session
        self._task = task
        self._intended: dict[str, str] = {}

    async def begin(self) -> None:
        """What the run is; as JSON, what the ledger has of it already."""
        if self._json:
            for entry in await self._session.entries(self._task.run.id):
                self._entry(entry)
        self._task.observers.append(self._entry)
        if self._json:
            return
        task, writes = self._task, len(self._task.plan.writes)
        env = self._session.environment.name.upper()
        mark = f" · {task.run.mark}" if task.run.mark else ""
        self._say(f"{env}{mark} · {task.run.title} · {task.run.book} · run {task.run.id}")
        again = f" · taken up again ({task.run.resumed})" if task.run.resumed else ""
        self._say(
            f"{_count(len(task.plan.steps), 'step')}, {_count(writes, 'write')} · plan {task.plan.digest()[:16]}{again}"
        )

    def end(self) -> None:
        """Nobody needs to read along for a run to go on; where all of it is, is said, and what may become of it."""
        if self._task.run.unscripted and not self._json:
            env, run = self._session.environment.name, self._task.run.id
            print(f"As a draft of a book: envtui draft {env} {run}", file=sys.stderr)
        if unread():
            env, run = self._session.environment.name, self._task.run.id
            print(f"Nobody read the output to its end: envtui ledger show {env} {run}", file=sys.stderr)

    def _entry(self, entry: Entry) -> None:
        if isinstance(entry.event, Told) and (entry.event.to == "notify" or not entry.event.delivered):
            from envtui.rules.words import in_words  # only here: most runs call nobody

            print(clean(self._session.ways.masked(in_words(entry.event)), 2000), file=sys.stderr, flush=True)
        if self._json:
            event = msgspec.to_builtins(entry.event)
            self._print(canonical({"seq": entry.seq, "at_ms": entry.at_ms, **event}).decode())
            return
        match entry.event:
            case IdentityShown() as event if event.access == "read" and event.protection:
                self._say(f"{event.target}/{event.member}: reads are {event.protection}")
            case ActIntended() as event:
                self._intended[event.act] = event.shows
                does = event.act.partition("@")[0].removeprefix(event.step).removeprefix(".")  # undo, probe
                mark = "WRITE" if event.mode == "write" else "read"
                said = f"{does} {event.member}" if does in ("undo", "probe") else f"{event.member} {mark}"
                again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
                self._say(f"[{event.step}] {said}{again}: {event.shows}")
            case ActSent() as event if event.detached:
                self._say(f"  {event.act}: it goes on at its target by itself, and is waited for")
            case ActEnded() as event:
                self._output(event.act)
                facts = [f"exit {event.exit}"] if event.exit is not None else []
                facts += [f"status {event.status}"] if event.status is not None else []
                facts += [_count(event.rows, "row")] if event.rows is not None else []
                facts += [f"{event.affected} affected"] if event.affected is not None else []
                facts.append(span(event.milliseconds))
                self._say(
                    f"  {event.act}: {event.word} · {' · '.join(facts)}"
                    + (f" · {event.why}" if event.why and event.word != "OK" else "")
                )
                if event.refused:
                    self._say(f"  {event.act}: the sandbox refused {'; '.join(event.refused)}")
            case Probed() as event:
                found = _HELD if event.act.partition("@")[0].endswith(".undo") else _FOUND
                self._say(f"  {event.act}: {found[event.found]}" + (f" · {event.why}" if event.why else ""))
            case Resolved() as event:
                word = "done" if event.done else "not done"
                self._say(f"[{event.step}] {event.by} said that {event.act} is {word}: {event.why}")
            case StopAsked() as event:
                self._say(f"stopping: {event.why}")
            case UndoStarted() as event:
                self._say(f"UNDO · {', '.join(event.acts)}" + (f" · {event.why}" if event.why else ""))
            case Captured() as event:
                said = event.value.text if event.value else _count(len(event.rows), "row")
                self._say(f"  captured {event.name}{f' ({event.member})' if event.member else ''}: {said}")
            case Answered() as event:
                values = ", ".join(f"{k}={v.text}" for k, v in event.values.items())
                self._say(f"[{event.step}] answered: {event.answer}{f' ({values})' if values else ''}")
            case LateAccepted() as event:
                values = ", ".join(f"{name}={value}" for name, value in event.values.items())
                self._say(f"[{event.step}] {event.by} lets {event.act} be sent with {values}, other than signed")
            case WaitStarted() as event:
                until = dt.datetime.fromtimestamp(event.until_ms / 1000, dt.UTC)
                self._say(f"[{event.step}] waiting, at most until {until:%H:%M:%S} UTC")
            case StepEnded() as event:
                self._say(f"[{event.step}] {event.word}" + (f": {event.why}" if event.why else ""))
            case GrantActivated(break_glass=True) as event:
                due = dt.datetime.fromtimestamp(event.review_by_ms / 1000, dt.UTC)
                self._say(
                    f"BREAK-GLASS · {event.incident or 'no incident'} · nobody else signed · {_count(event.acts, 'act')}"
                    f" · somebody else reviews it until {due:%Y-%m-%d %H:%M} UTC"
                )
            case GrantActivated() as event:
                by = ", ".join(event.signed_by)
                self._say(
                    f"WRITE ACCESS · {event.incident or 'no incident'} · signed by {by} · {_count(event.acts, 'act')}"
                    + (f" · WITHOUT the required {', '.join(event.waived)}" if event.waived else "")
                )
            case GrantEnded() as event:
                why = f" · {event.why}" if event.reason in CUTTING and event.why else ""
                self._say(f"READ-ONLY again · {event.reason.lower().replace('_', ' ')}{why}")
            case Noted(by="envtui") as event:
                self._say(event.text)
            case RunEnded() as event:
                self._say(f"run {event.run} {event.word}" + (f": {event.why}" if event.why else ""))
            case _:
                pass

    def _output(self, act: str) -> None:
        transcript = self._task.transcript(act)
        if transcript is None:
            return
        total = transcript.lines
        for number in range(min(total, SHOWN_LINES)):
            self._print("  | " + self._session.ways.shown(transcript.line(number)))
        if total > SHOWN_LINES:
            self._say(f"  | … {total - SHOWN_LINES} more of {total} lines: envtui ledger show")

    def _say(self, text: str) -> None:
        self._print(clean(self._session.ways.masked(text), 8000))

    def _print(self, text: str) -> None:
        print(text, flush=True)


_FOUND: dict[Finding, str] = {"applied": "it is there", "absent": "it is not there", "unknown": "nobody can tell"}
_HELD: dict[Finding, str] = {
    "applied": "nothing of it is there any more",
    "absent": "what it takes back is still there",
    "unknown": "nobody can tell",
}


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
