"""Permits for what takes changes back: under write access, for a while after its end, by another process; and attempts."""

from __future__ import annotations

import msgspec
import pytest
from access_kit import MINUTE, NOW, FakeClock, MemoryJournal, World, act, make_keys, plan, undo_act
from access_steps import activated, around, asked, granted, received, reviewed, signed, spent, standing, undone

import envtui.engine.access as use
from envtui.core.access import Grant
from envtui.core.act import PlannedStep
from envtui.core.errors import Refused
from envtui.core.events import (
    ActEnded,
    ActIntended,
    GrantActivated,
    GrantEnded,
    PermitSpent,
    Probed,
    Requested,
    Resolved,
    SignedOff,
    SignOffRefused,
)
from envtui.engine.reinstating import orphaned, reinstate
from envtui.rules import grants
from envtui.rules.past import past
from envtui.rules.reading import lines


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(keys) -> World:
    made = World(keys)
    made.tracker.open()
    return made


def intended(attempt: int = 1, what=None) -> ActIntended:
    one = what or act()
    return ActIntended(
        run="RUN1",
        step=one.step.partition(".")[0],
        act=one.id,
        act_digest=one.digest(),
        mode="write",
        target="gateway",
        member=one.place.member,
        shows="…",
        attempt=attempt,
    )


def ended(word="OK", attempt: int = 1, what=None) -> ActEnded:
    one = what or act()
    return ActEnded(run="RUN1", step="revert", act=one.id, word=word, attempt=attempt)


async def written(world: World) -> Grant:
    """Write access under which the plan's act was done."""
    grant = await granted(world)
    await spent(world, grant)
    await world.journal.append(intended())
    await world.journal.append(ended())
    return grant


async def again(world: World, clock: FakeClock | None = None, **changes) -> Grant:
    """What another process makes of the ledger."""
    given = {"terms": world.terms(), "replan": world.replan, **changes}
    [one] = {event.grant for event in world.journal.events(GrantActivated)}
    return await reinstate(
        "RUN1", one, verifier=world.verifier, journal=world.journal, clock=clock or world.clock, **given
    )


# --- under write access, and after it ---


async def test_what_was_done_may_be_taken_back_once(world: World) -> None:
    grant = await written(world)
    permit = await undone(world, grant)
    assert (permit.grant, permit.act_digest, permit.attempt) == (grant.id, undo_act().digest(), 1)
    assert [event.act for event in world.journal.events(PermitSpent)] == ["revert@gw1", "revert.undo@gw1"]
    with pytest.raises(Refused, match="permitted before"):
        await undone(world, grant)


async def test_what_was_not_done_is_not_taken_back(world: World) -> None:
    grant = await granted(world)
    with pytest.raises(Refused, match=r"nothing to take back: revert@gw1 was not permitted"):
        await undone(world, grant)
    assert not world.journal.events(PermitSpent)


async def test_only_the_undo_that_was_signed(world: World) -> None:
    grant = await written(world)
    for other in (undo_act(word="destroy"), undo_act(member="gw2"), undo_act(timeout=61.0), act()):
        with pytest.raises(Refused, match="no undo that was signed"):
            await undone(world, grant, other)
    with pytest.raises(Refused, match="not what was signed"):  # and it is no forward act
        await spent(world, grant, undo_act())


@pytest.mark.parametrize("reason", ["COMPLETED", "EXPIRED", "GIVEN_BACK", "INCIDENT_CLOSED"])
async def test_for_undo_for_after_the_end(world: World, reason) -> None:
    grant = await written(world)
    assert grant.undo_until_ms == NOW + 45 * MINUTE
    await use.end(grant, reason, journal=world.journal)
    world.tracker.close()
    world.clock.advance(43 * MINUTE)
    with pytest.raises(Refused):
        await spent(world, grant, attempt=2)
    assert (await undone(world, grant)).attempt == 1
    world.clock.advance(MINUTE + 1)
    with pytest.raises(Refused, match=r"may take 1 min, and 59 s are left"):
        await undone(world, grant, attempt=2)
    world.clock.advance(MINUTE)
    with pytest.raises(Refused, match="taken back is over"):
        await undone(world, grant, attempt=2)


