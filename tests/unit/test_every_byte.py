"""Every byte of a request, a sign-off and an act, and of the signatures over them: a bit flipped, left out, something put in, cut
off. Enumerated, not sampled; all refused.

What proves what: parsing (canonical bytes, known fields) refuses most alterations by itself. What parses is another request, and
its signature is verified: by the verifier that is used everywhere, whose one question to ssh-keygen is answered by
`cryptography` in this process, so that thousands take seconds; ssh-keygen is asked about a part of the same, and must agree.
An altered act that still is one is put before the rule that spends permits, `grants.why_not`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from access_kit import ENVIRONMENT, FakeClock, Keys, World, act, make_keys, plan, terms
from access_steps import activated, asked, received, reviewed, signed
from signature_kit import InProcess, alterations, ssh_keygen_accepts
from tree_kit import grow

from envtui.core import canonical
from envtui.core.access import Grant, Signed, fingerprint, namespace
from envtui.core.act import Act, Bytes, Place, Plan, PlannedStep, SqlCall, SshCall, literal
from envtui.core.canonical import digest
from envtui.core.environment import People, Person
from envtui.core.errors import Refused
from envtui.core.policy import PolicyChange, Stand
from envtui.engine.case import check_about, verify_request, verify_signoff
from envtui.outside.allowed_signers import roster
from envtui.outside.trees.load import load_tree
from envtui.owning import judge, sign
from envtui.rules import grants, paste
from envtui.rules.past import past

DISK = Act(
    step="disk",
    mode="write",
    place=Place(target="gateway", kind="ssh", member="gw2", address="10.0.0.3:22", user="ops", via="jump"),
    call=SshCall(
        sh='rm -- "$1"', argv=(literal("old file"),), stdin=Bytes.of(b"text"), env=(("A", literal("1")),), cwd="/tmp"
    ),
    timeout=61.5,
    needs=("rate",),
    idle_timeout=3.0,
    detach=True,
)
ROWS = Act(
    step="rows",
    mode="write",
    place=Place(target="db", kind="sql", member="db1", address="10.0.0.2:5432", dbname="app", user="rw"),
    call=SqlCall(text="delete from t where id = $1", binds=((literal("7"), "int"),), affected_max=1, lock_timeout=0.5),
)
ACTS = {"ssh": act(), "ssh with everything": DISK, "sql": ROWS}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(keys: Keys) -> World:
    made = World(keys)
    made.tracker.open()
    return made


def wide() -> Plan:
    more = tuple(
        PlannedStep(id=each.step, kind=each.place.kind, mode="write", title=each.step, acts=(each,))
        for each in (DISK, ROWS)
    )
    return msgspec.structs.replace(plan(), steps=(*plan().steps, *more))


async def both(world: World) -> tuple[Signed, Signed]:
    """A request and an approval of it."""
    block = await asked(world, plan=wide())
    answer = await signed(world, await reviewed(world, block, lambda _: wide()))
    await received(world, answer)
    return paste.read(block, "request"), paste.read(answer, "approve")


async def refused(attempt: Callable[[], Awaitable[object]]) -> bool:
    try:
        await attempt()
    except Refused:
        return True
    return False


async def none_counts(
    world: World,
    tmp_path: Path,
    what: Signed,
    verify: Callable[..., Awaitable[object]],
    parse: Callable[[bytes], object],
) -> None:
    """No alteration of the body or of the signature counts."""
    verifier, own = InProcess(world.roster, world.clock), world.terms()
    assert not await refused(lambda: verify(what, own, verifier))
    verifier.asked.clear()
    body = what.body.encode()
    believed = []
    for name, data in alterations(body):
        if data == body:
            continue
        try:
            parse(data)
        except Refused:
            continue
        changed = msgspec.structs.replace(what, body=data.decode())
        if not await refused(lambda changed=changed: verify(changed, own, verifier)):
            believed.append(name)
    assert believed == []
    came_through = verifier.asked[:]
    assert len(came_through) > 300, "so many were other requests, in canonical bytes, that only their signature tells"
    for name, data in alterations(what.signature.encode()):
        text = data.decode("latin-1")
        changed = msgspec.structs.replace(what, signature=text)
        if text != what.signature and not await refused(lambda changed=changed: verify(changed, own, verifier)):
            believed.append(f"signature: {name}")
    assert believed == []
    for line, space, message, armoured, answer in came_through[:: len(came_through) // 25]:
        allowed = f'{line.principal} namespaces="{space}" {line.key}\n'
        assert ssh_keygen_accepts(tmp_path, allowed, line.principal, space, message, armoured) is answer is False
        assert ssh_keygen_accepts(tmp_path, allowed, line.principal, space, body, armoured)


async def test_every_byte_of_a_request(world: World, tmp_path: Path) -> None:
    request, _ = await both(world)
    await none_counts(world, tmp_path, request, verify_request, grants.parse_request)


async def test_every_byte_of_a_sign_off(world: World, tmp_path: Path) -> None:
    request, answer = await both(world)
    own = InProcess(world.roster, world.clock)
    check_about(await verify_request(request, world.terms(), own), await verify_signoff(answer, world.terms(), own))
    await none_counts(world, tmp_path, answer, verify_signoff, grants.parse_signoff)


async def test_bytes_that_are_no_text_are_no_request(world: World) -> None:
    """All eight bits of every byte: those that make no ASCII any more never come to a signature."""
    for what, parse in zip(await both(world), (grants.parse_request, grants.parse_signoff), strict=True):
        body = what.body.encode()
        for at in range(len(body)):
            with pytest.raises(Refused):
                parse(body[:at] + bytes([body[at] ^ 0x80]) + body[at + 1 :])


async def test_every_letter_of_a_block(world: World) -> None:
    """A chat may change the dashes, and put spaces anywhere. Whatever is read of an altered block is what was sent."""
    for what in await both(world):
        text = paste.block(what)
        read = 0
        for name, data in alterations(text.encode()):
            try:
                found = paste.read(data.decode("latin-1"), what.kind)
            except (Refused, paste.UsageError):
                continue
            read += not name.startswith("b' '")
            assert found == what, name
        assert read < 200, "of the letters that are not spaces nearly none can be missing or other ones"


def back(data: bytes) -> Act | None:
    """The act that these bytes are, if they are those of one."""
    try:
        value = canonical.parse(data)
        assert isinstance(value, dict)
        call = value["call"]
        for field in ("timeout", "idle_timeout"):
            value[field] /= 1000
        for field in ("statement_timeout", "lock_timeout"):
            if field in call:
                call[field] /= 1000
        if call.get("stdin"):  # content is signed by its digest and its length
            call["stdin"]["content"] = b""
        found = msgspec.convert(value, Act)
    except (Refused, AssertionError, KeyError, TypeError, AttributeError, msgspec.ValidationError):
        return None
    return found if canonical.canonical(found.as_data()) == data else None


async def grant_of(world: World) -> Grant:
    await both(world)
    return await activated(world, wide())


@pytest.mark.parametrize("name", ACTS)
async def test_every_byte_of_an_act(world: World, name: str) -> None:
    grant, clock = await grant_of(world), world.clock
    before = past(await world.journal.read("RUN1"))
    original = canonical.canonical(ACTS[name].as_data())
    again = back(original)
    assert again is not None
    assert again.digest() == ACTS[name].digest()
    assert grants.why_not(grant, again, 1, before, clock.wall, clock.boot) is None
    others = 0
    for what, data in alterations(original, bits=8):
        if data == original:
            continue
        assert hashlib.sha256(data).hexdigest() not in grant.acts
        other = back(data)
        if other is not None:
            others += 1
            why = grants.why_not(grant, other, 1, before, clock.wall, clock.boot)
            assert why is not None, what
            assert why.code == "plan", what
    assert others > 100, "so many were acts of another kind"


async def test_the_plan_that_is_sent_along_is_the_one_that_was_signed(world: World) -> None:
    """`--full`: its text is believed only if its digest is the signed one."""
    block = await asked(world, full=True)
    what = paste.read(block, "request")
    request = grants.parse_request(what.body.encode())
    assert digest(plan().as_data()) == request.plan_digest
    for _, data in alterations(what.plan.encode()):
        if data != what.plan.encode():
            assert grants.sha256(data) != request.plan_digest
    altered = what.plan.replace("gatewayctl", "gatewayctk", 1)
    with pytest.raises(Refused, match="is not the one that was signed"):
        await reviewed(world, paste.block(msgspec.structs.replace(what, plan=altered)))


async def test_a_signature_of_a_key_beside_is_no_signature(world: World, tmp_path: Path) -> None:
    """The same bytes, signed by everybody else on the roster, and by a stranger, with the approver named in them."""
    request, answer = await both(world)
    body = answer.body.encode()
    said = grants.parse_signoff(body)
    for who in ("asha", "ravi", "tom", "ines", "asha-second", "stranger"):
        made = await world.keys.signer(who).sign(namespace("approve", ENVIRONMENT), body, lambda _: None)
        forged = msgspec.structs.replace(answer, signature=made)
        assert said.approver.key != fingerprint(world.keys.public(who))
        assert await refused(lambda forged=forged: verify_signoff(forged, world.terms(), world.verifier))
    for kind in ("request", "record", "policy"):
        made = await world.keys.signer("meera").sign(namespace(kind, ENVIRONMENT), body, lambda _: None)
        forged = msgspec.structs.replace(answer, signature=made)
        assert await refused(lambda forged=forged: verify_signoff(forged, world.terms(), world.verifier))
    made = await world.keys.signer("meera").sign(namespace("approve", "staging"), body, lambda _: None)
    forged = msgspec.structs.replace(answer, signature=made)
    assert await refused(lambda: verify_signoff(forged, world.terms(), world.verifier))
    elsewhere = terms(world.roster, environment="staging")
    assert await refused(lambda: verify_signoff(answer, elsewhere, world.verifier))
    assert await refused(lambda: verify_request(request, elsewhere, world.verifier))


async def test_every_byte_of_an_owners_signature_over_a_policy(keys: Keys, tmp_path: Path) -> None:
    tree = load_tree(grow(tmp_path, "dev") / "dev")
    space = namespace("policy", "dev")
    line = f'meera@lab namespaces="{space}" {keys.public("meera")}\n'
    people = People(
        schema="envtui/people@1", people={"meera": Person(name="M", principals=("meera@lab",), roles=("owner",))}
    )
    own, clock = roster("dev", line, "", people), FakeClock()
    change = PolicyChange(
        environment="dev",
        before=Stand(policy_sha256="1" * 64, roster_sha256="2" * 64),
        now=Stand(policy_sha256="3" * 64, roster_sha256="4" * 64),
        needed=1,
        roster=own,
    )
    verifier = InProcess(own, clock)

    async def counts(what: Signed) -> bool:
        given = msgspec.structs.replace(tree, policy_signatures=paste.block(what))
        judged = await judge(change, given, lambda _: verifier, clock)
        assert bool(judged.refused) is bool(judged.lacking)
        return not judged.lacking

    lacking = await judge(change, tree, lambda _: verifier, clock)
    (what,) = paste.blocks(await sign(lacking, keys.signer("meera"), clock, lambda _: None))
    assert await counts(what)
    verifier.asked.clear()
    body = what.body.encode()
    for name, data in alterations(body):
        if data != body:
            assert not await counts(msgspec.structs.replace(what, body=data.decode())), name
    assert len(verifier.asked) > 100
    for name, data in alterations(what.signature.encode()):
        text = data.decode("latin-1")
        if text != what.signature:
            assert not await counts(msgspec.structs.replace(what, signature=text)), name
    for _, name, message, armoured, answer in verifier.asked[:: len(verifier.asked) // 15]:
        assert ssh_keygen_accepts(tmp_path, line, "meera@lab", name, message, armoured) is answer is False
