"""The command line is documented completely, and says of itself what the documentation says."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from pathlib import Path

import pytest

from envtui.cli.main import VERBS, main, parser
from envtui.core import errors

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "command-line.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_heading_and_every_option_a_mention(verb: str) -> None:
    headings = [line for line in TEXT.splitlines() if line.startswith("### ")]
    assert any(f"`envtui {verb}" in line or f"|{verb}" in line for line in headings), verb
    sub = argparse.ArgumentParser(prog=verb)
    import_module(VERBS[verb][0]).add(verb, sub)
    everywhere = "\n".join(path.read_text() for path in DOCS.glob("*.md"))
    for action in sub._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert option in everywhere, f"{verb} {option} is not documented"


def test_every_exit_code_of_the_error_tree_is_documented() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    used = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EnvtuiError)
    }
    assert used <= documented


def test_help_names_every_verb() -> None:
    shown = parser().format_help()
    assert all(verb in shown for verb in VERBS)


def test_an_unknown_verb_is_taken_for_an_environment_and_refused_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["no-such-thing"]) == 2
    assert capsys.readouterr().out == ""