@pytest.mark.parametrize("reason", ["REVOKED", "CLOCK_JUMP"])
async def test_never_after_a_revoke_or_a_clock_set_back(world: World, reason) -> None:
    grant = await written(world)
    await use.end(grant, reason, journal=world.journal)
    with pytest.raises(Refused, match=f"ended: {reason}"):
        await undone(world, grant)
    with pytest.raises(Refused, match=f"ended: {reason}"):
        await again(world)


async def test_a_revoke_ends_the_undo_of_what_had_ended(world: World) -> None:
    grant = await written(world)
    await use.end(grant, "COMPLETED", journal=world.journal)
    assert (await use.end(grant, "REVOKED", journal=world.journal)).reason == "REVOKED"
    assert (await use.end(grant, "EXPIRED", journal=world.journal)).reason == "REVOKED"
    with pytest.raises(Refused, match="ended: REVOKED"):
        await undone(world, grant)


async def test_closing_the_incident_ends_write_access_and_not_its_undo(world: World) -> None:
    grant = await written(world)
    world.tracker.close()
    await undone(world, grant)
    assert [event.reason for event in world.journal.events(GrantEnded)] == ["INCIDENT_CLOSED"]
    with pytest.raises(Refused):
        await spent(world, grant, attempt=2)


async def test_a_clock_set_back_ends_the_undo_too_and_setting_it_right_brings_nothing_back(world: World) -> None:
    grant = await written(world)
    await use.end(grant, "COMPLETED", journal=world.journal)
    world.clock.wall -= MINUTE
    with pytest.raises(Refused, match="ended"):
        await undone(world, grant)
    world.clock.wall += MINUTE
    with pytest.raises(Refused, match="CLOCK_JUMP"):
        await undone(world, grant)


async def test_a_clock_that_was_too_late_once_stays_so(world: World) -> None:
    grant = await written(world)
    await use.end(grant, "COMPLETED", journal=world.journal)
    world.clock.wall += 60 * MINUTE
    with pytest.raises(Refused, match="is over"):
        await undone(world, grant)
    with pytest.raises(Refused, match="is over"):
        await undone(world, grant)
    assert len(world.journal.events(GrantEnded)) == 2  # said once
    world.clock.wall -= 60 * MINUTE
    with pytest.raises(Refused, match="behind the ledger"):
        await undone(world, grant)
    with pytest.raises(Refused, match="behind the ledger"):
        await again(world)


async def test_another_grant_of_the_run_covers_what_the_first_did_only_while_it_is_active(world: World) -> None:
    first = await written(world)
    await use.end(first, "REVOKED", journal=world.journal)
    second = await granted(world)
    assert second.id != first.id
    await undone(world, second)
    await use.end(second, "COMPLETED", journal=world.journal)
    with pytest.raises(Refused, match="not permitted under this write access"):
        await undone(world, second, attempt=2)


async def test_an_undo_elsewhere_takes_back_what_any_host_did() -> None:
    one = plan()
    undo = msgspec.structs.replace(undo_act(), place=msgspec.structs.replace(act().place, member="admin"))
    both = (act(), act(member="gw2"))
    step = PlannedStep(id="revert", kind="ssh", mode="write", title="", acts=both, undo=(undo, undo_act(member="gw2")))
    taken = grants.taken_back(msgspec.structs.replace(one, steps=(step,)))
    assert taken[undo.digest()] == {"revert@gw1", "revert@gw2"}
    assert taken[undo_act(member="gw2").digest()] == {"revert@gw2"}


async def test_what_goes_on_by_itself_needs_time_only_to_start(world: World) -> None:
    long = msgspec.structs.replace(act(timeout=7200.0), detach=True)
    steps = (PlannedStep(id="revert", kind="ssh", mode="write", title="", acts=(long,)),)
    made = msgspec.structs.replace(plan(), steps=steps)
    block = await asked(world, plan=made)
    await received(world, await signed(world, await reviewed(world, block, lambda request: made)))
    grant = await activated(world, made)
    assert (await spent(world, grant, long)).attempt == 1
    with pytest.raises(Refused, match="not what was signed"):
        await spent(world, grant, msgspec.structs.replace(long, detach=False))


