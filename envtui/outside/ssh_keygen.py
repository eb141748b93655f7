"""Signing and verifying with the keys that engineers have, by `ssh-keygen -Y` (OpenSSH >= 8.2): the Signer and Verifier.

Around it, ours: the roster is read by `allowed_signers` and ssh-keygen is handed a file of exactly one line; the signature
is taken apart by `sshsig` before and after. A passphrase or a PIN never enters this process: ssh-keygen has no terminal and
no askpass, but for one signature with a key that wants one, where the door lends it the terminal (`ports.Hands`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from envtui.core.access import Roster, RosterLine, fingerprint
from envtui.core.errors import Failed, Refused, TimedOut
from envtui.core.ports import Clock, Hands, Signature
from envtui.outside import key_file, sshsig

SIGN_SECONDS: Final = 60.0
"""How long a person has to touch a key or to answer their agent."""

ASK_SECONDS: Final = 120.0
"""How long a person has to type a passphrase or a PIN, and to touch the key after it."""

REMEMBERED: Final = 256
"""Signatures that one verifier remembers to hold."""

VERIFY_SECONDS: Final = 10.0
_GRACE: Final = 2.0  # seconds in which ssh-keygen puts the terminal's echo back before it is killed
_PATIENCE: Final = 0.4  # seconds of silence after which the screen says whom we wait for
_KEPT = ("HOME", "PATH", "SSH_AUTH_SOCK", "SSH_SK_PROVIDER", "SSH_SK_HELPER", "LD_LIBRARY_PATH")


class Keygen:
    """The program, found and probed once. `variables` is the process's environment."""

    def __init__(self, variables: Mapping[str, str] | None = None, program: str = "ssh-keygen") -> None:
        self.program = program
        self.variables = {name: value for name, value in (variables or os.environ).items() if name in _KEPT}
        # force: never a terminal, never a window; false: no answer, so a passphrase is an error instead of a prompt
        self.variables |= {"SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force", "LC_ALL": "C"}
        self._probed = False

    async def probe(self) -> None:
        """Raises Failed when ssh-keygen is missing or older than OpenSSH 8.2, which brought `find-principals`."""
        if self._probed:
            return
        _, _, said = await self.run(["-Y", "find-principals"], b"", VERIFY_SECONDS)
        if "find-principals" not in said or "Unsupported" in said:
            raise Failed("This ssh-keygen is too old to sign.", "Install OpenSSH 8.2 or newer.")
        self._probed = True

    async def run(
        self,
        arguments: list[str],
        stdin: bytes,
        limit: float,
        patience: Callable[[], None] | None = None,
        *,
        lent: bool = False,
    ) -> tuple[int, bytes, str]:
        """(exit, stdout, stderr) of one call, in a session of its own: it cannot reach our terminal.

        `lent`: it has our terminal instead, for as long as the call takes, and asks on it itself.
        `patience` is called once when nothing came back for a moment. Raises Failed, TimedOut.
        """
        variables = dict(self.variables)
        if lent:  # no other program asks in its place
            del variables["SSH_ASKPASS"]
            variables["SSH_ASKPASS_REQUIRE"] = "never"
        try:
            process = await asyncio.create_subprocess_exec(
                self.program,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=variables,
                start_new_session=not lent,
            )
        except OSError as error:
            raise Failed(
                f"{self.program} cannot be started: {error.strerror}.", "Install OpenSSH's client (8.2 or newer)."
            ) from error
        timer = asyncio.get_running_loop().call_later(_PATIENCE, patience) if patience else None
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), limit)
        except TimeoutError as error:
            raise TimedOut(f"ssh-keygen did not answer within {limit:g} s.", "Try again.") from error
        finally:
            if timer:
                timer.cancel()
            if process.returncode is None:
                await _end(process, lent)
        assert process.returncode is not None
        return process.returncode, out, err.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process, lent: bool) -> None:
    """Kill it, and wait until it is gone. Where it has the terminal it is told first: it hid what is typed."""
    with contextlib.suppress(ProcessLookupError):
        if lent:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE)
                return
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)  # its helper for security keys too
    await process.wait()


