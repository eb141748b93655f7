"""The lab's copy of the sample trees, in which only addresses, keys and identities are filled in.

Each of them is a literal of the sample tree that is replaced by one of the lab. A literal that is not there is an error:
the sample changed, and the lab would otherwise run with an address of nobody.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envtui.core.errors import Failed

_SIGNER = re.compile(r"^([a-z]+)( .*) ssh-ed25519 \S+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Filling:
    """What is put into one tree. `replaced` is for environment.yaml: literal -> literal."""

    replaced: Mapping[str, str]
    known_hosts: Mapping[str, str]  # 'host' or '[address]:port' -> 'ssh-ed25519 AAAA…'
    signers: Mapping[str, str]  # person -> 'ssh-ed25519 AAAA…'


def fill(sample: Path, target: Path, filling: Filling) -> None:
    """Copy one tree. Raises Failed when something to replace is not in the sample."""
    shutil.copytree(sample, target, copy_function=shutil.copyfile)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o700)
    manifest = target / "environment.yaml"
    text = manifest.read_text()
    for literal, value in filling.replaced.items():
        if literal not in text:
            raise Failed(f"The sample tree {target.name} has no {literal}.", "The lab and runbooks/ must fit together.")
        text = text.replace(literal, value)
    manifest.write_text(text)
    (target / "known_hosts").write_text("".join(f"{name} {key}\n" for name, key in filling.known_hosts.items()))
    signers = target / "access" / "allowed_signers"
    signers.write_text(_SIGNER.sub(lambda line: f"{line[1]}{line[2]} {filling.signers[line[1]]}", signers.read_text()))
    for file in target.rglob("*"):
        if file.is_file():
            file.chmod(0o600)
