"""docs/screens.md says of every key what the registry of actions says; the links of the documentation lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envtui.outside.config import UserConfig
from envtui.tui.actions import ACTIONS, Action, shown_key

ROOT = Path(__file__).parents[2]
SCREENS = (ROOT / "docs" / "screens.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_has_its_row(action: Action) -> None:
    where = "everywhere" if "*" in action.screens else ", ".join(action.screens)
    assert f"| `{shown_key(action)}` | {action.label} | {action.about} | {where} |" in SCREENS


def test_no_row_is_left_of_an_action_that_is_gone() -> None:
    table = SCREENS.split("\n\n", 3)[2]
    assert len(table.splitlines()) == len(ACTIONS) + 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_into_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("key", UserConfig.__struct_fields__)
def test_every_key_of_the_configuration_is_documented(key: str) -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    assert re.search(rf"^({key} = |\[{key}\])", text, re.MULTILINE)


def test_what_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:envtui/)?(?:core|rules|engine|outside|tui|cli|lab|compose)[/.][a-z_/.]+)`", text)
    assert named
    assert [n for n in named if not (ROOT / "envtui" / n.removeprefix("envtui/")).exists()] == []