class KeygenSigner:
    """One key of the operator's: `file:PATH` or `agent:SHA256:…`. Made by `open_signer`.

    `pin`: its device asks for one each time, so that a try without a terminal would be a wrong PIN, which it counts.
    """

    def __init__(
        self,
        keygen: Keygen,
        key: str,
        path: Path | None,
        limit: float = SIGN_SECONDS,
        asking: float = ASK_SECONDS,
        pin: bool = False,
    ) -> None:
        self._keygen, self._key, self._path = keygen, key, path
        self._limit, self._asking, self._pin = limit, asking, pin

    @property
    def key(self) -> str:
        """The public key: 'ssh-ed25519 AAAA…'."""
        return self._key

    async def sign(self, namespace: str, message: bytes, waiting: Callable[[str], None]) -> str:
        """An armoured SSHSIG. Raises Refused (agent said no, no passphrase or a wrong one, no such key), TimedOut, Failed."""
        await self._keygen.probe()
        which = fingerprint(self._key)
        if sshsig.is_security_key(self._key):
            waiting(f"Touch the security key {which}.")
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="envtui-sign-") as folder:
            path = self._path or _write(Path(folder) / "key.pub", self._key + "\n")
            arguments = ["-Y", "sign", "-f", str(path), "-n", namespace]
            code, out, said = _PIN_WANTED
            if not self._pin:
                code, out, said = await self._keygen.run(
                    arguments,
                    message,
                    self._limit,
                    patience=lambda: waiting(f"Waiting for the key {which}: answer its agent, or touch it."),
                )
            if code != 0 and _wants_to_ask(said):
                code, out = await self._asked(arguments, message, waiting)
            elif code != 0:
                raise _not_signed(which, said, self._path)
        armoured = sshsig.spelled(out.decode("ascii", "replace"))
        made = sshsig.parse(armoured)
        if made.key != self._key or made.namespace != namespace:
            raise Refused(f"ssh-keygen signed with another key than {which}.", "Make the .pub file fit its key.")
        return armoured

    async def _asked(self, arguments: list[str], message: bytes, waiting: Callable[[str], None]) -> tuple[int, bytes]:
        """The same signature, with ssh-keygen asking on the terminal itself. Raises Refused where nobody lends one."""
        which, what = fingerprint(self._key), "PIN" if self._pin else "passphrase"
        if isinstance(waiting, Hands):
            why = f"ssh-keygen asks for the {what} of {self._path}; envtui does not see what you type. Ctrl-C: do not sign."
            with waiting.terminal(why) as lent:
                if lent:
                    code, out, said = await self._keygen.run(arguments, message, self._asking, lent=True)
                    if code < 0:
                        raise Refused(f"Nothing was signed: the question for the {what} was ended.", "Sign again.")
                    if code != 0 and _wants_to_ask(said):
                        raise Refused(f"That was not the {what} of {self._path}; nothing was signed.", "Sign again.")
                    if code != 0:
                        raise _not_signed(which, said, self._path)
                    return code, out
        raise Refused(
            f"The key {which} has a {what}, and there is no terminal here to ask for it.",
            f"ssh-add {self._path} first, at a terminal; the agent then signs.",
        )


async def open_signer(reference: str, keygen: Keygen, limit: float = SIGN_SECONDS) -> KeygenSigner:
    """The signer of `file:PATH` (the private key, `~` allowed) or `agent:SHA256:…`. Raises Refused, Failed."""
    kind, _, rest = reference.partition(":")
    if kind == "file" and rest:
        path = _expanded(rest)
        key, pin = await _key_of_file(path, keygen)
        return KeygenSigner(keygen, key, path, limit, pin=pin and not await _agent_has(key, keygen))
    if kind == "agent" and rest:
        return KeygenSigner(keygen, await _key_in_agent(rest, keygen), None, limit)
    raise Refused(
        "No key to sign with is named.",
        'Set signing_key = "agent:SHA256:…" or "file:~/.ssh/id_ed25519" in your configuration.',
    )


class KeygenVerifier:
    """Believes what the roster's people signed, now."""

    def __init__(self, roster: Roster, clock: Clock, keygen: Keygen) -> None:
        self._roster, self._clock, self._keygen = roster, clock, keygen
        self._held: dict[bytes, None] = {}

    async def verify(self, namespace: str, message: bytes, armoured: str) -> Signature:
        """Who signed. Raises Refused with the reason: unknown or revoked key, namespace, time, altered."""
        said = sshsig.parse(armoured)
        line = self._roster.line(said.key)
        which = fingerprint(said.key)
        if which in self._roster.revoked:
            raise Refused(f"The key {which} is revoked.", "Sign with a key that is not in access/revoked_keys.")
        if line is None:
            raise Refused(
                f"The key {which} is nobody's in access/allowed_signers.", "Sign with a key that is listed there."
            )
        if said.namespace != namespace:
            raise Refused(
                f"The signature is for {said.namespace!r}, not for {namespace!r}.",
                "Sign the block that was sent to you.",
            )
        _check_line(line, namespace, self._clock.wall_ms())
        if not await self._holds(line, namespace, message, armoured):
            raise Refused(
                f"The signature of {line.principal} does not fit: what was signed was altered.",
                "Ask for the block to be sent again.",
            )
        return Signature(principal=line.principal, key=line.key, touched=said.touched)

    async def _holds(self, line: RosterLine, namespace: str, message: bytes, armoured: str) -> bool:
        """Whether the mathematics hold. That stays so, and is asked once: a request is verified when an answer comes, when
        it is looked at, and when it begins. Who may sign, and when, is looked at each time."""
        asked = sha256()
        for part in (line.principal.encode(), line.key.encode(), namespace.encode(), message, armoured.encode()):
            asked.update(len(part).to_bytes(8, "big") + part)
        if asked.digest() in self._held:
            return True
        if not await self._asked(line, namespace, message, armoured):
            return False
        self._held[asked.digest()] = None
        if len(self._held) > REMEMBERED:
            del self._held[next(iter(self._held))]
        return True

    async def _asked(self, line: RosterLine, namespace: str, message: bytes, armoured: str) -> bool:
        await self._keygen.probe()
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="envtui-verify-") as folder:
            allowed = _write(Path(folder) / "allowed", f'{line.principal} namespaces="{namespace}" {line.key}\n')
            signature = _write(Path(folder) / "signature", armoured)
            code, _, _ = await self._keygen.run(
                ["-Y", "verify", "-f", str(allowed), "-I", line.principal, "-n", namespace, "-s", str(signature)],
                message,
                VERIFY_SECONDS,
            )
        return code == 0


