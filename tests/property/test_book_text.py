"""A book that is written and read again is the same book, whatever stands in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envtui.core.errors import UsageError
from envtui.core.runbook import ManualStep, Runbook, SqlStep, SshStep
from envtui.outside.trees.load import read_book
from envtui.rules.book_text import written

TEXT = st.text(min_size=1, max_size=80)
LINES = st.lists(st.text("abc #:-'\"{}[]|>&*!%@\t", max_size=12), min_size=1, max_size=6).map("\n".join)
ANY = TEXT | LINES


@given(argv=st.lists(ANY, min_size=1, max_size=4), said=ANY, env=st.dictionaries(TEXT, ANY, max_size=3), title=TEXT)
def test_it_reads_back_as_it_was(argv: list[str], said: str, env: dict[str, str], title: str) -> None:
    steps = (
        SshStep(id="one", argv=tuple(argv), env=env, mode="write", repeatable=True),
        SshStep(id="two", sh=said, args=tuple(argv)),
        SqlStep(id="three", query=said),
        ManualStep(id="four", instructions=said),
    )
    book = Runbook(schema="envtui/runbook@1", id="b", environment="dev", title=title, owner=title, steps=steps)
    try:
        text = written(book)
    except UsageError:
        assert any(
            "\ud800" <= letter <= "\udfff" for each in (*argv, said, title, *env, *env.values()) for letter in each
        )
        return
    found, problems = read_book(text.encode(), "b.yaml", "", "b.yaml")
    assert found is not None, (problems, text)
    assert found.runbook == book
