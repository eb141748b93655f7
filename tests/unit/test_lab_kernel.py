"""When the lab asks for less protection of reads than production's sample does."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtui.lab.kernel import ASKED, LOWERED, here, landlock, why_not


@pytest.mark.parametrize(
    ("system", "machine", "version", "python", "said"),
    [
        ("Linux", "x86_64", 3, "/usr/bin/python3", ""),
        ("Linux", "aarch64", 7, "/usr/bin/python3", ""),
        ("Linux", "x86_64", 2, "/usr/bin/python3", "Landlock 2, and version 3"),
        ("Linux", "x86_64", 0, "/usr/bin/python3", "Landlock not at all"),
        ("Linux", "riscv64", 7, "/usr/bin/python3", "no list of system calls for riscv64"),
        ("Linux", "x86_64", 7, None, "no python3"),
        ("Darwin", "arm64", 0, "/usr/bin/python3", "Darwin has no Landlock"),
    ],
)
def test_why_a_machine_cannot_hold_reads(
    system: str, machine: str, version: int, python: str | None, said: str
) -> None:
    found = why_not(system, machine, version, python)
    assert said in found
    assert bool(found) == bool(said)


def test_of_this_machine_it_asks_the_kernel() -> None:
    assert (here("/usr/bin:/bin") == "") == (landlock() >= 3)
    assert "python3" in here("/nowhere") or landlock() < 3


def test_production_asks_for_what_the_lab_may_lower() -> None:
    text = (Path(__file__).parents[2] / "runbooks/production/environment.yaml").read_text()
    assert text.count(ASKED) == 1
    assert LOWERED not in text
