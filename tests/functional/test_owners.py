"""Owners' signatures over a new policy: judged by the policy that was accepted before, on the command line and on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pexpect
import pytest
from test_trust_flow import Checkout, at_the_keyboard
from tui_kit import grow

from envtui.compose import World
from envtui.core.access import Party, Signed, fingerprint, namespace
from envtui.core.errors import NotTrusted, Refused
from envtui.core.policy import Judgement, PolicySignature, Stand
from envtui.outside.ssh_keygen import Keygen, KeygenSigner
from envtui.owning import owner_of
from envtui.rules import owners, paste

ROOT = Path(__file__).parents[2]
OWNERS = ("asha", "meera", "tom")
PATIENCE = 60


@dataclass
class House:
    """A checkout whose policy asks for two of three owners, accepted by this user; ravi is no owner."""

    folder: Path
    variables: dict[str, str]

    @property
    def tree(self) -> Path:
        return self.folder / "runbooks/production"

    @property
    def signatures(self) -> Path:
        return self.tree / "access/policy.signatures"

    @property
    def world(self) -> World:
        return World.of(self.variables)

    def key(self, who: str) -> str:
        return str(self.folder / "home/.ssh" / who)

    def public(self, who: str) -> str:
        return " ".join(Path(f"{self.key(who)}.pub").read_text().split()[:2])

    def write(self, *, count: int = 2, people: tuple[str, ...] = OWNERS, note: str = "") -> None:
        """The access files and `owners: count`; `note` makes the roster another one."""
        named = dict.fromkeys((*OWNERS, *people, "ravi"))
        said = "".join(
            f"  {who}: {{name: {who.title()}, principals: [{who}@production], roles: [{'owner' * (who in people)}]}}\n"
            for who in named
        ).replace("[]", "[on-call]")
        (self.tree / "access/people.yaml").write_text(f"schema: envtui/people@1\npeople:\n{said}# {note}\n")
        kinds = ("request", "approve", "policy")
        names = ",".join(f"{kind}.v1.production@envtui" for kind in kinds)
        lines = [f'{who}@production namespaces="{names}" {self.public(who)}\n' for who in named]
        (self.tree / "access/allowed_signers").write_text("".join(lines))
        manifest = self.tree / "environment.yaml"
        kept = [line for line in manifest.read_text().splitlines(keepends=True) if not line.startswith("  owners:")]
        at = kept.index("access:\n") + 1
        manifest.write_text("".join([*kept[:at], f"  owners: {count}\n", *kept[at:]]))

    async def judged(self) -> Judgement:
        return await self.world.judge(self.world.forest().trees["production"])

    async def sign(self, who: str, **changes: object) -> None:
        """What `trust --sign` adds, with fields of it changed."""
        judgement = await self.judged()
        party = Party(person=who, key=fingerprint(self.public(who)))
        said = owners.statement(judgement.change, party, 1)
        await self.put(who, msgspec.structs.replace(said, **changes))

    async def put(self, who: str, said: PolicySignature, environment: str = "production") -> None:
        body = owners.policy_bytes(said)
        signer = KeygenSigner(Keygen(self.variables), self.public(who), Path(self.key(who)))
        made = await signer.sign(namespace("policy", environment), body, lambda _: None)
        with self.signatures.open("a") as file:
            file.write(paste.block(Signed(kind="policy", body=body.decode(), signature=made)))

    async def accept(self) -> None:
        tree = self.world.forest().trees["production"]
        self.world.accept(tree, await self.world.judge(tree))

    async def lacks(self, *says: str) -> None:
        """It is refused, and the refusal says each of these."""
        with pytest.raises(NotTrusted) as refused:
            await self.accept()
        assert refused.value.exit_code == 7
        for text in says:
            assert text in str(refused.value), str(refused.value)
        tree = self.world.forest().trees["production"]
        assert self.world.trust(tree).word == "changed"


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path, grow(tmp_path))
    for who in ("tom", "ravi", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made.key(who)], check=True)
    made.write()
    for tree in made.world.forest().trees.values():
        made.world.accept(tree)
    return made


async def test_two_of_three_owners_make_a_change_acceptable(house: House) -> None:
    house.write(note="changed")
    await house.lacks("asks for 2 signatures", "nobody signed, 2 lacking", "May still sign: asha, meera or tom")
    await house.sign("meera")
    await house.lacks("meera signed, 1 lacking", "May still sign: asha or tom")
    await house.sign("tom")
    await house.accept()
    assert house.world.trust(house.world.forest().trees["production"]).word == "trusted"
    with house.signatures.open("a") as file:
        file.write("whatever\n")  # it is no part of what was accepted
    assert house.world.trust(house.world.forest().trees["production"]).word == "trusted"


async def test_what_owners_do_not_guard_changes_without_them(house: House) -> None:
    manifest = house.tree / "environment.yaml"
    manifest.write_text(manifest.read_text().replace('rules: ["Look', '# a comment\nrules: ["Please look'))
    (house.tree / "known_hosts").write_text("gw1.production.example ssh-ed25519 AAAA\n")
    assert house.world.trust(house.world.forest().trees["production"]).word == "changed"
    await house.accept()


@pytest.mark.parametrize("part", ["policy", "people", "signers", "revoked"])
async def test_each_part_that_says_who_may_do_what_needs_them(house: House, part: str) -> None:
    if part == "policy":
        manifest = house.tree / "environment.yaml"
        manifest.write_text(manifest.read_text().replace("signoff: {min: 1", "signoff: {min: 0"))
    elif part == "people":
        house.write(note="only a comment")
    elif part == "signers":
        with (house.tree / "access/allowed_signers").open("a") as file:
            file.write("# only a comment\n")
    else:
        (house.tree / "access/revoked_keys").write_text(f"{house.public('ravi')}\n")
    await house.lacks("access in environment.yaml" if part == "policy" else "the roster")
    for who in ("asha", "meera"):
        await house.sign(who)
    await house.accept()


async def test_who_signs_twice_counts_once(house: House) -> None:
    house.write(note="changed")
    await house.sign("meera")
    await house.sign("meera", signed_ms=2)
    await house.lacks("meera signed, 1 lacking", "meera signed twice; it counts once.")


async def test_signatures_that_do_not_count(house: House) -> None:
    house.write(note="changed")
    await house.sign("asha")
    change = (await house.judged()).change
    await house.sign("ravi")
    await house.sign("eve")
    await house.sign("meera", roster_sha256="0" * 64)
    await house.sign("meera", policy_sha256="0" * 64)
    await house.sign("meera", previous=Stand())
    await house.sign("meera", environment="dev")
    await house.sign("meera", owner=Party(person="tom", key=fingerprint(house.public("meera"))))
    await house.sign("meera", owner=Party(person="meera", key=fingerprint(house.public("tom"))))
    said = owners.statement(change, Party(person="meera", key=fingerprint(house.public("meera"))), 1)
    await house.put("meera", said, environment="dev")
    refused = (await house.judged()).refused
    for one, why in zip(
        refused,
        (
            "ravi was no owner",
            "is nobody's in access/allowed_signers",
            "another policy or another roster",
            "another policy or another roster",
            "another policy than the one that you accepted",
            "It is for dev, not for production.",
            "It says tom and was signed by meera.",
            "It says meera and was signed by meera.",
            "The signature is for 'policy.v1.dev@envtui'",
        ),
        strict=True,
    ):
        assert why in one
    await house.lacks("asha signed, 1 lacking", *refused)


async def test_every_altered_body_and_every_other_block_is_refused(house: House) -> None:
    house.write(note="changed")
    await house.sign("meera")
    (signed,) = paste.blocks(house.signatures.read_text())
    for body in (
        signed.body.replace('"signed_ms":1', '"signed_ms":2'),
        signed.body.replace('"v":1', '"v":2'),
        signed.body.replace('{"environment"', '{"a":1,"environment"'),
        signed.body.replace(":", ": ", 1),
        "{}",
        "",
    ):
        house.signatures.write_text(paste.block(msgspec.structs.replace(signed, body=body)))
        judged = await house.judged()
        assert judged.signed == ()
        assert len(judged.refused) == 1
    house.signatures.write_text(paste.block(msgspec.structs.replace(signed, kind="approve")))
    assert (await house.judged()).refused == ("A block in it is no signature over a policy.",)
    house.signatures.write_text(paste.block(signed)[:-40])
    await house.lacks("nobody signed", "Not counted: ", "has no end")


async def test_a_revoked_key_signs_nothing_before_and_after(house: House) -> None:
    house.write(note="changed")
    await house.sign("asha")
    (house.tree / "access/revoked_keys").write_text(f"{house.public('tom')}\n")
    house.signatures.unlink()
    for who in ("asha", "tom"):
        await house.sign(who)
    await house.lacks("asha signed, 1 lacking", "of tom is revoked by the very change", "May still sign: meera,")
    await house.sign("meera")
    await house.accept()
    house.write(note="changed again")
    house.signatures.unlink()
    for who in ("asha", "tom"):
        await house.sign(who)
    await house.lacks("asha signed, 1 lacking", "is revoked")


@pytest.mark.parametrize("change", ["fewer owners", "other owners", "no owners"])
async def test_a_change_cannot_choose_its_judges(house: House, change: str) -> None:
    if change == "fewer owners":
        house.write(count=1)
    elif change == "no owners":
        house.write(count=0)
    else:
        house.write(people=("ravi", "eve"))
        await house.sign("eve")
    await house.sign("ravi")
    await house.lacks("asks for 2 signatures", "nobody signed, 2 lacking")
    await house.sign("asha")
    await house.lacks("asha signed, 1 lacking")
    await house.sign("tom")
    await house.accept()


async def test_an_old_signature_does_not_bring_an_old_policy_back(house: House) -> None:
    house.write(note="one")
    for who in ("asha", "meera"):
        await house.sign(who)
    await house.accept()
    old = house.signatures.read_text()
    house.write(note="two")
    for who in ("asha", "meera"):
        await house.sign(who)
    await house.accept()
    house.write(note="one")
    house.signatures.write_text(old)
    await house.lacks("asha signed the change of another policy than the one that you accepted.")


async def test_owners_who_are_all_gone_leave_trust_on_first_use(house: House) -> None:
    (house.tree / "access/revoked_keys").write_text("".join(f"{house.public(who)}\n" for who in ("asha", "meera")))
    await house.lacks("only tom can still sign", "as if for the first time", str(house.folder / "state"))
    kept = next((house.folder / "state").rglob("trust/production.json"))
    assert str(kept) in str(house.world.paths.trust / "production.json")
    kept.unlink()
    tree = house.world.forest().trees["production"]
    judged = await house.world.judge(tree)
    assert judged.lacking == 0
    assert any("Its owners, by its own word: tom." in line for line in owners.words(judged))
    await house.accept()


async def test_the_first_time_shows_the_owners_and_who_of_them_signed(house: House) -> None:
    (house.world.paths.trust / "production.json").unlink()
    await house.sign("meera")
    await house.sign("eve")
    judged = await house.judged()
    said = list(owners.words(judged))
    assert said[0] == "Its owners, by its own word: asha, meera or tom. Ask one of them whether this is theirs."
    assert said[1].startswith("Signed by meera, by its own roster")
    assert "Not counted:" in said[2]
    await house.accept()


async def test_without_looking_at_the_signatures_nothing_is_accepted(house: House) -> None:
    house.write(note="changed")
    for who in ("asha", "meera"):
        await house.sign(who)
    tree = house.world.forest().trees["production"]
    judged = await house.world.judge(tree)
    with pytest.raises(NotTrusted, match="were not looked at"):
        house.world.accept(tree)
    house.write(note="changed while it was read")
    with pytest.raises(NotTrusted, match="were not looked at"):
        house.world.accept(house.world.forest().trees["production"], judged)
    with pytest.raises(Refused, match="may not sign the policy"):
        owner_of(judged, KeygenSigner(Keygen(), house.public("ravi"), None))


async def test_what_was_accepted_and_cannot_be_read_any_more_judges_nobody(house: House) -> None:
    kept = house.world.paths.trust / "production.json"
    kept.write_text(kept.read_text().replace("schema: envtui/people@1", "schema: envtui/people@0"))
    house.write(note="changed")
    with pytest.raises(NotTrusted, match="cannot be read by this version"):
        await house.accept()


# --- the command line -------------------------------------------------------------------------------------------------


def cli(house: House, *words: str, code: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "envtui", *words],
        env={**house.variables, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def sign_at_a_terminal(house: House, who: str, typed: str) -> tuple[int, str]:
    words = ["-m", "envtui", "trust", "production", "--sign", "--key", f"file:{house.key(who)}"]
    variables = {**os.environ, **house.variables, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    child = pexpect.spawn(sys.executable, words, env=variables, timeout=PATIENCE, encoding="utf-8")
    child.expect("Type production to sign it: ")
    shown = child.before
    child.sendline(typed)
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus or 0, shown + child.before


def test_signed_at_the_terminal_and_then_accepted(house: House) -> None:
    house.write(note="changed")
    said = cli(house, "trust", "production", "--yes", code=7)
    assert "+# changed" in said
    assert "2 lacking" in said
    assert "envtui trust production --sign" in said
    assert cli(house, "trust", "production", "--sign", "--yes", code=2)
    assert cli(house, "trust", "production", "--key", "file:x", code=2)
    assert "no terminal" in cli(house, "trust", "production", "--sign", code=2)
    assert not house.signatures.exists()
    code, said = sign_at_a_terminal(house, "asha", "prod")
    assert code == 2, said
    assert not house.signatures.exists()
    code, said = sign_at_a_terminal(house, "asha", "production")
    assert code == 0, said
    assert "+# changed" in said
    assert "what you sign as asha" in said
    assert oct(house.signatures.stat().st_mode & 0o022) == "0o0"
    assert "asha signed this already" in cli(house, "trust", "production", "--sign", code=2)
    assert "asha signed, 1 lacking" in cli(house, "trust", "production", "--yes", code=7)
    refused = cli(house, "trust", "production", "--sign", "--key", f"file:{house.key('ravi')}", code=1)
    assert "May: asha, meera and tom" in refused
    assert sign_at_a_terminal(house, "tom", "production")[0] == 0
    said = cli(house, "trust", "production", "--yes", code=0)
    assert "asha and tom signed." in said
    assert "Nothing that owners sign changed" in cli(house, "trust", "production", "--sign", code=2)
    cli(house, "check", code=0)


def test_more_owners_than_there_are_is_an_error_of_the_tree(house: House) -> None:
    house.write(count=4)
    said = cli(house, "check", code=1)
    assert "4 owners have to sign a change, and 3 can: asha, meera, tom." in said
    assert "environment.yaml:" in said
    signers = house.tree / "access/allowed_signers"
    house.write(count=3)
    cli(house, "check", code=0)
    signers.write_text(signers.read_text().replace(",policy.v1.production@envtui", "", 1))
    assert "3 owners have to sign a change, and 2 can: meera, tom." in cli(house, "check", code=1)


# --- the screen -------------------------------------------------------------------------------------------------------


async def test_the_trust_screen_names_what_lacks_and_accepts_what_is_signed(house: House) -> None:
    house.write(note="changed")
    checkout = Checkout(house.folder, house.variables, None, house.folder / "ran")  # type: ignore[arg-type]  # no server
    async with at_the_keyboard(checkout) as at:
        await at.screen("EnvironmentsScreen")
        await at.until(lambda: at.app.lobby is not None, "lobby")
        await at.press("2")
        await at.screen("TrustScreen")
        await at.until(lambda: "2 lacking" in at.text("#owners"), "the owners' word")
        await at.press("a")
        await at.until(lambda: "May still sign: asha, meera or tom" in at.said, "the refusal")
        assert at.where == "TrustScreen"
        await at.press("escape")
        await at.screen("EnvironmentsScreen")
        for who in ("asha", "meera"):
            await house.sign(who)
        await at.press("2")
        await at.screen("TrustScreen")
        await at.until(lambda: "asha and meera signed" in at.text("#owners"), "the owners' word")
        await at.press("a")
        await at.screen("Prompt")
        await at.type("production")
        await at.press("enter")
        await at.until(lambda: at.world.trust(at.world.forest().trees["production"]).word == "trusted", "accepted")
