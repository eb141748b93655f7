"""What is asked of a tracker over HTTP, spelled out: from the manifest alone, or from the public API of a known service.

PagerDuty: REST API v2 (developer.pagerduty.com), `GET /incidents/{id}` and `POST /incidents/{id}/notes`.
Jira: REST API v2, Cloud and Data Center (developer.atlassian.com), `GET` and `POST /rest/api/2/issue/{key}[/comment]`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from envtui.core.environment import IncidentPolicy, SecretHeader, TrackerFields, TrackerNote


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """How an incident is looked up. Addresses are templates with `${incident}`."""

    url: str
    headers: Mapping[str, str | SecretHeader]
    fields: TrackerFields
    open: tuple[str, ...]
    note: TrackerNote | None
    page: str = ""  # for people, where no field says it


def api(policy: IncidentPolicy) -> Api:
    """The API that a policy names: of its preset, with what it says besides in place of it."""
    if policy.preset == "none":
        return Api(
            url=policy.url or "", headers=policy.headers, fields=policy.fields, open=policy.open, note=policy.note
        )
    known = (_pagerduty if policy.preset == "pagerduty" else _jira)(policy, (policy.url or "").rstrip("/"))
    said = {name: value for name, value in msgspec.structs.asdict(policy.fields).items() if value is not None}
    return msgspec.structs.replace(
        known,
        headers={**known.headers, **policy.headers},
        fields=msgspec.structs.replace(known.fields, **said),
        open=policy.open or known.open,
        note=policy.note or (known.note if policy.notes else None),
    )


def _pagerduty(policy: IncidentPolicy, base: str) -> Api:
    headers: dict[str, str | SecretHeader] = {"Accept": "application/vnd.pagerduty+json;version=2"}
    if policy.secret is not None:
        headers["Authorization"] = SecretHeader(secret=policy.secret, prefix="Token token=")
    if policy.user is not None:
        headers["From"] = policy.user  # whom a note is by: the API asks for it where the token is an account's
    return Api(
        url=f"{base}/incidents/${{incident}}",
        headers=headers,
        fields=TrackerFields(
            id="/incident/id",
            state="/incident/status",
            opened="/incident/created_at",
            title="/incident/title",
            severity="/incident/urgency",
            service="/incident/service/summary",
            url="/incident/html_url",
        ),
        open=("triggered", "acknowledged"),
        note=TrackerNote(url=f"{base}/incidents/${{incident}}/notes", body='{"note": {"content": "${text}"}}'),
    )


def _jira(policy: IncidentPolicy, base: str) -> Api:
    headers: dict[str, str | SecretHeader] = {"Accept": "application/json"}
    if policy.secret is not None:
        headers["Authorization"] = (
            SecretHeader(secret=policy.secret, prefix="Bearer ")  # a personal access token of Data Center
            if policy.user is None
            else SecretHeader(secret=policy.secret, user=policy.user)  # an API token of Cloud
        )
    fields = TrackerFields(
        id="/key",
        state="/fields/status/statusCategory/key",
        opened="/fields/created",
        title="/fields/summary",
        severity="/fields/priority/name",
    )
    asked = ["summary", "status", "priority", "created"]
    for pointer in msgspec.structs.asdict(policy.fields).values():  # what the manifest looks at besides
        if pointer is not None and pointer.startswith("/fields/") and pointer.split("/")[2] not in asked:
            asked.append(pointer.split("/")[2])
    return Api(
        url=f"{base}/rest/api/2/issue/${{incident}}?fields={','.join(asked)}",
        headers=headers,
        fields=fields,
        open=("new", "indeterminate", "undefined"),
        note=TrackerNote(url=f"{base}/rest/api/2/issue/${{incident}}/comment", body='{"body": "${text}"}'),
        page=f"{base}/browse/${{incident}}",
    )
