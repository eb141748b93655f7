"""A pull request that changes environment.yaml, access/ or what vouches for a server: nothing of it is believed, on either
door, before the person who opens it has seen the difference and accepted it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_tui_flows import Sitting
from tui_kit import Targets, grow, incident, world

from envtui.compose import World
from envtui.core.errors import Refused
from envtui.core.events import SignedOff
from envtui.tui.app import EnvtuiApp

ROOT = Path(__file__).parents[2]
TREE = "runbooks/production"


@dataclass
class Checkout:
    """A user's world whose trees were accepted, a server that listens where the changed tree points, and a command's trace."""

    folder: Path
    variables: dict[str, str]
    listener: socket.socket
    ran: Path
    keys: dict[str, str] = field(default_factory=dict)
    reached: int = 0  # connections to the server of the changed tree

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / TREE / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def add(self, path: str, text: str) -> None:
        with (self.folder / TREE / path).open("a") as file:
            file.write(text)

    def cli(self, *words: str, code: int, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "envtui", *words],
            env={**self.variables, "PYTHONPATH": str(ROOT)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def serve(self) -> None:
        """Hang up on everybody, and remember that they came."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.reached += 1
            connection.close()

    def change(self) -> None:
        """What a hostile pull request brings: a command, another server, one more signer."""
        address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.edit("environment.yaml", '"env:production_SQL"', f'{{cmd: ["{self.touch}", "{self.ran}"]}}')
        self.edit("environment.yaml", "gw1.production.example:22", address)
        self.edit("environment.yaml", "db.production.example:5432", address)
        self.sign_up("eve")

    @property
    def touch(self) -> str:
        return "/usr/bin/touch"

    def sign_up(self, person: str) -> str:
        """One more signer. Returns the private key's path."""
        key = self.folder / "home/.ssh" / person
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", key], check=True)
        public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        self.add("access/people.yaml", f"  {person}: {{name: {person.title()}, principals: [{person}@production]}}\n")
        self.add("access/allowed_signers", f'{person}@production namespaces="approve.v1.production@envtui" {public}\n')
        self.keys[person] = public
        return str(key)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    variables = grow(tmp_path)
    with (tmp_path / "config.toml").open("a") as config:
        config.write('commands = ["/usr/bin/touch"]\n')  # allowed by the user: what holds it back is trust alone
    account = tmp_path / "home/.ssh/production"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", account], check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host_key = " ".join(account.with_suffix(".pub").read_text().split()[:2])
        names = ("gw1.production.example", f"[127.0.0.1]:{listener.getsockname()[1]}")
        (tmp_path / TREE / "known_hosts").write_text("".join(f"{name} {host_key}\n" for name in names))
        user = World.of(variables)
        for tree in user.forest().trees.values():
            user.accept(tree)
        made = Checkout(tmp_path, variables, listener, tmp_path / "ran")
        serving = threading.Thread(target=made.serve, daemon=True)
        serving.start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)
    serving.join(30)


