"""Trackers over HTTP against a local server that speaks PagerDuty's and Jira's APIs, and a tracker that is a program.

What is no clear answer never counts as an open incident; the token is in no error.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from envtui.core.access import Incident
from envtui.core.environment import Command, IncidentPolicy, Notify, SecretHeader, TrackerFields, TrackerNote
from envtui.core.errors import EnvtuiError, Refused, SecretMissing, Unreachable
from envtui.core.secret import Secret
from envtui.outside.notifying import notifier_of
from envtui.outside.programs import Programs
from envtui.outside.service import SIZE_LIMIT, Service
from envtui.outside.system_clock import SystemClock
from envtui.outside.trackers.command_tracker import CommandTracker
from envtui.outside.trackers.http_tracker import HttpTracker
from envtui.outside.trackers.presets import api
from tests.servers.trackers import ACCOUNT, TOKEN, Fake, fake, tracking

__all__ = ["fake"]

OPENED = round(datetime(2026, 11, 23, 8, 12, tzinfo=UTC).timestamp() * 1000)
ID = "Q2T5X8ZB9KLMNP"


class Clock(SystemClock):
    """Does not wait between two tries."""

    async def sleep(self, seconds: float) -> None: ...


class Secrets:
    def __init__(self, value: str = TOKEN) -> None:
        self.value = value

    async def resolve(self, reference: str | Command, name: str) -> Secret:
        if reference == "env:NONE":
            raise SecretMissing("env:NONE is not set.", "Set it.")
        return Secret(name, self.value)

    def key_file(self, reference: str) -> Path:
        raise AssertionError("no key is asked for")


def pagerduty(fake: Fake, **more: object) -> IncidentPolicy:
    given = {"url": fake.base, "secret": "env:TOKEN", "user": ACCOUNT, "pattern": "[A-Z0-9]{7,16}", **more}
    return IncidentPolicy(tracker="http", preset="pagerduty", **given)  # type: ignore[arg-type]


def jira(fake: Fake, **more: object) -> IncidentPolicy:
    given = {"url": f"{fake.base}/", "secret": "env:TOKEN", "user": "${me}@shop.example", **more}
    return IncidentPolicy(tracker="http", preset="jira", **given)  # type: ignore[arg-type]


def over_http(policy: IncidentPolicy, secrets: Secrets | None = None, seconds: float = 10.0) -> HttpTracker:
    service = Service(
        "the tracker", api(policy).headers, secrets=secrets or Secrets(), operator="asha", ca=Path, seconds=seconds
    )
    return HttpTracker(policy, "production", service, Clock())


async def refused(tracker: HttpTracker | CommandTracker, incident: str = ID) -> EnvtuiError:
    """The error of a look, which is clean and one sentence with its way out."""
    with pytest.raises(EnvtuiError) as caught:
        await tracker.lookup(incident)
    error = caught.value
    assert TOKEN not in str(error)
    assert TOKEN not in repr(error.__cause__)
    assert error.remedy
    assert "\n" not in error.message
    return error


# -- PagerDuty and Jira --------------------------------------------------------------------------------------------------


async def test_pagerduty_says_what_an_incident_is(fake: Fake) -> None:
    fake.incidents[ID] = "acknowledged"
    found = await over_http(pagerduty(fake)).lookup(ID)
    assert found == Incident(
        id=ID, state="open", title="403 for everyone", severity="high", service="Shop production", opened_ms=OPENED,
        checked_ms=found.checked_ms, tracker="pagerduty", url=f"https://shop.pagerduty.com/incidents/{ID}",
    )  # fmt: skip
    assert found.checked_ms > OPENED


@pytest.mark.parametrize(("status", "state"), [
    ("triggered", "open"), ("acknowledged", "open"), ("resolved", "closed"), ("snoozed", "closed"), ("Triggered", "closed"),
])  # fmt: skip
async def test_only_the_states_that_are_named_are_open(fake: Fake, status: str, state: str) -> None:
    fake.incidents[ID] = status
    assert (await over_http(pagerduty(fake)).lookup(ID)).state == state


@pytest.mark.parametrize("user", ["${me}@shop.example", None], ids=["basic", "bearer"])
async def test_jira_says_what_an_issue_is(fake: Fake, user: str | None) -> None:
    fake.incidents["OPS-17"] = "indeterminate"
    found = await over_http(jira(fake, user=user)).lookup("OPS-17")
    assert (found.state, found.title, found.severity) == ("open", "403 for everyone", "Highest")
    assert (found.opened_ms, found.tracker, found.url) == (OPENED, "jira", f"{fake.base}/browse/OPS-17")
    fake.incidents["OPS-17"] = "done"
    assert (await over_http(jira(fake, user=user)).lookup("OPS-17")).state == "closed"


async def test_a_preset_is_changed_where_the_manifest_says_more(fake: Fake) -> None:
    fields = TrackerFields(environment="/fields/customfield_10010/value", severity="/fields/status/name")
    policy = jira(fake, fields=fields, here=("Shop production",), open=("new",))
    fake.incidents["OPS-17"] = "indeterminate"
    found = await over_http(policy).lookup("OPS-17")
    assert (found.state, found.environment, found.severity) == ("closed", "production", "Any")
    assert fake.asked[-1][1].endswith("?fields=summary,status,priority,created,customfield_10010")
    fake.service = "Shop staging"
    assert (await over_http(policy).lookup("OPS-17")).environment == "Shop staging"
    fake.service = "production"  # our own word for it, which is not theirs
    assert (await over_http(policy).lookup("OPS-17")).environment == "'production'"


@pytest.mark.parametrize("kind", ["pagerduty", "jira"])
async def test_a_note_is_written_into_the_incident(fake: Fake, kind: str) -> None:
    name, policy = (ID, pagerduty(fake)) if kind == "pagerduty" else ("OPS-17", jira(fake))
    fake.incidents[name] = "new"
    text = 'envtui: "asha" has ${incident} \\ until 10:40\nUTC'
    assert await over_http(policy).note(name, text)
    assert fake.notes == [(name, text)]
    silent = pagerduty(fake, notes=False) if kind == "pagerduty" else jira(fake, notes=False)
    assert not await over_http(silent).note(name, text)
    assert len(fake.asked) == 1


async def test_a_note_that_is_not_taken_says_why_and_is_not_sent_twice(fake: Fake) -> None:
    fake.incidents[ID] = "triggered"
    with pytest.raises(Unreachable, match="answers with status 400"):
        await over_http(pagerduty(fake, user=None)).note(ID, "x")
    fake.badly(503)
    with pytest.raises(Unreachable, match="503"):
        await over_http(pagerduty(fake)).note(ID, "x")
    assert len(fake.asked) == 2


async def test_any_json_is_looked_up_as_the_manifest_says(fake: Fake) -> None:
    policy = IncidentPolicy(
        tracker="http",
        url=f"{fake.base}/i?key=${{incident}}",
        headers={"X-Api-Key": SecretHeader(secret="env:TOKEN"), "X-Who": "${me}"},
        fields=TrackerFields(id="/0/n~1o", state="/0/up", opened="/0/at", title="/0/t"),
        open=("true",),
        note=TrackerNote(url=f"{fake.base}/i/${{incident}}", body='{"a": ["${incident}: ${text}"]}', method="PUT"),
        pattern=".+",
    )
    fake.badly(200, json.dumps([{"n/o": "A B/1", "up": True, "at": "2026-11-23T09:12+01:00", "t": None}]))
    found = await over_http(policy).lookup("A B/1")
    assert (found.state, found.opened_ms, found.title, found.tracker) == ("open", OPENED, "", "http")
    assert fake.asked[-1] == ("GET", "/i?key=A%20B%2F1")
    assert await over_http(policy).note("A B/1", "x")
    assert fake.asked[-1] == ("PUT", "/i/A%20B%2F1")


# -- what is no answer ---------------------------------------------------------------------------------------------------


async def test_there_is_no_such_incident(fake: Fake) -> None:
    error = await refused(over_http(pagerduty(fake)))
    assert isinstance(error, Refused)
    assert f"knows no incident '{ID}'" in error.message


@pytest.mark.parametrize("incident", ["", "../users/me", "..", "-x", "A" * 65, "INC-1\n"])
async def test_what_is_no_id_is_not_asked_for(fake: Fake, incident: str) -> None:
    assert isinstance(await refused(over_http(pagerduty(fake, pattern=r"[\w.-]*\n?")), incident), Refused)
    assert fake.asked == []


WRONG = [
    (401, "{}", "does not accept the credential (status 401)"),
    (403, "{}", "does not accept the credential (status 403)"),
    (429, "", "is asked too often"),
    (500, "<html>", "answers with status 500"),
    (204, "", "answers with status 204"),
    (200, "<html>Log in</html>", "something that is not JSON"),
    (200, "", "something that is not JSON"),
    (200, "[" * 100_000, "something that is not JSON"),
    (200, b'{"incident": {"id": "\xff"}}', "something that is not JSON"),
    (200, "[]", "answers without the id, at /incident/id"),
    (200, "{}", "answers without the id"),
    (200, '{"incident": null}', "answers without the id"),
]


@pytest.mark.parametrize(
    ("status", "body", "words"), WRONG, ids=[f"{status}-{words[:20]}" for status, _, words in WRONG]
)
async def test_what_is_no_answer(fake: Fake, status: int, body: str | bytes, words: str) -> None:
    fake.badly(status, body)
    error = await refused(over_http(pagerduty(fake)))
    assert isinstance(error, Unreachable)
    assert words in error.message


LACKING = [
    ({"id": "Q2T5X8ZB9KLMN0"}, "answers for 'Q2T5X8ZB9KLMN0' instead of"),
    ({"id": None}, "answers for None"),
    ({"id": {"id": ID}}, "instead of"),
    ({"status": None}, "says nothing for the state"),
    ({"status": ""}, "says nothing for the state"),
    ({"status": ["triggered"]}, "says nothing for the state"),
    ({"created_at": None}, "no time in ISO 8601"),
    ({"created_at": "yesterday"}, "no time in ISO 8601"),
    ({"created_at": 1763885520}, "no time in ISO 8601"),
    ({"created_at": "2999-01-01T00:00:00Z"}, "which is still to come"),
]


@pytest.mark.parametrize(("change", "words"), LACKING, ids=[words for _, words in LACKING])
async def test_an_answer_that_lacks_what_decides(fake: Fake, change: dict[str, object], words: str) -> None:
    incident = {"id": ID, "status": "triggered", "created_at": fake.opened, **change}
    fake.badly(200, json.dumps({"incident": incident}))
    error = await refused(over_http(pagerduty(fake)))
    assert isinstance(error, Unreachable)
    assert words in error.message


@pytest.mark.parametrize("field", ["id", "status", "created_at"])
async def test_a_pointer_to_nothing(fake: Fake, field: str) -> None:
    incident = {"id": ID, "status": "triggered", "created_at": fake.opened}
    del incident[field]
    fake.badly(200, json.dumps({"incident": incident}))
    assert "answers without the" in (await refused(over_http(pagerduty(fake)))).message


async def test_a_redirect_is_not_followed(fake: Fake) -> None:
    with tracking() as other:
        other.incidents[ID] = "triggered"
        fake.badly(302, Location=f"{other.base}/incidents/{ID}?{TOKEN}")
        error = await refused(over_http(pagerduty(fake)))
        assert "sends us elsewhere (302" in error.message
        assert other.asked == []


async def test_a_body_without_end_is_not_read(fake: Fake) -> None:
    fake.badly(200, b" " * (SIZE_LIMIT + 1))
    assert "more than 1 MiB" in (await refused(over_http(pagerduty(fake)))).message
    fake.badly(200, b"\x1f\x8b", Content_Encoding="gzip")
    assert "packs its answer" in (await refused(over_http(pagerduty(fake)))).message


async def test_one_that_is_silent_is_unreachable(fake: Fake) -> None:
    fake.silent()
    error = await refused(over_http(pagerduty(fake), seconds=0.2))
    assert isinstance(error, Unreachable)
    assert "does not answer within 0.2 s" in error.message


async def test_nobody_listens() -> None:
    with tracking() as gone:
        pass
    assert "cannot be reached" in (await refused(over_http(pagerduty(gone)))).message


async def test_one_fault_is_asked_over(fake: Fake) -> None:
    fake.incidents[ID] = "triggered"
    fake.badly(502, times=1)
    assert (await over_http(pagerduty(fake)).lookup(ID)).state == "open"
    assert len(fake.asked) == 2


async def test_a_wrong_token_is_refused_and_shown_nowhere(fake: Fake) -> None:
    fake.incidents[ID] = "triggered"
    error = await refused(over_http(pagerduty(fake), Secrets("tkn-wrong-0123456789")))
    assert "401" in error.message
    assert "tkn-wrong" not in str(error)
    for value in (f"{TOKEN}\r\nX: y", f"{TOKEN}ü"):
        broken = await refused(over_http(pagerduty(fake), Secrets(value)))
        assert "characters that no header may have" in broken.message
    assert isinstance(await refused(over_http(pagerduty(fake, secret="env:NONE"))), SecretMissing)


async def test_a_token_that_is_sent_back_is_masked(fake: Fake) -> None:
    incident = {"id": ID, "status": "triggered", "created_at": fake.opened, "title": f"it was Token token={TOKEN}"}
    fake.badly(200, json.dumps({"incident": incident}))
    assert (await over_http(pagerduty(fake)).lookup(ID)).title == "it was Token token=***"
    fake.badly(200, json.dumps({"incident": {**incident, "id": TOKEN}}))
    await refused(over_http(pagerduty(fake)))


# -- a program -----------------------------------------------------------------------------------------------------------

GOOD = {"id": "INC-7", "state": "open", "opened": "2026-11-23T08:12:00Z", "title": "403", "environment": "production"}


def by_command(folder: Path, script: str, allowed: bool = True, seconds: float = 20.0) -> CommandTracker:
    folder.chmod(0o755)
    program = folder / "incident"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    policy = IncidentPolicy(tracker="command", command=(str(program), "show", "${incident}"))
    programs = Programs([str(program)] if allowed else [], {"PATH": "/usr/bin:/bin"}, seconds)
    return CommandTracker(policy, programs, Clock(), lambda text: text.replace(TOKEN, "***"))


async def test_a_program_says_what_an_incident_is(tmp_path: Path) -> None:
    tracker = by_command(tmp_path, f"[ \"$1 $2\" = 'show INC-7' ] && echo '{json.dumps(GOOD)}'")
    found = await tracker.lookup("INC-7")
    assert (found.id, found.state, found.title, found.environment) == ("INC-7", "open", "403", "production")
    assert (found.opened_ms, found.tracker) == (OPENED, "command")
    assert not await tracker.note("INC-7", "x")


async def test_a_program_says_that_there_is_none(tmp_path: Path) -> None:
    error = await refused(by_command(tmp_path, "exit 3"), "INC-7")
    assert isinstance(error, Refused)
    assert "knows no incident 'INC-7'" in error.message


@pytest.mark.parametrize(("script", "words"), [
    ("exit 1", "ended with 1."),
    ("kill -9 $$", "ended with -9."),
    (f"printf 'one\\n\\033]0;{TOKEN}\\007no\\033[31mtoken {TOKEN}\\n' >&2; exit 2", "ended with 2: notoken ***."),
    ("echo yes", "did not print one JSON object"),
    ("echo '[]'", "did not print one JSON object"),
    ("true", "did not print one JSON object"),
    ("head -c 70000 /dev/zero; sleep 60", "printed more than 64 KiB"),
    ("echo '{\"id\": \"INC-7\"}'", "does not say the state"),
    (f"echo '{json.dumps({**GOOD, 'state': 'OPEN'})}'", "says 'OPEN' for the state"),
    (f"echo '{json.dumps({**GOOD, 'state': True})}'", "says True for the state"),
    (f"echo '{json.dumps({**GOOD, 'id': 'INC-8'})}'", "answers for 'INC-8' instead of 'INC-7'"),
    (f"echo '{json.dumps({**GOOD, 'opened': 'now'})}'", "no time in ISO 8601"),
    (f"echo '{json.dumps({**GOOD, 'environment': 1})}'", "no name for the environment"),
    (f"echo '{json.dumps(GOOD)}'; exit 4", "ended with 4"),
])  # fmt: skip
async def test_whatever_else_a_program_does_is_no_answer(tmp_path: Path, script: str, words: str) -> None:
    error = await refused(by_command(tmp_path, script), "INC-7")
    assert isinstance(error, Unreachable)
    assert words in error.message


async def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    error = await refused(by_command(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait", seconds=0.5), "INC-7")
    assert "did not end within 0.5 s" in error.message
    child = (tmp_path / "pid").read_text().strip()
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text()


async def test_only_what_the_user_allows_is_started(tmp_path: Path) -> None:
    error = await refused(by_command(tmp_path, f"touch {tmp_path}/ran", allowed=False), "INC-7")
    assert "Your configuration does not allow" in error.message
    tracker = by_command(tmp_path, f"touch {tmp_path}/ran")
    (tmp_path / "incident").chmod(0o777)
    assert "can be changed by other users" in (await refused(tracker, "INC-7")).message
    (tmp_path / "incident").unlink()
    assert "could not be started" in (await refused(tracker, "INC-7")).message
    for name in ("--help", "INC-7\n", ""):
        assert isinstance(await refused(by_command(tmp_path, f"touch {tmp_path}/ran"), name), Refused)
    assert not (tmp_path / "ran").exists()


# -- people --------------------------------------------------------------------------------------------------------------


def notifier(notify: Notify, *commands: str):
    made = notifier_of(
        notify,
        "production",
        secrets=Secrets(),
        masked=lambda text: text.replace(TOKEN, "***"),
        programs=Programs(commands, {"PATH": "/usr/bin:/bin"}),
        operator="asha",
        ca=Path,
    )
    assert made is not None
    return made


async def test_people_are_called_by_a_program(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = tmp_path / "page"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/said\n")
    program.chmod(0o755)
    notify = Notify(command=(str(program), "--duty"))
    await notifier(notify, str(program)).notify("BREAK-GLASS\nby asha", "one\ntwo\x1b[31m")
    assert json.loads((tmp_path / "said").read_text()) == {
        "environment": "production", "subject": "BREAK-GLASS␊by asha", "text": "one\ntwo",
    }  # fmt: skip
    program.write_text(f"#!/bin/sh\necho no route for {TOKEN} >&2\nexit 7\n")
    with pytest.raises(Unreachable, match=r"ended with 7: no route for \*\*\*\."):
        await notifier(notify, str(program)).notify("s", "t")
    with pytest.raises(Refused, match="does not allow"):
        await notifier(notify).notify("s", "t")


async def test_people_are_called_by_a_service(fake: Fake) -> None:
    got: list[str] = []
    fake.next = lambda path: got.append(path) or (204, {}, b"")  # type: ignore[func-returns-value]
    notify = Notify(http=f"{fake.base}/hook", headers={"Authorization": SecretHeader(secret="env:T", prefix="Bearer ")})
    await notifier(notify).notify("s", "t")
    assert got == ["/hook"]
    assert fake.asked == [("POST", "/hook")]
    for status, words in ((403, "does not accept the credential"), (500, "status 500"), (302, "elsewhere")):
        fake.badly(status)
        with pytest.raises(Unreachable, match=words) as error:
            await notifier(notify).notify("s", "t")
        assert TOKEN not in str(error.value)


def test_nobody_is_named() -> None:
    given = {"secrets": Secrets(), "masked": str, "programs": Programs((), {}), "operator": "asha", "ca": Path}
    assert notifier_of(None, "production", **given) is None  # type: ignore[arg-type]
