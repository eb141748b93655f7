"""Break-glass with real keys: who may, for how long, what is owed afterwards, and whose review pays it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from access_kit import ENVIRONMENT, MINUTE, NOW, World, act, make_keys, plan, policy
from access_steps import activated, asked, received, reviewed, signed, spent, standing
from test_access import FastVerifier, flips

import envtui.engine.access as use
from envtui.core.access import Grant, Party, Signed, fingerprint, namespace
from envtui.core.errors import Refused, UsageError
from envtui.core.events import (
    ActEnded,
    ActIntended,
    GrantActivated,
    GrantEnded,
    Noted,
    Requested,
    SignedOff,
    SignOffRefused,
    Told,
)
from envtui.core.ports import Hold
from envtui.engine import afterwards
from envtui.engine.debts import glasses, owes
from envtui.rules import break_glass, grants, paste, reading, review

WHY = "The gateway answers 403 to every customer and nobody of the on-call answers"
HOURS = 60 * MINUTE
POLICY: dict[str, object] = {"break_glass": {"people": ["asha"]}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(keys) -> World:
    made = World(keys, policy=dict(POLICY))
    made.tracker.open()
    return made


class Free:
    """A run that no other process has."""

    def release(self) -> None: ...


def free(run: str) -> Hold:
    return Free()


def taken(run: str) -> Hold:
    raise Refused(f"Run {run} goes on in another terminal.", "Watch it there.")


async def broken(world: World, **changes: Any) -> str:
    """Asha asks by break-glass; the block."""
    given = {"plan": plan(), "incident_id": "INC-1001", "reason": WHY, "ttl_ms": 0, "who": "asha", **changes}
    signer = given.pop("signer", None) or world.keys.signer(given["who"])
    _, block = await use.ask(
        given["plan"], given["incident_id"], given["reason"], given["ttl_ms"],
        terms=world.terms(), signer=signer, tracker=world.tracker, journal=world.journal, clock=world.clock,
        waiting=world.waited.append, break_glass=True,
    )  # fmt: skip
    return block


async def over(world: World, told: bool = True) -> Grant:
    """A break-glass that began, did its act, called people, and ended."""
    await broken(world)
    grant = await activated(world)
    await world.journal.append(
        Told(
            run="RUN1",
            to="notify",
            about="break-glass by asha",
            delivered=told,
            why="" if told else "no answer",
            grant=grant.id,
        )
    )
    permit = await spent(world, grant)
    shows = {"target": "gateway", "member": "gw1", "shows": "gatewayctl revert"}
    await world.journal.append(
        ActIntended(
            run="RUN1",
            step="revert",
            act="revert@gw1",
            mode="write",
            attempt=1,
            act_digest=act().digest(),
            permit=permit.id,
            **shows,
        )
    )
    await world.journal.append(
        ActEnded(run="RUN1", step="revert", act="revert@gw1", word="OK", exit=0, milliseconds=12, attempt=1)
    )
    world.clock.advance(MINUTE)
    await use.end(grant, "COMPLETED", journal=world.journal, why="every permitted act was sent")
    return grant


async def recorded(world: World, who: str = "asha", hold=free) -> tuple[review.Record, str]:
    return await afterwards.record(
        "RUN1", terms=world.terms(), verifier=world.verifier, signer=world.keys.signer(who), journal=world.journal,
        hold=hold, waiting=world.waited.append,
    )  # fmt: skip


async def judged(
    world: World, block: str, who: Any = "meera", verdict: Any = "ratify", machine: str = "laptop-b", reason: str = ""
) -> str:
    terms = world.terms(machine)
    signer = world.keys.signer(who) if isinstance(who, str) else who
    read = await afterwards.read(block, terms=terms, verifier=world.verifier)
    return await afterwards.judge(
        read, verdict, terms=terms, signer=signer, tracker=world.tracker, clock=world.clock,
        waiting=world.waited.append, reason=reason,
    )  # fmt: skip


async def paid(world: World, answer: str) -> SignedOff:
    return await afterwards.take(
        answer, "RUN1", terms=world.terms(), verifier=world.verifier, journal=world.journal, clock=world.clock
    )


async def signoff_block(world: World, who: str, **changes: object) -> str:
    """An answer with other words in it, honestly signed by a real key."""
    _, block = await recorded(world)
    honest = grants.parse_signoff(paste.read(await judged(world, block), "approve").body.encode())
    party = Party(person=who.partition("-")[0], key=fingerprint(world.keys.public(who)))
    body = grants.signoff_bytes(msgspec.structs.replace(honest, approver=party, **changes))
    signature = await world.keys.signer(who).sign(namespace("approve", ENVIRONMENT), body, world.waited.append)
    return paste.block(Signed(kind="approve", body=body.decode(), signature=signature))


# --- the way it is meant ---


async def test_nobody_else_signs_the_time_is_short_and_the_plan_as_narrow_as_ever(world: World) -> None:
    await broken(world)
    assert (await standing(world)).needed == 0
    grant = await activated(world)
    assert grant.signed_by == ("asha",)
    assert grant.until_ms == NOW + 15 * MINUTE  # half of grant.max
    assert grant.acts == frozenset({act().digest()})
    with pytest.raises(Refused, match="not what was signed"):
        await spent(world, grant, act(word="drop"))
    began = world.journal.events(GrantActivated)[0]
    assert isinstance(began, GrantActivated)
    assert (began.break_glass, began.review_by_ms) == (True, NOW + 24 * HOURS)
    assert await owes("asha", world.journal) == (grant.id,)


async def test_the_debt_is_paid_by_another_persons_review_of_the_transcript(world: World) -> None:
    grant = await over(world)
    done, block = await recorded(world)
    assert [line.partition(" UTC ")[2] for line in done.what] == [
        "revert@gw1: WRITE on gateway/gw1: OK (0.01 s, exit 0): gatewayctl revert"
    ]
    assert done.told == ("told people: break-glass by asha",)
    answer = await judged(world, f"> please review\n{block}")
    said = grants.parse_signoff(paste.read(answer, "approve").body.encode())
    assert (said.verdict, said.transcript_sha256) == ("ratify", done.transcript_sha256)
    event = await paid(world, answer)
    assert (event.person, event.verdict) == ("meera", "ratify")
    assert await owes("asha", world.journal) == ()
    assert await paid(world, answer) == event  # the same block twice is one entry
    assert len(world.journal.events(SignedOff)) == 1
    debt = (await glasses(world.journal))[0]
    assert (debt.grant, debt.by, debt.late) == (grant.id, "meera", False)


async def test_a_dispute_pays_too_and_says_why(world: World) -> None:
    await over(world)
    _, block = await recorded(world)
    with pytest.raises(Refused, match="is not a reason"):
        await judged(world, block, verdict="dispute")
    answer = await judged(world, block, verdict="dispute", reason="the policy was right, the certificate was not")
    assert (await paid(world, answer)).verdict == "dispute"
    assert await owes("asha", world.journal) == ()
    assert (await glasses(world.journal))[0].verdict == "dispute"


async def test_a_late_review_pays_and_is_called_late(world: World) -> None:
    await over(world)
    world.clock.advance(25 * HOURS)
    assert (await glasses(world.journal))[0].overdue(world.clock.wall)
    _, block = await recorded(world)
    await paid(world, await judged(world, block))
    debt = (await glasses(world.journal))[0]
    assert (debt.open, debt.late) == (False, True)


# --- who may, and under which conditions ---


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({"break_glass": None}, {}, "has no break-glass"),
        ({"break_glass": {"people": []}}, {}, "has no break-glass"),
        ({"break_glass": {"people": ["meera"]}}, {}, "is not for asha"),
        ({}, {"reason": "The gateway answers 403 to all of us"[:-2]}, "at least 30 letters"),
        ({}, {"reason": "x" * 40}, "is not a reason"),
        ({}, {"reason": "a b c d . . . . . . . . . . . . . . . . . . . . . . ."}, "at least 30 letters"),
        ({}, {"ttl_ms": 15 * MINUTE + 1}, "lasts 15 min"),
        ({"break_glass": {"people": ["asha"], "max": "2h"}}, {"ttl_ms": 16 * MINUTE}, "lasts 15 min"),
        ({"break_glass": {"people": ["asha"], "max": "5m"}}, {"ttl_ms": 6 * MINUTE}, "lasts 5 min"),
        ({"signoff": {"require_touch": True}}, {}, "was not touched"),
        ({}, {"incident_id": "INC-9"}, "no incident"),
        ({}, {"incident_id": ""}, "needs an incident"),
    ],
)
async def test_what_the_policy_does_not_give_is_refused_before_anything_is_signed(
    world: World, changes: dict[str, object], more: dict[str, object], says: str
) -> None:
    world.policy |= changes
    with pytest.raises(Refused, match=says):
        await broken(world, **more)
    assert world.journal.entries == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"break_glass": None}, "break-glass"),
        ({"break_glass": {"people": ["meera"]}}, "break-glass"),
        ({"break_glass": {"people": ["asha"], "max": "5m"}}, "ttl"),
        ({"break_glass": {"people": ["asha"]}, "grant": {"max": "20m"}}, "ttl"),
        ({"signoff": {"require_touch": True}}, "touch"),
    ],
)
async def test_a_client_that_asks_all_the_same_is_refused_at_activation(
    world: World, changes: dict[str, object], code: str
) -> None:
    """The request is honest but for the policy: what is signed is looked at again when it begins."""
    body = _request(await broken(world))
    world.policy |= changes
    altered = msgspec.structs.replace(body, policy_sha256=world.terms().policy_sha256)
    await _ask_again(world, altered)
    assert code in {refusal.code for refusal in (await standing(world)).refusals}
    with pytest.raises(Refused):
        await activated(world)


async def test_the_person_is_whose_key_signed_not_whom_the_request_names(world: World) -> None:
    body = _request(await broken(world))
    party = Party(person="asha", key=fingerprint(world.keys.public("ravi")))
    await _ask_again(world, msgspec.structs.replace(body, requester=party), "ravi")
    codes = {refusal.code for refusal in (await standing(world)).refusals}
    assert {"identity", "break-glass"} <= codes


async def test_touch_is_read_from_the_signature(world: World, keys) -> None:
    world.policy |= {"signoff": {"require_touch": True}, "break_glass": {"people": ["meera"]}}
    for flags, holds in ((0x00, False), (0x01, True)):
        keys.security.flags = flags
        await broken(world, plan=plan(operator="meera"), signer=keys.security)
        codes = {r.code for r in (await standing_of(world, plan(operator="meera"))).refusals}
        assert ("touch" not in codes) is holds
    keys.security.flags = 0x01


async def test_it_is_not_kept_for_later(world: World) -> None:
    await broken(world)
    world.clock.advance(15 * MINUTE + 1)
    with pytest.raises(Refused, match="signed more than 15m ago"):
        await activated(world)


async def test_a_tracker_that_does_not_answer_asks_for_nobody(world: World) -> None:
    world.tracker.answers = False
    await broken(world)
    grant = await activated(world)
    assert grant.incident.state == "unverified"
    assert await spent(world, grant)
    world.tracker.answers = True
    world.tracker.close()
    assert (await use.recheck(grant, terms=world.terms(), tracker=world.tracker, clock=world.clock)) is not None


async def test_without_break_glass_the_same_night_asks_for_two(world: World) -> None:
    world.tracker.answers = False
    await asked(world)
    assert (await standing(world)).needed == 2


async def test_a_denial_counts_and_an_approval_is_refused(world: World) -> None:
    block = await broken(world)
    look = await reviewed(world, block)
    assert any("nobody approves that" in refusal.sentence for refusal in look.refusals)
    with pytest.raises(Refused, match="nobody approves that"):
        await signed(world, look)
    await received(world, await signed(world, look, verdict="deny", why="not tonight"))
    with pytest.raises(Refused, match="meera denied the request: not tonight"):
        await activated(world)


async def test_the_approver_reads_that_nobody_else_signs(world: World) -> None:
    look = await reviewed(world, await broken(world))
    said = dict(reading.lines(look.request, look.incident, look.plan))
    assert "nobody else signs" in said["BREAK-GLASS"]


# --- what is owed ---


async def test_a_debt_blocks_the_second_break_glass_and_asks_for_two_approvers(world: World) -> None:
    grant = await over(world)
    with pytest.raises(Refused, match=f"Nobody has reviewed the break-glass {grant.id} yet"):
        await broken(world, plan=plan(run="RUN2"))
    block = await asked(world, plan=plan(run="RUN2"))
    look = await reviewed(world, block)
    assert look.request.debts == (grant.id,)
    said = [text for label, text in reading.lines(look.request, look.incident, look.plan) if label == "OWES"]
    assert len(said) == 1
    assert grant.id in said[0]
    assert "two" in said[0].lower()
    ready = await standing_of(world, plan(run="RUN2"))
    assert ready.needed == 2
    for who in ("meera", "tom"):
        assert (await standing_of(world, plan(run="RUN2"))).refusals
        await use.receive(
            await signed(world, look, who), "RUN2", terms=world.terms(), verifier=world.verifier,
            journal=world.journal, clock=world.clock,
        )  # fmt: skip
    assert (await standing_of(world, plan(run="RUN2"))).state == "APPROVED"


async def test_a_request_that_hides_its_debts_is_refused_by_its_own_client(world: World) -> None:
    grant = await over(world)
    body = _request(await asked(world, plan=plan(run="RUN2")))
    block = await _ask_again(world, msgspec.structs.replace(body, debts=()))
    look = await reviewed(world, block)
    assert look.refusals == ()  # nobody else can know
    await use.receive(
        await signed(world, look), "RUN2", terms=world.terms(), verifier=world.verifier, journal=world.journal,
        clock=world.clock,
    )  # fmt: skip
    with pytest.raises(Refused, match=f"does not say that nobody reviewed the break-glass {grant.id}"):
        await activate_of(world, plan(run="RUN2"))


async def test_a_debt_of_somebody_else_is_not_mine(world: World) -> None:
    world.policy |= {"break_glass": {"people": ["asha", "meera"]}}
    await over(world)
    assert await owes("meera", world.journal) == ()
    await broken(world, plan=plan(run="RUN2", operator="meera"), who="meera")


async def test_after_the_review_one_signature_is_enough_again(world: World) -> None:
    await over(world)
    _, block = await recorded(world)
    await paid(world, await judged(world, block))
    await asked(world, plan=plan(run="RUN2"))
    assert (await standing_of(world, plan(run="RUN2"))).needed == 1
    await broken(world, plan=plan(run="RUN3"))


async def test_of_two_windows_the_first_break_glass_counts(world: World) -> None:
    await broken(world)
    await broken(world, plan=plan(run="RUN2"))
    first = await activated(world)
    # The other window looked before the first one was written down.
    hidden, world.journal.entries = world.journal.entries[-1:], world.journal.entries[:-1]

    class Racing(type(world.journal)):  # type: ignore[misc]  # the class of a fixture's object
        async def append(self, event):
            self.entries += hidden
            hidden.clear()
            return await super().append(event)

    journal = Racing(world.journal.entries, world.clock)
    with pytest.raises(Refused, match=f"The break-glass {first.id} of asha is not reviewed yet"):
        await use.activate(
            "RUN2", terms=world.terms(), plan=plan(run="RUN2"), verifier=world.verifier, tracker=world.tracker,
            journal=journal, clock=world.clock,
        )  # fmt: skip
    ended = [event for event in journal.events(GrantEnded) if isinstance(event, GrantEnded)]
    assert [event.run for event in ended] == ["RUN2"]


# --- reviews that pay nothing ---


@pytest.mark.parametrize("who", ["asha", "asha-second"])
async def test_nobody_reviews_their_own_break_glass(world: World, who: str) -> None:
    await over(world)
    _, block = await recorded(world)
    with pytest.raises(Refused, match="broke the glass and cannot review it") as refused:
        await judged(world, block, who)
    assert "meera" in str(refused.value)


@pytest.mark.parametrize("who", ["asha", "asha-second"])
async def test_a_self_made_review_is_refused_by_the_requesters_own_client(world: World, who: str) -> None:
    await over(world)
    answer = await signoff_block(world, who)
    with pytest.raises(Refused, match="cannot review it"):
        await paid(world, answer)
    assert await owes("asha", world.journal) != ()
    assert "cannot review it" in world.journal.events(SignOffRefused)[-1].why


async def test_the_key_that_broke_the_glass_reviews_nothing_whoever_it_belongs_to_by_now(world: World) -> None:
    await over(world)
    done, _ = await recorded(world)
    moved = Party(person="meera", key=done.requester.key)  # the roster gave the key to somebody else since
    refusals = review.of_reviewer(done.requester, done.machine, moved, "laptop-b", True, world.terms())
    assert [refusal.code for refusal in refusals] == ["self-review"]


async def test_an_entry_of_ones_own_pays_nothing(world: World) -> None:
    """What somebody's own client wrote into their ledger, whatever it checked."""
    grant = await over(world)
    await world.journal.append(SignedOff(run="RUN1", request=grant.id, verdict="ratify", person="asha", key="k"))
    assert await owes("asha", world.journal) == (grant.id,)


