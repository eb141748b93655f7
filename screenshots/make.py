"""Makes the picture of every screen from the running lab: `python screenshots/make.py [FOLDER]`.

It brings a lab of its own up, lets the outage begin, and lives through it by keyboard: what the pictures show happened.
The SVG files name no font of the network, so that looking at one asks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from envtui.compose import World
from envtui.lab import cli
from envtui.lab.layout import Lab
from envtui.lab.people import variables

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from envtui.tui.app import EnvtuiApp

ON_CALL, BESIDE = "asha", "meera"
SMALL, LARGE = (80, 24), (120, 40)
PATIENCE = 60.0
"""Seconds that a screen may take to come."""


class Story:
    """One person at one terminal."""

    def __init__(self, pilot: Pilot[int], folder: Path, suffix: str, lab: Lab, incident: str) -> None:
        self.pilot = pilot
        self.incident = incident
        self.folder = folder
        self.suffix = suffix
        self.lab = lab

    @property
    def app(self) -> EnvtuiApp:
        from envtui.tui.app import EnvtuiApp

        app = self.pilot.app
        assert isinstance(app, EnvtuiApp)
        return app

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """As a person types: the write dialog forgets what comes faster."""
        for letter in text:
            await self.press({" ": "space", "-": "minus"}.get(letter, letter))
            await asyncio.sleep(0.05)

    async def until(self, true: Callable[[], bool], what: str) -> None:
        for _ in range(int(PATIENCE / 0.05)):
            if true():
                await self.pilot.pause()
                return
            await asyncio.sleep(0.05)
        self.picture("stuck")
        raise SystemExit(f"{what} never came; the screen as it stood is in stuck{self.suffix}.svg")

    def showing(self, name: str) -> bool:
        return type(self.app.screen).__name__ == name

    async def screen(self, name: str) -> None:
        await self.until(lambda: self.showing(name), name)

    async def idle(self) -> None:
        """Until no act is under way."""
        await asyncio.sleep(0.1)
        task = self.app.run_task
        assert task is not None
        await self.until(lambda: not task.busy, "the end of the act")
        await asyncio.sleep(0.1)
        await self.pilot.pause()

    def picture(self, name: str) -> None:
        self.app.clear_notifications()
        svg = self.app.export_screenshot(title="envtui", simplify=True)
        svg = re.sub(r"<!--.*?-->", "", svg, count=1)
        svg = re.sub(r',?\s*url\("https://[^"]*"\) format\("[^"]*"\),?', "", svg)
        assert 'url("http' not in svg, "a picture would ask the network for a font"
        (self.folder / f"{name}{self.suffix}.svg").write_text(svg, encoding="utf-8")


async def outage(story: Story) -> None:
    """From the lobby to a healed gateway and the ledger that tells it."""
    await story.screen("EnvironmentsScreen")
    await story.until(lambda: story.app.lobby is not None, "the lobby")
    story.picture("environments")
    await story.press("3")
    await story.screen("RunbooksScreen")
    await story.press("d")
    session = story.app.session
    assert session is not None
    await story.until(lambda: session.status().count("ssh")[1] >= 2, "the connections")
    story.picture("runbooks")
    await story.press("slash")
    await story.type("403")
    await story.press("enter", "enter")
    await story.screen("PlanScreen")
    story.picture("plan")
    await story.press("enter")
    await story.screen("RunScreen")
    await story.press("R")
    await story.idle()
    story.picture("run")
    await story.press("a")
    await story.screen("Choose")
    story.picture("choose")
    await story.press("enter")
    await story.idle()
    await story.press("R")
    await story.idle()
    story.picture("needs-write")
    await escalate(story)
    await story.screen("RunScreen")
    story.picture("write-access")
    await story.press("w")
    await story.screen("WriteDialog")
    await asyncio.sleep(0.4)
    story.picture("write")
    word = getattr(story.app.screen, "_word", "")
    await story.type(word)
    await story.press("enter")
    await story.screen("RunScreen")
    await story.idle()
    await story.press("R")
    await asyncio.sleep(2)
    story.picture("healing")
    await story.idle()
    story.picture("healed")
    await story.press("g", "r")
    await story.screen("RunsScreen")
    story.picture("runs")
    await story.press("g", "l")
    await story.screen("LedgerScreen")
    await story.press("v")
    await asyncio.sleep(1)
    story.picture("ledger")
    await story.press("question_mark")
    await story.screen("HelpScreen")
    story.picture("help")


async def escalate(story: Story) -> None:
    """Open an incident, ask, and let the person beside sign."""
    await story.press("e")
    await story.screen("EscalateScreen")
    await story.type(story.incident)
    await story.press("enter")
    await asyncio.sleep(0.5)
    await story.type("Revert the policy that locks everybody out")
    await story.pilot.pause()
    story.picture("escalate")
    await story.press("enter")
    task = story.app.run_task
    assert task is not None
    await story.until(lambda: bool(task.run.requests), "the request")
    story.picture("escalate-waits")
    await story.press("f2")
    if not story.showing("EscalateScreen"):
        story.picture("escalate-beside")
    if story.showing("Prompt"):
        from textual.widgets import Input

        story.app.screen.query_one(Input).value = f"file:{story.lab.person(BESIDE)}/.ssh/id_ed25519"
        await story.press("enter")
    else:
        await story.press("enter")
    await story.until(lambda: task.run.write_active, "write access")
    await story.screen("EscalateScreen")
    await story.press("escape")


async def trust(story: Story) -> None:
    """A tree that changed since it was accepted."""
    await story.screen("EnvironmentsScreen")
    await story.press("2")
    await story.screen("TrustScreen")
    story.picture("trust")


async def act(
    lab: Lab,
    folder: Path,
    size: tuple[int, int],
    suffix: str,
    part: Callable[[Story], Awaitable[None]],
    theme: str,
    incident: str = "",
) -> None:
    """One sitting of the person on call."""
    from envtui.tui.app import EnvtuiApp

    app = EnvtuiApp(World.of(variables(lab, ON_CALL, os.environ)))
    async with app.run_test(size=size, notifications=True) as pilot:
        if theme:
            app.theme = theme
        await part(Story(pilot, folder, suffix, lab, incident))
        await app.close_environment()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="envtui-pictures-") as place:
        lab = Lab(Path(place) / "lab")
        daemon = cli.start(lab)
        try:
            from envtui.cli.main import main as command_line

            os.environ.update(variables(lab, ON_CALL, os.environ))
            for size, suffix, theme in ((LARGE, "", ""), (SMALL, "-80x24", ""), (LARGE, "-light", "envtui-light")):
                cli.tell(lab, "reset")
                cli.tell(lab, "break jwt")
                with contextlib.redirect_stdout(io.StringIO()) as said:
                    title = "403 on every API call"
                    command_line(["incident", "open", "production", "--title", title, "--severity", "sev1"])
                incident = said.getvalue().split()[0]
                asyncio.run(act(lab, folder, size, suffix, outage, theme, incident))
            keys = lab.runbooks / "staging" / "known_hosts"
            keys.write_text(keys.read_text() + "# a line that nobody accepted\n")
            asyncio.run(act(lab, folder, LARGE, "", trust, ""))
        finally:
            cli.tell(lab, "down")
            daemon.wait(30)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
