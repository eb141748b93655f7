"""Whatever the clocks do: a permit exists only inside the signed time, for a signed act, once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtui.core.access import Grant, Incident, Party, Request
from envtui.core.act import Act, Place, SshCall, literal
from envtui.core.errors import Refused
from envtui.rules import conditions, grants
from envtui.rules.past import Past

WALL, BOOT, TTL = 1_770_000_000_000, 5_000_000, 1_800_000
DAY = 86_400_000


def act(word: str, mode: str = "write", timeout: float = 60.0) -> Act:
    place = Place(target="gateway", kind="ssh", member="gw1", address="10.0.0.1:22")
    return Act(step="revert", mode=mode, place=place, call=SshCall(argv=(literal(word),)), timeout=timeout)


SIGNED = [act("revert"), act("restart", timeout=600.0)]
REQUEST = Request(
    environment="production",
    id="R1",
    nonce="n",
    requester=Party(person="asha", key="SHA256:a"),
    incident=Incident(id="INC-1", state="open"),
    reason="r",
    run="RUN1",
    book="b",
    book_sha256="",
    manifest_sha256="",
    policy_sha256="",
    roster_sha256="",
    inputs={},
    date="",
    targets={},
    plan_digest="",
    ttl_ms=TTL,
    undo_for_ms=0,
    created_ms=WALL,
    expires_ms=WALL + TTL,
    ledger="l",
    ledger_seq=1,
    ledger_hash="h",
)


UNDO_FOR = 900_000
UNDONE = act("apply")  # by its digest alone it is an undo of what was signed
TAKES_BACK = frozenset({"revert@gw1", "restart@gw1"})


def grant(undo_only: bool = False) -> Grant:
    return Grant._issue(
        slots={},
        id="R1",
        request=REQUEST,
        run="RUN1",
        plan_digest="",
        acts=frozenset(one.digest() for one in SIGNED),
        undos={UNDONE.digest(): TAKES_BACK},
        incident=REQUEST.incident,
        signed_by=("meera",),
        activated_ms=WALL,
        activated_boot_ms=BOOT,
        until_ms=WALL + TTL,
        undo_until_ms=WALL + TTL + UNDO_FOR,
        undo_only=undo_only,
    )


jumps = st.one_of(st.integers(-DAY, DAY), st.integers(-5_000, 5_000), st.integers(TTL - 5_000, TTL + 5_000))


@given(
    wall=jumps,
    boot=st.one_of(st.integers(0, DAY), st.integers(TTL - 5_000, TTL + 5_000)),
    which=st.sampled_from([*SIGNED, act("destroy"), act("revert", mode="read"), act("revert", timeout=61.0)]),
    attempt=st.integers(-1, 3),
    spent=st.frozensets(st.tuples(st.just("R1"), st.sampled_from([one.digest() for one in SIGNED]), st.integers(1, 3))),
)
def test_a_permit_needs_all_of_it(
    wall: int, boot: int, which: Act, attempt: int, spent: frozenset[tuple[str, str, int]]
) -> None:
    one = grant()
    fits = (
        which in SIGNED
        and attempt >= 1
        and ("R1", which.digest(), attempt) not in spent
        and wall >= boot - grants.JUMP_MS
        and TTL - max(wall, boot) >= which.timeout * 1000
    )
    now = {"wall_ms": WALL + wall, "boot_ms": BOOT + boot}
    past = Past(spent=spent)
    assert (grants.why_not(one, which, attempt, past, **now) is None) == fits
    if fits:
        permit = grants.spend(one, which, attempt, past=past, permit_id="P1", **now)
        assert (permit.grant, permit.act_digest, permit.attempt) == ("R1", which.digest(), attempt)
    else:
        with pytest.raises(Refused):
            grants.spend(one, which, attempt, past=past, permit_id="P1", **now)


grounds = st.sampled_from(["R1", "R1", "R2"])


def near(*moments: int) -> st.SearchStrategy[int]:
    """Around the moments that matter, and not only there."""
    return st.one_of(*(st.integers(moment - 3_000, moment + 3_000) for moment in moments), st.integers(0, 3_000_000))


@settings(max_examples=500, deadline=None)
@given(
    wall=near(0, TTL, TTL + UNDO_FOR, TTL + UNDO_FOR - 60_000),
    boot=st.one_of(st.none(), near(0, TTL, TTL + UNDO_FOR, TTL + UNDO_FOR - 60_000)),
    which=st.sampled_from([UNDONE] * 6 + [SIGNED[0], act("apply", mode="read"), act("apply", timeout=61.0)]),
    attempt=st.sampled_from([1, 1, 2, 3, 0]),
    undo_only=st.booleans(),
    ended=st.sampled_from(["", "", "COMPLETED", "EXPIRED", "INCIDENT_CLOSED", "GIVEN_BACK", "REVOKED", "CLOCK_JUMP"]),
    permitted=st.frozensets(st.tuples(grounds, st.sampled_from(["revert@gw1", "restart@gw1", "other@gw1"]))),
    spent=st.frozensets(st.tuples(grounds, st.just(UNDONE.digest()), st.integers(1, 3)), max_size=2),
    tried=st.sampled_from([{}, {}, {"revert@gw1": 1}, {"revert@gw1": 2}]),
    unknown=st.sampled_from([frozenset(), frozenset(), frozenset({("revert@gw1", 1)}), frozenset({("other@gw1", 1)})]),
    alive=st.sampled_from([frozenset(), frozenset(), frozenset({"restart@gw1"}), frozenset({"other@gw1"})]),
    behind=st.sampled_from([0, 0, 1_000, 2_000, 2_001, UNDO_FOR]),
)
def test_an_undo_needs_all_of_it(
    wall: int,
    boot: int | None,
    which: Act,
    attempt: int,
    undo_only: bool,
    ended: str,
    permitted: frozenset[tuple[str, str]],
    spent: frozenset[tuple[str, str, int]],
    tried: dict[str, int],
    unknown: frozenset[tuple[str, int]],
    alive: frozenset[str],
    behind: int,
) -> None:
    one, boot = grant(undo_only), wall if boot is None else boot
    past = Past(
        spent=spent,
        permitted=permitted,
        ended={"R1": ended} if ended else {"R2": "REVOKED"},
        tried=tried,
        unknown=unknown,
        alive=alive,
        latest_ms=WALL + wall + behind,
    )
    active = not ended and not undo_only and max(wall, boot) < TTL
    done = {act_id for by, act_id in permitted if active or by == "R1"}
    fits = (
        which is UNDONE
        and ended not in ("REVOKED", "CLOCK_JUMP")
        and wall >= boot - 2_000
        and behind <= 2_000
        and wall + behind < TTL + UNDO_FOR
        and max(wall, boot) + 60_000 <= TTL + UNDO_FOR
        and bool(done & TAKES_BACK)
        and not alive & TAKES_BACK
        and attempt > tried.get(which.id, 0)
        and ("R1", UNDONE.digest(), attempt) not in spent
        and not any(act_id == which.id for act_id, _ in unknown)
    )
    now = {"wall_ms": WALL + wall, "boot_ms": BOOT + boot}
    over = max(wall + behind, boot) >= TTL + UNDO_FOR
    closed = ended in ("REVOKED", "CLOCK_JUMP") or wall < boot - 2_000 or behind > 2_000 or over
    assert (grants.phase(one, past, **now) == "CLOSED") == closed
    assert (grants.why_not_undo(one, which, attempt, past, **now) is None) == fits
    if fits:
        permit = grants.spend_undo(one, which, attempt, past=past, permit_id="P1", **now)
        assert (permit.grant, permit.act_digest, permit.attempt) == ("R1", UNDONE.digest(), attempt)
        assert grants.phase(one, past, **now) == ("ACTIVE" if active else "UNDO_ONLY")
    else:
        with pytest.raises(Refused):
            grants.spend_undo(one, which, attempt, past=past, permit_id="P1", **now)


@given(wall=jumps, boot=st.integers(0, DAY), later=st.integers(0, DAY))
def test_the_time_left_never_grows_while_the_machine_runs(wall: int, boot: int, later: int) -> None:
    one = grant()
    before = grants.left_ms(one, WALL + wall, BOOT + boot)
    assert grants.left_ms(one, WALL + wall + later, BOOT + boot + later) <= before <= TTL - boot or before == 0


@given(st.text(max_size=60))
def test_a_reason_is_judged_by_what_it_says(reason: str) -> None:
    letters = [character for character in reason if character.isalnum()]
    accepted = not conditions.of_reason(reason)
    assert accepted == (len(letters) >= 10 and len(set(letters)) >= 4 and reason.isprintable())


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_a_request_or_refused(data: bytes) -> None:
    for parse in (grants.parse_request, grants.parse_signoff):
        with pytest.raises(Refused):
            parse(data)


def test_a_request_has_one_spelling() -> None:
    data = grants.request_bytes(REQUEST)
    assert grants.parse_request(data) == REQUEST
    for other in (
        data + b" ",
        data.replace(b'"v":1', b'"v":1.0'),
        data[:-1] + b',"z":1}',
        data.replace(b',"v":1', b""),
    ):
        with pytest.raises(Refused):
            grants.parse_request(other)