async def test_a_review_in_anothers_name_is_refused(world: World) -> None:
    await over(world)
    answer = await signoff_block(world, "asha-second")
    named = grants.parse_signoff(paste.read(answer, "approve").body.encode())
    body = grants.signoff_bytes(
        msgspec.structs.replace(named, approver=msgspec.structs.replace(named.approver, person="meera"))
    )
    signature = await world.keys.signer("asha-second").sign(
        namespace("approve", ENVIRONMENT), body, world.waited.append
    )
    with pytest.raises(Refused, match="names meera"):
        await paid(world, paste.block(Signed(kind="approve", body=body.decode(), signature=signature)))


@pytest.mark.parametrize(
    ("who", "changes", "says"),
    [
        ("meera", {"transcript_sha256": "0" * 64}, "another transcript"),
        ("meera", {"transcript_sha256": ""}, "another transcript"),
        ("meera", {"ledger_hash": "0" * 64}, "another transcript"),
        ("meera", {"request": "R9"}, "another request"),
        ("meera", {"request_sha256": "0" * 64}, "another request"),
        ("meera", {"verdict": "approve"}, "is no review"),
        ("meera", {"verdict": "dispute"}, "disputes without a reason"),
        ("meera", {"environment": "staging"}, "for 'staging'"),
        ("meera", {"machine": "laptop-a"}, "on the machine of the break-glass"),
        ("meera", {"signed_ms": NOW - HOURS}, "does not fit"),
        ("meera", {"signed_ms": NOW + HOURS}, "does not fit"),
        ("ravi", {}, "none of the roles"),
        ("stranger", {}, "is nobody's"),
    ],
)
async def test_another_review_pays_nothing(world: World, who: str, changes: dict[str, object], says: str) -> None:
    await over(world)
    answer = await signoff_block(world, who, **changes)
    with pytest.raises(Refused, match=says):
        await paid(world, answer)
    assert await owes("asha", world.journal) != ()


