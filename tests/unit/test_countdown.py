"""What is said while write access runs out: each thing once, and nothing that is no news."""

from __future__ import annotations

import msgspec
from access_kit import plan

from envtui.core.events import ActIntended, Entry, Event, GrantActivated, GrantEnded, RunStarted
from envtui.rules.countdown import Countdown
from envtui.rules.run import fold
from envtui.rules.written import written

NOW, MINUTE = 1_770_000_000_000, 60_000


def events(minutes: float, grant: str = "R1") -> list[Event]:
    made = plan()
    return [
        RunStarted(
            run=made.run,
            book=made.book,
            book_sha256=made.book_sha256,
            title="t",
            plan_digest=made.digest(),
            operator="asha",
            plan=written(made, {}),
        ),
        GrantActivated(
            run=made.run,
            grant=grant,
            plan_digest=made.digest(),
            incident="INC-1",
            signed_by=("meera",),
            until_ms=NOW + round(minutes * MINUTE),
            acts=1,
            nonce=grant,
        ),
    ]


def said(countdown: Countdown, happened: list[Event], after: float, timeout: float = 30.0) -> tuple[str, ...]:
    """What is due `after` minutes."""
    run = fold([Entry(number, NOW, event, "h") for number, event in enumerate(happened, 1)], "RUN1")
    return countdown.due(run, plan(timeout=timeout), NOW + round(after * MINUTE))


def test_its_end_is_announced_twice_and_each_time_once() -> None:
    countdown, happened = Countdown(), events(30)
    heard = [said(countdown, happened, minute / 2) for minute in range(60)]
    assert [(at / 2, text) for at, texts in enumerate(heard) for text in texts if "ends in" in text] == [
        (25, "Write access to production ends in 5 min."),
        (29, "Write access to production ends in 1 min."),
    ]


def test_a_mark_that_it_had_from_its_beginning_on_is_no_news() -> None:
    countdown, happened = Countdown(), events(4)
    assert said(countdown, happened, 0) == ()
    assert said(countdown, happened, 3.5) == ("Write access to production ends in 30 s.",)


def test_a_write_that_does_not_fit_any_more_is_named_with_the_way_out() -> None:
    countdown, happened = Countdown(), events(30)
    assert said(countdown, happened, 10, timeout=600) == ()
    heard = said(countdown, happened, 21, timeout=600)
    assert heard == (
        "revert@gw1 may take 10 min and 9 min are left: it will not be started. Ask again without losing the run: e, or"
        " envtui request production --resume RUN1",
    )
    assert said(countdown, happened, 22, timeout=600) == ()


def test_what_was_begun_or_goes_on_by_itself_is_not_named() -> None:
    act = plan(timeout=600).writes[0]
    begun = ActIntended(
        run="RUN1",
        step="revert",
        act=act.id,
        act_digest=act.digest(),
        mode="write",
        target="gateway",
        member="gw1",
        shows="",
    )
    assert said(Countdown(), [*events(30), begun], 21, timeout=600) == ()
    run = fold([Entry(number, NOW, event, "h") for number, event in enumerate(events(30), 1)], "RUN1")
    made = plan(timeout=600)
    steps = tuple(
        msgspec.structs.replace(step, acts=tuple(msgspec.structs.replace(each, detach=True) for each in step.acts))
        for step in made.steps
    )
    assert Countdown().due(run, msgspec.structs.replace(made, steps=steps), NOW + 21 * MINUTE) == ()


def test_nothing_is_said_without_write_access_or_after_it() -> None:
    countdown = Countdown()
    assert said(countdown, events(30)[:1], 29) == ()
    assert said(countdown, [*events(30), GrantEnded(run="RUN1", grant="R1", reason="REVOKED")], 29.5) == ()
    assert said(countdown, events(30), 31) == ()


def test_a_new_grant_counts_down_anew() -> None:
    countdown = Countdown()
    assert said(countdown, events(30), 0) == ()
    assert len(said(countdown, events(30), 25.5)) == 1
    again = events(30, "R2")
    assert said(countdown, [*events(30), *again[1:]], 10) == ()
    assert len(said(countdown, [*events(30), *again[1:]], 26)) == 1
