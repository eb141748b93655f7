"""This user's own configuration: who they are, which key signs, and what a tree may touch of theirs.

It is the user's and not the tree's, because it says what a tree is allowed: directories that `file:` secrets may come
from, programs that `cmd:` secrets and command trackers may start.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from envtui.core.errors import InvalidFiles, Problem
from envtui.outside.paths import login_name


class UserConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`signing_key` is `file:PATH` or `agent:SHA256:…`; '' means none was named.

    `beside` names keys of people who may sign at this machine, where a policy says `same_machine: allowed`: name -> reference.
    """

    operator: str = msgspec.field(default_factory=login_name)
    signing_key: str = ""
    secret_dirs: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    beside: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def secret_folders(self) -> tuple[Path, ...]:
        """The directories below which `file:` references may point, `~` expanded, links resolved."""
        return tuple(Path(folder).expanduser().resolve() for folder in self.secret_dirs)


def load(path: Path) -> UserConfig:
    """The configuration at `path`; the defaults when there is no such file.

    Raises InvalidFiles when it is no TOML, says something unknown, or others may write it.
    """
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return UserConfig()
    except OSError as error:
        raise _invalid(path, f"it cannot be read: {error.strerror}.") from error
    if mode & 0o022:
        raise _invalid(path, "other users may write it, and it says which programs may be started.", "chmod go-w it.")
    try:
        config = msgspec.convert(tomllib.loads(content.decode()), UserConfig)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid(path, f"it is not TOML: {error}.") from error
    except msgspec.ValidationError as error:
        known = ", ".join(UserConfig.__struct_fields__)
        raise _invalid(path, f"{error}.", f"It may say: {known}.") from error
    problems = [
        *(f"commands: {program!r} is not an absolute path." for program in config.commands if program[:1] != "/"),
        *(
            f"secret_dirs: {folder!r} is not an absolute path."
            for folder in config.secret_dirs
            if folder[:1] not in ("/", "~")
        ),
    ]
    if config.signing_key and not config.signing_key.startswith(("file:", "agent:")):
        problems.append("signing_key: expected file:PATH or agent:SHA256:….")
    if problems:
        raise InvalidFiles(tuple(Problem(str(path), 0, 0, text) for text in problems))
    return config


def _invalid(path: Path, message: str, remedy: str = "") -> InvalidFiles:
    return InvalidFiles((Problem(str(path), 0, 0, message, remedy),))
