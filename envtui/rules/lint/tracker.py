"""environment.yaml: who is asked about incidents, and who is called. What does not fit together is said beforehand, because
at three in the morning it would only say that the tracker does not answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from envtui.core.environment import IncidentPolicy, Notify, SecretHeader
from envtui.core.tree import Path, Tree

from .report import Report

_INCIDENT: Path = ("access", "incident")
_NOTIFY: Path = ("notify",)
_FITTING = {
    "none": (),
    "file": ("path",),
    "http": ("url", "preset", "secret", "user", "headers", "fields", "open", "here", "note", "notes", "ca"),
    "command": ("command",),
}
_PRESET_ONLY = ("secret", "user", "notes")
_HOLE = "${incident}"
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_LOOK = "fields.environment says it, and here what it says of this one."


def lint_incident(tree: Tree, report: Report) -> None:
    """The tracker: exactly the fields of its kind, and all that an answer is judged by."""
    policy = tree.environment.access.incident
    default = IncidentPolicy()
    for fields in _FITTING.values():
        for field in fields:
            if field not in _FITTING[policy.tracker] and getattr(policy, field) != getattr(default, field):
                report.error(
                    (*_INCIDENT, field), f"{field} does not belong to tracker: {policy.tracker}.", _takes(policy)
                )
    report.pattern((*_INCIDENT, "pattern"), policy.pattern)
    if policy.tracker == "file" and not policy.path:
        report.error(_INCIDENT, "the tracker file needs path.", "Where both sides can read and write it.")
    elif policy.tracker == "command":
        _command(policy, report)
    elif policy.tracker == "http":
        _http(tree, policy, report)


def lint_notify(tree: Tree, report: Report) -> None:
    """One way to call people, and what belongs to it."""
    notify = tree.environment.notify
    if notify is None:
        return
    if (notify.command is None) == (notify.http is None):
        report.error(_NOTIFY, "notify is command or http.", "Say exactly one of them.")
    if notify.command is not None:
        _program(notify.command, (*_NOTIFY, "command"), report)
    if notify.http is not None:
        _address((*_NOTIFY, "http"), notify.http, notify.headers, report)
        _headers((*_NOTIFY, "headers"), notify.headers, report)
    else:
        _only_http(notify, report)
    _authority(tree, (*_NOTIFY, "ca"), notify.ca, report)


def _only_http(notify: Notify, report: Report) -> None:
    for field in ("headers", "ca"):
        if getattr(notify, field):
            report.error((*_NOTIFY, field), f"{field} belongs to notify: http.", "Remove it.")


def _takes(policy: IncidentPolicy) -> str:
    fields = _FITTING[policy.tracker]
    return f"It takes: {', '.join(fields)}." if fields else "Say tracker: file, http or command."


def _command(policy: IncidentPolicy, report: Report) -> None:
    path = (*_INCIDENT, "command")
    if not policy.command:
        report.error(
            _INCIDENT, "the tracker command needs command.", f"An argv list with {_HOLE} as an item of its own."
        )
        return
    _program(policy.command, path, report)
    if policy.command[1:].count(_HOLE) != 1:
        report.error(path, f"command needs {_HOLE} as an item of its own, once.", f"[/opt/incident, show, {_HOLE!r}]")
    for index, item in enumerate(policy.command):
        if "${" in item and item != _HOLE:
            report.error((*path, index), f"{item!r} would be passed on as it is.", f"Only {_HOLE} is filled in.")


def _program(argv: tuple[str, ...], path: Path, report: Report) -> None:
    if not argv[0].startswith("/"):
        report.error((*path, 0), f"{argv[0]!r} is not an absolute path.", "The user's commands name it the same way.")


def _http(tree: Tree, policy: IncidentPolicy, report: Report) -> None:
    if not policy.url:
        report.error(_INCIDENT, "the tracker http needs url.", "Of a preset: the service's own address.")
    else:
        _address((*_INCIDENT, "url"), policy.url, policy.headers or policy.secret, report)
    _headers((*_INCIDENT, "headers"), policy.headers, report)
    _secret((*_INCIDENT, "secret"), policy.secret, report)
    _authority(tree, (*_INCIDENT, "ca"), policy.ca, report)
    for name, value in _pointers(policy):
        if re.search(r"~(?![01])", value):
            report.error(
                (*_INCIDENT, "fields", name), f"{value!r} is no JSON pointer.", "~ is written ~0, / in a name ~1."
            )
    if policy.here and policy.fields.environment is None:
        report.error((*_INCIDENT, "here"), "here needs fields.environment.", "A pointer to what it is compared with.")
    if policy.fields.environment is None:
        report.warning(_INCIDENT, "every open incident of this tracker counts here, whatever it is about.", _LOOK)
    if policy.note is not None:
        _note(policy, report)
    if policy.preset == "none":
        _spelled_out(policy, report)
    else:
        _preset(policy, report)


def _preset(policy: IncidentPolicy, report: Report) -> None:
    if policy.url and "${" in policy.url:
        report.error(
            (*_INCIDENT, "url"), "the url of a preset is the service's own address.", "Leave out what follows it."
        )
    if policy.secret is None and not any(name.lower() == "authorization" for name in policy.headers):
        report.error(_INCIDENT, f"the preset {policy.preset} needs secret.", "file:PATH, env:NAME or cmd: […].")
    if policy.preset == "pagerduty" and policy.pattern == IncidentPolicy().pattern:
        remedy = 'Write pattern: "[A-Z0-9]{7,16}".'
        report.error(_INCIDENT, "no id of PagerDuty looks like the default pattern.", remedy)


def _spelled_out(policy: IncidentPolicy, report: Report) -> None:
    for field in _PRESET_ONLY:
        if getattr(policy, field) != getattr(IncidentPolicy(), field):
            report.error((*_INCIDENT, field), f"{field} belongs to a preset.", "Without one: headers and note.")
    if policy.url:
        _holes((*_INCIDENT, "url"), policy.url, report)
    missing = [name for name in ("id", "state", "opened") if getattr(policy.fields, name) is None]
    if missing:
        names = ", ".join(f"fields.{name}" for name in missing)
        report.error(
            _INCIDENT, f"{names} {'is' if len(missing) == 1 else 'are'} missing.", "JSON pointers into the answer."
        )
    if not policy.open:
        report.error(_INCIDENT, "open is missing.", "The states that count as open; every other one is closed.")


def _note(policy: IncidentPolicy, report: Report) -> None:
    note, path = policy.note, (*_INCIDENT, "note")
    assert note is not None
    _address((*path, "url"), note.url, policy.headers or policy.secret, report)
    _holes((*path, "url"), note.url, report)
    if policy.url and urlsplit(note.url).netloc != urlsplit(policy.url).netloc:
        report.error((*path, "url"), "a note goes to the host that is looked up.", "It is sent with the same secret.")
    try:
        body = json.loads(note.body)
    except ValueError:
        report.error((*path, "body"), "body is not JSON.", '\'{"text": "${text}"}\'')
        return
    texts = list(_texts(body))
    if not any("${text}" in text for text in texts):
        report.error((*path, "body"), "body has no ${text} in a text of it.", "That is what is written.")
    for text in texts:
        for found in re.findall(r"\$\{.*?\}", text):
            if found not in (_HOLE, "${text}"):
                report.error((*path, "body"), f"{found} stands for nothing.", f"There are {_HOLE} and ${{text}}.")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _pointers(policy: IncidentPolicy) -> Iterator[tuple[str, str]]:
    for name, value in msgspec.structs.asdict(policy.fields).items():
        if value is not None:
            yield name, value


def _holes(path: Path, url: str, report: Report) -> None:
    """An address with the incident in it: in its path or query, where it is percent-encoded."""
    if _HOLE not in url:
        report.error(path, f"{path[-1]} has no {_HOLE}.", "That is where the id is put.")
    elif _HOLE in re.split("[/?]", url.partition("://")[2], maxsplit=1)[0]:
        report.error(path, f"{_HOLE} stands in the host.", "An id does not choose who is asked.")
    for found in re.findall(r"\$\{.*?\}|\$\{", url):
        if found != _HOLE:
            report.error(path, f"{found} stands for nothing.", f"There is only {_HOLE}.")


def _address(path: Path, url: str, secret: object, report: Report) -> None:
    try:
        parts = urlsplit(url.replace(_HOLE, "x"))
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        report.error(path, f"{path[-1]} is no address.", "https://host[:port]/path")
    elif "@" in parts.netloc:
        report.error(path, f"{path[-1]} has an account in it.", "Say it by headers, with a secret.")
    elif parts.fragment:
        report.error(path, f"{path[-1]} has a fragment, which is sent nowhere.", "Leave out # and what follows it.")
    elif parts.scheme == "http" and not _LOOPBACK.fullmatch(host):
        what = "the secret can be read, and the answer forged," if secret else "the answer can be forged"
        report.warning(path, f"{what} by anybody on the way.", "Use https.")


def _headers(path: Path, headers: Mapping[str, str | SecretHeader], report: Report) -> None:
    for name, header in headers.items():
        own: Path = (*path, name)
        texts: tuple[tuple[str, str, bool], ...]
        if isinstance(header, SecretHeader):
            _secret((*own, "secret"), header.secret, report)
            texts = (("prefix", header.prefix, False), ("user", header.user or "", True))
        else:
            texts = (("", header, True),)
            if name.lower() in ("authorization", "x-api-key", "cookie", "proxy-authorization"):
                report.error(
                    own, f"{name} is written into the manifest.", "Say {secret: …}, which is only a reference."
                )
        for field, text, me in texts:
            if not (text.isascii() and text.isprintable()):
                report.error((*own, field) if field else own, "a header holds printable ASCII only.")
            for found in re.findall(r"\$\{.*?\}", text):
                if found != "${me}" or not me:
                    report.error((*own, field) if field else own, f"{found} stands for nothing here.")


def _secret(path: Path, secret: object, report: Report) -> None:
    if isinstance(secret, str) and secret.startswith("agent:"):
        report.error(path, "an agent holds keys, no passwords.", "file:PATH, env:NAME or cmd: […].")


def _authority(tree: Tree, path: Path, ca: str | None, report: Report) -> None:
    if ca is not None and ca not in tree.entries:
        report.error(path, f"there is no file {ca} in this tree.", "Paths begin at the tree: files/ca.pem.")
