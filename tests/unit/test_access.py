"""Write access from request to permit, with real keys and real ssh-keygen. What leaked in other systems is named."""

from __future__ import annotations

import base64
import copy
import pickle
from collections.abc import Callable

import msgspec
import pytest
from access_kit import NOW, DictTracker, MemoryJournal, World, act, make_keys, plan
from access_steps import REASON, activated, around, asked, granted, received, reviewed, signed, spent, standing
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import envtui.engine.access as use
from envtui.core.access import Grant, Permit, Request, Signed, namespace
from envtui.core.act import Plan
from envtui.core.errors import EnvtuiError, Refused, TimedOut, Unsound, UsageError
from envtui.core.events import GrantActivated, GrantEnded, PermitSpent, Requested, SignedOff, SignOffRefused
from envtui.core.ports import Signature
from envtui.rules import grants, paste


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(keys) -> World:
    made = World(keys)
    made.tracker.open()
    return made


def forged(world: World, who: str, name: str, body: bytes, kind: str) -> Callable[[], object]:
    """A block over any bytes, honestly signed by a real key."""

    async def make() -> str:
        signature = await world.keys.signer(who).sign(name, body, world.waited.append)
        return paste.block(Signed(kind=kind, body=body.decode(), signature=signature))

    return make


# --- the way it is meant ---


async def test_from_request_to_permit(world: World) -> None:
    block = await asked(world)
    assert (await standing(world)).state == "REQUESTED"
    review = await reviewed(world, block)
    assert (review.refusals, review.differences) == ((), ())
    assert review.request.targets == {"gateway/gw1": "ssh ops@10.0.0.1:22"}
    answer = await received(world, await signed(world, review))
    assert isinstance(answer, SignedOff)
    assert answer.person == "meera"
    assert (await standing(world)).state == "APPROVED"
    grant = await activated(world)
    assert grant.signed_by == ("meera",)
    assert grant.until_ms == NOW + 30 * 60_000
    permit = await spent(world, grant)
    assert permit.act_digest == act().digest()
    ended = await use.end(grant, "COMPLETED", journal=world.journal)
    assert ended == await use.end(grant, "GIVEN_BACK", journal=world.journal)
    kinds = [type(entry.event) for entry in world.journal.entries]
    assert kinds == [Requested, SignedOff, GrantActivated, PermitSpent, GrantEnded]


async def test_where_nobody_else_is_needed_the_own_signature_is_enough(world: World) -> None:
    world.policy = {"signoff": {"min": 0}, "incident": {"tracker": "none", "required": False}}
    await asked(world, incident_id="")
    assert (await activated(world)).signed_by == ("asha",)


async def test_the_permit_is_in_the_ledger_before_it_is_in_anybodys_hands(world: World) -> None:
    grant = await granted(world)

    class Full(MemoryJournal):
        async def append(self, event):
            raise EnvtuiError("The disk is full.")

    journal = Full(world.journal.entries)
    with pytest.raises(EnvtuiError, match="full"):
        await use.spend(grant, act(), 1, terms=world.terms(), tracker=world.tracker, journal=journal, clock=world.clock)


async def test_a_chat_may_quote_and_wrap_both_blocks(world: World) -> None:
    block = await asked(world)
    quoted = "meera, please!\r\n" + "".join(f"> `{line}`  \r\n" for line in block.splitlines()) + "thanks"
    answer = await signed(world, await reviewed(world, quoted))
    assert isinstance(await received(world, f"```\n{answer}```"), SignedOff)
    assert len(block) < 2400


async def test_the_same_answer_twice_is_one_entry(world: World) -> None:
    answer = await signed(world, await reviewed(world, await asked(world)))
    assert await received(world, answer) == await received(world, answer)
    assert len(world.journal.events(SignedOff)) == 1


# --- self-approval: bytebase 19142, vault 19214, grr 389 ---


async def test_vault_19214_nobody_approves_their_own_request(world: World) -> None:
    review = await reviewed(world, await asked(world))
    with pytest.raises(Refused, match=r"asha asked .* cannot approve") as refused:
        await signed(world, review, "asha")
    assert "meera" in str(refused.value)


async def test_grr_389_a_second_key_is_not_a_second_person(world: World) -> None:
    review = await reviewed(world, await asked(world))
    with pytest.raises(Refused, match="cannot approve"):
        await signed(world, review, "asha-second")