async def test_what_was_added_to_the_ledger_before_the_end_is_noticed(world: World) -> None:
    await over(world)
    _, block = await recorded(world)
    answer = await judged(world, block)
    entry = world.journal.entries[-2]
    world.journal.entries[-2] = msgspec.structs.replace(entry, hash="f" * 64)
    with pytest.raises(Refused, match="another transcript"):
        await paid(world, answer)


async def test_what_came_after_the_end_is_shown_and_does_not_move_the_digest(world: World) -> None:
    await over(world)
    before, block = await recorded(world)
    await world.journal.append(Noted(run="RUN1", text="all is well again", by="asha"))
    after, _ = await recorded(world)
    assert after.transcript_sha256 == before.transcript_sha256
    assert after.what[-1].startswith("afterwards, not in the digest: ")
    await paid(world, await judged(world, block))


async def test_an_outcome_that_came_after_the_end_stands_in_the_record(world: World) -> None:
    await over(world)
    last = world.journal.entries.pop(-1)
    ended = world.journal.entries.pop(-1)
    assert isinstance(ended.event, ActEnded)
    for event in (last.event, ended.event):
        await world.journal.append(event)
    done, _ = await recorded(world)
    assert "revert@gw1: WRITE on gateway/gw1: OK" in done.what[0]