def request_block(checkout: Checkout) -> str:
    name = incident(world(checkout.variables, Targets(), trusted=False))
    words = ("request", "production", "revert", "--incident", name, "--reason", "Go back to what worked")
    done = subprocess.run(
        [sys.executable, "-m", "envtui", *words],
        env={**checkout.variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_without_a_screen_nothing_runs_and_nobody_signs_until_it_is_accepted(checkout: Checkout) -> None:
    block = request_block(checkout)
    (checkout.folder / "ask").write_text(block)
    checkout.change()
    key = f"file:{checkout.folder}/home/.ssh/eve"
    for words in (
        ("run", "production", "look"),
        ("run", "production", "revert", "--grant", str(checkout.folder / "ask")),
        ("ask", "production", "gateway", "--", "uptime"),
        ("ask", "production", "db", "--", "select 1"),
        ("doctor", "production"),
        ("request", "production", "revert", "--incident", "INC-1001", "--reason", "Go back to what worked"),
        ("sign", "production", "--key", key),
    ):
        said = checkout.cli(*words, code=7, stdin=block if words[0] == "sign" else "")
        assert "changed since you accepted it" in said
        assert "envtui trust production" in said
    difference = checkout.cli("trust", "production", code=7)
    assert "+eve@production " in difference
    assert checkout.keys["eve"] in difference
    assert "+  eve: {name: Eve" in difference
    assert checkout.touch in difference
    assert '-  sql: {kind: sql, access: read, user: production_ro, secret: "env:production_SQL"}' in difference
    assert "asha@production" not in "\n".join(line for line in difference.splitlines() if line[:1] in "+-")
    assert "Not accepted" in difference
    assert not checkout.ran.exists()
    assert not checkout.reached
    # The other environment is as it was.
    assert "as you accepted it" in checkout.cli("trust", "dev", code=0)
    # And what was held back was real: accepted, the same tree runs the command and goes to that server.
    checkout.cli("trust", "production", "--yes", code=0)
    checkout.cli("doctor", "production", code=1)  # there is no server behind it
    assert checkout.ran.exists()
    assert checkout.reached


CHANGES = {
    "a signer": ("access/allowed_signers", ""),
    "a comment among the people": ("access/people.yaml", "# eve\n"),
    "a host key": ("known_hosts", "gw2.production.example ssh-ed25519 EVEEVEEVEEVE\n"),
    "whom TLS believes": ("files/ca.pem", "another authority\n"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_pinned_file_alone_closes_the_environment_and_is_the_difference(checkout: Checkout, what: str) -> None:
    path, text = CHANGES[what]
    if path == "files/ca.pem":
        checkout.edit("environment.yaml", "tls: disable", "tls: verify-full, ca: files/ca.pem")
        (checkout.folder / TREE / "files").mkdir()
        checkout.add(path, "an authority\n")
        checkout.cli("trust", "production", "--yes", code=0)
    if what == "a signer":
        checkout.sign_up("eve")
    else:
        checkout.add(path, text)
    assert "changed since you accepted it" in checkout.cli("doctor", "production", code=7)
    difference = checkout.cli("trust", "production", code=7)
    assert f"+++ {path}" in difference
    if text:
        assert f"+{text.strip()}" in difference.splitlines()


@asynccontextmanager
async def at_the_keyboard(checkout: Checkout) -> AsyncIterator[Sitting]:
    """The screens on the world as it is: its connections are real."""
    made = World.of(checkout.variables)
    app = EnvtuiApp(made)
    async with app.run_test(size=(100, 40), notifications=True) as pilot:
        await pilot.pause()
        yield Sitting(pilot, Targets(), made)  # type: ignore[arg-type]
        await app.close_environment()


async def test_the_trust_screen_stands_before_everything_and_names_what_changed(checkout: Checkout) -> None:
    checkout.change()
    async with at_the_keyboard(checkout) as at:
        await at.screen("EnvironmentsScreen")
        await at.until(lambda: at.app.lobby is not None, "lobby")
        await at.press("2")
        await at.screen("TrustScreen")
        shown = at.text("VerticalScroll Static")
        assert "+eve@production " in shown
        assert checkout.keys["eve"] in shown
        assert checkout.touch in shown
        assert "changed since you accepted it" in at.text("#changed")
        assert "1 signer added: eve@production" in at.text("#changed")
        await at.press("r", "R", "w", "d", "colon", "enter")  # nothing to begin with here
        assert at.where == "TrustScreen"
        await at.press("escape")
        await at.screen("EnvironmentsScreen")
        await at.press("g", "b")
        assert at.where == "EnvironmentsScreen"
        assert at.app.session is None
        for wrong in ("yes", "dev"):
            await at.press("2")
            await at.screen("TrustScreen")
            await at.press("a")
            await at.screen("Prompt")
            await at.type(wrong)
            await at.press("enter")
            await at.screen("TrustScreen")
            await at.until(lambda: "Nothing was accepted" in at.said, "the refusal")
            await at.press("escape")
            await at.screen("EnvironmentsScreen")
        assert at.app.session is None
        assert at.world.trust(at.world.forest().trees["production"]).word == "changed"
        assert not checkout.ran.exists()
        assert not checkout.reached
        await at.press("2")
        await at.screen("TrustScreen")
        await at.press("a")
        await at.screen("Prompt")
        await at.type("production")
        await at.press("enter")
        await at.screen("RunbooksScreen")
        await at.press("d")
        await at.until(lambda: checkout.reached > 0, "a connection")
        await at.until(checkout.ran.exists, "the command")


async def test_what_changes_while_the_difference_is_read_is_not_accepted_with_it(checkout: Checkout) -> None:
    checkout.add("known_hosts", "gw2.production.example ssh-ed25519 FIRSTFIRST\n")
    async with at_the_keyboard(checkout) as at:
        await at.until(lambda: at.app.lobby is not None, "lobby")
        await at.press("2")
        await at.screen("TrustScreen")
        checkout.change()
        await at.press("a")
        await at.screen("Prompt")
        await at.type("production")
        await at.press("enter")
        await at.until(lambda: at.where == "TrustScreen" and "eve" in at.text("VerticalScroll Static"), "the rest")
        assert at.app.session is None
        assert not checkout.ran.exists()
        assert not checkout.reached


async def test_an_open_environment_keeps_the_signers_that_were_accepted(checkout: Checkout) -> None:
    """Eve is added while a request waits: her signature does not count, meera's does."""
    made = world(checkout.variables, Targets(), trusted=False)
    name = incident(made)
    async with await made.open("production") as session:
        task = await session.start(session.plan("revert", {"window": "5m"}))
        _, block = await session.ask_write(task, name, "Go back to what worked")
        key = checkout.sign_up("eve")
        review = await session.access.review(block)
        with pytest.raises(Refused):
            await session.access.receive(task, await session.access.sign(review, "approve", key=f"file:{key}"))
        assert (await session.access.standing(task)).state == "REQUESTED"
        # Not even by her own hand, on a machine where the changed tree was accepted.
        theirs = World.of({**checkout.variables, "ENVTUI_STATE": str(checkout.folder / "eves-state")})
        theirs.accept(theirs.forest().trees["production"])
        async with await theirs.open("production") as hers:
            with pytest.raises(Refused, match="roster"):  # the request names the roster that was accepted
                await hers.access.sign(await hers.access.review(block), "approve", key=f"file:{key}")
        assert (await session.access.standing(task)).state == "REQUESTED"
        answer = await session.access.sign(review, "approve", key=f"file:{checkout.variables['HOME']}/.ssh/meera")
        assert isinstance(await session.access.receive(task, answer), SignedOff)
        assert (await session.access.standing(task)).state == "APPROVED"
