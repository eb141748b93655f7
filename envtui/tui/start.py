"""Starting the screens; or saying in a sentence why not."""

from __future__ import annotations

import os

from envtui.core.errors import UsageError


def start(environment: str | None, mouse: bool = True) -> int:
    """Run the terminal interface and return its exit code. Raises UsageError when there is no terminal to draw on."""
    from .terminal import terminal_problem

    problem = terminal_problem(os.environ)
    if problem:
        raise UsageError(problem, "`envtui run` and the other verbs work without one: envtui --help.")
    from envtui.compose import World

    world = World.of(os.environ)
    if environment is not None:
        world.tree(environment)
    from .app import EnvtuiApp

    app = EnvtuiApp(world, environment, world.lobby())
    result = app.run(mouse=mouse)
    return (app.return_code or 0) if result is None else result
