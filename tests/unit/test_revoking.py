"""Revoking by signature and by the requester: who may, that it is believed at once, and that it is for good."""

from __future__ import annotations

import msgspec
import pytest
from access_kit import MINUTE, World, make_keys
from access_steps import activated, asked, granted, received, reviewed, signed, spent, standing, undone

from envtui.core.access import Party, Signed, fingerprint, namespace
from envtui.core.errors import Refused
from envtui.core.events import GrantActivated, GrantEnded, SignedOff, SignOffRefused
from envtui.engine import revoking
from envtui.rules import grants, paste


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(keys) -> World:
    made = World(keys)
    made.tracker.open()
    return made


def block_of(world: World) -> str:
    """The request, as it stands in the requester's ledger."""
    return paste.block(paste.unbundle(world.journal.entries[0].event.bundle))


async def revoke(world: World, who: str = "meera", reason: str = "wrong gateway", block: str = "") -> str:
    _, answer = await revoking.sign(
        block or block_of(world),
        terms=world.terms("laptop-b"),
        signer=world.keys.signer(who),
        verifier=world.verifier,
        tracker=world.tracker,
        clock=world.clock,
        waiting=world.waited.append,
        reason=reason,
    )
    return answer


async def test_whoever_may_approve_ends_it_and_nothing_is_permitted_any_more(world: World) -> None:
    grant = await granted(world)
    await spent(world, grant)
    event = await received(world, await revoke(world))
    assert isinstance(event, SignedOff)
    assert (event.verdict, event.person) == ("revoke", "meera")
    [ended] = world.journal.events(GrantEnded)
    assert (ended.reason, ended.why) == ("REVOKED", "revoked by meera: wrong gateway")
    with pytest.raises(Refused, match="REVOKED"):
        await spent(world, grant, attempt=2)
    with pytest.raises(Refused, match="REVOKED"):
        await undone(world, grant)


async def test_another_person_than_the_one_who_approved_may(world: World) -> None:
    await granted(world)
    assert isinstance(await received(world, await revoke(world, "tom")), SignedOff)


async def test_the_requester_may(world: World) -> None:
    await granted(world)
    assert isinstance(await received(world, await revoke(world, "asha")), SignedOff)
    assert world.journal.events(GrantEnded)[-1].why == "revoked by asha: wrong gateway"


async def test_it_needs_neither_freshness_nor_a_tracker_that_answers(world: World) -> None:
    grant = await granted(world)
    world.clock.advance(20 * MINUTE)  # the request, and the time to activate it, are long over
    world.tracker.incidents.clear()
    assert isinstance(await received(world, await revoke(world, reason="")), SignedOff)
    assert world.journal.events(GrantEnded)[-1].why == "revoked by meera"
    with pytest.raises(Refused):
        await spent(world, grant)


async def test_it_needs_no_touch_and_no_other_machine(world: World) -> None:
    world.policy = {"signoff": {"min": 0, "require_touch": False}}
    await asked(world)
    await activated(world)
    world.policy = {}
    answer = await revoke(world)
    assert isinstance(await received(world, answer), SignedOff)


async def test_who_has_no_role_may_not(world: World) -> None:
    await granted(world)
    with pytest.raises(Refused, match="ravi did not ask for this write access and has none of the roles") as refused:
        await revoke(world, "ravi")
    assert "close the incident" in str(refused.value)
    with pytest.raises(Refused, match="may not approve"):
        await revoke(world, "stranger")


async def test_one_that_somebody_without_a_role_signed_all_the_same_is_refused_on_receipt(world: World) -> None:
    await granted(world)
    signoff = grants.parse_signoff(paste.read(await revoke(world), "approve").body.encode())
    ravi = Party(person="ravi", key=fingerprint(world.keys.public("ravi")))
    body = grants.signoff_bytes(msgspec.structs.replace(signoff, approver=ravi))
    signature = await world.keys.signer("ravi").sign(namespace("approve", "production"), body, world.waited.append)
    event = await received(world, paste.block(Signed(kind="approve", body=body.decode(), signature=signature)))
    assert isinstance(event, SignOffRefused)
    assert "ravi did not ask" in event.why
    assert not world.journal.events(GrantEnded)


@pytest.mark.parametrize("word", ["approve", "deny"])
async def test_the_word_is_in_the_signed_bytes(world: World, word: str) -> None:
    await asked(world)
    answer = paste.read(await signed(world, await reviewed(world, block_of(world)), verdict=word), "approve")
    altered = msgspec.structs.replace(answer, body=answer.body.replace(f'"verdict":"{word}"', '"verdict":"revoke"'))
    assert revoking.is_revoke(altered)
    assert isinstance(await received(world, paste.block(altered)), SignOffRefused)
    assert not world.journal.events(GrantEnded)


async def test_before_it_is_activated_it_is_a_denial(world: World) -> None:
    block = await asked(world)
    answer = await signed(world, await reviewed(world, block))
    await received(world, answer)
    assert (await standing(world)).state == "APPROVED"
    await received(world, await revoke(world))
    now = await standing(world)
    assert now.state == "DENIED"
    assert "meera revoked the request: wrong gateway." in [refusal.sentence for refusal in now.refusals]
    with pytest.raises(Refused, match="meera revoked the request"):
        await activated(world)
    assert not world.journal.events(GrantActivated)


async def test_a_request_that_its_own_requester_revoked_is_never_activated(world: World) -> None:
    block = await asked(world)
    await received(world, await signed(world, await reviewed(world, block)))
    await revoking.revoke("RUN1", "asha on laptop-a", "", journal=world.journal)
    assert (await standing(world)).state == "DENIED"
    with pytest.raises(Refused, match="The request was revoked by asha on laptop-a"):
        await activated(world)


async def test_a_revoke_of_an_earlier_request_ends_that_one_alone(world: World) -> None:
    await asked(world)
    first = block_of(world)
    await asked(world)
    event = await received(world, await revoke(world, block=first))
    assert isinstance(event, SignedOff)
    assert event.request == grants.parse_request(paste.read(first, "request").body.encode()).id
    assert (await standing(world)).state == "REQUESTED"


async def test_a_revoke_of_another_runs_request_is_refused(world: World, keys) -> None:
    other = World(keys)
    other.tracker.open()
    other.clock.drawn = 500
    await asked(other, reason="Another request, for something else")
    answer = await revoke(other)
    await granted(world)
    event = await received(world, answer)
    assert isinstance(event, SignOffRefused)
    assert "revoked another request" in event.why
    assert not world.journal.events(GrantEnded)


async def test_twice_is_once(world: World) -> None:
    await granted(world)
    answer = await revoke(world)
    assert await received(world, answer) == await received(world, answer)
    assert len(world.journal.events(GrantEnded)) == 1
    with pytest.raises(Refused, match="no write access that could be revoked"):
        await revoking.revoke("RUN1", "asha", "", journal=world.journal)