@pytest.mark.parametrize("part", ["body", "signature"])
async def test_a_record_that_was_changed_is_refused(world: World, part: str) -> None:
    await over(world)
    _, block = await recorded(world)
    honest = paste.read(block, "record")
    text = getattr(honest, part)
    at = text.index("revert") if part == "body" else len(text) // 2
    changed = text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]
    with pytest.raises(Refused):
        await judged(world, paste.block(msgspec.structs.replace(honest, **{part: changed})))


async def test_every_byte_of_a_record_is_signed(world: World) -> None:
    await over(world)
    _, block = await recorded(world)
    honest, fast = paste.read(block, "record"), FastVerifier(world)
    assert await afterwards.read(block, terms=world.terms("b"), verifier=fast)
    for altered in flips(honest.body):
        with pytest.raises(Refused):
            await afterwards.read(
                paste.block(msgspec.structs.replace(honest, body=altered)), terms=world.terms("b"), verifier=fast
            )


async def test_a_record_is_signed_by_whoever_broke_the_glass(world: World) -> None:
    await over(world)
    with pytest.raises(Refused, match="was asha's, and the key that signs is meera's"):
        await recorded(world, "meera")
    done, _ = await recorded(world)
    body = review.record_bytes(done)
    signature = await world.keys.signer("meera").sign(namespace("request", ENVIRONMENT), body, world.waited.append)
    with pytest.raises(Refused, match="The record names asha"):
        await judged(world, paste.block(Signed(kind="record", body=body.decode(), signature=signature)))


