"""The lab's copy of the sample trees, and the gateway's rules, without a server."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from envtui.core.errors import Failed
from envtui.lab.copy import Filling, fill
from envtui.lab.gateway import Access, Gateway, PolicyStore, make_token
from envtui.lab.layout import Lab, hold, locked
from envtui.lab.people import variables
from envtui.lab.policies import FIRST, GOOD, ISSUER, REQUIRE_TENANT, Policy
from envtui.lab.world import PEOPLE, WORLDS
from envtui.outside.paths import samples

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFh"


def filling(replaced: dict[str, str]) -> Filling:
    return Filling(replaced, {"[127.0.0.1]:2201": KEY}, dict.fromkeys(PEOPLE, KEY))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_only_addresses_keys_and_identities_differ_from_the_sample(world, tmp_path: Path) -> None:
    replaced = {host.address: "127.0.0.1:2201" for host in world.hosts if not host.behind}
    replaced |= {world.system_identifier: "7411111111111111111", world.http: "http://127.0.0.1:8001"}
    if world.register:
        replaced[world.register] = "/registers/x.jsonl"
    sample = samples() / world.name
    fill(sample, tmp_path / world.name, filling(replaced))
    for file in (path for path in sample.rglob("*") if path.is_file()):
        before, after = file.read_text(), (tmp_path / world.name / file.relative_to(sample)).read_text()
        if file.name in ("known_hosts", "allowed_signers"):
            continue
        if file.name != "environment.yaml":
            assert before == after
            continue
        changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]
        assert changed
        assert all(re.match(r"[-+]\s+(hosts|base|system_identifier|path): ", line) for line in changed), changed
    signers = (tmp_path / world.name / "access" / "allowed_signers").read_text()
    assert signers.count(KEY) == len(PEOPLE)
    assert signers.count(f'namespaces="request.v1.{world.name}@envtui,approve.v1.{world.name}@envtui"') == len(PEOPLE)


def test_a_sample_without_the_address_to_fill_in_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="gw9"):
        fill(samples() / "dev", tmp_path / "dev", filling({"gw9.dev.example:22": "127.0.0.1:1"}))


def test_the_trees_have_no_file_in_common() -> None:
    seen: dict[bytes, Path] = {}
    for file in (path for path in samples().rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert content not in seen, f"{file} is {seen.get(content)}"
        seen[content] = file


def test_the_policy_that_staging_rolls_out_is_the_one_of_the_outage() -> None:
    assert (samples() / "staging" / "files" / "require-tenant.xml").read_text() == REQUIRE_TENANT
    assert len(REQUIRE_TENANT.splitlines()) == 6


def test_a_policy_is_read_or_refused() -> None:
    assert Policy.parse(REQUIRE_TENANT) == Policy(ISSUER, ("sub", "tenant"), 403)
    for text in ("", "<policy/>", "<policy><validate-jwt algorithm='none'/></policy>", "<other/>"):
        with pytest.raises(ValueError):
            Policy.parse(text)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    store = PolicyStore(tmp_path)
    store.reset(FIRST, GOOD)
    log: list[Access] = []
    return Gateway("dev", "gw1", store, jwt_secret=b"s", status_token="t", log=log.append, clock=lambda: 1000.0)


def test_the_gateway_follows_the_policy_as_it_changes(gateway: Gateway) -> None:
    claims: dict[str, object] = {"iss": ISSUER, "sub": "web", "exp": 2000}
    call = "Bearer " + make_token(b"s", claims)
    assert gateway.decide(call) == (200, "web")
    assert gateway.store.apply(REQUIRE_TENANT) == "42"
    assert gateway.decide(call) == (403, "web")
    assert gateway.decide("Bearer " + make_token(b"s", {**claims, "tenant": "t1"})) == (200, "web")
    gateway.store.apply("not a policy")
    assert gateway.decide(call) == (503, "-")


@pytest.mark.parametrize(
    "call",
    [
        "",
        "Bearer ",
        "Bearer a.b.c",
        "Bearer " + make_token(b"other", {"iss": ISSUER, "sub": "web", "exp": 2000}),
        "Bearer " + make_token(b"s", {"iss": ISSUER, "sub": "web", "exp": 999}),
        "Bearer " + make_token(b"s", {"iss": "https://else.example", "sub": "web", "exp": 2000}),
        "Bearer " + make_token(b"s", {"iss": ISSUER, "sub": "web"}),
    ],
)
def test_the_gateway_refuses_tokens_that_are_none(gateway: Gateway, call: str) -> None:
    assert gateway.decide(call)[0] == 401


def test_one_lock_one_lab(tmp_path: Path) -> None:
    assert not locked(tmp_path / "lock")
    hold(tmp_path / "lock")
    assert locked(tmp_path / "lock")
    with pytest.raises(Failed, match="already up"):
        hold(tmp_path / "lock")


def test_a_persona_sees_neither_my_agent_nor_my_configuration(tmp_path: Path) -> None:
    mine = {"PATH": "/bin", "HOME": "/home/me", "SSH_AUTH_SOCK": "/agent", "ENVTUI_CONFIG": "/home/me/config.toml"}
    theirs = variables(Lab(tmp_path), "meera", mine)
    assert "SSH_AUTH_SOCK" not in theirs
    assert {theirs["HOME"], str(Path(theirs["ENVTUI_CONFIG"]).parent)} == {str(tmp_path / "people" / "meera")}
