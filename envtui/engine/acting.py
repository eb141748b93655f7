"""One act, done: opened, written down, sent, judged, written down again.

The order is the promise: identity first, then the intent is durable, then the command is sent, then the outcome is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from envtui.core.access import Permit
from envtui.core.act import Act, SecretRef, texts
from envtui.core.environment import Environment
from envtui.core.errors import EnvtuiError, InDoubt, ProtectionTooLow, Refused, TimedOut, Unreachable, Unsound
from envtui.core.events import ActEnded, ActIntended, ActSent, Entry, Event, IdentityShown, Word
from envtui.core.ports import Handle, Reading, Recording, Shown, Sink, Transcript
from envtui.rules.protection import enough, minimum
from envtui.rules.shows import shows

from .ways import Ways

Append = Callable[..., Awaitable[Sequence[Entry]]]
Judge = Callable[[Reading], tuple[bool, str]]
JudgeThere = Callable[[Act, Reading], tuple[bool, str]]


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """How an act ended. `word` None: it has not. `untouched`: a write of which surely nothing is there."""

    word: Word | None
    why: str = ""
    reading: Reading | None = None
    exit: int | None = None
    untouched: bool = False


Seen = Mapping[str, int]
"""How many bytes of `out` and `err` are in the sink already."""

Conclude = Callable[[InDoubt | None, Sink, Seen], Awaitable[Conclusion]]
"""What became of a write that its writer lost (the error), or that was cut off (None)."""


def step_of(act: Act) -> str:
    """The id of the book's step that an act belongs to: its undo and its probe are of the same step."""
    return act.step.partition(".")[0]


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
        begun: int = 0,
    ) -> None:
        self._run = run
        self._environment = environment
        self._ways = ways
        self._append = append
        self._recording = recording
        self._connected = connected
        self._count = begun  # acts of this run in processes before this one: each transcript has its own name
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

    async def write(
        self, act: Act, permit: Permit, judge: Judge, conclude: Conclude, late: Mapping[str, str]
    ) -> Reading | None:
        """One permitted write, with the `late` values that are in it. The permit is in the ledger as consumed already.

        `conclude` finds out what became of it when its writer cannot say. None: it gave no reading of its own.
        """
        writer = self._ways.writer(permit, act)

        async def sent(handle: Handle) -> None:
            await self._append(self._sent(act, permit.attempt, dict(handle)))

        async def concluded(error: InDoubt | None, sink: Sink) -> Conclusion:
            return await conclude(error, sink, writer.seen)

        try:
            await self._know(act)
            send = functools.partial(writer.write, permit, act, sent=sent)
            reading = await self._do(act, act.id, judge, permit.attempt, permit.id, send, concluded, late)
            if reading is not None and not reading.running:
                await writer.forget()
            return reading
        finally:
            await writer.close()

    async def follow(self, act: Act, attempt: int, attach: Callable[[Sink], Awaitable[Conclusion]]) -> Conclusion:
        """Wait for a write that goes on at its target, with what it says from now on in a transcript of its own."""
        # Not counted as acts are: another process may have followed it before, and nothing in the ledger says so.
        name = f"{self._run}/{act.id}-{attempt}-{self._ways.clock.wall_ms()}"
        recording = self._ways.spool.record(name, self._ways.resolved())
        self._recording(act.id, recording)
        began = self._ways.clock.boot_ms()
        try:
            conclusion = await attach(recording)
        finally:
            kept = self._kept(recording, self._environment.targets[act.place.target].keep_output)
        if conclusion.word is not None:
            ended = self._ended(act, act.id, attempt, conclusion, began, kept)
            await self._append(msgspec.structs.replace(ended, transcript=recording.name))
        return conclusion

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
            least = minimum(self._environment, shown.target)[1]
            missing = f" What is missing: {'; '.join(shown.lacks[:5])}." if shown.lacks else ""
            raise ProtectionTooLow(
                self._ways.masked(
                    f"Reads on {shown.target}/{shown.member} are {shown.protection}, and {self._environment.name} asks for {least}."
                    + missing
                ),
                f"`envtui harden {self._environment.name}/{shown.target}` prints what raises it, for its owner.",
            )
        self._seen.add(known)
        self._connected(shown, kind)

    async def _not_begun(self, act: Act, planned: str, attempt: int, error: EnvtuiError) -> None:
        await self._append(
            self._intent(act, planned, attempt, "", ""),
            ActEnded(
                run=self._run,
                step=step_of(act),
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
        conclude: Callable[[InDoubt | None, Sink], Awaitable[Conclusion]] | None = None,
        late: Mapping[str, str] | None = None,
    ) -> Reading | None:
        name = self._name(act)
        await self._resolve(act)
        recording: Recording | None = None
        began = self._ways.clock.boot_ms()
        reading: Reading | None = None
        unsound: Unsound | None = None
        cut: asyncio.CancelledError | None = None
        outcome: Conclusion
        try:
            await self._append(self._intent(act, planned, attempt, permit, name, late))
            recording = self._ways.spool.record(name, self._ways.resolved())
            self._recording(planned, recording)
            began = self._ways.clock.boot_ms()
            reading = await send(recording)
            if reading.running:
                self._kept(recording, keep=True)
                await self._append(self._sent(act, attempt, {}, detached=True))
                return reading
            ok, why = judge(reading)
            outcome = Conclusion(word="OK" if ok else "FAILED", why=why, reading=reading)
        except InDoubt as error:
            outcome = Conclusion(word="IN DOUBT", why=str(error))
            if conclude is not None and recording is not None:
                try:
                    outcome = await conclude(error, recording)
                except asyncio.CancelledError as stopped:
                    cut = stopped
        except EnvtuiError as error:
            outcome = Conclusion(word=_word(error), why=str(error), untouched=act.mode == "write")
            unsound = error if isinstance(error, Unsound) else None
        except asyncio.CancelledError as error:
            cut = error
            if act.mode == "read":
                outcome = Conclusion(word="CANCELLED", why="stopped by the operator")
            elif conclude is None or recording is None:
                outcome = Conclusion(word="IN DOUBT", why="cut off: nobody waited for its outcome")
            else:
                try:
                    outcome = await conclude(None, recording)
                except asyncio.CancelledError:
                    outcome = Conclusion(word="IN DOUBT", why="cut off while it was being ended at its target")
        keep = cut is not None or self._environment.targets[act.place.target].keep_output
        kept = self._kept(recording, keep)
        await self._append(self._ended(act, planned, attempt, outcome, began, kept))
        if cut is not None:
            raise cut
        if unsound is not None:
            raise unsound
        return outcome.reading

    def _name(self, act: Act) -> str:
        """Of a transcript: a jump back does an act again, and each has its own."""
        self._count += 1
        return f"{self._run}/{self._count:04}-{act.id}"

    def _ended(
        self, act: Act, planned: str, attempt: int, outcome: Conclusion, began: int, kept: tuple[str, int, bool]
    ) -> ActEnded:
        reading, (sha256, size, truncated) = outcome.reading, kept
        return ActEnded(
            run=self._run,
            step=step_of(act),
            act=planned,
            word=outcome.word or "IN DOUBT",
            why=self._ways.masked(outcome.why),
            exit=reading.exit if reading else outcome.exit,
            status=reading.status if reading else None,
            rows=reading.row_count if reading else None,
            affected=reading.affected if reading else None,
            milliseconds=self._ways.clock.boot_ms() - began,
            output_sha256=sha256,
            output_bytes=size,
            truncated=truncated or bool(reading and reading.truncated),
            attempt=attempt,
            untouched=outcome.untouched,
            refused=tuple(map(self._ways.masked, reading.refused)) if reading else (),
        )

    def _sent(self, act: Act, attempt: int, handle: dict[str, str], detached: bool = False) -> ActSent:
        return ActSent(run=self._run, step=step_of(act), act=act.id, attempt=attempt, handle=handle, detached=detached)

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

    def _intent(
        self,
        act: Act,
        planned: str,
        attempt: int,
        permit: str,
        transcript: str,
        late: Mapping[str, str] | None = None,
    ) -> Event:
        return ActIntended(
            run=self._run,
            step=step_of(act),
            act=planned,
            act_digest=act.digest(),
            mode=act.mode,
            target=act.place.target,
            member=act.place.member,
            shows=self._ways.masked(shows(act)),
            attempt=attempt,
            permit=permit,
            transcript=transcript,
            late=dict(late or {}),
        )

    async def _know(self, act: Act) -> None:
        """The permit is spent: the secret of the write credential is resolved before anything is recorded, so that the spool
        knows it. Where that fails the writer will say so itself, when the intent is durable."""
        credential = self._environment.credentials.get(act.place.credential)
        if credential is not None and credential.secret is not None:
            with contextlib.suppress(EnvtuiError):
                await self._ways.secrets.resolve(credential.secret, act.place.credential)

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
