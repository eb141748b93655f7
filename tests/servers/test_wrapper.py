"""The programs of SSH writes, run directly by dash, bash, busybox sh and mksh: what they start, what they refuse, what they see."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envtui.core.errors import Failed, Refused, UsageError
from envtui.outside.ssh import wrapper
from envtui.outside.ssh.bootstrap import Command, Frame, Launch
from envtui.outside.ssh.wrapper import State, Who

pytestmark = pytest.mark.servers

NONCE = "0f1e2d3c4b5a69788796a5b4"
SHELLS = ("dash", "bash --posix", "busybox sh", "mksh")
PATIENCE = 30.0


class Ran:
    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.streams: list[bytes] = []
        for data in (done.stdout, done.stderr):
            got: list[bytes] = []
            frame = Frame(NONCE, got.append)
            frame.feed(data)
            frame.finish()
            self.streams.append(b"".join(got))
            self.status = frame.status
        self.out, self.err = self.streams


class Host:
    """A home and a shell: what an account of a host is."""

    def __init__(self, shell: str, home: Path) -> None:
        self.shell = shell
        self.home = home
        self.variables = {**os.environ, "HOME": str(home)}

    def line(self, start: Launch) -> list[str]:
        return ["dash", "-c", start.line.replace("/bin/sh -c", f"{self.shell} -c")]

    def run(self, start: Launch, stdin: bytes = b"", **more: Any) -> Ran:
        return Ran(
            subprocess.run(
                self.line(start),
                input=start.preamble + stdin,
                capture_output=True,
                check=False,
                env=self.variables,
                timeout=PATIENCE,
                **more,
            )
        )

    def popen(self, start: Launch) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.line(start),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.variables,
            start_new_session=True,
        )

    def start(self, command: Command, stdin: bytes = b"", permit: str = "P1", detach: float = 0.0, **more: Any) -> Ran:
        return self.run(wrapper.start(command, "gw1", permit, stdin, NONCE, detach), stdin, **more)

    def look(self, permit: str = "P1", out: int = 0, err: int = 0) -> Ran:
        return self.run(wrapper.look("gw1", permit, "", NONCE, out, err))

    def state(self, permit: str = "P1") -> State:
        ran = self.look(permit)
        found = wrapper.state(*ran.out.split(f"{NONCE},".encode())[:2])
        assert found is not None, ran.out
        return found

    def group(self, who: Who, permit: str = "P1", sends: str = "-") -> str:
        return self.run(wrapper.group(who, permit, "", NONCE, sends)).out.decode()

    @property
    def above(self) -> Path:
        return self.home / ".envtui" / "gw1"

    def folder(self, permit: str = "P1") -> Path:
        return self.above / permit


@pytest.fixture(params=SHELLS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    if shutil.which(request.param.split()[0]) is None:
        pytest.skip(f"{request.param} IS NOT INSTALLED: the wrapper was not tried in it")
    home = tmp_path / "a home's"
    home.mkdir()
    return Host(request.param, home)


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def sh(text: str, **more: Any) -> Command:
    return Command(sh=text.encode(), **more)


# What is sent


def test_every_program_can_stand_in_single_quotes_of_any_shell() -> None:
    who = Who("-", 1, 2, 3)
    for start in (
        wrapper.start(Command(argv=(b"true",)), "gw1", "P1", b"", NONCE),
        wrapper.start(sh("echo 'it''s' !"), "gw1", "P1", b"data", NONCE),
        wrapper.start(sh("echo 'it''s' !", account="app"), "gw1", "P1", b"data", NONCE, 60),
        wrapper.look("gw1", "P1", "", NONCE),
        wrapper.group(who, "P1", "", NONCE),
        wrapper.marked("P1", "", NONCE),
        wrapper.forget("gw1", "P1", "", NONCE),
        wrapper.listing("gw1", "", NONCE),
    ):
        assert start.line.count("'") == 2
        assert not set("\\!\n") & set(start.line)


def test_what_is_hidden_is_not_on_the_command_line() -> None:
    start = wrapper.start(sh("echo s3cret", hidden=True), "gw1", "P1", b"", NONCE)
    assert "s3cret" not in start.line
    assert wrapper.encoded(b"s3cret") not in start.line
    assert wrapper.encoded(b"s3cret").encode() in start.preamble


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "a'b", "$x", "a\nb"])
def test_a_name_that_leads_elsewhere_is_no_name(name: str) -> None:
    for member, permit in ((name, "P1"), ("gw1", name)):
        with pytest.raises(UsageError):
            wrapper.start(Command(argv=(b"true",)), member, permit, b"", NONCE)


# Starting


@pytest.mark.parametrize(
    ("command", "stdin", "out", "err", "status"),
    [
        (Command(argv=(b"echo", b"a b")), b"", b"a b\n", b"", "000"),
        (Command(argv=(b"printf", b"%s|", b"it's", b"", b"$HOME", b"\\", b"a\nb")), b"", b"it's||$HOME|\\|a\nb|", b"", "000"),
        (sh('echo "$0 $#"; echo no >&2; exit 7', argv=(b"x", b"y")), b"", b"sh 2\n", b"no\n", "007"),
        (sh("pwd; cat", cwd=b"/usr"), b"", b"/usr\n", b"", "000"),
        (sh("cat"), bytes(range(256)) * 50, bytes(range(256)) * 50, b"", "000"),
        (sh("cat", hidden=True), b"\0in\n", b"\0in\n", b"", "000"),
        (sh('printf %s "$K"', env=(("K", b"v '\n"), ("IFS", b"0e"))), b"", b"v '\n", b"", "000"),
        (Command(argv=(b"printenv", b"ENVTUI_ACT")), b"", b"P1\n", b"", "000"),
        (Command(argv=(b"/nonexistent",)), b"", b"", None, "127"),
        (sh("x" * 10000 + "=; true"), b"", b"", b"", "000"),
    ],
)  # fmt: skip
def test_what_runs_is_what_was_said(
    host: Host, command: Command, stdin: bytes, out: bytes, err: bytes | None, status: str
) -> None:
    ran = host.start(command, stdin)
    assert (ran.out, ran.status) == (out, status)
    assert err is None or ran.err == err
    assert host.state().exit == int(status)
    assert sorted(p.name for p in host.folder().iterdir()) == ["err", "out", "state"]  # no input is left


def test_a_command_that_is_killed_has_the_shells_status(host: Host) -> None:
    assert host.start(sh("kill -9 $$")).status == "137"
    assert host.start(sh("kill -TERM $$"), permit="P2").status == "143"


def test_its_variables_are_not_the_commands(host: Host) -> None:
    host.variables.update(envtui_x="mine", h="mine", n="mine")
    out = host.start(sh("env; umask; trap")).out.decode().splitlines()
    assert {"h=mine", "n=mine"} < set(out)
    assert not [line for line in out if line.startswith("trap")]


def test_the_umask_is_the_accounts_own(host: Host) -> None:
    assert host.start(Command(argv=(b"/bin/sh", b"-c", b"umask")), umask=0o027).out == b"0027\n"


def test_only_the_owner_can_look_into_it(host: Host) -> None:
    host.start(Command(argv=(b"true",)), umask=0)
    assert [p.stat().st_mode & 0o777 for p in (host.above.parent, host.above, host.folder())] == [0o700] * 3


def test_a_permit_is_started_once(host: Host) -> None:
    assert host.start(sh("echo once >>trace", cwd=bytes(host.home))).status == "000"
    assert host.start(sh("echo again >>trace", cwd=bytes(host.home))).status == "dup"
    assert (host.home / "trace").read_text() == "once\n"
    assert isinstance(wrapper.refusal("dup", "a@gw1", "app", "gw1", ""), Refused)


def test_two_at_the_same_moment_are_one(host: Host) -> None:
    start = wrapper.start(sh("echo once >>trace; sleep 0.2", cwd=bytes(host.home)), "gw1", "P1", b"", NONCE)
    both = [host.popen(start) for _ in range(4)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert sorted(text.endswith(b"edup") for text in said) == [False, True, True, True]
    assert (host.home / "trace").read_text() == "once\n"


def test_a_directory_that_cannot_be_entered_runs_nothing(host: Host) -> None:
    assert host.start(sh("touch ran", cwd=b"/nonexistent")).status == "cwd"
    assert not host.above.exists()


@pytest.mark.parametrize("size", [0, 1, 9])
def test_half_an_input_runs_nothing(host: Host, size: int) -> None:
    start = wrapper.start(sh("touch ran; cat", cwd=bytes(host.home)), "gw1", "P1", b"0123456789", NONCE)
    ran = host.run(start, b"0123456789"[:size])
    assert (ran.status, ran.out) == ("cut", b"")
    assert not (host.home / "ran").exists()
    assert host.look().status == wrapper.NOTHING


def test_more_input_than_was_said_runs_nothing(host: Host) -> None:
    start = wrapper.start(sh("touch ran", cwd=bytes(host.home)), "gw1", "P1", b"0123456789", NONCE)
    assert host.run(start, b"0123456789x").status == "cut"
    assert not (host.home / "ran").exists()


def test_the_input_has_no_name_while_it_is_stored(host: Host) -> None:
    start = wrapper.start(sh("cat"), "gw1", "P1", b"secret" * 3, NONCE)
    process = subprocess.Popen(
        host.line(start), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=host.variables
    )
    assert process.stdin is not None
    process.stdin.write(b"secret")
    process.stdin.flush()
    until(lambda: host.folder().exists() and (host.folder() / "err").exists())

    def waits() -> bool:
        names = {p.name for p in host.folder().iterdir()}
        held = [
            path.readlink().name
            for path in Path(f"/proc/{process.pid}/fd").iterdir()
            if str(path.readlink()).startswith("/")
        ]
        return names == {"state", "out", "err"} and "in (deleted)" in held

    until(waits)
    process.stdin.write(b"secret" * 2)
    out, _ = process.communicate(timeout=PATIENCE)
    assert b"secret" * 3 in out


def test_without_a_home_nothing_runs(host: Host) -> None:
    for home in ("", "relative", "/nonexistent/home"):
        host.variables["HOME"] = home
        ran = host.start(Command(argv=(b"true",)))
        assert ran.status == "hom", home
    del host.variables["HOME"]
    ran = host.start(Command(argv=(b"true",)))
    assert ran.status in ("hom", "000")  # bash sets HOME itself
    assert isinstance(wrapper.refusal("hom", "a@gw1", "app", "gw1", ""), Refused)


@pytest.mark.parametrize("level", [".envtui", ".envtui/gw1", ".envtui/gw1/P1"])
@pytest.mark.parametrize("what", ["link", "file", "fifo", "socket-like", "open", "group"])
def test_a_hostile_directory_runs_nothing(host: Host, level: str, what: str) -> None:
    path = host.home / level
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    host.above.parent.chmod(0o700) if host.above.parent.exists() else None
    elsewhere = host.home / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if what == "link":
        path.symlink_to(elsewhere)
    elif what == "file":
        path.write_text("")
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "socket-like":
        path.symlink_to("/nonexistent/there")
    else:
        path.mkdir()
        path.chmod(0o707 if what == "open" else 0o720)
    ran = host.start(sh("touch ran", cwd=bytes(host.home)))
    expected = {"link": "lnk", "socket-like": "lnk", "file": "ful", "fifo": "ful", "open": "mod", "group": "mod"}[what]
    assert ran.status == ("dup" if level.endswith("P1") else expected)
    assert not (host.home / "ran").exists()
    assert not list(elsewhere.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: directories of other owners WERE NOT TRIED")
@pytest.mark.parametrize("level", [".envtui", ".envtui/gw1"])
def test_a_directory_of_somebody_else_runs_nothing(host: Host, level: str) -> None:
    host.above.mkdir(parents=True, mode=0o700)
    host.above.parent.chmod(0o700)
    os.chown(host.home / level, 65534, 65534)
    assert host.start(sh("touch ran", cwd=bytes(host.home))).status == "own"
    assert not (host.home / "ran").exists()


@pytest.fixture
def small(host: Host, tmp_path: Path) -> Iterator[Host]:
    """A home on a file system that is full."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "x", str(host.home)], capture_output=True)
    if done.returncode:
        pytest.skip(f"NO MOUNT ({done.stderr!r}): a full disk WAS NOT TRIED")
    try:
        with contextlib.suppress(OSError), (host.home / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield host
    finally:
        subprocess.run(["umount", str(host.home)], check=True)


def test_a_full_disk_runs_nothing(small: Host) -> None:
    for command, stdin in ((Command(argv=(b"touch", b"/nonexistent/x")), b""), (sh("true"), bytes(4000))):
        ran = small.start(command, stdin)
        assert ran.status == "ful"
        refused = wrapper.refusal("ful", "a@gw1", "app", "gw1", ran.err.decode())
        assert isinstance(refused, Failed)
        assert "No space" in str(refused) or "I/O error" in str(refused), ran.err
        assert not small.folder().exists()


def test_input_that_does_not_fit_runs_nothing(small: Host) -> None:
    (small.home / "fill").unlink()
    ran = small.start(sh("touch ran", cwd=bytes(small.home)), bytes(200_000))
    assert ran.status == "ful"
    assert not (small.home / "ran").exists()
    assert not small.folder().exists()


def test_a_limit_of_file_sizes_runs_nothing(host: Host) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    ran = host.start(sh("touch ran", cwd=bytes(host.home)), preexec_fn=limit)
    assert ran.status == "ful"
    assert not (host.home / "ran").exists()


# Output


def test_only_the_beginning_is_said_at_once_and_the_rest_can_be_read(host: Host) -> None:
    ran = host.start(sh("head -c 200000 /dev/zero; head -c 70000 /dev/zero | tr '\\0' x >&2"))
    assert (len(ran.out), len(ran.err)) == (wrapper.HEAD, wrapper.HEAD)
    seen = host.look(out=wrapper.HEAD, err=69_998)
    assert len(seen.out.split(f"{NONCE},".encode())[2]) == 200_000 - wrapper.HEAD
    assert seen.err == b"xx"


def test_what_the_file_holds_is_what_was_said_whatever_it_is(host: Host) -> None:
    data = bytes(range(256)) + NONCE[:-1].encode() + b"e000"
    assert host.start(sh("cat"), data).out == data
    assert host.look(out=3).out.split(f"{NONCE},".encode())[2] == data[3:]


# Living on


def running(host: Host, text: str, permit: str = "P1") -> tuple[subprocess.Popen[bytes], State]:
    """Start it, and wait until it says where it is."""
    process = host.popen(wrapper.start(sh(text), "gw1", permit, b"", NONCE))
    until(lambda: host.look(permit).status == "000" and host.state(permit).who and host.state(permit).out)
    return process, host.state(permit)


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def test_it_outlives_the_connection_and_nothing_is_lost(host: Host) -> None:
    text = 'echo one; until [ -e "$HOME/go" ]; do sleep 0.05; done; echo two; echo err >&2; exit 5'
    process, state = running(host, text)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as sshd does when the connection ends
    process.stderr.close()
    assert state.leads
    (host.home / "go").touch()
    process.wait(PATIENCE)
    assert host.state().exit == 5
    seen = host.look(out=4)
    assert (seen.out.split(f"{NONCE},".encode())[2], seen.err) == (b"two\n", b"err\n")


def test_who_waits_is_who_it_says(host: Host) -> None:
    process, state = running(host, "echo up; exec sleep 60")
    try:
        assert state.who is not None
        assert (state.who.group, state.leads) == (process.pid, True)
        assert set(host.group(state.who)) == {"l", "m"}
        for wrong in (
            Who(state.who.boot, state.who.group + 1, state.who.pid, state.who.start),
            Who("0" * 36, state.who.group, state.who.pid, state.who.start),
        ):
            assert not set(host.group(wrong, sends="KILL")) & {"l", "m"}
        assert process.poll() is None
        # The number was given to another process since: not ours, whatever is in that group.
        assert host.group(Who(state.who.boot, state.who.group, state.who.pid, 1), "OTHER", "KILL").strip("op") == ""
        assert process.poll() is None
    finally:
        end(process)


def test_term_ends_the_command_and_its_shell_still_says_how(host: Host) -> None:
    process, state = running(host, "echo up; exec sleep 60")
    assert state.who is not None
    host.group(state.who, sends="TERM")
    process.communicate(timeout=PATIENCE)
    assert host.state().exit == 143
    assert until(lambda: not host.group(state.who))


def test_kill_ends_what_ignores_term_and_its_children(host: Host) -> None:
    process, state = running(host, "trap '' TERM; sleep 60 & sh -c 'sleep 60; :' & echo up; while :; do sleep 1; done")
    assert state.who is not None
    host.group(state.who, sends="TERM")
    assert len(host.group(state.who)) >= 4
    host.group(state.who, sends="KILL")
    process.communicate(timeout=PATIENCE)
    until(lambda: not host.group(state.who))
    assert host.state().exit is None
    assert host.state().leads is False


def test_a_stopped_group_is_ended_too(host: Host) -> None:
    process, state = running(host, "echo up; exec sleep 60")
    assert state.who is not None
    os.killpg(process.pid, signal.SIGSTOP)
    host.group(state.who, sends="TERM")
    process.communicate(timeout=PATIENCE)
    assert host.state().exit == 143


def test_without_its_shell_the_command_is_known_by_its_mark(host: Host) -> None:
    permit = f"P{os.getpid()}x{time.monotonic_ns()}"
    process, state = running(host, "echo up; exec sleep 60", permit)
    assert state.who is not None
    os.kill(state.who.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    after = host.state(permit)
    assert (after.leads, after.exit) == (False, None)
    assert host.group(state.who, permit) == "m"
    assert host.run(wrapper.marked(permit, "", NONCE)).out.strip() == b"1"
    host.group(state.who, permit, "TERM")
    until(lambda: not host.group(state.who, permit))
    assert host.run(wrapper.marked(permit, "", NONCE)).out.strip() == b"0"
    process.communicate()


def test_a_daemon_of_the_command_keeps_nobody_waiting(host: Host) -> None:
    ran = host.start(sh("setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $!"))
    assert ran.status == "000"
    os.kill(int(ran.out), signal.SIGKILL)


# Detached


def test_a_detached_command_returns_at_once_and_goes_on(host: Host) -> None:
    ran = host.start(sh("cat; sleep 0.3; echo done"), b"in\n", detach=60)
    assert (ran.status, ran.out) == (wrapper.STARTED, b"")
    until(lambda: host.state().exit is not None)
    assert host.look().out.endswith(b"in\ndone\n")
    who = host.state().who
    assert who is not None
    until(lambda: not host.group(who))  # nor is its watch left


def test_a_detached_command_ends_with_its_time_even_when_it_ignores_term(host: Host) -> None:
    assert host.start(sh("sleep 60"), detach=1).status == wrapper.STARTED
    assert host.start(sh("trap '' TERM; while :; do sleep 1; done"), permit="P2", detach=1).status == wrapper.STARTED
    until(lambda: host.state().exit == 143)
    stubborn = host.state("P2").who
    assert stubborn is not None
    until(lambda: not host.group(stubborn, "P2"))


def test_a_detached_command_survives_a_hangup(host: Host) -> None:
    host.start(sh("sleep 0.5; echo done"), detach=60)
    who = host.state().who
    assert who is not None
    os.killpg(who.group, signal.SIGHUP)
    until(lambda: host.state().exit == 0)


def test_without_setsid_a_detached_command_runs_all_the_same(host: Host, tmp_path: Path) -> None:
    few = tmp_path / "bin"
    few.mkdir()
    for name in (
        "mkdir",
        "ls",
        "rm",
        "cat",
        "wc",
        "head",
        "tail",
        "sleep",
        "tr",
        "sh",
        "echo",
        "printf",
        "grep",
        "touch",
    ):
        (few / name).symlink_to(shutil.which(name) or "")
    for shell in ("bash", "busybox", "mksh", "dash"):
        (few / shell).symlink_to(shutil.which(shell) or "")
    host.variables["PATH"] = str(few)
    text = b'cat; until [ -e "$1" ]; do sleep 0.1; done; echo done'
    command = Command(argv=(b"sh", b"-c", text, b"sh", bytes(host.home / "go")), hidden=True)
    start = wrapper.start(command, "gw1", "P1", b"in\n", NONCE, 60)
    said = tmp_path / "said"
    with said.open("wb") as file:  # mksh holds its output open for longer; the end mark is what counts
        process = subprocess.Popen(
            host.line(start),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=host.variables,
            start_new_session=True,
        )
        process.communicate(start.preamble + b"in\n", timeout=PATIENCE)
    assert f"{NONCE}erun".encode() in said.read_bytes()
    state = host.state()
    assert state.leads
    assert state.who is not None
    os.killpg(state.who.group, signal.SIGHUP)
    (host.home / "go").touch()
    until(lambda: host.state().exit == 0)
    assert host.look().out.endswith(b"in\ndone\n")
    until(lambda: not host.group(state.who or Who("-", 0, 0, 0)))


# Looking


def test_nothing_there_is_said(host: Host) -> None:
    assert host.look().status == wrapper.NOTHING
    host.start(Command(argv=(b"true",)))
    assert host.look("P2").status == wrapper.NOTHING


@pytest.mark.parametrize("name", ["state", "out", "err"])
@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_a_file_that_is_none_hangs_nobody(host: Host, name: str, what: str) -> None:
    host.start(Command(argv=(b"true",)))
    path = host.folder() / name
    path.unlink()
    if what == "link":
        path.symlink_to("/dev/zero")
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert host.look().status == "lnk"


@pytest.mark.parametrize(
    "wrote",
    [
        b"nonsense\n",
        b"a b c d\n0\n",
        b"../../x 1 ../../etc 3\n",
        b"- 1 1 1\n0\n0\n",
        b"- 1 1 1\nnine\n",
        b"- 1 1 1\n999\n",
        b"$(touch ran) `touch ran` * *\n",
        b"\0" * 5000 + b"\n",
        b"- 1 1 " + b"1" * 5000 + b"\n",
    ],
)
def test_a_forged_state_is_not_believed(host: Host, wrote: bytes) -> None:
    host.start(Command(argv=(b"true",)))
    (host.folder() / "state").write_bytes(wrote)
    ran = host.look()
    state = wrapper.state(*ran.out.split(f"{NONCE},".encode())[:2])
    assert state is None or state.who is None
    assert not list(host.home.rglob("ran"))


def test_a_status_without_its_newline_was_not_written(host: Host) -> None:
    host.start(Command(argv=(b"true",)))
    path = host.folder() / "state"
    who = path.read_bytes().splitlines()[0]
    path.write_bytes(who + b"\n0")
    assert host.state().exit is None
    path.write_bytes(who)
    assert host.state().who is None


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: directories of other owners WERE NOT TRIED")
def test_a_state_of_somebody_else_is_not_believed(host: Host) -> None:
    host.start(Command(argv=(b"true",)))
    os.chown(host.folder(), 65534, 65534)
    assert host.look().status == "own"


def test_a_state_that_others_may_write_is_not_believed(host: Host) -> None:
    host.start(Command(argv=(b"true",)))
    host.folder().chmod(0o770)
    assert host.look().status == "mod"


# Afterwards


def test_forgetting_removes_it_and_nothing_else(host: Host) -> None:
    for permit in ("P1", "P2"):
        host.start(Command(argv=(b"true",)), permit=permit)
    elsewhere = host.home / "elsewhere"
    elsewhere.mkdir()
    (host.folder() / "link").symlink_to(elsewhere)
    (elsewhere / "file").touch()
    assert host.run(wrapper.forget("gw1", "P1", "", NONCE)).status == "000"
    assert [p.name for p in host.above.iterdir()] == ["P2"]
    assert (elsewhere / "file").exists()


def test_what_is_left_is_listed(host: Host) -> None:
    for permit in ("P1", "P2"):
        host.start(Command(argv=(b"true",)), permit=permit)
    (host.above / "a name\nwith all.$(x)").mkdir()
    ran = host.run(wrapper.listing("gw1", "", NONCE))
    now, *lines = ran.out.decode().splitlines()
    assert abs(int(now) - time.time()) < 600
    assert {line.split(".")[0] for line in lines} >= {"P1", "P2"}
    assert host.run(wrapper.listing("gw2", "", NONCE)).status == wrapper.NOTHING
