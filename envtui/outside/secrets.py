"""References to secrets, resolved: `file:`, `env:` and `cmd:`, each only as far as the user's own configuration allows.

A tree says where a secret is; only the user says what a tree may read or start. Errors name the reference and never the
value, nor anything that a program printed: it may be the value.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envtui.core.environment import Command
from envtui.core.errors import Refused, SecretMissing
from envtui.core.secret import Secret

from .programs import check

if TYPE_CHECKING:
    import asyncio

_LIMIT = 64 * 1024  # bytes; a secret that is longer is some other file
_REAP_SECONDS = 2.0


class ReferencedSecrets:
    """The Secrets port.

    `folders` are the directories below which `file:` may point and `programs` the absolute paths that `cmd:` may start
    (both from the user's configuration); `environ` is where `env:` looks; `seconds` is how long a program may take.
    """

    def __init__(
        self,
        folders: Sequence[str | Path] = (),
        programs: Sequence[str] = (),
        environ: Mapping[str, str] = os.environ,
        seconds: float = 30.0,
    ) -> None:
        self._folders = tuple(Path(folder).expanduser().resolve() for folder in folders)
        self._programs = frozenset(programs)
        self._environ = environ
        self._seconds = seconds

    async def resolve(self, reference: str | Command, name: str) -> Secret:
        """The secret behind `reference`. `file:` loses one line end, `cmd:` is the first line that is printed.

        Raises SecretMissing when there is none, Refused when the user's configuration or the file's mode does not allow it.
        """
        if isinstance(reference, Command):
            return Secret(name, _filled(await self._printed(reference), f"cmd: {reference.cmd[0]}"))
        scheme, _, rest = reference.partition(":")
        if scheme == "env":
            value = self._environ.get(rest)
            if value is None:
                raise SecretMissing(f"{reference} is not set.", f"Set the environment variable {rest}.")
            return Secret(name, _filled(value, reference))
        if scheme == "file":
            import asyncio  # here and below: who only asks for a key's file waits for no event loop

            content = await asyncio.to_thread(self._content, reference)
            return Secret(name, _filled(content.removesuffix("\n").removesuffix("\r"), reference))
        if scheme == "agent":
            raise Refused(
                f"{reference} is a key of the SSH agent and has no value to hand out.", "Use it as an ssh key."
            )
        raise Refused(f"{reference} is no reference to a secret.", "Write file:PATH, env:NAME or {cmd: [program, …]}.")

    def key_file(self, reference: str) -> Path:
        """The private key file of a `file:` reference, allowed and closed to others. Raises SecretMissing, Refused."""
        if not reference.startswith("file:"):
            raise Refused(f"{reference} is not a file.", "Write file:PATH.")
        path = self._allowed(reference)
        os.close(_opened(path, reference))
        return path

    def _content(self, reference: str) -> str:
        descriptor = _opened(self._allowed(reference), reference)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_LIMIT + 1)
        if len(content) > _LIMIT:
            raise Refused(f"{reference} is longer than {_LIMIT} bytes.", "A secret is one short text.")
        try:
            return content.decode()
        except UnicodeDecodeError:
            # `from None`: the original carries the bytes.
            raise Refused(f"{reference} is not UTF-8 text.", "A secret is one short text.") from None

    def _allowed(self, reference: str) -> Path:
        path = Path(reference.removeprefix("file:")).expanduser()
        if not path.is_absolute():
            raise Refused(f"{reference} is relative.", "Write an absolute path, or one that begins with ~/.")
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise SecretMissing(f"{reference} does not exist.", "Create it, or correct the reference.") from error
        if not any(real.is_relative_to(folder) for folder in self._folders):
            raise Refused(
                f"{reference} is not below a directory that your configuration allows.",
                "Add its directory to secret_dirs in your own configuration, if this tree may read it.",
            )
        return real

    async def _printed(self, command: Command) -> str:
        program = command.cmd[0]
        reference = f"cmd: {program}"
        self._check_program(program)
        import asyncio

        try:
            process = await asyncio.create_subprocess_exec(
                *command.cmd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=dict(self._environ),
                start_new_session=True,  # no terminal: it must not ask there, the screen is ours
                limit=_LIMIT,
            )
        except OSError as error:
            raise SecretMissing(f"{reference} could not be started: {error.strerror}.", "Try it in a shell.") from error
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._seconds):
                output = await process.stdout.read(_LIMIT)
                while len(output) < _LIMIT and (more := await process.stdout.read(_LIMIT - len(output))):
                    output += more
                code = await process.wait() if len(output) < _LIMIT else -1
        except TimeoutError as error:
            raise SecretMissing(
                f"{reference} did not end within {self._seconds:g} s.",
                "It may be waiting for an unlock: do that first.",
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await _reaped(process, process.stdout)
        if code != 0:
            raise SecretMissing(f"{reference} ended with {code}.", "Run it in a shell to see why.")
        first = output.split(b"\n", 1)[0].removesuffix(b"\r")
        try:
            return first.decode()
        except UnicodeDecodeError:
            raise Refused(f"{reference} printed something that is not UTF-8.", "A secret is one short text.") from None

    def _check_program(self, program: str) -> None:
        try:
            check(program, self._programs)
        except OSError as error:
            raise SecretMissing(f"cmd: {program} does not exist.", "Install it, or correct the path.") from error


async def _reaped(process: asyncio.subprocess.Process, stdout: asyncio.StreamReader) -> None:
    """Wait for a killed program. asyncio's `wait` returns when its pipe was read to the end, too, and stops reading when
    nobody takes what came; a child of the program may hold the pipe open, so this does not wait for ever."""
    import asyncio

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REAP_SECONDS):
            while await stdout.read(_LIMIT):
                pass
            await process.wait()


def _opened(path: Path, reference: str) -> int:
    """A descriptor of a regular file that only its owner, you or root, can read: checked on what was opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretMissing(f"{reference} cannot be read: {error.strerror}.", "Check its owner and mode.") from error
    state = os.fstat(descriptor)
    reason = ""
    if not stat.S_ISREG(state.st_mode):
        reason = "is not a regular file"
    elif state.st_uid not in (0, os.geteuid()):
        reason = "belongs to another user"
    elif state.st_mode & 0o077:
        reason = "is open to other users"
    if reason:
        os.close(descriptor)
        raise Refused(f"{reference} {reason}.", f"Make it yours alone: chmod 600 {path}.")
    return descriptor


def _filled(value: str, reference: str) -> str:
    if not value:
        raise SecretMissing(f"{reference} is empty.", "Put the secret there.")
    return value