# --- attempts ---


async def test_no_second_attempt_while_the_first_has_no_known_outcome(world: World) -> None:
    grant = await granted(world)
    await spent(world, grant)
    await world.journal.append(intended())
    for event in (
        ended("IN DOUBT"),
        Probed(run="RUN1", step="revert", act="revert@gw1", found="unknown"),
        Probed(run="RUN1", step="revert", act="revert@gw1", found="applied"),
        Probed(run="RUN1", step="revert", act="revert@gw1", found="absent", dead=False),
    ):
        with pytest.raises(Refused, match="Attempt 1 of revert@gw1 has no known outcome"):
            await spent(world, grant, attempt=2)
        await world.journal.append(event)
    with pytest.raises(Refused, match="no known outcome"):
        await spent(world, grant, attempt=2)
    assert len(world.journal.events(PermitSpent)) == 1
    await world.journal.append(Probed(run="RUN1", step="revert", act="revert@gw1", found="absent"))
    assert (await spent(world, grant, attempt=2)).attempt == 2


@pytest.mark.parametrize(
    "outcome",
    [ended("FAILED"), Resolved(run="RUN1", step="revert", act="revert@gw1", done=False, by="asha", why="looked")],
)
async def test_a_second_attempt_after_a_known_outcome(world: World, outcome) -> None:
    grant = await granted(world)
    await spent(world, grant)
    await world.journal.append(intended())
    await world.journal.append(outcome)
    with pytest.raises(Refused, match="permitted before"):
        await spent(world, grant)
    assert (await spent(world, grant, attempt=2)).attempt == 2


async def test_a_new_grant_does_not_forget_the_attempts_of_the_last(world: World) -> None:
    first = await granted(world)
    await spent(world, first)
    await world.journal.append(intended())
    await use.end(first, "GIVEN_BACK", journal=world.journal)
    second = await granted(world)
    for attempt in (1, 2):
        with pytest.raises(Refused, match="no known outcome"):
            await spent(world, second, attempt=attempt)
    await world.journal.append(ended("FAILED"))
    with pytest.raises(Refused, match="Attempt 1 of revert@gw1 was permitted before"):
        await spent(world, second, attempt=1)
    assert (await spent(world, second, attempt=2)).grant == second.id


async def test_an_undo_waits_for_what_it_takes_back_and_for_itself(world: World) -> None:
    grant = await granted(world)
    await spent(world, grant)
    await world.journal.append(intended())
    with pytest.raises(Refused, match="revert@gw1 has no known outcome, and what may still go on"):
        await undone(world, grant)
    # Proven dead is enough here: whether it is there is for the run to know.
    await world.journal.append(Probed(run="RUN1", step="revert", act="revert@gw1", found="applied"))
    await undone(world, grant)
    await world.journal.append(intended(what=undo_act()))
    with pytest.raises(Refused, match=r"Attempt 1 of revert\.undo@gw1 has no known outcome"):
        await undone(world, grant, attempt=2)
    await world.journal.append(ended("FAILED", what=undo_act()))
    assert (await undone(world, grant, attempt=2)).attempt == 2


@pytest.mark.parametrize("late", ["a permit", "an end", "an intent"])
async def test_what_another_process_wrote_just_before_counts(world: World, late: str) -> None:
    grant = await written(world)

    class Overtaken(MemoryJournal):
        async def append(self, event):
            if isinstance(event, PermitSpent) and len(self.events(PermitSpent)) == 1:
                other = {
                    "a permit": msgspec.structs.replace(event, permit="OTHER"),
                    "an end": GrantEnded(run="RUN1", grant=grant.id, reason="REVOKED"),
                    "an intent": intended(what=undo_act()),
                }
                await super().append(other[late])
            return await super().append(event)

    world.journal = Overtaken(world.journal.entries, world.clock)
    with pytest.raises(Refused):
        await undone(world, grant)


