"""What this user accepted of each tree, and what changed since.

Who edits a checkout could own everyone who opens it: by a `cmd:` credential, another signer, another host key. So the
manifest, access/ and the host keys count as new until a person has seen the difference and accepted it. The accepted
texts are kept, outside the checkout and private to the user, because a digest alone could not show what changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from envtui.core.errors import Failed, NotTrusted
from envtui.core.text import backstop
from envtui.core.tree import Tree


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The file of one environment: the digest that was accepted and the texts behind it."""

    v: Literal[1] = 1
    sha256: str
    texts: dict[str, str]


class TrustStatus(msgspec.Struct, frozen=True):
    """How a tree compares with what was accepted. `diff` is unified, safe to show, and empty when trusted."""

    word: Literal["trusted", "new", "changed"]
    diff: str


class Trust:
    """The accepted trees of one user, a file for each environment in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def status(self, tree: Tree) -> TrustStatus:
        """Compare the tree, as it was read, with what was accepted."""
        accepted = self.accepted(tree.name)
        if accepted is not None and accepted.sha256 == tree.trust_sha256:
            return TrustStatus("trusted", "")
        before = accepted.texts if accepted else {}
        diff = "".join(_diff(before, tree.trusted_texts)) or "The bytes differ where their text does not.\n"
        return TrustStatus("changed" if accepted else "new", diff)

    def accept(self, tree: Tree) -> None:
        """Accept the tree exactly as it was read: show its `status` first. Raises Failed when that cannot be kept."""
        accepted = Accepted(sha256=tree.trust_sha256, texts=dict(tree.trusted_texts))
        target = self.file(tree.name)
        fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.encode(accepted))
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(target)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise Failed(f"{target} cannot be written: {error.strerror}.", "Nothing was accepted.") from error

    def require(self, tree: Tree) -> None:
        """Raises NotTrusted unless the tree is as this user accepted it."""
        word = self.status(tree).word
        if word == "trusted":
            return
        what = "was never accepted by you" if word == "new" else "changed since you accepted it"
        raise NotTrusted(
            f"The environment {tree.name} {what}: its manifest, access files or host keys.",
            f"Look at the difference and accept it with: envtui trust {tree.name}",
        )

    def file(self, name: str) -> Path:
        """Where what was accepted of an environment is kept."""
        return self._folder / f"{name}.json"

    def accepted(self, name: str) -> Accepted | None:
        """What was accepted; None when nothing was, or when the file is not one that we wrote."""
        try:
            return msgspec.json.decode(self.file(name).read_bytes(), type=Accepted)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


def _diff(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    from difflib import unified_diff

    for path in sorted({*before, *now}):
        old, new = (texts[path].removesuffix("\n").split("\n") if path in texts else [] for texts in (before, now))
        names = ("/dev/null" if path not in before else path, "/dev/null" if path not in now else path)
        for line in unified_diff(old, new, *names, lineterm="", n=3):
            # Compared raw and made visible after: two lines that only look alike must not look the same here.
            yield backstop(line) + "\n"
