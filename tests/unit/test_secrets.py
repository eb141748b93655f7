"""A tree names secrets; only the user's own configuration opens them."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import pytest

from envtui.core.environment import Command
from envtui.core.errors import Refused, SecretMissing
from envtui.outside.secrets import ReferencedSecrets
from envtui.outside.system_clock import SystemClock

VALUE = "hunter2-very-secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir(mode=0o700)
    return made


def put(path: Path, content: bytes = VALUE.encode() + b"\n", mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return f"file:{path}"


def program(path: Path, body: str, mode: int = 0o700) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return str(path)


async def test_a_file_below_an_allowed_folder(folder: Path) -> None:
    secret = await ReferencedSecrets([folder]).resolve(put(folder / "db"), "db")
    assert secret.reveal() == VALUE
    assert VALUE not in repr(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


async def test_only_one_line_end_is_taken_off(folder: Path) -> None:
    reference = put(folder / "db", b" two words \n\n")
    assert (await ReferencedSecrets([folder]).resolve(reference, "db")).reveal() == " two words \n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
async def test_a_file_open_to_others_is_refused(folder: Path, mode: int) -> None:
    with pytest.raises(Refused, match="open to other users") as caught:
        await ReferencedSecrets([folder]).resolve(put(folder / "db", mode=mode), "db")
    assert VALUE not in str(caught.value)


async def test_outside_the_allowed_folders_is_refused_also_through_a_link(folder: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "other")
    (folder / "link").symlink_to(tmp_path / "other")
    for reference in (outside, f"file:{folder}/link", f"file:{folder}/../other"):
        with pytest.raises(Refused, match="configuration allows"):
            await ReferencedSecrets([folder]).resolve(reference, "db")


async def test_an_allowed_folder_may_itself_be_a_link(folder: Path, tmp_path: Path) -> None:
    reference = put(folder / "db")
    (tmp_path / "alias").symlink_to(folder)
    assert (await ReferencedSecrets([tmp_path / "alias"]).resolve(reference, "db")).reveal() == VALUE


async def test_a_neighbour_whose_name_begins_alike_is_not_below(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets-of-others").mkdir()
    with pytest.raises(Refused):
        await ReferencedSecrets([folder]).resolve(put(tmp_path / "secrets-of-others" / "db"), "db")


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", SecretMissing), (b"\n", SecretMissing), (b"\xff\xfe", Refused), (b"x" * 70_000, Refused)],
)
async def test_contents_that_are_no_secret(folder: Path, content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await ReferencedSecrets([folder]).resolve(put(folder / "db", content), "db")


async def test_missing_relative_folder_and_unknown_references(folder: Path) -> None:
    secrets = ReferencedSecrets([folder], environ={})
    with pytest.raises(SecretMissing, match="does not exist"):
        await secrets.resolve(f"file:{folder}/none", "db")
    with pytest.raises(Refused, match="relative"):
        await secrets.resolve("file:secrets/db", "db")
    with pytest.raises(Refused, match="regular file"):
        await secrets.resolve(f"file:{folder}", "db")
    with pytest.raises(SecretMissing, match="NOT_THERE"):
        await secrets.resolve("env:NOT_THERE", "db")
    with pytest.raises(Refused, match="agent"):
        await secrets.resolve("agent:SHA256:abc", "db")
    with pytest.raises(Refused, match="no reference"):
        await secrets.resolve("vault:db", "db")


async def test_an_environment_variable() -> None:
    assert (await ReferencedSecrets(environ={"DB": VALUE}).resolve("env:DB", "db")).reveal() == VALUE


async def test_the_first_line_of_an_allowed_program(folder: Path) -> None:
    path = program(folder / "show", 'printf "%s\\nlogin: someone\\n" "$1"')
    secrets = ReferencedSecrets(programs=[path], environ={"PATH": "/usr/bin:/bin"})
    # `$(…)` arrives as it is: there is no shell between us and the program.
    assert (await secrets.resolve(Command(cmd=(path, "$(id); a b")), "db")).reveal() == "$(id); a b"


async def test_a_program_that_the_user_did_not_allow_is_not_started(folder: Path) -> None:
    path = program(folder / "show", f"touch {folder}/was-started; echo x")
    with pytest.raises(Refused, match="does not allow"):
        await ReferencedSecrets([folder], programs=["/usr/bin/true"]).resolve(Command(cmd=(path,)), "db")
    assert not (folder / "was-started").exists()


async def test_a_program_that_others_can_change_is_not_started(folder: Path, tmp_path: Path) -> None:
    path = program(folder / "show", "echo x", mode=0o777)
    with pytest.raises(Refused, match="changed by other users"):
        await ReferencedSecrets(programs=[path]).resolve(Command(cmd=(path,)), "db")
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    path = program(open_folder / "show", "echo x")
    with pytest.raises(Refused, match="changed by other users"):
        await ReferencedSecrets(programs=[path]).resolve(Command(cmd=(path,)), "db")


async def test_a_program_that_fails_says_nothing_of_what_it_printed(folder: Path) -> None:
    path = program(folder / "show", f"echo {VALUE}; echo {VALUE} >&2; exit 3")
    with pytest.raises(SecretMissing, match="ended with 3") as caught:
        await ReferencedSecrets(programs=[path]).resolve(Command(cmd=(path,)), "db")
    assert VALUE not in str(caught.value)


async def test_a_program_that_hangs_is_ended(folder: Path) -> None:
    path = program(folder / "show", "exec sleep 600")
    with pytest.raises(SecretMissing, match="did not end"):
        await ReferencedSecrets(programs=[path], seconds=0.05).resolve(Command(cmd=(path,)), "db")


async def test_a_program_that_floods_is_ended(folder: Path) -> None:
    path = program(folder / "show", "exec yes")
    with pytest.raises(SecretMissing):
        await ReferencedSecrets(programs=[path], environ={"PATH": "/usr/bin:/bin"}).resolve(Command(cmd=(path,)), "db")


async def test_missing_program_and_silent_program(folder: Path) -> None:
    gone = str(folder / "gone")
    silent = program(folder / "silent", "true")
    secrets = ReferencedSecrets(programs=[gone, silent])
    with pytest.raises(SecretMissing, match="does not exist"):
        await secrets.resolve(Command(cmd=(gone,)), "db")
    with pytest.raises(SecretMissing, match="empty"):
        await secrets.resolve(Command(cmd=(silent,)), "db")


def test_key_files_obey_the_same_rules(folder: Path, tmp_path: Path) -> None:
    secrets = ReferencedSecrets([folder])
    assert secrets.key_file(put(folder / "id")) == folder / "id"
    with pytest.raises(Refused):
        secrets.key_file(put(tmp_path / "id"))
    with pytest.raises(Refused):
        secrets.key_file(put(folder / "id", mode=0o644))
    with pytest.raises(Refused):
        secrets.key_file("agent:SHA256:abc")
    with pytest.raises(SecretMissing):
        secrets.key_file(f"file:{folder}/none")


async def test_the_clock_goes_forward_and_randomness_differs() -> None:
    clock = SystemClock()
    first = clock.boot_ms()
    await asyncio.gather(clock.sleep(0), clock.sleep(0))
    assert clock.boot_ms() >= first > 0
    assert clock.wall_ms() > 1_700_000_000_000
    assert len(clock.randomness(16)) == 16
    assert clock.randomness(16) != clock.randomness(16)
