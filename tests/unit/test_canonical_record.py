"""The quick way to a record's canonical bytes gives the same bytes as the way that everything else goes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from envtui.core.act import Act, HttpCall, Place, SqlCall, SshCall
from envtui.core.canonical import canonical, canonical_record, digest
from envtui.core.events import Event, Noted

TEXT = (
    st.text() | st.text(st.characters(max_codepoint=0x9F)) | st.sampled_from(["\x7f", "e\u0301", "\u2028", '"\\/', ""])
)


@given(TEXT, TEXT)
def test_both_ways_spell_the_same(text: str, by: str) -> None:
    event = Noted(run="R", text=text, by=by)
    assert canonical_record(event) == canonical(msgspec.to_builtins(event))


@given(TEXT, TEXT, st.floats(0.001, 1e6))
def test_the_digest_of_an_act_is_that_of_its_canonical_bytes(word: str, name: str, timeout: float) -> None:
    """Also because one that holds a float, which canonical bytes refuse, would not have any."""
    calls = (
        SshCall(argv=((word,),), env=((name, (word,)),), stdin_text=(word,)),
        SqlCall(text=word, binds=(((word,), "text"),), statement_timeout=timeout, lock_timeout=timeout),
        HttpCall(path=(word,), query=((name, (word,)),), body=(word,)),
    )
    for call in calls:
        act = Act(
            step="s",
            mode="read",
            place=Place(target="t", kind="ssh", member=name, address="h:22"),
            call=call,
            timeout=timeout,
        )
        assert act.digest() == digest(act.as_data())


def test_every_ascii_character_is_spelled_the_same() -> None:
    for number in range(128):
        event = Noted(run="R", text=chr(number), by="")
        assert canonical_record(event) == canonical(msgspec.to_builtins(event))


def test_no_event_holds_a_float_which_the_quick_way_would_let_through() -> None:
    seen: dict[int, object] = {}  # the objects too: an id is given again once its object is gone

    def floats(kind: object, where: str) -> list[str]:
        if isinstance(kind, inspect.FloatType):
            return [where]
        if id(kind) in seen:
            return []
        seen[id(kind)] = kind
        if isinstance(kind, inspect.StructType):
            return [found for f in kind.fields for found in floats(f.type, f"{kind.cls.__name__}.{f.name}")]
        parts = [getattr(kind, name, None) for name in ("item_type", "key_type", "value_type")]
        parts += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
        return [found for part in parts if part is not None for found in floats(part, where)]

    assert floats(inspect.type_info(Event), "Event") == []
    assert floats(inspect.type_info(list[float]), "list") == ["list"]