async def test_a_record_is_no_request_and_a_request_no_record(world: World) -> None:
    request = await broken(world)
    await over(world)
    _, block = await recorded(world)
    as_request = msgspec.structs.replace(paste.read(block, "record"), kind="request")
    with pytest.raises(Refused, match="This is no request"):
        await reviewed(world, paste.block(as_request))
    as_record = msgspec.structs.replace(paste.read(request, "request"), kind="record")
    with pytest.raises(Refused, match="This is no record"):
        await judged(world, paste.block(as_record))


async def test_while_it_is_active_there_is_nothing_to_review(world: World) -> None:
    await broken(world)
    await activated(world)
    with pytest.raises(Refused, match="goes on in another terminal"):
        await recorded(world, hold=taken)
    done, _ = await recorded(world)  # its process is gone: its end is written down first
    assert done.what == ()
    assert world.journal.events(GrantEnded)[-1].reason == "GIVEN_BACK"


async def test_a_run_without_a_break_glass_has_no_record(world: World) -> None:
    await asked(world)
    with pytest.raises(UsageError, match="has no break-glass"):
        await recorded(world)


async def test_not_delivered_stands_in_the_record(world: World) -> None:
    await over(world, told=False)
    done, _ = await recorded(world)
    assert done.told == ("NOT DELIVERED to people: break-glass by asha, no answer",)
    assert ("Told", done.told[0]) in list(review.lines(done))


