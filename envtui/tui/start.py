"""Starting the screens; or saying in a sentence why not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envtui import cycles
from envtui.core.errors import UsageError

if TYPE_CHECKING:
    from envtui.compose import World

    from .app import EnvtuiApp


def start(environment: str | None, mouse: bool = True) -> int:
    """Run the terminal interface and return its exit code. Raises UsageError when there is no terminal to draw on."""
    from .terminal import terminal_problem

    problem = terminal_problem(os.environ)
    if problem:
        raise UsageError(problem, "`envtui run` and the other verbs work without one: envtui --help.")
    from .app import EnvtuiApp

    if environment is not None:
        world = _world()
        world.tree(environment)
        return run(EnvtuiApp(world, environment), mouse)
    from envtui.outside.paths import Paths

    root = Paths.from_environment(os.environ).runbooks
    names = sorted(path.parent.name for path in root.glob("*/environment.yaml"))
    return run(EnvtuiApp(_world, names=names), mouse)


def _world() -> World:
    from envtui.compose import World

    return World.of(os.environ)


def run(app: EnvtuiApp, mouse: bool = True) -> int:
    """Run the screens on this process's terminal until they are left, and return the exit code.

    Raises EnvtuiError when the trees could not be read.
    """
    cycles.settle()
    result = app.run(mouse=mouse)
    if app.failed is not None:
        raise app.failed
    return (app.return_code or 0) if result is None else result
