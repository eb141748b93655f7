"""Answers on the command line: refused before anything runs when no step asks for them or offers them."""

from __future__ import annotations

import sys

import pexpect
import pytest

from envtui.core.events import Answered, RunEnded, RunStarted
from tests.functional.cli_kit import ANSWERS, Desk, desk

__all__ = ["desk"]  # a fixture


@pytest.mark.parametrize(
    ("answer", "says", "way_on"),
    [
        ("nope=1", "asking has no step that asks for 'nope'", "It asks for: cause, look, look.count, sure."),
        ("look.depth=1", "has no step that asks for 'look.depth'", "look.count"),
        ("breath=done", "The step breath asks for no answer", "It asks for: cause"),
        ("cause=nobody", "'nobody' is no answer to cause", "'The last diff' (leads to look)"),
        ("cause=end", "'end' is no answer to cause", "'Something else' (leads to end)"),  # two of them lead there
        ("cause=4", "'4' is no answer to cause", "One of:"),
        ("cause=0", "'0' is no answer to cause", "One of:"),
        ("cause=²", "'²' is no answer to cause", "One of:"),
        ("look=no", "'no' is no answer to look", "answer: done"),
        ("look.count=many", "'many' is no whole number", "look.count"),
        ("sure=yes", "confirmed by typing: yes indeed", "in full"),
        ("sure=", "confirmed by typing: yes indeed", "in full"),
        ("cause", "is not NAME=VALUE", "-p window=15m"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_before_anything_runs(
    desk: Desk, answer: str, says: str, way_on: str
) -> None:
    out, err = desk("run", "dev", "asking", "--answer", answer, code=2)
    assert out == ""
    assert says in err
    assert way_on in err
    assert not (desk.state / "dev/ledger.sqlite3").exists() or not desk.events(RunStarted)


def test_everything_wrong_is_said_at_once(desk: Desk) -> None:
    _, err = desk("run", "dev", "asking", "--answer", "nope=1", "--answer", "cause=x", code=2)
    assert [line.partition(":")[0] for line in err.splitlines()] == ["--answer nope=1", "--answer cause=x"]


@pytest.mark.parametrize("cause", ["The last diff", "look", "1"])
def test_a_choice_is_its_label_its_number_or_where_it_leads(desk: Desk, cause: str) -> None:
    desk("run", "dev", "asking", "--answer", f"cause={cause}", *ANSWERS[1:])
    assert desk.events(Answered)[0].answer == "The last diff"


def test_an_answer_to_a_step_that_the_run_does_not_reach_is_no_mistake(desk: Desk) -> None:
    desk("run", "dev", "asking", "--answer", "cause=Nobody knows", *ANSWERS[1:])
    assert [event.step for event in desk.events(Answered)] == ["cause"]


def test_why_a_run_ended_is_one_line_in_the_ledger_with_all_of_the_message(desk: Desk) -> None:
    _, err = desk("run", "dev", "asking", code=2)
    assert "Step cause needs an answer" in err
    assert "--answer cause='The last diff'" in err
    (ended,) = desk.events(RunEnded)
    assert ended.word == "CANCELLED"
    assert ended.why == "Step cause needs an answer: 1. The last diff 2. Something else 3. Nobody knows"


def test_whoever_mistypes_at_a_terminal_is_asked_again(desk: Desk) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "envtui", "run", "dev", "asking"], env=desk.variables, encoding="utf-8", timeout=60
    )
    for question, typed in (
        ("cause \\?", "what?"),
        ("cause \\?", "1"),
        ("look.count \\?", "a few"),
        ("look.count \\?", "3"),
        ("look \\?", "no"),
        ("look \\?", ""),
        ("sure \\?", "yes"),
        ("sure \\?", "yes indeed"),
    ):
        child.expect(question)
        child.sendline(typed)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert [(event.step, event.answer) for event in desk.events(Answered)] == [
        ("cause", "The last diff"),
        ("look", "done"),
        ("sure", "yes indeed"),
    ]


@pytest.mark.parametrize("file", ["/dev/urandom", "/dev/zero", "/dev/null", "/", "/nowhere", "a\x01b"])
def test_a_grant_that_is_no_grant(desk: Desk, file: str) -> None:
    out, err = desk("run", "dev", "asking", "--grant", file, code=2)
    assert out == ""
    assert len(err.splitlines()) == 2


def test_a_grant_on_stdin_that_goes_on_for_ever(desk: Desk) -> None:
    _, err = desk.shell("< /dev/urandom", "run", "dev", "asking", "--grant", "-", code=2)
    assert "stdin holds more than a request" in err
