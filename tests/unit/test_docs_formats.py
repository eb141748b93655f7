"""The reference is complete: every field of the formats stands in its section, and no section names a field that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from envtui.core import environment as e
from envtui.core import runbook as r

DOCS = Path(__file__).parents[2] / "docs"

SECTIONS: dict[type[msgspec.Struct], tuple[str, ...]] = {
    r.Runbook: ("Book",),
    r.Param: ("Parameter",),
    r.Defaults: ("Defaults",),
    r.SshStep: ("Step", "Write step", "ssh"),
    r.SqlStep: ("Step", "Write step", "sql"),
    r.HttpStep: ("Step", "Write step", "http"),
    r.ManualStep: ("Step", "Write step", "manual"),
    r.ChooseStep: ("Step", "Write step", "choose"),
    r.WaitStep: ("Step", "Write step", "wait"),
    r.Stdin: ("Stdin",),
    r.SshExpect: ("ssh",),
    r.SqlExpect: ("sql",),
    r.HttpExpect: ("http",),
    r.AnyExpect: ("Matchers",),
    r.Poll: ("Poll",),
    r.Each: ("Each",),
    r.Capture: ("Capture",),
    r.Late: ("Late",),
    r.Fanout: ("Fanout",),
    r.Undo: ("Undo",),
    r.Probe: ("Probe", "Undo"),
    r.Until: ("wait", "Undo"),
    r.Subject: ("Subject",),
    r.Gate: ("Gate",),
    r.GateTerms: ("Gate",),
    r.After: ("After",),
    r.Watch: ("After",),
    e.Environment: ("Environment",),
    e.Credential: ("Credential",),
    e.Command: ("Credential",),
    e.SshTarget: ("Target",),
    e.SqlTarget: ("Target",),
    e.HttpTarget: ("Target",),
    e.Identity: ("Identity",),
    e.Identities: ("Identity",),
    e.AccessPolicy: ("Access",),
    e.IncidentPolicy: ("Access", "Tracker"),
    e.SecretHeader: ("Header",),
    e.TrackerFields: ("Tracker",),
    e.TrackerNote: ("Tracker",),
    e.SignoffPolicy: ("Access",),
    e.GrantPolicy: ("Access",),
    e.BreakGlass: ("Access",),
    e.Protection: ("Protection",),
    e.Window: ("Window",),
    e.Check: ("Check",),
    e.EvidencePolicy: ("Evidence",),
    e.Accept: ("Evidence",),
    e.Notify: ("Notify",),
    e.People: ("People",),
    e.Person: ("People",),
}


def sections(page: str) -> dict[str, str]:
    text = (DOCS / page).read_text()
    found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def described(kind: type[msgspec.Struct]) -> str:
    page = sections("runbooks.md" if kind.__module__ == r.__name__ else "environment.md")
    return "\n".join(page[title] for title in SECTIONS[kind])


def test_every_struct_of_the_formats_has_a_section() -> None:
    structs = {
        each
        for module in (r, e)
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert structs == set(SECTIONS)


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind: type[msgspec.Struct]) -> None:
    words = set(re.findall(r"`{?([a-z_]+)\b", described(kind)))
    assert [field for field in kind.__struct_encode_fields__ if field not in words] == []


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.__name__)
def test_every_choice_is_described(kind: type[msgspec.Struct]) -> None:
    text = described(kind)
    for field in msgspec.inspect.type_info(kind).fields:
        types = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        for each in types:
            if isinstance(each, msgspec.inspect.LiteralType) and field.name not in ("type", "kind", "days"):
                assert [value for value in each.values if f"`{value}`" not in text] == [], field.name


@pytest.mark.parametrize("page", ["runbooks.md", "environment.md"])
def test_no_table_names_a_field_that_is_gone(page: str) -> None:
    fields = {name for kind in SECTIONS for name in kind.__struct_encode_fields__} | {"kind"}
    for title, text in sections(page).items():
        for row in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE):
            for name in re.findall(r"`([a-z_]+)`", row):
                assert name in fields, (title, name)


def test_a_field_that_is_not_run_yet_is_marked() -> None:
    page = sections("runbooks.md")
    for title, field in [
        ("Book", "gates"),
        ("http", "check"),
        ("Capture", "to"),
    ]:
        assert re.search(rf"`{field}` ◦", page[title]), (title, field)
