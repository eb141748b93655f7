"""Two people, two homes, two checkouts, one lab: the outage is fixed with a sign-off that travels as text through a chat.

Nothing is shared but the register of incidents, as on a shared path; each laptop has its own tree, trust, keys and ledger.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envtui.lab import cli
from envtui.lab.layout import Lab
from envtui.lab.people import command, variables

pytestmark = pytest.mark.servers

BOOK = ("production", "gateway-policy-revert")
REASON = "revert the 09:38 policy, it refuses every call"
ANSWERS = ("--answer", "cause=diff", "--answer", "tell.channel=#status", "--answer", "tell=done")


@dataclass(frozen=True)
class Laptop:
    """One person's machine: what they type runs in their home, with their checkout."""

    lab: Lab
    person: str

    @property
    def tree(self) -> Path:
        return self.lab.person(self.person) / "checkout"

    def __call__(self, *words: str, stdin: str = "", code: int | None = 0) -> subprocess.CompletedProcess[str]:
        own = {**variables(self.lab, self.person, os.environ), "ENVTUI_RUNBOOKS": str(self.tree)}
        done = subprocess.run(
            command(list(words)), env=own, input=stdin, capture_output=True, text=True, timeout=240, check=False
        )
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.tree / "production" / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def chat(text: str) -> str:
    """What a chat makes of a block: quoted, indented, CRLF, dashes made clever, somebody talking around it."""
    lines = [f"  > {line}" for line in text.replace("-----", "–––––").splitlines()]
    return "\r\n".join(["asha 09:52", "can you look at this please?", "", *lines, "", "thanks!"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="envtui-test-") as folder:
        lab = Lab(Path(folder) / "lab")
        daemon = cli.start(lab)
        yield lab
        cli.tell(lab, "down")
        daemon.wait(20)


@pytest.fixture
def laptops(lab: Lab) -> Iterator[tuple[Laptop, Laptop]]:
    """asha's and meera's, each trusting what they checked out."""
    both = Laptop(lab, "asha"), Laptop(lab, "meera")
    for laptop in both:
        shutil.copytree(lab.runbooks, laptop.tree)
        # The register is on a path that both can read; the trees are not.
        manifest = laptop.tree / "production" / "environment.yaml"
        manifest.write_text(re.sub(r"path: \S*registers/", f"path: {lab.registers}/", manifest.read_text()))
        laptop("trust", "production", "--yes")
    yield both
    for laptop in both:
        shutil.rmtree(laptop.tree)
        shutil.rmtree(lab.person(laptop.person) / "state", ignore_errors=True)
    cli.tell(lab, "reset")


def opened(who: Laptop) -> str:
    return who("incident", "open", "production", "--title", "403 for everyone").stdout.strip()


def asked(who: Laptop, incident: str, *more: str) -> str:
    return who("request", *BOOK, "--incident", incident, "--reason", REASON, *more).stdout


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def test_the_outage_is_fixed_by_two_people_and_a_chat(lab: Lab, laptops: tuple[Laptop, Laptop]) -> None:
    asha, meera = laptops
    cli.tell(lab, "break jwt")
    eventually(lambda: cli.tell(lab, "status")["production"]["state"] == "unhealthy")
    looked = asha("run", *BOOK, *ANSWERS, code=3)
    assert "403" in looked.stdout
    incident = opened(asha)
    request = asked(asha, incident)

    answer = meera("sign", "production", "--yes", stdin=chat(request))
    assert REASON in answer.stderr
    assert "gatewayctl policy revert" in answer.stderr
    assert incident in answer.stderr

    grant = asha.tree.parent / "grant"
    grant.write_text(chat(answer.stdout) + "\n" + request)  # the answer first: any order will do
    done = asha("run", *BOOK, "--grant", str(grant), *ANSWERS)
    eventually(lambda: cli.tell(lab, "status")["production"]["state"] == "healthy")
    assert "WRITE" in done.stdout + done.stderr

    run = re.search(r"run ([0-9A-Z]{16})", done.stdout + done.stderr)
    assert run is not None
    story = asha("ledger", "show", "production", run[1]).stdout
    for told in (
        f"write access asked for under {incident}: {REASON}",
        "meera signed off request",
        f"{incident}, signed by meera",
        "revert@gw1: permit",
        "write access ended: COMPLETED",
        "the run ended: OK",
    ):
        assert told in story, story
    assert "sound" in asha("ledger", "verify", "production").stdout
    assert run[1] not in meera("ledger", "show", "production").stdout  # her ledger is her own

    again = asha("run", *BOOK, "--grant", str(grant), *ANSWERS, code=None)
    assert again.returncode != 0
    assert "one run" in again.stderr


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It gave nothing, and its reason says these words; the last line is the way out."""
    assert done.returncode != 0, (done.stdout, done.stderr)
    assert "BEGIN ENVTUI" not in done.stdout
    for word in words:
        assert word in done.stderr, done.stderr


def test_each_refusal_names_its_reason_and_the_way_out(laptops: tuple[Laptop, Laptop]) -> None:
    asha, meera = laptops
    incident = opened(asha)
    ask = ("request", *BOOK, "--reason", REASON)
    refused(asha(*ask, code=None), "needs an incident", "envtui incident open production")
    refused(asha(*ask, "--incident", "INC-9999", code=None), "no incident 'INC-9999'", "envtui incident list")
    refused(asha(*ask, "--incident", incident, "--for", "12h", code=None), "the policy allows up to 30m", "Ask for 30m")
    bare = ("request", *BOOK, "--incident", incident, "--reason", ".")
    refused(asha(*bare, code=None), "'.' is not a reason", "Say in at least")

    request = asked(asha, incident)
    refused(
        asha("sign", "production", "--yes", stdin=request, code=None), "cannot approve it", "Ask meera, tomas, lena"
    )
    cut = request.replace(request.splitlines()[3] + "\n", "")
    refused(meera("sign", "production", "--yes", stdin=cut, code=None), "Ask for it again")
    refused(
        meera("sign", "production", "--yes", stdin="no block at all", code=None), "no request block", "BEGIN ENVTUI"
    )

    grant = asha.tree.parent / "grant"
    grant.write_text(request)
    alone = asha("run", *BOOK, "--grant", str(grant), *ANSWERS, code=3)
    refused(alone, "1 more sign-off is needed", "Send the request to")

    answer = meera("sign", "production", "--yes", stdin=request).stdout
    grant.write_text(request + answer)
    asha("incident", "close", "production", incident)
    closed = asha("run", *BOOK, "--grant", str(grant), *ANSWERS, code=None)
    refused(closed, f"{incident} is closed", "name the incident that is going on")
    refused(meera("sign", "production", "--yes", stdin=request, code=None), f"{incident} is closed")


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        ("books/gateway/policy-revert.yaml", "--keep-as", "--purge", "book"),
        ("access/people.yaml", "roles: [on-call", "roles: [janitor, on-call", "roster"),
        ("environment.yaml", "max: 30m", "max: 45m", "policy"),
    ],
)
@pytest.mark.parametrize("whose", ["asha", "meera"])
def test_a_tampered_checkout_is_noticed_on_either_side(
    laptops: tuple[Laptop, Laptop], whose: str, path: str, old: str, new: str, says: str
) -> None:
    """Also when whoever did it accepted the tampered tree as trusted."""
    asha, meera = laptops
    tampered = asha if whose == "asha" else meera
    incident = opened(asha)
    tampered.edit(path, old, new)
    tampered("trust", "production", "--yes")
    request = asked(asha, incident)
    signed = meera("sign", "production", "--yes", stdin=request, code=None)
    refused(signed, f"The {'access ' if says == 'policy' else ''}{says}", "the same commit")


def test_a_checkout_that_changes_after_the_signature_gets_nothing(laptops: tuple[Laptop, Laptop]) -> None:
    asha, meera = laptops
    request = asked(asha, opened(asha))
    answer = meera("sign", "production", "--yes", stdin=request).stdout
    asha.edit("books/gateway/policy-revert.yaml", "--keep-as", "--purge")
    grant = asha.tree.parent / "grant"
    grant.write_text(request + answer)
    done = asha("run", *BOOK, "--grant", str(grant), *ANSWERS, code=None)
    refused(done, "is not the one here", "What was signed is what runs")


def test_an_approver_sees_what_is_another_since_the_last_run(lab: Lab, laptops: tuple[Laptop, Laptop]) -> None:
    """As far as their own ledger knows."""
    asha, meera = laptops
    incident = opened(asha)
    first = meera("sign", "production", "--yes", stdin=asked(asha, incident))
    assert "Last run     never run here" in first.stderr
    meera("run", *BOOK, "--answer", "cause=hand-over", "--answer", "hand-over=done", code=0)
    same = meera("sign", "production", "--yes", stdin=asked(asha, incident))
    assert "by meera, OK; " in same.stderr
    for laptop in laptops:
        laptop.edit(
            "books/gateway/policy-revert.yaml",
            "argv: [gatewayctl, policy, restore,",
            "argv: [gatewayctl, policy, restore, --force,",
        )
    other = meera("sign", "production", "--yes", stdin=asked(asha, incident))
    assert "gatewayctl policy restore --force" in other.stderr.partition("Last run")[2]