# --- another process, another day ---


async def test_a_run_taken_up_again_may_be_undone_and_writes_nothing_else(world: World) -> None:
    await written(world)
    other = FakeClock(wall=world.clock.wall + 20 * MINUTE, boot=77)  # after a reboot
    with pytest.raises(Refused, match="has not ended"):
        await again(world, other)
    [gone] = await orphaned("RUN1", journal=world.journal)
    assert (gone.reason, gone.why) == ("GIVEN_BACK", "its process ended")
    assert await orphaned("RUN1", journal=world.journal) == ()
    world.tracker.close()
    world.clock = other
    grant = await again(world)
    assert (grant.undo_only, grant.acts, grant.until_ms, grant.undo_until_ms) == (
        True,
        frozenset(),
        NOW + 30 * MINUTE,
        NOW + 45 * MINUTE,
    )
    for attempt in (1, 2):
        with pytest.raises(Refused, match="ended: GIVEN_BACK"):
            await spent(world, grant, attempt=attempt)
    none = past(())  # not even for somebody who shows no ledger
    refusal = grants.why_not(grant, act(), 1, none, other.wall_ms(), other.boot_ms())
    assert refusal is not None
    assert refusal.code == "undo-only"
    permit = await undone(world, grant)
    with pytest.raises(Refused, match="permitted before"):
        await undone(world, await again(world))
    assert permit.grant == grant.id
    world.clock.advance(25 * MINUTE)
    with pytest.raises(Refused, match="is over"):
        await undone(world, grant, attempt=2)
    with pytest.raises(Refused, match="is over"):
        await again(world)


async def test_a_clock_set_back_after_it_was_taken_up_ends_it(world: World) -> None:
    grant = await written(world)
    await use.end(grant, "GIVEN_BACK", journal=world.journal)
    world.clock.advance(20 * MINUTE)
    grant = await again(world)
    world.clock.boot += 10 * MINUTE  # the wall clock was set back by as much
    with pytest.raises(Refused, match="ended"):
        await undone(world, grant)
    assert world.journal.events(GrantEnded)[-1].reason == "CLOCK_JUMP"


async def test_only_what_this_very_grant_did(world: World) -> None:
    grant = await granted(world)
    await use.end(grant, "COMPLETED", journal=world.journal)
    with pytest.raises(Refused, match="nothing to take back"):
        await undone(world, await again(world))


async def test_a_live_grant_of_this_process_is_no_orphan(world: World) -> None:
    grant = await granted(world)
    assert await orphaned("RUN1", journal=world.journal, mine={grant.id}) == ()
    await use.end(grant, "COMPLETED", journal=world.journal)
    assert await orphaned("RUN1", journal=world.journal) == ()


async def test_everything_is_verified_again(world: World) -> None:
    grant = await written(world)
    await use.end(grant, "GIVEN_BACK", journal=world.journal)
    with pytest.raises(Refused, match="plan of the request"):
        await again(world, replan=lambda request: plan(word="destroy"))
    world.policy = {"signoff": {"min": 2}}
    with pytest.raises(Refused, match="1 more sign-off"):
        await again(world)
    world.policy = {}
    world.revoked = world.keys.public("meera")
    with pytest.raises(Refused) as refused:
        await again(world)
    assert "revoked" in str(refused.value)
    world.revoked = world.keys.public("tom")  # the roster is another one, and meera's place in it the same
    assert (await again(world)).signed_by == ("meera",)


