"""What a person types at the terminal itself, when stdin is a block that was piped in: no option stands for it."""

from __future__ import annotations

from envtui.core.errors import UsageError


def typed(environment: str, to: str) -> None:
    """Ask for the environment's name. Raises UsageError when there is no terminal, or something else was typed."""
    try:
        with open("/dev/tty", "w") as question, open("/dev/tty") as answer:
            print(f"Type {environment} to {to}: ", end="", file=question, flush=True)
            said = answer.readline().strip()
    except OSError as error:
        raise UsageError(
            "There is no terminal to ask on.", f"Do it at one: the name {environment} is typed by a person."
        ) from error
    if said != environment:
        raise UsageError("Nothing was signed.", f"Type {environment} in full to {to}.")