@pytest.mark.parametrize(("who", "key"), [("asha", "asha"), ("asha", "asha-second"), ("meera", "asha")])
async def test_bytebase_19142_a_self_made_sign_off_is_refused_by_the_requesters_client(
    world: World, who: str, key: str
) -> None:
    review = await reviewed(world, await asked(world))
    honest = paste.read(await signed(world, review), "approve")
    body = msgspec.structs.replace(
        grants.parse_signoff(honest.body.encode()),
        approver=msgspec.structs.replace(
            grants.parse_signoff(honest.body.encode()).approver, person=who, key=_fingerprint(world, key)
        ),
    )
    block = await forged(world, key, namespace("approve", "production"), grants.signoff_bytes(body), "approve")()
    assert isinstance(await received(world, block), SignOffRefused)
    with pytest.raises(Refused, match="1 more sign-off"):
        await activated(world)


def _fingerprint(world: World, name: str) -> str:
    from envtui.core.access import fingerprint

    return fingerprint(world.keys.public(name))


async def test_without_the_role_a_signature_does_not_count(world: World) -> None:
    review = await reviewed(world, await asked(world))
    with pytest.raises(Refused, match="none of the roles"):
        await signed(world, review, "ravi")


# --- altered, foreign, wrong namespace ---


class FastVerifier:
    """The same decision as KeygenVerifier for ed25519, in the process: for thousands of altered bytes."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def verify(self, name: str, message: bytes, armoured: str) -> Signature:
        import hashlib

        from access_kit import string

        from envtui.outside import sshsig

        said = sshsig.parse(armoured)
        line = self.world.roster.line(said.key)
        assert line is not None
        blob = base64.b64decode("".join(armoured.splitlines()[1:-1]))
        signed_data = (
            b"SSHSIG"
            + string(name.encode())
            + string(b"")
            + string(b"sha512")
            + string(hashlib.sha512(message).digest())
        )
        public = base64.b64decode(said.key.split()[1])[-32:]
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(blob[-64:], signed_data)
        except InvalidSignature as error:
            raise Refused("altered") from error
        return Signature(principal=line.principal, key=line.key, touched=said.touched)


def flips(body: str) -> list[str]:
    return [body[:at] + chr(ord(body[at]) ^ 1) + body[at + 1 :] for at in range(len(body))]


async def test_every_byte_of_a_request_is_signed(world: World) -> None:
    original = paste.read(await asked(world), "request")
    fast = FastVerifier(world)
    for altered in flips(original.body):
        block = paste.block(msgspec.structs.replace(original, body=altered))
        with pytest.raises(Refused):
            await use.review(
                block,
                terms=world.terms("b"),
                replan=world.replan,
                verifier=fast,
                tracker=world.tracker,
                clock=world.clock,
            )


async def test_every_byte_of_a_sign_off_is_signed(world: World) -> None:
    original = paste.read(await signed(world, await reviewed(world, await asked(world))), "approve")
    fast = FastVerifier(world)
    world.journal.entries = world.journal.entries[:1]
    for altered in flips(original.body):
        block = paste.block(msgspec.structs.replace(original, body=altered))
        assert isinstance(await received(world, block, fast), SignOffRefused)
    with pytest.raises(Refused):
        await activated(world)


async def test_ssh_keygen_refuses_altered_bytes_too(world: World) -> None:
    original = paste.read(await asked(world), "request")
    canonical_ones = [altered for altered in flips(original.body) if _parses(altered)]
    for altered in canonical_ones[:: max(1, len(canonical_ones) // 40)]:
        with pytest.raises(Refused):
            await reviewed(world, paste.block(msgspec.structs.replace(original, body=altered)))


def _parses(body: str) -> bool:
    try:
        grants.parse_request(body.encode())
    except Refused:
        return False
    return True


async def test_every_byte_of_a_signature_counts(world: World) -> None:
    original = paste.read(await asked(world), "request")
    blob = base64.b64decode("".join(original.signature.splitlines()[1:-1]))
    from access_kit import armour

    for at in range(0, len(blob), 3):
        altered = armour(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
        with pytest.raises(Refused):
            await reviewed(world, paste.block(msgspec.structs.replace(original, signature=altered)))


@pytest.mark.parametrize(
    "name",
    ["approve.v1.staging@envtui", "request.v1.production@envtui", "approve.v2.production@envtui", "file", "git"],
)
async def test_a_signature_from_another_namespace_is_none(world: World, name: str) -> None:
    honest = paste.read(await signed(world, await reviewed(world, await asked(world))), "approve")
    block = await forged(world, "meera", name, honest.body.encode(), "approve")()
    answer = await received(world, block)
    assert isinstance(answer, SignOffRefused)
    assert name in answer.why


async def test_a_request_of_another_environment_is_named(world: World) -> None:
    honest = grants.parse_request(paste.read(await asked(world), "request").body.encode())
    foreign = msgspec.structs.replace(honest, environment="staging")
    block = await forged(world, "asha", namespace("request", "production"), grants.request_bytes(foreign), "request")()
    with pytest.raises(Refused, match="staging"):
        await reviewed(world, block)


async def test_a_stranger_and_a_revoked_key_sign_nothing(world: World) -> None:
    review = await reviewed(world, await asked(world))
    with pytest.raises(Refused, match="may not approve"):
        await signed(world, review, "stranger")
    answer = await signed(world, review)
    assert isinstance(await received(world, answer), SignedOff)
    world.revoked = world.keys.public("meera")
    with pytest.raises(Refused, match="roster of signers"):
        await activated(world)
    assert "revoked" in str([r.sentence for r in (await standing(world)).refusals])


async def test_an_answer_to_another_request_is_none(world: World) -> None:
    answer = await signed(world, await reviewed(world, await asked(world)))
    await asked(world)
    refused = await received(world, answer)
    assert isinstance(refused, SignOffRefused)
    assert "another request" in refused.why


async def test_a_sign_off_before_any_request_is_refused(world: World) -> None:
    other = World(world.keys, tracker=world.tracker)
    answer = await signed(other, await reviewed(other, await asked(other)))
    with pytest.raises(Refused, match="asked for nothing"):
        await received(world, answer)


async def test_a_text_without_a_block_is_a_usage_error(world: World) -> None:
    await asked(world)
    with pytest.raises(UsageError, match="no sign-off block"):
        await received(world, "yes, go ahead")


# --- what was signed is what runs: Atlantis 1508 ---


async def test_another_plan_is_not_covered(world: World) -> None:
    await received(world, await signed(world, await reviewed(world, await asked(world))))
    with pytest.raises(Refused, match="plan of the request"):
        await activated(world, plan(word="destroy"))
    grant = await activated(world)
    with pytest.raises(Refused, match="not what was signed"):
        await spent(world, grant, act(word="destroy"))


async def test_another_checkout_on_the_approvers_side_is_noticed_and_named(world: World) -> None:
    block = await asked(world, full=True)
    review = await reviewed(world, block, lambda request: plan(word="destroy"))
    assert [refusal.code for refusal in review.refusals] == ["plan"]
    assert review.differences == ('plan.steps[1].acts[0].call.argv[1][0]: "revert" there, "destroy" here',)
    with pytest.raises(Refused, match="plan of the request"):
        await signed(world, review)
    assert "ENVTUI SIGN-OFF" in await signed(world, review, verdict="deny")


async def test_a_plan_that_cannot_be_made_is_no_approval(world: World) -> None:
    def no_book(request: Request) -> Plan:
        raise UsageError("There is no book gateway-revert.", "Update your checkout.")

    review = await reviewed(world, await asked(world), no_book)
    assert review.plan is None
    with pytest.raises(Refused, match="no book"):
        await signed(world, review)


async def test_a_plan_sent_along_must_be_the_signed_one(world: World) -> None:
    sent = paste.read(await asked(world, full=True), "request")
    with pytest.raises(Refused, match="not the one that was signed"):
        await reviewed(world, paste.block(msgspec.structs.replace(sent, plan=sent.plan.replace("revert", "destroy"))))


# --- incident ---


@pytest.mark.parametrize(
    ("incident", "words"),
    [("INC-9999", "no incident"), ("", "needs an incident"), ("fire!", "no incident")],
)
async def test_an_incident_that_was_never_opened(world: World, incident: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        await asked(world, incident_id=incident)


async def test_a_closed_an_old_and_a_foreign_incident(world: World) -> None:
    world.tracker.open("INC-2", opened_ms=NOW - 8 * 86_400_000)
    world.tracker.open("INC-3", environment="staging")
    world.tracker.open("INC-4")
    world.tracker.close("INC-4")
    for name, words in (("INC-2", "more than 7d ago"), ("INC-3", "of staging"), ("INC-4", "closed")):
        with pytest.raises(Refused, match=words):
            await asked(world, incident_id=name)
    assert world.journal.entries == []


async def test_closing_the_incident_stops_approval_activation_and_the_next_act(world: World) -> None:
    block = await asked(world)
    review = await reviewed(world, block)
    answer = await signed(world, review)
    world.tracker.close()
    assert [refusal.code for refusal in (await reviewed(world, block)).refusals] == ["incident"]
    await received(world, answer)
    with pytest.raises(Refused, match="closed"):
        await activated(world)
    world.tracker.open()
    grant = await activated(world)
    world.tracker.close()
    with pytest.raises(Refused, match="closed"):
        await spent(world, grant)
    assert [event.reason for event in world.journal.events(GrantEnded)] == ["INCIDENT_CLOSED"]
    world.tracker.open()
    with pytest.raises(Refused, match="ended"):
        await spent(world, grant)


async def test_a_damaged_register_ends_the_grant(world: World) -> None:
    grant = await granted(world)

    class Damaged(DictTracker):
        async def lookup(self, incident: str):
            raise Unsound("register:7 is no line of a register.", "Repair it.")

    world.tracker = Damaged()
    with pytest.raises(Refused, match="register:7"):
        await spent(world, grant)
    assert world.journal.events(GrantEnded)[0].reason == "INCIDENT_CLOSED"


async def test_a_tracker_that_does_not_answer_asks_for_two_people(world: World) -> None:
    world.tracker.answers = False
    review = await reviewed(world, await asked(world))
    await received(world, await signed(world, review, "meera"))
    with pytest.raises(Refused, match="tracker did not answer"):
        await activated(world)
    await received(world, await signed(world, review, "tom"))
    assert (await activated(world)).signed_by == ("meera", "tom")


@pytest.mark.parametrize(
    "reason", [".", "", "aaaaaaaaaaaaa", "fix", "..........", "a fine reason\nand more", "x" * 600]
)
async def test_a_reason_says_something(world: World, reason: str) -> None:
    with pytest.raises(Refused, match=r"reason"):
        await asked(world, reason=reason)


# --- time ---


async def test_more_time_than_the_policy_allows(world: World) -> None:
    with pytest.raises(Refused, match="up to 30m"):
        await asked(world, ttl_ms=31 * 60_000)


async def test_an_expired_request_and_an_old_signature(world: World) -> None:
    block = await asked(world)
    review = await reviewed(world, block)
    answer = await signed(world, review)
    await received(world, answer)
    world.clock.advance(16 * 60_000)
    with pytest.raises(Refused, match="signed more than 15m ago"):
        await activated(world)
    world.clock.advance(4 * 3_600_000)
    assert (await standing(world)).state == "EXPIRED"
    with pytest.raises(Refused, match="older than 4h"):
        await signed(world, review)
    with pytest.raises(Refused, match="older than 4h"):
        await activated(world)


async def test_a_sign_off_from_the_future(world: World) -> None:
    review = await reviewed(world, await asked(world))
    world.clock.wall += 10 * 60_000
    answer = await signed(world, review)
    world.clock.wall -= 10 * 60_000
    assert isinstance(await received(world, answer), SignOffRefused)


async def test_a_grant_ends_at_the_earlier_clock_and_a_set_back_clock_ends_it(world: World) -> None:
    grant = await granted(world)
    world.clock.boot += 31 * 60_000  # the laptop slept, and the wall clock was set back to hide it
    with pytest.raises(Refused, match="set back"):
        await spent(world, grant)
    assert world.journal.events(GrantEnded)[0].reason == "CLOCK_JUMP"


async def test_what_cannot_finish_in_time_does_not_start(world: World) -> None:
    grant = await granted(world)
    world.clock.advance(29 * 60_000 + 1)
    with pytest.raises(Refused, match="1 min, and 59 s are left"):
        await spent(world, grant)
    world.clock.advance(60_000)
    with pytest.raises(Refused, match="is over"):
        await spent(world, grant)


# --- once ---


async def test_a_request_activates_once(world: World) -> None:
    await granted(world)
    with pytest.raises(Refused, match="activated before"):
        await activated(world)
    assert (await standing(world)).state == "USED"


async def test_of_two_windows_that_activate_at_once_the_first_in_the_ledger_wins(world: World) -> None:
    await received(world, await signed(world, await reviewed(world, await asked(world))))

    class Slow(MemoryJournal):
        """Answers its first read before the other window wrote."""

        async def append(self, event):
            if isinstance(event, GrantActivated) and not self.events(GrantActivated):
                await super().append(msgspec.structs.replace(event, grant="OTHER"))
            return await super().append(event)

    world.journal = Slow(world.journal.entries)
    with pytest.raises(Refused, match="Another window"):
        await activated(world)


async def test_a_permit_is_for_one_act_and_one_attempt(world: World) -> None:
    grant = await granted(world)
    await spent(world, grant)
    with pytest.raises(Refused, match="permitted before"):
        await spent(world, grant)
    assert len(world.journal.events(PermitSpent)) == 1


async def test_deny_after_approve_counts(world: World) -> None:
    review = await reviewed(world, await asked(world))
    await received(world, await signed(world, review, "meera"))
    denial = await received(world, await signed(world, review, "tom", verdict="deny", why="Not during the sale"))
    assert isinstance(denial, SignedOff)
    with pytest.raises(Refused, match=r"tom denied the request: Not during the sale"):
        await activated(world)
    assert (await standing(world)).state == "DENIED"


async def test_awx_10610_one_person_with_two_keys_is_one_sign_off(world: World) -> None:
    world.policy = {"signoff": {"min": 2}}
    review = await reviewed(world, await asked(world))
    await received(world, await signed(world, review, "meera"))
    await received(world, await signed(world, review, world.keys.security))
    with pytest.raises(Refused, match="1 more sign-off is needed"):
        await activated(world)


# --- presence ---


async def test_a_touch_is_read_from_the_signature(world: World) -> None:
    world.policy = {"signoff": {"require_touch": True}}
    review = await reviewed(world, await asked(world))
    with pytest.raises(Refused, match="not touched"):
        await signed(world, review, "meera")
    world.keys.security.flags = 0
    try:
        untouched = await received(world, await signed(world, review, world.keys.security))
    finally:
        world.keys.security.flags = 1
    assert isinstance(untouched, SignOffRefused)
    assert "not touched" in untouched.why
    assert isinstance(await received(world, await signed(world, review, world.keys.security)), SignedOff)
    assert (await activated(world)).signed_by == ("meera",)


async def test_on_the_machine_that_asked_only_with_a_touch_or_where_policy_allows(world: World) -> None:
    review = await reviewed(world, await asked(world))
    with pytest.raises(Refused, match="on the machine that asked"):
        await signed(world, review, machine="laptop-a")
    assert isinstance(
        await received(world, await signed(world, review, world.keys.security, machine="laptop-a")), SignedOff
    )
    world.journal.entries.clear()
    world.policy = {"signoff": {"same_machine": "allowed"}}
    review = await reviewed(world, await asked(world))
    assert isinstance(await received(world, await signed(world, review, machine="laptop-a")), SignedOff)


async def test_a_key_that_is_never_touched_times_out(world: World) -> None:
    class Sleeping:
        key = world.keys.public("asha")

        async def sign(self, name: str, message: bytes, waiting) -> str:
            raise TimedOut("Nobody touched the key.", "Try again.")

    with pytest.raises(TimedOut):
        await asked(world, signer=Sleeping())
    assert world.journal.entries == []


async def test_only_the_operators_own_key_asks(world: World) -> None:
    with pytest.raises(Refused, match="meera's, and you are asha"):
        await asked(world, signer=world.keys.signer("meera"))


# --- no way around ---


async def test_grant_and_permit_have_no_public_constructor_and_no_copies(world: World) -> None:
    grant = await granted(world)
    permit = await spent(world, grant)
    for kind in (Grant, Permit):
        with pytest.raises(TypeError, match="no public constructor"):
            kind()
        with pytest.raises(TypeError, match="no public constructor"):
            type("Own", (kind,), {})()
    for value in (grant, permit):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="stays in the process"):
                duplicate(value)
        with pytest.raises(AttributeError):
            value.run = "RUN2"


async def test_the_tracker_is_asked_before_each_write(world: World) -> None:
    asked_for: list[str] = []

    class Counting(DictTracker):
        async def lookup(self, incident: str):
            asked_for.append(incident)
            return await super().lookup(incident)

    world.tracker = Counting(world.tracker.incidents)
    grant = await granted(world)
    assert len(asked_for) == 3  # at request, by the approver, at activation
    await spent(world, grant)
    assert len(asked_for) == 4


async def test_team_279_the_end_of_one_grant_leaves_the_other(world: World) -> None:
    """Two runs, two grants at once, of the same plan for the same targets; and the second ends after the first."""
    held = []
    for run in ("RUN1", "RUN2"):
        made = plan(run=run)
        _, block = await use.ask(
            made, "INC-1001", REASON, 0, signer=world.keys.signer("asha"), waiting=world.waited.append, **around(world)
        )
        answer = await signed(world, await reviewed(world, block))
        await use.receive(
            answer, run, terms=world.terms(), verifier=world.verifier, journal=world.journal, clock=world.clock
        )
        held.append(await use.activate(run, plan=made, verifier=world.verifier, **around(world)))
    first, second = held
    await use.end(first, "REVOKED", journal=world.journal)
    with pytest.raises(Refused):
        await spent(world, first)
    assert (await spent(world, second)).grant == second.id
    with pytest.raises(Refused):
        await spent(world, first, attempt=2)
