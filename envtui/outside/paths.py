"""Where things live: the trees, this user's state, this user's configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

import envtui
from envtui.core.errors import Failed

PRIVATE = 0o700


class Paths(msgspec.Struct, frozen=True):
    """`runbooks` holds one folder for each environment; `state` is private to this user; `config` is a TOML file."""

    runbooks: Path
    state: Path
    config: Path

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Paths:
        """ENVTUI_RUNBOOKS, ENVTUI_STATE and ENVTUI_CONFIG, else the sample trees and the platform's own places.

        The current directory is never searched: whoever can write there would choose what is run.
        """
        given = os.environ if variables is None else variables
        return cls(
            runbooks=_absolute(given.get("ENVTUI_RUNBOOKS")) or samples(),
            state=_absolute(given.get("ENVTUI_STATE")) or _platform("user_state_dir"),
            config=_absolute(given.get("ENVTUI_CONFIG")) or _platform("user_config_dir") / "config.toml",
        )

    def folder(self, environment: str) -> Path:
        """STATE/<environment>, made if it is missing, 0700."""
        return private(self.state / environment)

    def ledger(self, environment: str) -> Path:
        """STATE/<environment>/ledger.sqlite3; its folder exists afterwards."""
        return self.folder(environment) / "ledger.sqlite3"

    def spool(self, environment: str) -> Path:
        """STATE/<environment>/spool, made if it is missing, 0700."""
        return private(self.folder(environment) / "spool")

    @property
    def trust(self) -> Path:
        """STATE/trust: what this user accepted, a file for each environment. Made if it is missing, 0700."""
        return private(self.state / "trust")


def samples() -> Path:
    """The sample trees: packaged in a wheel, beside the package in a checkout."""
    package = Path(envtui.__file__).parent
    packaged = package / "_runbooks"
    return packaged if packaged.is_dir() else package.parent / "runbooks"


def private(folder: Path) -> Path:
    """The folder, made with all its parents if it is missing, readable by this user alone. Raises Failed."""
    try:
        for missing in reversed([folder, *folder.parents]):
            if not missing.exists():
                missing.mkdir(mode=PRIVATE, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(PRIVATE)
        os.listdir(folder)  # a file of that name
    except OSError as error:
        raise Failed(
            f"{folder}, where this user's state is kept, cannot be made: {error.strerror}.",
            "Name a folder that you can write with ENVTUI_STATE.",
        ) from error
    return folder


def login_name() -> str:
    """Who is at the keyboard, as the system knows it; `unknown` where it knows nobody."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # KeyError until Python 3.12: a user id without an account
        return "unknown"


def _absolute(text: str | None) -> Path | None:
    return Path(os.path.abspath(os.path.expanduser(text))) if text else None


def _platform(which: str) -> Path:
    # Imported only when a variable does not say it already: `envtui --version` pays nothing.
    import platformdirs

    folder: str = getattr(platformdirs, which)("envtui", appauthor=False)
    return Path(folder)
