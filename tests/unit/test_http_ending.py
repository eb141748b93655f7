"""Of an HTTP request whose answer was lost nothing can be proven, and nothing is claimed."""

from __future__ import annotations

from envtui.core.act import Act, HttpCall, Place
from envtui.core.ports import Ender, Started
from envtui.outside.http_ending import HttpEnder


class Nowhere:
    def out(self, data: bytes) -> None: ...
    def err(self, data: bytes) -> None: ...


async def test_nothing_is_claimed() -> None:
    place = Place(target="api", kind="http", member="api", address="http://127.0.0.1:1")
    act = Act(step="post", mode="write", place=place, call=HttpCall(method="POST", path=("/a",)))
    started = Started(act=act, permit="p-1", attempt=1)
    ender: Ender = HttpEnder()
    for fate in (
        await ender.look(started),
        await ender.attach(started, Nowhere(), {}, 300.0),
        await ender.stop(started, 5.0),
    ):
        assert (fate.state, fate.dead) == ("unknown", False)
        assert "no way to ask" in fate.why
    await ender.forget(started)
    await ender.close()
