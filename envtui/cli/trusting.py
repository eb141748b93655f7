"""`envtui trust`: the difference since a tree was accepted, the owners' word on it; accepted, or signed by an owner.

Nothing of the tree is believed meanwhile: no credential is resolved, nothing is connected to, nothing of it is run.
"""

from __future__ import annotations

import asyncio
import os
import sys

from envtui.compose import World
from envtui.core.errors import InvalidFiles, UsageError
from envtui.core.policy import Judgement
from envtui.core.text import clean, clean_line
from envtui.core.tree import Tree
from envtui.outside.trees.load import errors
from envtui.outside.trees.trust import Trust, TrustStatus
from envtui.rules import owners


def trust(tree: Tree, yes: bool) -> int:
    """Show what changed and accept it. Returns 7 when it was not accepted; raises NotTrusted when owners' signatures lack."""
    world = World.of(os.environ)
    name = tree.environment.name
    status = world.trust(tree)
    if status.word == "trusted":
        _say(f"{name} is as you accepted it.")
        return 0
    judgement = asyncio.run(_shown(world, tree, status))
    news = "was never accepted" if status.word == "new" else "changed since you accepted it"
    _say(f"{name} {news}. Above: its manifest, who may sign, and its host keys.")
    owners.refuse_unsigned(judgement, str(Trust(world.paths.trust).file(name)))
    for line in owners.words(judgement):
        _say(line)
    if not yes and not _typed(name):
        _say(f"Not accepted. {name} stays closed.")
        return 7
    world.accept(tree, judgement)
    _say(f"Accepted: {tree.trust_sha256[:16]}.")
    return 0


def sign(tree: Tree, key: str) -> int:
    """Show what changed, and add an owner's signature over it to the tree. Raises UsageError, Refused."""
    return asyncio.run(_sign(World.of(os.environ), tree, key))


async def _sign(world: World, tree: Tree, key: str) -> int:
    from envtui.outside.ssh_keygen import Keygen, open_signer
    from envtui.outside.system_clock import SystemClock
    from envtui.outside.trees.signatures import append
    from envtui.owning import owner_of
    from envtui.owning import sign as signed

    from .hands import hands
    from .typed import typed

    name = tree.environment.name
    status = world.trust(tree)
    judgement = await _shown(world, tree, status)
    signer = await open_signer(key or world.config.signing_key, Keygen(world.variables))
    person = owner_of(judgement, signer)
    for line in owners.words(judgement):
        _say(line)
    _say(f"Above is what you sign as {person}: the access section of environment.yaml, and the roster, byte for byte.")
    typed(name, "sign it")
    path = append(tree.root, await signed(judgement, signer, SystemClock(), hands))
    _say(f"Signed. Commit {path} with the change; then: envtui trust {name}")
    return 0


async def _shown(world: World, tree: Tree, status: TrustStatus) -> Judgement:
    """The difference, printed, and the owners' word. Raises InvalidFiles when the tree is unfit."""
    print(clean(status.diff, 1_000_000), end="", flush=True)
    forest = world.forest()
    bad = [each for each in errors(world.problems(forest)) if f"{each.file}/".startswith(f"{tree.root}/")]
    if bad:
        raise InvalidFiles(tuple(bad))
    return await world.judge(tree)


def _typed(environment: str) -> bool:
    """Whether a person at a terminal typed the environment's name."""
    if not sys.stdin.isatty():
        _say("Nobody is at a terminal to accept it: use --yes after reading the difference.")
        return False
    print(f"Type {environment} to accept: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == environment


def _say(text: str) -> None:
    print(clean_line(text, 2000), file=sys.stderr)


def refuse_together(yes: bool, key: str, signing: bool) -> None:
    """Raises UsageError for options that do not belong together."""
    if signing and yes:
        raise UsageError("What is signed is typed by a person: --sign takes no --yes.", "Leave --yes out.")
    if key and not signing:
        raise UsageError("--key is the key that signs.", "Use it with --sign.")