def _check_line(line: RosterLine, namespace: str, now_ms: int) -> None:
    if namespace not in line.namespaces:
        raise Refused(
            f"{line.principal} may not sign in {namespace!r}.",
            "Ask somebody whose line in access/allowed_signers names it.",
        )
    if line.valid_after_ms and now_ms < line.valid_after_ms:
        raise Refused(f"The key of {line.principal} is not valid yet.", "See valid-after in access/allowed_signers.")
    if line.valid_before_ms and now_ms >= line.valid_before_ms:
        raise Refused(
            f"The key of {line.principal} is not valid any more.", "See valid-before in access/allowed_signers."
        )


async def _key_of_file(path: Path, keygen: Keygen) -> tuple[str, bool]:
    """The public half, and whether the device behind it asks for a PIN."""
    text = _beside(path)
    inside = key_file.look(path)
    text = text or inside.public
    if not text:  # another format than OpenSSH's own
        code, out, said = await keygen.run(["-y", "-P", "", "-f", str(path)], b"", VERIFY_SECONDS)
        if code != 0 and _wants_to_ask(said):
            raise Refused(
                f"The key {path} has a passphrase and does not tell its public half.",
                f"Write that beside it: ssh-keygen -y -f {path} > {path}.pub",
            )
        if code != 0:
            raise _not_signed(str(path), said, path)
        text = out.decode("utf-8", "replace")
    return _public(text, str(path)), inside.pin


async def _agent_has(key: str, keygen: Keygen) -> bool:
    """Then the agent signs and asks for itself, also when the key's file is named."""
    with contextlib.suppress(Refused):
        return bool(await _key_in_agent(fingerprint(key), keygen))
    return False


def _expanded(text: str) -> Path:
    return Path(text).expanduser()


def _beside(path: Path) -> str:
    """The .pub file next to a private key; '' when there is only the private one."""
    public = path.with_name(path.name + ".pub")
    try:
        if public.exists():
            return public.read_text("utf-8")
        if path.is_file():
            return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The key {path} cannot be read.", "Check its owner and mode.") from error
    raise Refused(f"There is no key {path}.", "Name another signing_key in your configuration.")


async def _key_in_agent(wanted: str, keygen: Keygen) -> str:
    if not keygen.variables.get("SSH_AUTH_SOCK"):
        raise Refused("No SSH agent is running here.", "Start one and ssh-add your key, or name a file: key.")
    adder = Keygen(keygen.variables, str(Path(keygen.program).with_name("ssh-add")))
    _, out, _ = await adder.run(["-L"], b"", VERIFY_SECONDS)
    for line in out.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError):
            key = sshsig.public_key(line)
            if fingerprint(key) == wanted:
                return key
    raise Refused(f"The agent has no key {wanted} that may sign.", "ssh-add it, or see `ssh-add -l`.")


def _public(text: str, where: str) -> str:
    try:
        return sshsig.public_key(text)
    except ValueError as error:
        raise Refused(f"The key {where} cannot sign: {error}.", "Name another signing_key.") from error


def _not_signed(which: str, said: str, path: Path | None) -> Refused:
    """ssh-keygen's words, translated; they are read here and in `_wants_to_ask` alone."""
    if "refused" in said:
        return Refused(f"The agent refused to sign with {which}.", "Unlock the agent, or answer yes when it asks.")
    if "UNPROTECTED" in said or "too open" in said:
        return Refused(f"Others may read the key {which}.", f"chmod 600 {path or 'its file'}.")
    if "No private key" in said or "No such file" in said:
        return Refused(f"The private key of {which} is not here.", "ssh-add it, or name the file of the private key.")
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    return Refused(f"ssh-keygen did not sign with {which}: {last[0][:300]}.", "Try it by hand: ssh-keygen -Y sign.")


_PIN_WANTED: Final = (1, b"", "incorrect passphrase")
"""What a first try would say of a key that wants a PIN."""


def _wants_to_ask(said: str) -> bool:
    """Whether ssh-keygen failed because nobody gave it the passphrase or the PIN, or a wrong one."""
    return "passphrase" in said


def _write(path: Path, text: str) -> Path:
    """A new file that only this user can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return path
