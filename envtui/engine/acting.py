"""One act, done: opened, written down, sent, judged, written down again.

The order is the promise: identity first, then the intent is durable, then the command is sent, then the outcome is durable.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from envtui.core.access import Permit
from envtui.core.act import Act, SecretRef, texts
from envtui.core.environment import Environment
from envtui.core.errors import EnvtuiError, InDoubt, ProtectionTooLow, Refused, TimedOut, Unreachable, Unsound
from envtui.core.events import ActEnded, ActIntended, Entry, Event, IdentityShown, Word
from envtui.core.ports import Reading, Recording, Shown, Sink, Transcript
from envtui.rules.protection import enough
from envtui.rules.shows import shows

from .ways import Ways

Append = Callable[..., Awaitable[Sequence[Entry]]]
Judge = Callable[[Reading], tuple[bool, str]]
JudgeThere = Callable[[Act, Reading], tuple[bool, str]]


class Acting:
    """Does acts for one run. `append` writes events; it returns when they are durable."""

    def __init__(
        self,
        run: str,
        environment: Environment,
        ways: Ways,
        append: Append,
        recording: Callable[[str, Transcript], None],
        connected: Callable[[Shown, str], None],
    ) -> None:
        self._run = run
        self._environment = environment
        self._ways = ways
        self._append = append
        self._recording = recording
        self._connected = connected
        self._count = 0
        self._seen: set[tuple[str, str]] = set()

    async def read(
        self, act: Act, judge: JudgeThere, attempt: int = 1, instead: Sequence[Act] = ()
    ) -> tuple[Act, Reading] | None:
        """One read, complete with both entries in the ledger: what was done, and what came back. None when it gave no
        reading (the entry says why).

        `instead`: the same read on other members, tried in order while a member cannot be reached (`host: any`). The
        entries keep the planned act's id and say which member answered.
        """
        planned = act.id
        for there in (act, *instead):
            reader = self._ways.readers[there.place.kind]
            try:
                await self._open(reader.open(there), there.place.kind)
            except Unreachable as error:
                problem: EnvtuiError = error
                continue
            except EnvtuiError as error:
                await self._not_begun(there, planned, attempt, error)
                return None
            weigh, send = functools.partial(judge, there), functools.partial(reader.read, there)
            reading = await self._do(there, planned, weigh, attempt, "", send)
            return None if reading is None else (there, reading)
        await self._not_begun(act, planned, attempt, problem)
        return None

    async def write(self, act: Act, permit: Permit, judge: Judge) -> Reading | None:
        """One permitted write. The permit is in the ledger as consumed already."""
        writer = self._ways.writer(permit, act)
        try:
            send = functools.partial(writer.write, permit, act)
            return await self._do(act, act.id, judge, permit.attempt, permit.id, send)
        finally:
            await writer.close()

    async def _open(self, opening: Awaitable[Shown], kind: str) -> None:
        shown = await opening
        known = (shown.target, shown.member)
        if known in self._seen:
            return
        fits = enough(self._environment, shown.target, shown.protection)
        await self._append(
            IdentityShown(
                target=shown.target,
                member=shown.member,
                access="read",
                shown=self._ways.masked(shown.shown),
                fits=True,
                protection=shown.protection,
            )
        )
        if not fits:
            raise ProtectionTooLow(
                f"Reads on {shown.target} are {shown.protection}; this environment asks for more.",
                "Raise the target's protection, or run against a target that has it.",
            )
        self._seen.add(known)
        self._connected(shown, kind)

    async def _not_begun(self, act: Act, planned: str, attempt: int, error: EnvtuiError) -> None:
        await self._append(
            self._intent(act, planned, attempt, "", ""),
            ActEnded(
                run=self._run,
                step=act.step,
                act=planned,
                word=_word(error),
                why=self._ways.masked(str(error)),
                attempt=attempt,
            ),
        )
        if isinstance(error, Unsound):
            raise error

    async def _do(
        self,
        act: Act,
        planned: str,
        judge: Judge,
        attempt: int,
        permit: str,
        send: Callable[[Sink], Awaitable[Reading]],
    ) -> Reading | None:
        self._count += 1
        name = f"{self._run}/{self._count:04}-{act.id}"  # a jump back does an act again: each has its own transcript
        await self._resolve(act)
        recording: Recording | None = None
        began = self._ways.clock.boot_ms()
        reading: Reading | None = None
        unsound: Unsound | None = None
        word: Word
        try:
            await self._append(self._intent(act, planned, attempt, permit, name))
            recording = self._ways.spool.record(name, self._ways.resolved())
            self._recording(planned, recording)
            began = self._ways.clock.boot_ms()
            reading = await send(recording)
            ok, why = judge(reading)
            word = "OK" if ok else "FAILED"
        except EnvtuiError as error:
            word, why = _word(error), str(error)
            unsound = error if isinstance(error, Unsound) else None
        except asyncio.CancelledError:
            sha256, size, truncated = self._kept(recording, keep=True)
            read = act.mode == "read"
            await self._append(
                ActEnded(
                    run=self._run,
                    step=act.step,
                    act=planned,
                    word="CANCELLED" if read else "IN DOUBT",
                    why="stopped by the operator" if read else "cut off: nobody waited for its outcome",
                    milliseconds=self._ways.clock.boot_ms() - began,
                    output_sha256=sha256,
                    output_bytes=size,
                    truncated=truncated,
                    attempt=attempt,
                )
            )
            raise
        sha256, size, truncated = self._kept(recording, self._environment.targets[act.place.target].keep_output)
        await self._append(
            ActEnded(
                run=self._run,
                step=act.step,
                act=planned,
                word=word,
                why=self._ways.masked(why),
                exit=reading.exit if reading else None,
                status=reading.status if reading else None,
                rows=reading.row_count if reading else None,
                affected=reading.affected if reading else None,
                milliseconds=self._ways.clock.boot_ms() - began,
                output_sha256=sha256,
                output_bytes=size,
                truncated=truncated or bool(reading and reading.truncated),
                attempt=attempt,
            )
        )
        if unsound is not None:
            raise unsound
        return reading

    def _kept(self, recording: Recording | None, keep: bool) -> tuple[str, int, bool]:
        """(sha256, bytes, cut) of what is in the file, which stays or goes."""
        if recording is None:
            return "", 0, False
        known = recording.finish()
        if keep:
            recording.close()
        else:
            recording.line(0)  # open for this session's screens; the file itself goes, the ledger keeps its digest
            self._ways.spool.forget(recording.name)
        return known

    def _intent(self, act: Act, planned: str, attempt: int, permit: str, transcript: str) -> Event:
        return ActIntended(
            run=self._run,
            step=act.step,
            act=planned,
            act_digest=act.digest(),
            mode=act.mode,
            target=act.place.target,
            member=act.place.member,
            shows=self._ways.masked(shows(act)),
            attempt=attempt,
            permit=permit,
            transcript=transcript,
        )

    async def _resolve(self, act: Act) -> None:
        """Resolve the secrets that the act carries before anything is recorded, so that the spool knows them."""
        for text in texts(act.call):
            for part in text:
                if isinstance(part, SecretRef):
                    await self._ways.secrets.resolve(part.reference, part.name)


def _word(error: EnvtuiError) -> Word:
    if isinstance(error, InDoubt):
        return "IN DOUBT"
    if isinstance(error, TimedOut):
        return "TIMED OUT"
    if isinstance(error, Refused | Unsound):
        return "REFUSED"
    return "FAILED"
