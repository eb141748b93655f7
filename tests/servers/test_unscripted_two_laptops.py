"""Two people, two homes, two checkouts: one asks for what is in no book of the other's checkout, and the other reads all of it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from envtui.core.canonical import canonical
from envtui.lab.layout import Lab
from envtui.rules import grants, paste
from tests.servers.test_two_laptops import BOOK, REASON, Laptop, chat, lab, laptops, opened, refused

__all__ = ["lab", "laptops"]  # fixtures

pytestmark = pytest.mark.servers

REVERT = ("gatewayctl", "policy", "revert", "--keep-as", "incident")
PROPOSED = (
    *("propose", "production", "gateway", "--host", "gw1", "--probe", "gatewayctl policy current"),
    *("--applied", "^previous ", "--absent", "^latest ", "--undo", "gatewayctl policy restore incident"),
)


def granted(asha: Laptop, *blocks: str) -> str:
    file = asha.tree.parent / "grant"
    file.write_text("\n".join(blocks))
    return str(file)


def tampered(block: str, old: str, new: str) -> str:
    """The block with another word in its book's text, and the same signature."""
    signed = paste.read(block, "request")
    body = json.loads(signed.body)
    assert old in body["book_text"]
    body["book_text"] = body["book_text"].replace(old, new)
    return paste.block(msgspec.structs.replace(signed, body=canonical(body).decode()))


def test_a_write_in_no_book_is_read_in_full_signed_and_run(laptops: tuple[Laptop, Laptop]) -> None:
    asha, meera = laptops
    ask = (*PROPOSED, "--incident", opened(asha), "--reason", REASON, "--", *REVERT)
    request = asha(*ask).stdout

    other = meera("sign", "production", "--yes", stdin=tampered(request, "policy, revert", "policy, purge"), code=None)
    refused(other, "signature")
    answer = meera("sign", "production", "--yes", stdin=chat(request))
    for told in ("UNSCRIPTED", "+    argv: [gatewayctl, policy, revert", "+      argv: [gatewayctl, policy, current]"):
        assert told in answer.stderr, answer.stderr
    assert "gatewayctl policy restore incident" in answer.stderr

    changed = asha(
        "run", "production", "--grant", granted(asha, tampered(request, "policy, revert", "policy, purge"), answer.stdout), code=None
    )  # fmt: skip
    refused(changed)
    done = asha("run", "production", "--grant", granted(asha, answer.stdout, request))
    assert "PRODUCTION · UNSCRIPTED · " in done.stdout
    assert "write.probe@gw1" in done.stdout or "probe gw1" in done.stdout or "write@gw1: OK" in done.stdout
    run = grants.parse_request(paste.read(request, "request").body.encode()).run
    story = asha("ledger", "show", "production", run).stdout
    for told in ("an UNSCRIPTED run", "meera signed off request", "write@gw1: permit", "the run ended: OK"):
        assert told in story, story
    asha("undo", "production", run, "--yes")
    draft = asha("draft", "production", run).stdout
    file = asha.tree / "production/books/change-gateway.yaml"
    file.write_text(draft)
    assert "no problem" in (checked := asha("check", code=None)).stderr or checked.returncode == 0, checked.stdout


def test_an_edited_book_shows_its_difference_to_the_signers_own(laptops: tuple[Laptop, Laptop], lab: Lab) -> None:
    asha, meera = laptops
    incident = opened(asha)
    copy = Path(asha.tree.parent / "copy.yaml")
    text = (asha.tree / "production/books/gateway/policy-revert.yaml").read_text()
    copy.write_text(text.replace("--keep-as", "--keep-under"))
    ask = ("--incident", incident, "--reason", REASON)
    edited = asha("request", *BOOK, "--book", str(copy), *ask).stdout
    answer = meera("sign", "production", "--yes", stdin=edited)
    assert "EDITED" in answer.stderr
    assert "--keep-under" in next(line for line in answer.stderr.splitlines() if line.lstrip().startswith("+ "))
    assert "--keep-as" in next(line for line in answer.stderr.splitlines() if line.lstrip().startswith("- "))

    plain = asha("request", *BOOK, *ask).stdout  # Atlantis 1508: approved as it is, run as it was edited
    approved = meera("sign", "production", "--yes", stdin=plain).stdout
    both = asha("run", *BOOK, "--grant", granted(asha, edited, approved), code=None)
    refused(both)
    mixed = asha("run", *BOOK, "--book", str(copy), "--grant", granted(asha, plain, approved), code=None)
    refused(mixed, "What was signed is what runs")

    # What the text names comes from the signer's own checkout: with another manifest there it is another plan.
    meera.edit("environment.yaml", "max: 30m", "max: 45m")
    meera("trust", "production", "--yes")
    refused(meera("sign", "production", "--yes", stdin=edited, code=None), "The access policy", "the same commit")


def test_the_text_of_another_environments_book_gets_nowhere(laptops: tuple[Laptop, Laptop], lab: Lab) -> None:
    asha, _ = laptops
    copy = Path(asha.tree.parent / "copy.yaml")
    text = (asha.tree / "production/books/gateway/policy-revert.yaml").read_text()
    ask = ("--incident", opened(asha), "--reason", REASON)
    for old, new, says in (
        ("environment: production", "environment: staging", "this book is for staging"),
        ("target: gateway", "target: elsewhere", "there is no target 'elsewhere'"),
        ("id: gateway-policy-revert", "id: another", "An edited book keeps its id"),
    ):
        assert old in text
        copy.write_text(text.replace(old, new))
        refused(asha("request", *BOOK, "--book", str(copy), *ask, code=None), says)
