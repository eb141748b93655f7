"""One command on one channel: send it, drain both streams together, and know how it ended.

A background process of the command may keep the channel open for ever; the end marks on both streams say that the command
itself is done, so nobody waits for the channel.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from envtui.core.errors import EnvtuiError, Failed, ProtectionTooLow, Refused, TimedOut, Unreachable
from envtui.core.ports import HEAD_BYTES, Reading, Sink

from .bootstrap import NO_DIRECTORY, Frame, Launch
from .connect import WINDOW, Link, translated
from .library import ChannelException, Message, SSHException, cMSG_CHANNEL_REQUEST
from .sandbox.send import SAID

if TYPE_CHECKING:
    import paramiko

CHUNK = 1024 * 1024
"""Bytes taken from a stream at once."""

FLOOD = 64 * 1024
"""Bytes at once from which on the output is a flood: then a little is left to gather, which costs a quarter less CPU."""

PACKET = 16 * 1024
"""Bytes at once from which on more is likely to come at once."""

GATHER = 0.001
"""Seconds to let a flood gather: a fraction of the window at any speed that Python reaches."""

ANSWER = 15.0
"""Seconds for a channel to open, where silence counts."""

STATUS_WAIT = 5.0
"""Seconds for the exit status after both streams ended."""

REFUSALS = 10
REFUSED_WAIT = 0.1
"""A channel that the host refuses is asked for so often, with so many seconds between."""

SUDO = re.compile(r"sudo(-rs)?: |Sorry, user |.* is not (in the sudoers file|allowed to )")
"""How sudo's own words begin."""


class Discard:
    """A sink for what only the program itself reads."""

    def out(self, data: bytes) -> None:
        pass

    def err(self, data: bytes) -> None:
        pass


