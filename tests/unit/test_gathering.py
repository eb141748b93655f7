"""Parts of a block that are pasted one after the other."""

from __future__ import annotations

import random
import string

from envtui.core.access import Signed
from envtui.rules import paste
from envtui.tui.gathering import Gathering

LONG = Signed(
    kind="approve",
    body='{"a":"' + "".join(random.Random(3).choices(string.ascii_letters, k=6000)) + '"}',
    signature="s",
)


def test_parts_are_kept_until_all_are_here() -> None:
    first, second, *rest = paste.block(LONG, 2600).split("\n\n")
    gathering = Gathering()
    assert gathering.take(second) == (
        "",
        f"1 of {2 + len(rest)} parts of the sign-off block are here; parts 1, 3 are missing. Paste what is missing.",
    )
    assert gathering.take(second)[0] == ""
    for part in rest:
        assert gathering.take(part)[0] == ""
    whole, missing = gathering.take(first)
    assert missing == ""
    assert paste.read(whole, "approve") == LONG
    assert gathering.take("nothing of it is left")[0].strip() == "nothing of it is left"


def test_what_is_damaged_does_not_stay() -> None:
    gathering = Gathering()
    parts = paste.block(LONG, 2600).split("\n\n")
    assert gathering.take(parts[0])[0] == ""
    whole, missing = gathering.take(parts[1].replace(parts[1].splitlines()[2], "x" * 64))
    assert (missing, "BEGIN ENVTUI" in whole) == ("", True)
    assert gathering.take(paste.block(LONG))[1] == ""
