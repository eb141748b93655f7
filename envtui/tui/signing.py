"""The screens with one screen: `envtui sign`. What was signed is printed when they are left, so that it is never lost."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from envtui.core.errors import UsageError

from .app import EnvtuiApp
from .start import run

if TYPE_CHECKING:
    from envtui.compose import World


class SignApp(EnvtuiApp):
    """Opens one environment and shows the screen on which a request is answered. `answer`: what was signed."""

    def __init__(self, world: World, environment: str, reference: str = "") -> None:
        super().__init__(world, environment)
        self.answer = ""
        self._reference = reference

    def opened(self) -> None:
        from .screens.sign import SignScreen

        self.push_screen(SignScreen(self._reference, self._keep))

    def _keep(self, answer: str) -> None:
        self.answer = answer


def start(environment: str, reference: str = "") -> int:
    """Run it on this terminal; the answer goes to stdout. Raises UsageError when nothing was signed, and without a terminal."""
    from envtui.compose import World

    from .terminal import terminal_problem

    if problem := terminal_problem(os.environ):
        raise UsageError(problem, "`envtui sign ENV --plain` works without one.")
    world = World.of(os.environ)
    world.tree(environment)
    app = SignApp(world, environment, reference)
    code = run(app)
    if not app.answer:
        raise UsageError("Nothing was signed.", f"When you have read it: envtui sign {environment}.")
    sys.stdout.write(app.answer)
    return code