class Exchange:
    """Runs once, in a thread. `sent` tells whether the command can have reached the host.

    `timeout` in seconds, and so is `idle`: silence on both streams for that long counts as one (0: never).
    """

    def __init__(self, link: Link, launch: Launch, stdin: bytes, sink: Sink, timeout: float, idle: float = 0.0) -> None:
        self.sent = False
        self._link = link
        self._launch = launch
        self._stdin = launch.preamble + stdin
        self._timeout = timeout
        self._idle = idle
        self._answer = min(timeout, max(idle, ANSWER)) if idle else timeout
        self._news = _News()
        self._stopped = ""
        self._started: float | None = None
        self._heads = (_Head(sink.out), _Head(sink.err))
        self._out, self._err = (Frame(launch.nonce, head.add) for head in self._heads)

    @property
    def status(self) -> str:
        """Three characters, when it ended: an exit status, or a word of the program's own."""
        return self._out.status or self._err.status

    def stop(self, what: str = "was cancelled") -> None:
        """From any thread: end it like a timeout. `what` goes into the message."""
        self._stopped = what
        self._news.set()

    def overdue(self, grace: float) -> bool:
        """Whether it runs for `grace` seconds longer than it may: its thread hangs in the network."""
        return self._started is not None and time.monotonic() > self._started + self._timeout + grace

    def run(self) -> Reading:
        """Raises TimedOut, Unreachable (the connection ended), Refused (no POSIX shell), Failed (no such directory)."""
        started = self._started = time.monotonic()
        where = self._link.endpoint
        with translated(where, "opening a channel"):
            channel = self._channel()
        try:
            for buffer in (channel.in_buffer, channel.in_stderr_buffer):
                buffer.set_event(self._news)
            self.sent = True
            with translated(where, "running the command"):
                channel.settimeout(self._answer)
                if self._stdin:
                    channel.exec_command(self._launch.line)  # before that sshd opens no window for it
                else:
                    self._ask(channel)
                self._feed(channel)
                self._drain(channel, started + self._timeout)
                if not channel.event_ready:
                    raise self._link.transport.get_exception() or SSHException("The command was not accepted.")
            self._link.settle()
            return self._reading(channel, time.monotonic() - started)
        finally:
            with suppress(OSError, EOFError):
                channel.close()

    def _channel(self) -> paramiko.Channel:
        """sshd counts a session until it has reaped it, so one too many for now is asked for again."""
        for again in range(REFUSALS):
            try:
                return self._link.transport.open_session(window_size=WINDOW, timeout=self._answer)
            except ChannelException:
                if again == REFUSALS - 1 or self._stopped:
                    raise
                time.sleep(REFUSED_WAIT)
        raise AssertionError("unreachable")

    def _ask(self, channel: paramiko.Channel) -> None:
        """`exec_command` without waiting for its answer: that it was refused is seen when the channel ends."""
        request = Message()
        request.add_byte(cMSG_CHANNEL_REQUEST)
        request.add_int(channel.remote_chanid)
        request.add_string("exec")
        request.add_boolean(True)
        request.add_string(self._launch.line)
        channel.event_ready = False
        self._link.transport._send_user_message(request)  # type: ignore[attr-defined]  # as exec_command does

    def _feed(self, channel: paramiko.Channel) -> None:
        def send() -> None:
            with suppress(OSError, EOFError):  # a command need not read its input
                channel.sendall(self._stdin)
                channel.shutdown_write()

        if len(self._stdin) <= channel.out_window_size:
            send()
        else:  # the host may first want to be rid of output
            threading.Thread(target=send, name="ssh-stdin", daemon=True).start()

    def _drain(self, channel: paramiko.Channel, deadline: float) -> None:
        heard = time.monotonic()
        while not (self._out.status and self._err.status):
            until = min(deadline, heard + self._idle) if self._idle else deadline
            self._news.wait(max(0.0, until - time.monotonic()))
            self._news.rearm()
            ended = channel.eof_received or channel.closed  # looked at first: what came before it is drained below
            while True:
                self._check(deadline)
                out = channel.recv(CHUNK) if channel.recv_ready() else b""
                err = channel.recv_stderr(CHUNK) if channel.recv_stderr_ready() else b""
                if not out and not err:
                    self._check_silence(heard)
                    break
                heard = time.monotonic()
                if out:
                    self._out.feed(out)
                if err:
                    self._err.feed(err)
                if len(out) + len(err) >= FLOOD:
                    time.sleep(GATHER)
                elif len(out) + len(err) >= PACKET:
                    time.sleep(0)  # let the screen have a turn
            if ended:
                break
        self._out.finish()
        self._err.finish()

    def _check(self, deadline: float) -> None:
        if self._stopped:
            raise self._timed_out(self._stopped)
        if time.monotonic() >= deadline:
            raise self._timed_out(f"took longer than {self._timeout:g} s")

    def _check_silence(self, heard: float) -> None:
        if self._idle and time.monotonic() >= heard + self._idle:
            raise self._timed_out(f"said nothing for {self._idle:g} s")

    def _timed_out(self, what: str) -> TimedOut:
        return TimedOut(
            f"The command on {self._link.endpoint.member} {what}; it may still be running there.",
            "Look for it on the host before you try again; what it printed until then is kept.",
        )

    def _reading(self, channel: paramiko.Channel, seconds: float) -> Reading:
        status = self.status
        if not status:
            channel.status_event.wait(STATUS_WAIT)
            code = channel.exit_status
            if not self._out.begun and not self._err.begun and code >= 0:
                raise self._no_shell(code)
            if code < 0 and (not channel.eof_received or not self._link.alive):
                raise Unreachable(
                    f"{self._link.endpoint} closed the connection while the command ran.",
                    "It may still be running there; look before you try again.",
                )
        if status == NO_DIRECTORY and not self._launch.held:
            raise _no_directory()
        out, err = self._heads
        exited = int(status) if status.isdigit() else None
        return Reading(
            exit=exited,
            refused=self._refused(exited == 0),
            stdout=bytes(out.kept),
            stderr=bytes(err.kept),
            truncated=out.more or err.more,
            seconds=seconds,
        )

    def _refused(self, ok: bool) -> tuple[str, ...]:
        if not self._err.aside:
            return ()
        from .sandbox.told import refused

        return refused(self._err.aside, ok)

    def _not_held(self, noise: str, code: int) -> EnvtuiError:
        """A read that was to be held, and whatever was to hold it did not come up: nothing ran."""
        if f"{self._launch.nonce}d" in noise:
            return _no_directory()
        member = self._link.endpoint.member
        why = next((line[len(SAID) :] for line in noise.splitlines() if line.startswith(SAID)), "")
        why = why or next((line for line in noise.splitlines() if SUDO.match(line)), "")
        why = why or noise[-200:].strip() or f"it exited with {code} and said nothing"
        return ProtectionTooLow(
            f"{member} cannot hold a read: {why}.",
            "Nothing was run. `envtui harden` prints what is missing there, for the host's owner.",
        )

    def _no_shell(self, code: int) -> EnvtuiError:
        noise = (self._out.noise + self._err.noise).decode("utf-8", "replace").strip()
        said = noise[:200]
        if self._launch.held:
            return self._not_held(noise, code)
        account = self._launch.account
        if account and (refused := next(filter(SUDO.match, noise.splitlines()), "")):
            return Refused(
                f"{self._link.endpoint.member} does not let {self._link.endpoint.user} act as {account}: {refused[:200]}",
                f"sudoers there must let it run /bin/sh as {account} without a password: the shell that starts a write, keeps "
                "its state and can end it must be that account's too.",
            )
        return Refused(
            f"{self._link.endpoint} did not start /bin/sh: it exited with {code}"
            + (f" and said {said!r}." if said else "."),
            "A restricted shell, a forced command, a start file that reads its input, or no POSIX system: use an account that "
            "may run /bin/sh.",
        )


def _no_directory() -> Failed:
    return Failed("The step's directory does not exist there; nothing was run.", "Check `cwd:`.")


class _Head:
    """Passes everything on and keeps the beginning."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self.kept = bytearray()
        self.more = False

    def add(self, data: bytes) -> None:
        self._sink(data)
        room = HEAD_BYTES - len(self.kept)
        if room:
            self.kept += data[:room]
        self.more = self.more or len(data) > room


class _News(threading.Event):
    """Set by either stream and by `stop`; a stream that was emptied does not clear it for the other."""

    def clear(self) -> None:
        pass

    def rearm(self) -> None:
        super().clear()
