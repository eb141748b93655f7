"""access/policy.signatures: the owners' signatures over the policy beside it, blocks of text that are only ever appended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from envtui.core.errors import Failed

SIGNATURES: Final = "access/policy.signatures"


def append(root: str, block: str) -> Path:
    """Add a block to the tree's file, and return the file. Raises Failed."""
    path = Path(root) / SIGNATURES
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "a") as file:
            file.write(block)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.", "The signature was not kept.") from error
    return path
