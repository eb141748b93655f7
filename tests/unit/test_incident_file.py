"""The shared register of incidents: two people write at once, and nothing that was closed is open again by accident."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from access_kit import NOW, FakeClock

from envtui.core.environment import IncidentPolicy
from envtui.core.errors import Failed, Refused, Unreachable, Unsound, UsageError
from envtui.core.ports import Tracker
from envtui.outside.incident_file import FILE, FileTracker, Register, SelfDeclared, register_of
from envtui.outside.secrets import ReferencedSecrets
from envtui.outside.trackers import of

PATTERN = r"[A-Z][A-Z0-9]*-\d+"


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path / "register", PATTERN)


def opened(register: Register, title: str = "403 for everyone", **more: str):
    return register.open(title=title, environment="production", by="asha", now_ms=NOW, **more)


def test_open_list_close(register: Register) -> None:
    first, second = opened(register), opened(register, "slow database", severity="high", incident="OPS-7")
    assert (first.id, second.id) == ("INC-1001", "OPS-7")
    assert [one.id for one in register.all()] == ["INC-1001", "OPS-7"]
    assert opened(register).id == "INC-1002"
    closed = register.close("INC-1001", by="meera", now_ms=NOW + 1)
    assert (closed.state, closed.title, closed.by, closed.opened_ms) == ("closed", "403 for everyone", "asha", NOW)
    assert register.close("INC-1001", by="meera", now_ms=NOW + 2) == closed
    assert register.get("OPS-7").severity == "high"


def test_the_next_number_has_the_prefix_that_the_policy_names(tmp_path: Path) -> None:
    changes = Register(tmp_path / "r", r"CHG-\d+")
    assert [opened(changes).id, opened(changes).id] == ["CHG-1001", "CHG-1002"]
    with pytest.raises(UsageError, match="Give one with --id"):
        opened(Register(tmp_path / "r", r"[a-z]{3}-\d+"))


def test_a_directory_holds_the_register(tmp_path: Path) -> None:
    opened(Register(tmp_path, PATTERN))
    assert (tmp_path / FILE).is_file()


def test_an_incident_that_is_open_is_not_opened_again_but_a_closed_one_is(register: Register) -> None:
    opened(register, incident="INC-5")
    with pytest.raises(Refused, match="open already"):
        opened(register, incident="INC-5")
    register.close("INC-5", by="asha", now_ms=NOW)
    assert opened(register, incident="INC-5").state == "open"


@pytest.mark.parametrize("title", ["", "   ", "two\nlines", "x" * 201, "bell\a", "\u202eright to left"])
def test_titles_that_will_not_do(register: Register, title: str) -> None:
    with pytest.raises(UsageError, match="title"):
        opened(register, title)


@pytest.mark.parametrize("incident", ["inc-1", "../x", "INC-1 ", "INC-", "A-" + "1" * 70])
def test_ids_that_will_not_do(register: Register, incident: str) -> None:
    with pytest.raises(UsageError, match="not an incident's id"):
        opened(register, incident=incident)


async def test_the_tracker_looks_anew_each_time(register: Register) -> None:
    clock = FakeClock()
    tracker = FileTracker(register, clock)
    with pytest.raises(Refused, match="no incident"):
        await tracker.lookup("INC-1001")
    opened(register)
    seen = await tracker.lookup("INC-1001")
    assert (seen.state, seen.environment, seen.tracker, seen.checked_ms) == ("open", "production", "file", NOW)
    register.close("INC-1001", by="asha", now_ms=NOW)
    assert (await tracker.lookup("INC-1001")).state == "closed"


async def test_a_register_that_cannot_be_reached_is_not_an_empty_one(tmp_path: Path) -> None:
    gone = Register(tmp_path / "unmounted" / "register", PATTERN)
    with pytest.raises(Unreachable, match="cannot be read"):
        await FileTracker(gone, FakeClock()).lookup("INC-1")
    with pytest.raises(Failed):
        opened(gone)


@pytest.mark.parametrize(
    "line",
    [
        "rubbish",
        '{"id":"INC-1001","state":"clos',
        '{"id":"INC-1001","state":"gone","at_ms":1,"by":"x"}',
        "",
        '{"more":1}',
    ],
)
def test_a_damaged_line_is_not_skipped(register: Register, line: str) -> None:
    opened(register)
    with register.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(Unsound, match=":2 is no line"):
        register.all()
    with pytest.raises(Unsound):
        opened(register)


def test_many_writers_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from envtui.outside.incident_file import Register\n"
        f"register = Register(pathlib.Path(sys.argv[1]), {PATTERN!r})\n"
        "for n in range(10):\n"
        "    print(register.open(title='t', environment='e', by='b', now_ms=1).id)\n"
    )
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "r")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for _ in range(4)
    ]
    ids = [name for process in processes for name in process.communicate(timeout=60)[0].split()]
    assert len(set(ids)) == len(ids) == 40
    lines = (tmp_path / "r").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(ids)


async def test_trackers_by_policy(tmp_path: Path) -> None:
    clock = FakeClock()

    def tracker_of(policy: IncidentPolicy) -> Tracker:
        return of.tracker_of(
            policy,
            "dev",
            str(tmp_path / "dev"),
            clock,
            secrets=ReferencedSecrets(),
            masked=str,
            commands=(),
            environ={},
            operator="asha",
            ca=Path,
        )

    nobody = tracker_of(IncidentPolicy())
    assert isinstance(nobody, SelfDeclared)
    said = await nobody.lookup("ANY-1")
    assert (said.state, said.tracker) == ("unverified", "none")
    policy = IncidentPolicy(tracker="file", path="incidents")
    (tmp_path / "trees").mkdir()
    assert register_of(policy, str(tmp_path / "trees" / "production")).path == tmp_path / "trees" / "incidents"
    with pytest.raises(Refused):
        tracker_of(IncidentPolicy(tracker="file", path="../x"))


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (IncidentPolicy(tracker="http", preset="pagerduty", url="https://api.pagerduty.com"), "in PagerDuty"),
        (IncidentPolicy(tracker="http", url="https://t.example/i/${incident}"), "https://t.example/i/"),
        (IncidentPolicy(tracker="command", command=("/opt/incident", "${incident}")), "/opt/incident"),
        (IncidentPolicy(), "self-declared"),
    ],
)
def test_without_a_register_it_is_said_where_incidents_are(policy: IncidentPolicy, words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)) as error:
        register_of(policy, "/trees/dev")
    assert error.value.remedy
