"""The lobby's order and words, and the levels of protection."""

from __future__ import annotations

import msgspec
import pytest

from envtui.core.environment import AccessPolicy, Environment, People
from envtui.core.tree import Tree
from envtui.engine.lobby import ordered, shape, write_words
from envtui.rules.protection import LEVELS, enough


def environment(name: str, promotes_from: str | None = None, **more: object) -> Environment:
    return msgspec.convert(
        {
            "schema": "envtui/environment@1",
            "name": name,
            "purpose": "p",
            "data": "synthetic",
            "credentials": {"r": {"kind": "ssh", "access": "read", "user": "u"}},
            "targets": {
                "gw": {"kind": "ssh", "hosts": ["gw1"], "read": "r"},
                "db": {"kind": "sql", "hosts": ["db1"], "dbname": "d", "read": "r"},
            },
            **({"promotes_from": promotes_from} if promotes_from else {}),
            **more,
        },
        Environment,
    )


def tree(name: str, promotes_from: str | None = None) -> Tree:
    return Tree(
        root=f"/t/{name}",
        environment=environment(name, promotes_from),
        books={},
        files={},
        known_hosts=b"",
        allowed_signers="",
        revoked_keys="",
        people=People(schema="envtui/people@1", people={}),
        manifest_sha256="",
        policy_sha256="",
        roster_sha256="",
        trust_sha256="",
        trusted_texts={},
    )


def test_environments_stand_in_the_order_of_promotion() -> None:
    trees = [tree("production", "staging"), tree("staging", "qa"), tree("dev"), tree("qa", "dev")]
    assert [t.environment.name for t in ordered(trees)] == ["dev", "qa", "staging", "production"]


def test_a_circle_of_promotion_still_has_an_order() -> None:
    assert {t.environment.name for t in ordered([tree("a", "b"), tree("b", "a")])} == {"a", "b"}


def test_the_border_says_the_place_in_the_order_not_the_name() -> None:
    assert [shape(i, 2) for i in range(3)] == ["light", "double", "heavy"]
    assert [shape(i, 4) for i in range(5)] == ["light", "double", "double", "double", "heavy"]
    assert shape(0, 0) == "light"


@pytest.mark.parametrize(
    ("minimum", "required", "words"),
    [(0, False, "own signature"), (1, True, "incident + 1 other"), (2, True, "incident + 2 others")],
)
def test_what_a_write_costs_in_words(minimum: int, required: bool, words: str) -> None:
    policy = msgspec.convert({"signoff": {"min": minimum}, "incident": {"required": required}}, AccessPolicy)
    assert write_words(policy) == words


@pytest.mark.parametrize("least", LEVELS["ssh"])
@pytest.mark.parametrize("probed", LEVELS["ssh"])
def test_a_level_is_enough_only_from_the_minimum_up(least: str, probed: str) -> None:
    env = environment("dev", protection={"ssh": least})
    assert enough(env, "gw", probed) == (LEVELS["ssh"].index(probed) >= LEVELS["ssh"].index(least))


@pytest.mark.parametrize("probed", ["", "unknown", "root", "kernel"])
def test_an_unknown_level_is_never_enough(probed: str) -> None:
    assert not enough(environment("dev"), "gw", probed)


def test_a_target_may_ask_for_more_than_its_environment() -> None:
    env = environment("dev")
    target = msgspec.structs.replace(env.targets["gw"], min_protection="kernel-enforced")
    env = msgspec.structs.replace(env, targets={**env.targets, "gw": target})
    assert not enough(env, "gw", "advisory")
    assert enough(env, "gw", "kernel-enforced, with network")