async def test_entries_that_do_not_fit_give_nothing_back(world: World) -> None:
    grant = await written(world)
    await use.end(grant, "GIVEN_BACK", journal=world.journal)
    whole = list(world.journal.entries)

    def without(kind: type) -> list:
        return [entry for entry in whole if not isinstance(entry.event, kind)]

    def changed(kind: type, **fields) -> list:
        return [
            msgspec.structs.replace(entry, event=msgspec.structs.replace(entry.event, **fields))
            if isinstance(entry.event, kind)
            else entry
            for entry in whole
        ]

    for entries, words in (
        (without(SignedOff), "1 more sign-off"),
        (without(Requested), "never had write access"),
        (changed(GrantActivated, nonce="another"), "another request"),
        (changed(GrantActivated, plan_digest="another"), "another request"),
        (changed(GrantActivated, signed_by=("meera", "tom")), "signature of tom does not count"),
    ):
        world.journal.entries = entries
        with pytest.raises(Refused, match=words):
            await again(world)
    # Nor does a later end than was signed.
    world.journal.entries = changed(GrantActivated, until_ms=NOW + 500 * MINUTE)
    assert (await again(world)).undo_until_ms == NOW + 45 * MINUTE
    with pytest.raises(Refused, match="never had write access"):
        await reinstate(
            "RUN1", "NONE", terms=world.terms(), replan=world.replan, verifier=world.verifier,
            journal=world.journal, clock=world.clock,
        )  # fmt: skip


async def test_where_the_tracker_did_not_answer_the_requester_the_approver_saw_the_incident(world: World) -> None:
    world.tracker.answers = False
    block = await asked(world)
    world.tracker.answers = True
    await received(world, await signed(world, await reviewed(world, block)))
    grant = await activated(world)
    await spent(world, grant)
    await use.end(grant, "COMPLETED", journal=world.journal)
    assert (await again(world)).undo_only


async def test_more_time_for_undo_than_the_policy_allows_is_refused(world: World) -> None:
    world.policy = {"grant": {"undo_for": "60m"}}
    block = await asked(world)
    world.policy = {}
    assert "undo" in [refusal.code for refusal in (await reviewed(world, block)).refusals]


# --- asked for again ---


async def test_a_run_asks_again_and_again(world: World) -> None:
    ids, nonces = set(), set()
    for _ in range(3):
        grant = await granted(world)
        ids.add(grant.id)
        nonces.add(grant.request.nonce)
        assert (await standing(world)).state == "USED"
        with pytest.raises(Refused, match="activated before"):
            await activated(world)
        await use.end(grant, "EXPIRED", journal=world.journal)
        with pytest.raises(Refused, match="ended: EXPIRED"):
            await use.spend(grant, act(), 1, **around(world))
    assert (len(ids), len(nonces)) == (3, 3)


async def test_the_answer_to_an_earlier_request_is_no_answer_to_this_one(world: World) -> None:
    answer = await signed(world, await reviewed(world, await asked(world)))
    await received(world, answer)
    await activated(world)
    await asked(world)
    assert (await standing(world)).state == "REQUESTED"
    refused = await received(world, answer)
    assert isinstance(refused, SignOffRefused)
    assert "another request" in refused.why
    with pytest.raises(Refused, match="1 more sign-off"):
        await activated(world)


async def test_the_approver_reads_what_takes_it_back(world: World) -> None:
    block = await asked(world)
    review = await reviewed(world, block)
    assert review.plan is not None
    detached = msgspec.structs.replace(undo_act(), detach=True, timeout=7200.0)
    by_hand = msgspec.structs.replace(review.plan.steps[1], id="tell", undo=(detached,), by_hand="Call the desk.")
    shown = msgspec.structs.replace(review.plan, steps=(*review.plan.steps, by_hand))
    said = [f"{label}: {text}" for label, text in lines(review.request, review.incident, shown)]
    assert "Writes: revert@gw1 at ssh ops@10.0.0.1:22" in said
    assert "Undo: of what was done, for up to 15 min longer" in said
    at = said.index("Undoes: revert.undo@gw1 at ssh ops@10.0.0.1:22")
    assert said[at + 1] == ": gatewayctl apply"
    assert said[-4:] == [
        "Undoes: revert.undo@gw1 at ssh ops@10.0.0.1:22, which goes on by itself for up to 2 h",
        ": gatewayctl apply",
        "Undoes: tell, by hand:",
        ": Call the desk.",
    ]
