"""Trackers and `notify` in a manifest: what does not fit together is said, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from tree_kit import edit, grow, said

HTTP = "{tracker: http, url: 'https://t.example/i/${incident}', fields: {id: /id, state: /state, opened: /at}, open: [open]"
DUTY = "{tracker: http, preset: pagerduty, url: 'https://api.pagerduty.com', secret: 'env:T', pattern: '[A-Z0-9]+'"
JIRA = "{tracker: http, preset: jira, url: 'https://x.atlassian.net', user: '${me}@x.example', secret: 'env:T'"
COMMAND = "{tracker: command, command: [/opt/incident, show, '${incident}']}"
EVERYTHING = "every open incident of this tracker counts here"


def found(tmp_path: Path, incident: str = "", notify: str = "") -> list[str]:
    root = grow(tmp_path, "dev")
    access = f"access: {{write_gate: advisory{f', incident: {incident}' if incident else ''}}}\n"
    edit(root / "dev/environment.yaml", "access: {write_gate: advisory}\n", access + notify)
    return said(root)


@pytest.mark.parametrize(
    "incident",
    [
        COMMAND,
        HTTP + "}",
        HTTP + ", headers: {X: {secret: 'file:~/t', prefix: 'Bearer '}, Y: 'by ${me}'}}",
        HTTP + ", note: {url: 'https://t.example/i/${incident}/n', body: '{\"t\": [\"${incident}: ${text}\"]}'}}",
        HTTP.replace("https://t.example", "http://127.0.0.1:8080") + "}",
        DUTY + "}", JIRA + "}", JIRA + ", notes: false}",
    ],
)  # fmt: skip
def test_what_fits(tmp_path: Path, incident: str) -> None:
    assert [each for each in found(tmp_path, incident) if EVERYTHING not in each] == []


def test_an_incident_of_anything_is_warned_of(tmp_path: Path) -> None:
    (only,) = found(tmp_path, HTTP + "}")
    assert only.startswith("warning")
    assert EVERYTHING in only
    fields = HTTP.replace("opened: /at", "opened: /at, environment: /e")
    assert found(tmp_path / "other", fields + ", here: [prod]}") == []


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (HTTP.replace("url: 'https://t.example/i/${incident}', ", "") + "}", "the tracker http needs url."),
        ("{tracker: command}", "the tracker command needs command."),
        ("{tracker: file, path: x, url: 'https://x'}", "url does not belong to tracker: file."),
        ("{tracker: command, command: [/opt/x, '${incident}'], open: [a]}", "open does not belong to tracker: command."),
        ("{tracker: command, command: [opt/x, '${incident}']}", "'opt/x' is not an absolute path."),
        ("{tracker: command, command: [/opt/x, show]}", "command needs ${incident} as an item of its own"),
        ("{tracker: command, command: [/opt/x, '${incident}', '${incident}']}", "an item of its own, once"),
        ("{tracker: command, command: [/opt/x, '${incident}', '--id=${incident}']}", "passed on as it is"),
        (HTTP.replace("i/${incident}", "i") + "}", "url has no ${incident}."),
        (HTTP.replace("t.example/i/", "t.example/${x}/") + "}", "${x} stands for nothing."),
        (HTTP.replace("t.example/i/${incident}", "${incident}.example/i") + "}", "stands in the host"),
        (HTTP.replace("https://", "ftp://") + "}", "url is no address."),
        (HTTP.replace("https://", "https://a:b@") + "}", "url has an account in it."),
        (HTTP.replace("${incident}", "${incident}#x") + "}", "has a fragment"),
        (HTTP.replace("id: /id, ", "") + "}", "fields.id is missing."),
        (HTTP.replace(", opened: /at", "") + "}", "fields.opened is missing."),
        (HTTP.replace("id: /id", "id: /~id") + "}", "is no JSON pointer."),
        (HTTP.replace(", open: [open]", "") + "}", "open is missing."),
        (HTTP + ", secret: 'env:T'}", "secret belongs to a preset."),
        (HTTP + ", notes: false}", "notes belongs to a preset."),
        (HTTP + ", here: [a]}", "here needs fields.environment."),
        (HTTP + ", ca: files/ca.pem}", "there is no file files/ca.pem"),
        (HTTP + ", headers: {Authorization: abc}}", "Authorization is written into the manifest."),
        (HTTP + ", headers: {X: {secret: 'agent:SHA256:x'}}}", "an agent holds keys, no passwords."),
        (HTTP + ", headers: {X: '${incident}'}}", "${incident} stands for nothing here."),
        (HTTP + ", headers: {X: 'ü'}}", "a header holds printable ASCII only."),
        (HTTP + ", note: {url: 'https://t.example/n', body: '{\"a\": \"${text}\"}'}}", "url has no ${incident}."),
        (HTTP + ", note: {url: 'https://e.example/${incident}', body: '{\"a\": \"${text}\"}'}}", "a note goes to the host"),
        (HTTP + ", note: {url: 'https://t.example/${incident}', body: 'a'}}", "body is not JSON."),
        (HTTP + ", note: {url: 'https://t.example/${incident}', body: '{}'}}", "body has no ${text}"),
        (HTTP + ", note: {url: 'https://t.example/${incident}', body: '[\"${text}${x}\"]'}}", "${x} stands for nothing."),
        (DUTY.replace(", pattern: '[A-Z0-9]+'", "") + "}", "no id of PagerDuty looks like the default pattern."),
        (DUTY.replace(", secret: 'env:T'", "") + "}", "the preset pagerduty needs secret."),
        (DUTY.replace(".com", ".com/incidents/${incident}") + "}", "the service's own address."),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path: Path, incident: str, expected: str) -> None:
    (only,) = [each for each in found(tmp_path, incident) if not each.startswith("warning")]
    assert only.startswith("dev/environment.yaml:2")
    assert expected in only


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (HTTP.replace("https", "http") + "}", "the answer can be forged by anybody on the way"),
        (HTTP.replace("https", "http") + ", headers: {X: {secret: 'env:T'}}}", "the secret can be read"),
    ],
)
def test_without_tls_it_is_warned(tmp_path: Path, incident: str, expected: str) -> None:
    assert any(each.startswith("warning") and expected in each for each in found(tmp_path, incident))


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        ("notify: {}\n", "notify is command or http."),
        ("notify: {command: [/opt/page], http: 'https://x.example/'}\n", "Say exactly one of them."),
        ("notify: {command: [page]}\n", "'page' is not an absolute path."),
        ("notify: {command: [/opt/page], ca: files/x}\n", "ca belongs to notify: http."),
        ("notify: {http: 'https://x.example/', ca: files/x}\n", "there is no file files/x"),
        ("notify: {http: 'https://u@x.example/'}\n", "http has an account in it."),
    ],
)
def test_who_is_called(tmp_path: Path, notify: str, expected: str) -> None:
    assert any(expected in each and each.startswith("dev/environment.yaml:") for each in found(tmp_path, "", notify))
