"""The fold and `decide`: what is shown is what was written down, and a write is proposed once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtui.core.act import Act, Place, Plan, PlannedStep, SshCall
from envtui.core.events import (
    ActEnded,
    ActIntended,
    Answered,
    Captured,
    Entry,
    Event,
    GrantActivated,
    GrantEnded,
    PermitSpent,
    PickOffered,
    Resolved,
    Resumed,
    RunEnded,
    RunStarted,
    StepEnded,
    WaitStarted,
    Word,
)
from envtui.core.runbook import Runbook
from envtui.rules.decide import decide
from envtui.rules.proposals import (
    Done,
    Doubt,
    EndStep,
    Finish,
    NeedsAnswer,
    NeedsDecision,
    NeedsPick,
    ReadyRead,
    ReadyWrite,
    StartWait,
    Waiting,
)
from envtui.rules.run import apply, fold
from envtui.rules.state import Run
from envtui.rules.written import written

BOOK = msgspec.convert(
    {
        "schema": "envtui/runbook@1",
        "id": "b",
        "environment": "production",
        "title": "t",
        "owner": "o",
        "steps": [
            {"id": "look", "kind": "ssh", "argv": ["x"], "on_failure": "ask"},
            {"id": "cause", "kind": "choose", "options": {"policy": "fix", "something else": "end"}},
            {"id": "fix", "kind": "ssh", "mode": "write", "argv": ["y"], "repeatable": True},
            {"id": "pause", "kind": "wait", "for": "5s"},
            {"id": "after", "kind": "ssh", "argv": ["x"], "on_failure": "goto:look"},
        ],
    },
    Runbook,
)


def act(step: str, member: str, mode: str = "read") -> Act:
    place = Place(target="gw", kind="ssh", member=member, address=f"{member}:22")
    return Act(step=step, mode="write" if mode == "write" else "read", place=place, call=SshCall(argv=((step,),)))


def plan() -> Plan:
    acts = {"look": ("read", ("gw1", "gw2")), "fix": ("write", ("gw1", "gw2")), "after": ("read", ("gw1",))}
    steps = []
    for step in BOOK.steps:
        mode, members = acts.get(step.id, ("read", ()))
        steps.append(
            PlannedStep(
                id=step.id,
                kind=msgspec.to_builtins(step)["kind"],
                mode="write" if mode == "write" else "read",
                title=step.id,
                acts=tuple(act(step.id, m, mode) for m in members),
            )
        )
    return Plan(run="R", book="b", book_sha256="0", environment="production", operator="asha", steps=tuple(steps))


PLAN = plan()
STARTED = RunStarted(
    run="R", book="b", book_sha256="0", title="t", plan_digest=PLAN.digest(), operator="asha", plan=written(PLAN, {})
)


def after(*events: Event) -> Run:
    return fold((Entry(i, 1000 * i, event, "") for i, event in enumerate((STARTED, *events), 1)), "R")


def intended(step: str, member: str, mode: str = "read", attempt: int = 1) -> ActIntended:
    a = act(step, member, mode)
    return ActIntended(
        run="R",
        step=step,
        act=a.id,
        act_digest=a.digest(),
        mode=a.mode,
        target="gw",
        member=member,
        shows=step,
        attempt=attempt,
    )


def ended(step: str, member: str, word: Word = "OK", why: str = "") -> ActEnded:
    return ActEnded(run="R", step=step, act=f"{step}@{member}", word=word, why=why)


def looked() -> tuple[Event, ...]:
    return (
        intended("look", "gw1"), ended("look", "gw1"), intended("look", "gw2"), ended("look", "gw2"),
        StepEnded(run="R", step="look", word="OK"),
    )  # fmt: skip


def at_fix() -> tuple[Event, ...]:
    return (
        *looked(),
        Answered(run="R", step="cause", answer="policy"),
        StepEnded(run="R", step="cause", word="OK", goto="fix"),
    )


GRANT = GrantActivated(
    run="R", grant="G", plan_digest="d", incident="INC-1", signed_by=("meera",), until_ms=10**13, acts=2
)


def spent(member: str) -> PermitSpent:
    return PermitSpent(
        run="R",
        grant="G",
        permit=member,
        act=f"fix@{member}",
        act_digest=act("fix", member, "write").digest(),
        attempt=1,
    )


def test_reads_come_first_and_need_nobody() -> None:
    assert decide(after(), PLAN, BOOK) == ReadyRead("look", (act("look", "gw1"), act("look", "gw2")))


def test_only_members_without_an_outcome_are_proposed_again() -> None:
    run = after(intended("look", "gw1"), ended("look", "gw1"))
    assert decide(run, PLAN, BOOK) == ReadyRead("look", (act("look", "gw2"),))


def test_a_choice_waits_for_a_person_and_leads_where_the_book_says() -> None:
    run = after(*looked())
    assert isinstance(decide(run, PLAN, BOOK), NeedsAnswer)
    run = after(*looked(), Answered(run="R", step="cause", answer="something else"))
    assert decide(run, PLAN, BOOK) == EndStep("cause", "OK", "something else", "end")
    run = after(
        *looked(),
        Answered(run="R", step="cause", answer="something else"),
        StepEnded(run="R", step="cause", word="OK", goto="end"),
    )
    assert decide(run, PLAN, BOOK) == Finish("OK", "")


def test_a_failed_read_asks_when_the_book_says_so() -> None:
    failed = (
        intended("look", "gw1"),
        ended("look", "gw1", "FAILED", "exit 1"),
        intended("look", "gw2"),
        ended("look", "gw2"),
    )
    run = after(*failed)
    ending = decide(run, PLAN, BOOK)
    assert isinstance(ending, EndStep)
    assert (ending.word, ending.goto) == ("FAILED", "?")
    run = after(*failed, StepEnded(run="R", step="look", word="FAILED", why="gw1: exit 1", goto="?"))
    assert decide(run, PLAN, BOOK) == NeedsDecision("look", "gw1: exit 1", ("retry", "skip", "stop"))
    run = after(
        *failed,
        StepEnded(run="R", step="look", word="FAILED", why="x", goto="?"),
        Answered(run="R", step="look", answer="retry"),
    )
    assert decide(run, PLAN, BOOK) == ReadyRead("look", (act("look", "gw1"), act("look", "gw2")))


def test_a_write_needs_a_grant_and_goes_member_by_member() -> None:
    proposed = decide(after(*at_fix()), PLAN, BOOK)
    assert isinstance(proposed, ReadyWrite)
    assert not proposed.granted
    proposed = decide(after(*at_fix(), GRANT), PLAN, BOOK)
    assert proposed == ReadyWrite("fix", act("fix", "gw1", "write"), True)
    run = after(*at_fix(), GRANT, spent("gw1"), intended("fix", "gw1", "write"), ended("fix", "gw1"))
    assert decide(run, PLAN, BOOK) == ReadyWrite("fix", act("fix", "gw2", "write"), True)


def test_an_ended_grant_grants_nothing() -> None:
    run = after(*at_fix(), GRANT, GrantEnded(run="R", grant="G", reason="EXPIRED"))
    proposed = decide(run, PLAN, BOOK)
    assert isinstance(proposed, ReadyWrite)
    assert not proposed.granted
    assert "expired" in proposed.why_not


def test_a_spent_permit_without_an_intent_is_not_spent_again() -> None:
    """The process died between the two: nothing was sent, and the next attempt has a permit of its own."""
    proposed = decide(after(*at_fix(), GRANT, spent("gw1")), PLAN, BOOK)
    assert isinstance(proposed, ReadyWrite)
    assert (proposed.act.id, proposed.attempt) == ("fix@gw1", 2)


def test_a_write_without_an_outcome_is_in_doubt_and_stops_everything() -> None:
    run = after(*at_fix(), GRANT, spent("gw1"), intended("fix", "gw1", "write"))
    assert [a.id for a in run.in_doubt] == ["fix@gw1"]
    assert decide(run, PLAN, BOOK) == Doubt("fix", "fix@gw1")
    run = after(*at_fix(), GRANT, spent("gw1"), intended("fix", "gw1", "write"), ended("fix", "gw1", "IN DOUBT"))
    assert decide(run, PLAN, BOOK) == Doubt("fix", "fix@gw1")


def test_waits_have_an_absolute_end() -> None:
    wrote = (
        *at_fix(), GRANT, spent("gw1"), intended("fix", "gw1", "write"), ended("fix", "gw1"),
        spent("gw2"), intended("fix", "gw2", "write"), ended("fix", "gw2"), StepEnded(run="R", step="fix", word="OK"),
    )  # fmt: skip
    assert decide(after(*wrote), PLAN, BOOK) == StartWait("pause", 5.0)
    run = after(*wrote, WaitStarted(run="R", step="pause", until_ms=99))
    assert decide(run, PLAN, BOOK) == Waiting("pause", 99)


def test_a_jump_back_to_a_read_starts_it_again() -> None:
    run = after(
        *looked(),
        StepEnded(run="R", step="cause", word="OK", goto="after"),
        intended("after", "gw1"),
        ended("after", "gw1", "FAILED", "x"),
    )
    ending = decide(run, PLAN, BOOK)
    assert ending == EndStep("after", "FAILED", "gw1: x", "look")
    run = apply(run, Entry(99, 0, StepEnded(run="R", step="after", word="FAILED", goto="look"), ""))
    assert decide(run, PLAN, BOOK) == ReadyRead("look", (act("look", "gw1"), act("look", "gw2")))


def test_a_picked_row_becomes_values_by_column() -> None:
    offer = PickOffered(run="R", step="look", name="pid", columns=("pid", "query"), rows=(("1", "a"), ("2", "b")))
    run = after(intended("look", "gw1"), ended("look", "gw1"), intended("look", "gw2"), ended("look", "gw2"), offer)
    assert isinstance(decide(run, PLAN, BOOK), NeedsPick)
    run = apply(
        run, Entry(9, 0, Captured(run="R", step="look", name="pid", columns=offer.columns, rows=(("2", "b"),)), "")
    )
    assert run.values() == {"vars.pid.pid": "2", "vars.pid.query": "b", "vars.pid": "2"}
    assert isinstance(decide(run, PLAN, BOOK), EndStep)


def test_another_runs_events_change_nothing() -> None:
    run = after(*looked())
    assert apply(run, Entry(9, 0, RunEnded(run="S", word="FAILED"), "")) == run


def test_a_run_that_is_started_once_more_forgets_nothing() -> None:
    run = after(*at_fix(), GRANT, spent("gw1"), intended("fix", "gw1", "write"))
    again = apply(run, Entry(99, 0, STARTED, ""))
    assert again == run
    assert [act.id for act in again.in_doubt] == ["fix@gw1"]


words = st.sampled_from(("OK", "FAILED", "TIMED OUT", "REFUSED", "IN DOUBT"))
members = st.sampled_from(("gw1", "gw2"))
steps = st.sampled_from(("look", "cause", "fix", "pause", "after"))
events = st.one_of(
    st.builds(lambda s, m: intended(s, m, "write" if s == "fix" else "read"), steps, members),
    st.builds(ended, steps, members, words),
    st.builds(
        lambda s, w, g: StepEnded(run="R", step=s, word=w, goto=g),
        steps,
        words,
        st.sampled_from(("", "?", "=", "end", "look", "fix")),
    ),
    st.builds(
        lambda s, a: Answered(run="R", step=s, answer=a),
        steps,
        st.sampled_from(("policy", "something else", "retry", "x")),
    ),
    st.builds(spent, members),
    st.just(GRANT),
    st.builds(lambda r: GrantEnded(run="R", grant="G", reason=r), st.sampled_from(("EXPIRED", "REVOKED", "COMPLETED"))),
    st.builds(lambda w: RunEnded(run="R", word=w), words),
    st.builds(lambda s: WaitStarted(run="R", step=s, until_ms=5), steps),
)


@given(st.lists(events, max_size=25))
def test_for_any_history_no_write_without_grounds_and_none_twice(history: list[Event]) -> None:
    """A granted proposal has an active, unspent grant behind it, and an attempted write without an outcome blocks all."""
    run = after(*history)
    proposed = decide(run, PLAN, BOOK)
    if isinstance(proposed, ReadyWrite) and proposed.granted:
        assert run.grant is not None
        assert not run.grant.ended
        assert (proposed.act.digest(), proposed.attempt) not in run.grant.spent
        state = next(a for s in run.steps for a in s.acts if a.id == proposed.act.id)
        assert not state.intended
    if run.in_doubt and run.word is None:
        assert isinstance(proposed, Doubt)
    if run.word is not None:
        assert isinstance(proposed, Done)


@given(st.lists(events, max_size=25))
def test_the_fold_is_the_same_one_by_one_and_all_at_once(history: list[Event]) -> None:
    entries = [Entry(i, i, event, "") for i, event in enumerate((STARTED, *history), 1)]
    one_by_one = Run(id="R")
    for entry in entries:
        one_by_one = apply(one_by_one, entry)
    assert one_by_one == fold(entries, "R")


@pytest.mark.parametrize("reason", ["EXPIRED", "REVOKED", "INCIDENT_CLOSED", "CLOCK_JUMP"])
def test_every_end_of_a_grant_is_named(reason: str) -> None:
    run = after(*at_fix(), GRANT, GrantEnded(run="R", grant="G", reason=reason))  # type: ignore[arg-type]
    assert run.grant is not None
    assert run.grant.ended == reason
    assert not run.write_active


def test_a_changed_book_does_not_forget_attempts() -> None:
    """A second attempt with the number of the first would be refused its permit."""
    resolved = Resolved(run="R", step="fix", act="fix@gw1", done=False, by="asha", why="looked")
    events = (*at_fix(), GRANT, spent("gw1"), intended("fix", "gw1", "write"), resolved)
    resumed = Resumed(run="R", operator="asha", machine="m", plan_digest="other", plan=written(PLAN, {}))
    run = after(*events, resumed)
    state = run.act("fix@gw1")
    assert state is not None
    assert (state.intended, state.attempt) == (False, 1)
    proposed = decide(run, PLAN, BOOK)
    assert isinstance(proposed, ReadyWrite)
    assert proposed.attempt == 2
