"""Whatever was captured: a bound act is the signed one with its places filled and nothing else, or it is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envtui.core.access import Grant, Incident, Party, Request
from envtui.core.act import Act, HttpCall, Part, Place, Plan, PlannedStep, Ref, Slot, SqlCall, SshCall, texts
from envtui.core.errors import Refused
from envtui.rules import grants
from envtui.rules.late import filled, slots_of, unfit
from envtui.rules.past import Past

TYPES = ("string", "int", "bool", "duration", "timestamp", "host", "ident", "path")
PATTERNS = ("[0-9]+", "[a-z0-9-]+", ".*", "(?s).*", "[^/]+", "true|false", "-?[0-9]{1,9}", "")

slots = st.builds(
    lambda type_, pattern, length, fixed: Slot(name="v", type=type_, pattern=pattern, max_length=length, fixed=fixed),
    st.sampled_from(TYPES),
    st.sampled_from(PATTERNS),
    st.integers(1, 40),
    st.booleans(),
)
values = st.one_of(
    st.text(max_size=50),
    st.from_regex(r"-?[0-9a-z]{0,12}", fullmatch=True),
    st.sampled_from(["-rf", "--", "$(id)", "'; drop table x; --", "../..", "a\nb", "\0", "a\u202eb", "true", "${vars.w}", "%2e%2e"]),
)  # fmt: skip
places: st.SearchStrategy[tuple[Part, ...]] = st.sampled_from(
    [(Ref("vars.v"),), ("--pid=", Ref("vars.v")), (Ref("vars.v"), "/x"), ("a", Ref("vars.v"), "b", Ref("vars.v"))]
)
PLACE = Place(target="t", kind="ssh", member="m", address="m:22")
KNOWN_BAD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]")


def ssh(place: tuple[Part, ...]) -> Act:
    call = SshCall(argv=(("kill",), place), env=(("V", place),), stdin_text=place)
    return Act(step="s", mode="write", place=PLACE, call=call)


def sql(place: tuple[Part, ...]) -> Act:
    call = SqlCall(text="select pg_terminate_backend($1)", binds=((place, "int4"),))
    return Act(step="s", mode="write", place=msgspec.structs.replace(PLACE, kind="sql"), call=call)


def http(place: tuple[Part, ...]) -> Act:
    call = HttpCall(method="POST", path=("/x/", *place), query=(("q", place),), headers=(("H", place),), body=place)
    return Act(step="s", mode="write", place=msgspec.structs.replace(PLACE, kind="http"), call=call)


acts = st.builds(lambda make, place: make(place), st.sampled_from([ssh, sql, http]), places)


def joined(text: tuple[Part, ...], value: str) -> str:
    return "".join(part if isinstance(part, str) else value for part in text)


def attempt(act: Act, slot: Slot, value: str) -> Act | None:
    try:
        return filled(act, (slot,), {"v": value})
    except Refused:
        return None


mild = st.sampled_from(
    [Slot(name="v", type="string", pattern=each, max_length=40) for each in (".*", "[^/]*", "(?s).*")]
)


@given(acts, mild, st.one_of(st.text("ab-/. '\"%$(){}é", max_size=12), values))
def test_a_bound_act_is_the_signed_one_with_its_places_filled(act: Act, slot: Slot, value: str) -> None:
    bound = attempt(act, slot, value)
    if bound is None:
        return
    assert bound.complete
    assert bound.digest() != act.digest()
    mine, signed = msgspec.to_builtins(bound), msgspec.to_builtins(act)
    assert {k: v for k, v in mine.items() if k != "call"} == {k: v for k, v in signed.items() if k != "call"}
    if isinstance(act.call, HttpCall):
        assert isinstance(bound.call, HttpCall)
        assert bound.call.path == (joined(act.call.path, quote(value, safe="")),)
        other = (msgspec.structs.replace(call, path=()) for call in (act.call, bound.call))
        before, after = (texts(call)[1:] for call in other)
    else:
        before, after = texts(act.call), texts(bound.call)
    assert [joined(text, "") for text in after] == [joined(text, value) for text in before]
    if isinstance(act.call, SqlCall):
        assert isinstance(bound.call, SqlCall)
        assert bound.call.text == act.call.text
    if isinstance(act.call, SshCall) and isinstance(act.call.argv[1][0], Ref):
        assert not value.startswith("-")


@given(acts, slots, values)
@example(ssh((Ref("vars.v"),)), Slot(name="v", type="string", pattern=".*", max_length=40), "a\nb")
@example(ssh((Ref("vars.v"),)), Slot(name="v", type="string", pattern="[a-z]+", max_length=40), "a\n")
def test_what_a_slot_does_not_say_is_refused(act: Act, slot: Slot, value: str) -> None:
    bound = attempt(act, slot, value)
    fits = re.fullmatch(slot.pattern, value) is not None and len(value) <= slot.max_length
    if not fits or KNOWN_BAD.search(value):
        assert bound is None
        assert unfit(slot, value)
    if bound is not None:
        assert fits


def test_a_value_of_no_slot_and_one_that_is_missing_are_refused() -> None:
    act, slot = ssh((Ref("vars.v"),)), Slot(name="v", type="string", pattern="[a-z]+", max_length=9)
    with pytest.raises(Refused, match="no step has captured it"):
        filled(act, (slot,), {"w": "a"})
    with pytest.raises(Refused, match="no slot that is signed"):
        filled(act, (), {"v": "a"})
    incident = ssh((Ref("run.incident"),))
    with pytest.raises(Refused, match="Name the incident"):
        filled(incident, (slot,), {"v": "a"})


# --- what is signed -----------------------------------------------------------------------------------------------------


def plan(slot: Slot) -> Plan:
    act = ssh((Ref("vars.v"),))
    step = PlannedStep(id="s", kind="ssh", mode="write", title="s", acts=(act,), late=(slot,))
    return Plan(run="R", book="b", book_sha256="0", environment="e", operator="asha", steps=(step,))


@given(slots, slots)
def test_the_digest_of_a_plan_says_each_field_of_each_slot(one: Slot, other: Slot) -> None:
    assert (plan(one).digest() == plan(other).digest()) == (one == other)


@pytest.mark.parametrize(
    "change", [{"name": "w"}, {"type": "int"}, {"pattern": "[0-9]"}, {"max_length": 9}, {"fixed": True}]
)
def test_a_change_of_one_field_is_another_plan(change: dict[str, object]) -> None:
    slot = Slot(name="v", type="string", pattern="[0-9]+", max_length=10)
    assert plan(slot).digest() != plan(msgspec.structs.replace(slot, **change)).digest()


def grant(slot: Slot, known: Mapping[str, str]) -> Grant:
    signed = plan(slot)
    request = Request(
        environment="e", id="G", nonce="n", requester=Party(person="asha", key="k"), incident=Incident(id="", state="open"),
        reason="r", run="R", book="b", book_sha256="0", manifest_sha256="", policy_sha256="", roster_sha256="", inputs={},
        date="", targets={}, plan_digest=signed.digest(), ttl_ms=10**6, undo_for_ms=0, created_ms=0, expires_ms=0, ledger="",
        ledger_seq=0, ledger_hash="", late=dict(known),
    )  # fmt: skip
    return Grant._issue(
        id="G", request=request, run="R", plan_digest=signed.digest(), acts=frozenset(a.digest() for a in signed.writes),
        undos={}, slots=slots_of(signed), incident=request.incident, signed_by=("asha",), activated_ms=0,
        activated_boot_ms=0, until_ms=10**6, undo_until_ms=10**6, undo_only=False,
    )  # fmt: skip


@given(slots, values, st.one_of(st.none(), values), st.booleans())
def test_a_permit_is_for_the_bound_act_and_only_where_its_value_was_signed_or_let_pass(
    slot: Slot, value: str, signed: str | None, accepted: bool
) -> None:
    mine = grant(slot, {} if signed is None else {"v": signed})
    act = plan(slot).writes[0]
    past = Past(accepted=frozenset({("G", act.id, "v", value)}) if accepted else frozenset())
    may = attempt(act, slot, value) is not None and (value == signed or (accepted and not slot.fixed))
    refusal = grants.why_not(mine, act, 1, past, 1, 1, {"v": value})
    assert (refusal is None) == may, refusal
    if not may:
        with pytest.raises(Refused):
            grants.spend(mine, act, 1, past=past, wall_ms=1, boot_ms=1, permit_id="P", values={"v": value})
        return
    permit = grants.spend(mine, act, 1, past=past, wall_ms=1, boot_ms=1, permit_id="P", values={"v": value})
    bound = attempt(act, slot, value)
    assert bound is not None
    assert permit.act_digest == bound.digest()
    # The bound act by itself was never signed: it cannot be asked for in the signed one's place.
    assert grants.why_not(mine, bound, 1, past, 1, 1, {}) is not None


@given(values)
def test_what_was_let_pass_under_another_grant_or_for_another_act_counts_for_nothing(value: str) -> None:
    slot = Slot(name="v", type="string", pattern="[a-z]+", max_length=40)
    mine, act = grant(slot, {}), plan(slot).writes[0]
    past = Past(
        accepted=frozenset({("H", act.id, "v", value), ("G", "s@other", "v", value), ("G", act.id, "w", value)})
    )
    assert grants.why_not(mine, act, 1, past, 1, 1, {"v": value}) is not None


def test_no_persons_word_lets_another_value_into_a_fixed_slot() -> None:
    slot = Slot(name="v", type="string", pattern="[a-z]+", max_length=9, fixed=True)
    mine, act = grant(slot, {"v": "one"}), plan(slot).writes[0]
    past = Past(accepted=frozenset({("G", act.id, "v", "two")}))
    assert grants.why_not(mine, act, 1, past, 1, 1, {"v": "one"}) is None
    refusal = grants.why_not(mine, act, 1, past, 1, 1, {"v": "two"})
    assert refusal is not None
    assert refusal.code == "fixed"
    loose = grant(msgspec.structs.replace(slot, fixed=False), {"v": "one"})
    act = plan(msgspec.structs.replace(slot, fixed=False)).writes[0]
    assert grants.why_not(loose, act, 1, past, 1, 1, {"v": "two"}) is None
