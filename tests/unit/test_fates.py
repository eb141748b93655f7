"""What a write that nobody can tell of comes to: every fate, every finding, and targets that are silent for an hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from envtui.core.act import Act, Place, SshCall
from envtui.core.errors import InDoubt, Unreachable
from envtui.core.events import Finding, Word
from envtui.core.ports import Fate, Reading, Sink, Started
from envtui.engine.ending import GRACE, Ending
from envtui.engine.ways import Ways

HOUR = 3600.0
ACT = Act(
    step="change",
    mode="write",
    place=Place(target="web", kind="ssh", member="web1", address="web1:22"),
    call=SshCall(argv=(("x",),)),
    timeout=HOUR,
)


class Clock:
    """Time passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def boot_ms(self) -> int:
        return round(self.now * 1000)

    def wall_ms(self) -> int:
        return round(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def randomness(self, count: int) -> bytes:
        return bytes(count)


class Target:
    """An Ender whose target answers from `back` seconds on, and says `fates` in turn, the last one for ever."""

    def __init__(self, clock: Clock, fates: list[Fate], back: float = 0.0) -> None:
        self._clock = clock
        self._fates = fates
        self._back = back
        self.asked: list[str] = []
        self.closed = 0

    def _say(self, what: str) -> Fate:
        self.asked.append(what)
        if self._clock.now < self._back:
            raise Unreachable("web1 does not answer.", "")
        return self._fates.pop(0) if len(self._fates) > 1 else self._fates[0]

    async def look(self, started: Started) -> Fate:
        return self._say("look")

    async def attach(self, started: Started, sink: Sink, seen: Mapping[str, int], seconds: float) -> Fate:
        return self._say("attach")

    async def stop(self, started: Started, grace: float) -> Fate:
        assert grace == GRACE
        return self._say("stop")

    async def forget(self, started: Started) -> None:
        self.asked.append("forget")

    async def close(self) -> None:
        self.closed += 1


class Silent:
    def out(self, data: bytes) -> None: ...
    def err(self, data: bytes) -> None: ...


def ending(clock: Clock, target: Target, found: Finding | None = "unknown") -> Ending:
    async def probe(fate: Fate) -> tuple[Finding, str] | None:
        assert fate.dead, "a probe is asked of what may still go on"
        target.asked.append("probe")
        return None if found is None else (found, "so it said")

    def judge(reading: Reading) -> tuple[bool, str]:
        return reading.exit == 0, f"exit {reading.exit}"

    class Bundle:
        ender = staticmethod(lambda act: target)

    bundle: Any = Bundle()
    bundle.clock = clock
    return Ending(cast(Ways, bundle), Started(act=ACT, permit="P", attempt=1), probe, judge)


LOST = InDoubt("The connection was lost.")
ENDED = Fate(state="ended", exit=0)
FAILED = Fate(state="ended", exit=3)
GONE = Fate(state="gone", why="killed")
RUNNING = Fate(state="running")


@pytest.mark.parametrize(
    ("fate", "found", "word", "untouched"),
    [
        (ENDED, "applied", "OK", False),
        (ENDED, "absent", "FAILED", True),  # its exit was a hint, the probe decides
        (ENDED, "unknown", "IN DOUBT", False),
        (FAILED, "applied", "FAILED", False),
        (FAILED, "absent", "FAILED", True),
        (GONE, "applied", "OK", False),
        (GONE, "absent", "FAILED", True),
        (GONE, "unknown", "IN DOUBT", False),
        (ENDED, None, "OK", False),
        (FAILED, None, "FAILED", False),
        (GONE, None, "IN DOUBT", False),
        (Fate(state="committed"), "unknown", "OK", False),
        (Fate(state="aborted"), "unknown", "FAILED", True),
        (Fate(state="unknown", why="another timeline"), "applied", "IN DOUBT", False),
    ],
)
async def test_a_lost_connection(fate: Fate, found: Finding | None, word: Word, untouched: bool) -> None:
    clock = Clock()
    target = Target(clock, [fate])
    conclusion = await ending(clock, target, found).lost(LOST, Silent(), HOUR)
    assert (conclusion.word, conclusion.untouched) == (word, untouched)
    assert target.asked[0] == "attach"
    assert "stop" not in target.asked
    assert target.closed == 1


@pytest.mark.parametrize("back", [0.0, 10.0, 3500.0])
async def test_a_target_that_comes_back_within_the_hour(back: float) -> None:
    clock = Clock()
    target = Target(clock, [ENDED], back)
    conclusion = await ending(clock, target, "applied").lost(LOST, Silent(), HOUR)
    assert conclusion.word == "OK"
    assert clock.now >= back


async def test_a_target_that_is_silent_for_an_hour_leaves_a_doubt() -> None:
    clock = Clock()
    target = Target(clock, [ENDED], 2 * HOUR)
    conclusion = await ending(clock, target, "applied").lost(LOST, Silent(), HOUR)
    assert conclusion.word == "IN DOUBT"
    assert "does not answer" in conclusion.why
    assert HOUR - 5 <= clock.now <= HOUR
    assert "probe" not in target.asked
    assert len(target.asked) < 1000  # it is asked again and again, and not without pause


async def test_what_still_runs_when_its_time_is_over_is_stopped() -> None:
    clock = Clock()
    target = Target(clock, [RUNNING, GONE])
    conclusion = await ending(clock, target, "absent").lost(LOST, Silent(), HOUR)
    assert (conclusion.word, conclusion.untouched) == ("FAILED", True)
    assert target.asked[:2] == ["attach", "stop"]


@pytest.mark.parametrize(("found", "word"), [("applied", "OK"), ("absent", "TIMED OUT"), ("unknown", "IN DOUBT")])
async def test_a_write_whose_time_is_over(found: Finding, word: Word) -> None:
    clock = Clock()
    target = Target(clock, [FAILED])  # 143, say: of what was stopped the exit says nothing
    conclusion = await ending(clock, target, found).lost(InDoubt("Too long.", overdue=True), Silent(), 0)
    assert conclusion.word == word
    assert target.asked == ["stop", "attach", "probe"]  # its last words are fetched


@pytest.mark.parametrize("found", ["applied", "absent", "unknown", None])
async def test_one_that_cannot_be_stopped_is_in_doubt_and_not_looked_for(found: Finding | None) -> None:
    clock = Clock()
    target = Target(clock, [Fate(state="unknown", why="who it is cannot be proven")])
    conclusion = await ending(clock, target, found).cut("Stopped by the operator.", Silent(), {})
    assert conclusion.word == "IN DOUBT"
    assert "cannot be proven" in conclusion.why
    assert target.asked == ["stop"]


async def test_a_stopped_one_without_a_probe_is_in_doubt_whatever_its_exit() -> None:
    clock = Clock()
    conclusion = await ending(clock, Target(clock, [ENDED]), None).cut("Stopped by the operator.", Silent(), {})
    assert conclusion.word == "IN DOUBT"


async def test_following_one_that_goes_on() -> None:
    clock = Clock()
    target = Target(clock, [RUNNING, ENDED])
    one = ending(clock, target, "applied")
    assert (await one.follow(Silent(), {}, 1)).word is None
    assert (await one.follow(Silent(), {}, 1)).word == "OK"
    assert target.closed == 2


async def test_looking_at_one_whose_target_is_away_is_unknown_and_says_why() -> None:
    clock = Clock()
    fate = await ending(clock, Target(clock, [ENDED], HOUR)).looked()
    assert (fate.state, fate.dead) == ("unknown", False)
    assert "does not answer" in fate.why