async def test_a_long_transcript_fits_what_may_be_signed(world: World) -> None:
    await broken(world)
    grant = await activated(world)
    for number in range(400):
        await world.journal.append(
            ActIntended(
                run="RUN1", step="look", act=f"look@h{number}", mode="read", attempt=1, act_digest="0" * 64,
                target="t", member=f"h{number}", shows="\u4f60" * 300,
            )
        )  # fmt: skip
    permit = await spent(world, grant)
    await world.journal.append(
        ActIntended(
            run="RUN1", step="revert", act="revert@gw1", mode="write", attempt=1, act_digest=act().digest(),
            permit=permit.id, target="gateway", member="gw1", shows="gatewayctl revert",
        )
    )  # fmt: skip
    await use.end(grant, "GIVEN_BACK", journal=world.journal)
    done, block = await recorded(world)
    assert "revert@gw1: WRITE on gateway/gw1: no outcome is known: IN DOUBT" in done.what[0]
    assert done.what[-1].startswith("… and 400 more lines")
    await judged(world, block)


def test_the_tighter_of_both_times_counts() -> None:
    half = policy(grant={"max": "20m"}, break_glass={"people": ["asha"], "max": "15m"})
    own = policy(grant={"max": "2h"}, break_glass={"people": ["asha"], "max": "15m"})
    assert (break_glass.longest_ms(half), break_glass.longest_ms(own)) == (10 * MINUTE, 15 * MINUTE)


def test_the_marks_are_in_the_bytes_of_what_they_stand_for_and_not_in_text() -> None:
    from envtui.core.canonical import canonical_record

    began = GrantActivated(
        run="r", grant="g", plan_digest="", incident="", signed_by=("a",), until_ms=1, acts=1, break_glass=True
    )
    assert break_glass.MARKS[0].encode() in canonical_record(began)
    for mark, verdict in zip(break_glass.MARKS[1:], break_glass.REVIEWS, strict=True):
        said = SignedOff(run="r", request="g", verdict=verdict, person="m", key="k")
        assert mark.encode() in canonical_record(said)
        assert mark.encode() not in canonical_record(Noted(run="r", text=f"{{{mark}}}", by="a"))


def _request(block: str):
    return grants.parse_request(paste.read(block, "request").body.encode())


async def _ask_again(world: World, request, who: str = "asha") -> str:
    """A request with other words in it, honestly signed, in the ledger as the last one of its run."""
    body = grants.request_bytes(msgspec.structs.replace(request, id="R-again", nonce="n" * 32))
    signature = await world.keys.signer(who).sign(namespace("request", ENVIRONMENT), body, world.waited.append)
    made = Signed(kind="request", body=body.decode(), signature=signature)
    await world.journal.append(
        Requested(
            run=request.run, request="R-again", request_sha256=grants.sha256(body), incident=request.incident.id,
            reason=request.reason, bundle=paste.bundle(made),
        )
    )  # fmt: skip
    return paste.block(made)


async def standing_of(world: World, of_plan) -> use.Standing:
    return await use.status(
        of_plan.run, terms=world.terms(), plan=of_plan, verifier=world.verifier, journal=world.journal,
        clock=world.clock,
    )  # fmt: skip


async def activate_of(world: World, of_plan) -> Grant:
    return await use.activate(
        of_plan.run, terms=world.terms(), plan=of_plan, verifier=world.verifier, tracker=world.tracker,
        journal=world.journal, clock=world.clock,
    )  # fmt: skip
