"""Any order of asking, signing, revoking, breaking the glass, reviewing, writing, undoing, ending, crashing and moving clocks,
against one invariant:

No write starts unless a grant that the people whom policy asks for signed covers exactly that act: a forward act while it is
active, an undo within `undo_for` of what was done under it (or, while it is active, in its run); once for each attempt, never
after a revoke; and what is closed stays closed. The ledger, the use cases and the rules are the real ones; only signatures
are made by hashing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import envtui.engine.access as use
from envtui.core.access import Grant, Incident, Permit, Roster, RosterLine, Terms, namespace
from envtui.core.act import Act, Place, Plan, PlannedStep, SshCall, literal
from envtui.core.canonical import canonical_record
from envtui.core.environment import AccessPolicy, Person
from envtui.core.errors import EnvtuiError, Refused
from envtui.core.events import ActEnded, ActIntended, Entry, Event, GrantActivated, Resolved, SignedOff
from envtui.core.ports import Head, Signature
from envtui.engine import afterwards, revoking
from envtui.engine.reinstating import orphaned, reinstate
from envtui.rules import grants

START, MINUTE = 1_770_000_000_000, 60_000
TTL, UNDO_FOR, BROKEN = 30 * MINUTE, 15 * MINUTE, 10 * MINUTE


def act(step: str, member: str, word: str = "go") -> Act:
    place = Place(target="gateway", kind="ssh", member=member, address="10.0.0.1:22")
    return Act(step=step, mode="write", place=place, call=SshCall(argv=(literal(word),)), timeout=60.0)


FORWARD = (act("one", "gw1"), act("one", "gw2"), act("two", "gw1"))
UNDO = (act("one.undo", "gw1"), act("one.undo", "gw2"), act("two.undo", "admin"))
FOREIGN = (act("one", "gw3"), act("one.undo", "gw1", "other"), act("two.undo", "gw1"))
PLAN = Plan(
    run="RUN1",
    book="b",
    book_sha256="b" * 64,
    environment="production",
    operator="asha",
    incident="INC-1",
    steps=(
        PlannedStep(id="one", kind="ssh", mode="write", title="", acts=FORWARD[:2], undo=UNDO[:2]),
        PlannedStep(id="two", kind="ssh", mode="write", title="", acts=FORWARD[2:], undo=UNDO[2:]),
    ),
)
TAKES_BACK = dict(zip(UNDO, FORWARD, strict=True))


def key(name: str) -> str:
    return "ssh-ed25519 " + base64.b64encode(name.encode().ljust(32)).decode()


PEOPLE = {"asha": "approver", "meera": "approver", "tom": "approver", "ravi": "trainee"}
MAY_SIGN = {"meera", "tom"}  # asha asks
SPACES = (namespace("request", "production"), namespace("approve", "production"))
TERMS = Terms(
    environment="production",
    policy=msgspec.convert(
        {
            "incident": {"tracker": "file", "path": "register"},
            "signoff": {"roles": ["approver"], "same_machine": "allowed"},
            "break_glass": {"people": ["asha"], "max": "10m"},
        },
        AccessPolicy,
    ),
    roster=Roster(
        environment="production",
        lines=tuple(RosterLine(principal=name, key=key(name), namespaces=SPACES) for name in PEOPLE),
        people={name: Person(name=name, principals=(name,), roles=(role,)) for name, role in PEOPLE.items()},
    ),
    manifest_sha256="m" * 64,
    machine="laptop",
)


@dataclass
class Hashing:
    """Signer and verifier: what was signed by whom, in which namespace."""

    name: str = ""

    @property
    def key(self) -> str:
        return key(self.name)

    async def sign(self, space: str, message: bytes, waiting: Callable[[str], None]) -> str:
        return f"{self.name} {hashlib.sha256(space.encode() + message).hexdigest()}"

    async def verify(self, space: str, message: bytes, armoured: str) -> Signature:
        name = armoured.split()[0]
        if armoured != await Hashing(name).sign(space, message, print):
            raise Refused("altered")
        return Signature(principal=name, key=key(name), touched=None)


@dataclass
class Clocks:
    wall: int = START
    boot: int = 1_000_000
    drawn: int = 0

    def wall_ms(self) -> int:
        return self.wall

    def boot_ms(self) -> int:
        return self.boot

    def randomness(self, count: int) -> bytes:
        self.drawn += 1
        return hashlib.sha512(str(self.drawn).encode()).digest()[:count]


@dataclass
class Ledger:
    clock: Clocks
    entries: list[Entry] = field(default_factory=list)

    async def append(self, event: Event) -> Entry:
        number = len(self.entries) + 1
        mark = hashlib.sha256(f"{number} {self.clock.wall} {event}".encode()).hexdigest()
        self.entries.append(Entry(number, self.clock.wall, event, mark))
        return self.entries[-1]

    async def append_all(self, events: Sequence[Event]) -> list[Entry]:
        return [await self.append(event) for event in events]

    async def read(self, run: str | None = None) -> list[Entry]:
        return list(self.entries)

    async def find(self, text: str) -> list[Entry]:
        return [entry for entry in self.entries if text.encode() in canonical_record(entry.event)]

    async def head(self) -> Head:
        return Head("l", len(self.entries), "h")


@dataclass
class Register:
    open: bool = True

    async def lookup(self, incident: str) -> Incident:
        return Incident(id=incident, state="open" if self.open else "closed", opened_ms=START - 1, tracker="file")


@dataclass
class Granted:
    """What the test itself knows of a grant."""

    signed: bool
    wall: int
    boot: int
    ttl: int = TTL
    ours: bool = True  # activated by the process that lives
    over: bool = False
    revoked: bool = False
    closed: bool = False
    done: set[str] = field(default_factory=set)


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its result: nothing here waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def quiet(said: str) -> None:
    """For signers that need nobody's hand."""


class Held:
    def release(self) -> None: ...


attempts = st.sampled_from([1, 1, 1, 1, 1, 2, 2, 3, 0])
spans = st.one_of(
    st.integers(0, 3_000),
    st.integers(0, 3_000),
    st.integers(0, 5 * MINUTE),
    st.sampled_from([TTL, UNDO_FOR, MINUTE]),
    st.integers(0, TTL),
)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clocks()
        self.ledger = Ledger(self.clock)
        self.register = Register()
        self.held: list[Grant] = []
        self.model: dict[str, Granted] = {}
        self.signers: dict[str, set[str]] = {}
        self.asked: tuple[str, str] = ("", "")
        self.broken: set[str] = set()  # requests that ask nobody else
        self.owed: dict[str, frozenset[str]] = {}  # request -> what was owed when it was made
        self.debts: set[str] = set()
        self.used: set[tuple[str, str, int]] = set()
        self.unknown: set[tuple[str, int]] = set()

    @property
    def around(self) -> dict[str, Any]:
        return {"terms": TERMS, "tracker": self.register, "journal": self.ledger, "clock": self.clock}

    # --- people ---

    @rule(
        what=st.sampled_from(["ask", "break", "sign", "sign", "revoke", "review", "activate"]),
        who=st.sampled_from(["meera", "tom", "asha", "ravi"]),
        verdict=st.sampled_from(["approve"] * 3 + ["deny"]),
    )
    def people(self, what: str, who: str, verdict: str) -> None:
        match what:
            case "ask":
                self.ask()
            case "break":
                self.ask(broken=True)
            case "revoke":
                self.revoke(who)
            case "review":
                self.review(who, "ratify" if verdict == "approve" else "dispute")
            case "sign":
                self.sign(who, verdict)
            case _:
                self.activate()

    def ask(self, broken: bool = False) -> None:
        why = "it answers 403 to all, and nobody with a key answers"
        asking = use.ask(
            PLAN, "INC-1", why, 0, signer=Hashing("asha"), waiting=quiet, break_glass=broken, **self.around
        )
        try:
            request, block = now(asking)
        except Refused:
            assert not self.register.open or (broken and self.debts)
            return
        assert not (broken and self.debts)
        self.asked = (request.id, block)
        self.owed[request.id] = frozenset(self.debts)
        if broken:
            self.broken.add(request.id)

    def revoke(self, who: str) -> None:
        """By signature, of what was asked for last, whether it was activated or not."""
        if not self.asked[1]:
            return
        verifier = Hashing()
        try:
            _, block = now(
                revoking.sign(
                    self.asked[1],
                    terms=TERMS,
                    signer=Hashing(who),
                    verifier=verifier,
                    tracker=self.register,
                    clock=self.clock,
                    waiting=quiet,
                )
            )
            said = now(
                use.receive(block, "RUN1", terms=TERMS, verifier=verifier, journal=self.ledger, clock=self.clock)
            )
        except EnvtuiError:
            assert who == "ravi"
            return
        assert isinstance(said, SignedOff)
        assert who != "ravi"
        self.signers.setdefault(self.asked[0], set()).add("no")
        if self.asked[0] in self.model:
            known = self.model[self.asked[0]]
            known.over = known.revoked = True

    def review(self, who: str, verdict: Any) -> None:
        verifier = Hashing()
        shared = {"terms": TERMS, "verifier": verifier, "journal": self.ledger}
        try:
            _, block = now(
                afterwards.record("RUN1", signer=Hashing("asha"), hold=lambda run: Held(), waiting=quiet, **shared)
            )
            judged = afterwards.judge(
                now(afterwards.read(block, terms=TERMS, verifier=verifier)),
                verdict,
                terms=TERMS,
                signer=Hashing(who),
                tracker=self.register,
                clock=self.clock,
                waiting=quiet,
                reason="looked at it",
            )
            said = now(afterwards.take(now(judged), "RUN1", clock=self.clock, **shared))
        except EnvtuiError:
            return
        assert who in MAY_SIGN
        self.debts.discard(said.request)

    def sign(self, who: str, verdict: str) -> None:
        if not self.asked[1]:
            return
        verifier = Hashing()
        shared = {"terms": TERMS, "clock": self.clock}
        try:
            review = now(
                use.review(
                    self.asked[1], replan=lambda request: PLAN, verifier=verifier, tracker=self.register, **shared
                )
            )
            answer = now(use.sign(review, verdict, signer=Hashing(who), waiting=quiet, **shared))
            now(use.receive(answer, "RUN1", verifier=verifier, journal=self.ledger, **shared))
        except EnvtuiError:
            return
        said = self.signers.setdefault(self.asked[0], set())
        said.add(who if verdict == "approve" else "no")

    def activate(self) -> None:
        try:
            grant = now(use.activate("RUN1", plan=PLAN, verifier=Hashing(), **self.around))
        except Refused:
            return
        assert self.register.open
        assert grant.id not in self.model
        self.held.append(grant)
        said, broken = self.signers.get(grant.id, set()), grant.id in self.broken
        people = 0 if broken else 2 if self.owed[grant.id] else 1
        signed = said <= MAY_SIGN and len(said) >= people and self.debts <= self.owed[grant.id]
        assert signed
        assert not (broken and self.debts)
        self.model[grant.id] = Granted(signed, self.clock.wall, self.clock.boot, BROKEN if broken else TTL)
        if broken:
            self.debts.add(grant.id)

    @initialize()
    def begin(self) -> None:
        self.in_order()

    @rule()
    def in_order(self) -> None:
        """As it is meant, because by chance it comes to that seldom."""
        self.register.open = True
        self.ask()
        self.sign("meera", "approve")
        self.activate()

    def end(self, data: st.DataObject, reason: use.EndReason) -> None:
        if not self.held:
            return
        grant = data.draw(st.sampled_from(self.held))
        now(use.end(grant, reason, journal=self.ledger))
        known = self.model[grant.id]
        known.over = True
        known.revoked |= reason in ("REVOKED", "CLOCK_JUMP")

    # --- the world ---

    @rule(data=st.data(), what=st.sampled_from(["end", "end", "crash", "crash", "clock", "incident"]))
    def trouble(self, data: st.DataObject, what: str) -> None:
        match what:
            case "end":
                kinds: list[use.EndReason] = [
                    "COMPLETED",
                    "COMPLETED",
                    "GIVEN_BACK",
                    "EXPIRED",
                    "REVOKED",
                    "CLOCK_JUMP",
                ]
                self.end(data, data.draw(st.sampled_from(kinds)))
            case "crash":
                self.the_process_dies(data.draw(st.none() | st.integers(0, 10_000_000)), data)
            case "clock":
                self.somebody_sets_the_clock(data.draw(spans), data.draw(st.sampled_from([False, False, True])))
            case _:
                self.incident()

    @rule(by=spans)
    def time_passes(self, by: int) -> None:
        self.clock.wall += by
        self.clock.boot += by

    def somebody_sets_the_clock(self, by: int, back: bool) -> None:
        self.clock.wall += -by if back else by

    def incident(self) -> None:
        self.register.open = not self.register.open

    def the_process_dies(self, boot: int | None, data: st.DataObject) -> None:
        """`boot`: so does the machine. Somebody takes the run up again."""
        if boot is not None:
            self.clock.boot = boot
        self.held.clear()
        now(orphaned("RUN1", journal=self.ledger))
        for known in self.model.values():
            known.over, known.ours = True, False
        self.take_up(data)

    @rule(data=st.data())
    def take_up(self, data: st.DataObject) -> None:
        missing = sorted(set(self.model) - {grant.id for grant in self.held})
        if not missing:
            return
        wanted = data.draw(st.sampled_from(missing))
        try:
            grant = now(
                reinstate(
                    "RUN1",
                    wanted,
                    terms=TERMS,
                    replan=lambda request: PLAN,
                    verifier=Hashing(),
                    journal=self.ledger,
                    clock=self.clock,
                )
            )
        except Refused:
            return
        assert grant.undo_only
        assert not grant.acts
        self.held.append(grant)

    # --- writing ---

    @rule(data=st.data(), what=st.sampled_from((*FORWARD * 4, *UNDO, *FOREIGN)), attempt=attempts, ends=st.booleans())
    def write(self, data: st.DataObject, what: Act, attempt: int, ends: bool) -> None:
        if not self.held:
            return
        grant = data.draw(st.sampled_from(self.held))
        if not self.permitted(use.spend, grant, what, attempt):
            return
        known = self.model[grant.id]
        assert what in FORWARD
        assert known.ours
        assert not known.over
        assert self.register.open
        assert self.clock.wall - known.wall + what.timeout * 1000 <= known.ttl
        assert self.clock.boot - known.boot + what.timeout * 1000 <= known.ttl
        known.done.add(what.id)
        if ends:
            self.intended(what, attempt)
            self.concluded(what.id, attempt, "OK")

    @rule(data=st.data(), what=st.sampled_from(FORWARD))
    def written(self, data: st.DataObject, what: Act) -> None:
        self.write(data, what, 1, True)

    @rule(data=st.data(), what=st.sampled_from((*UNDO, *FORWARD, *FOREIGN)), attempt=attempts, likely=st.integers(0, 3))
    def undo(self, data: st.DataObject, what: Act, attempt: int, likely: int) -> None:
        if not self.held:
            return
        grant = data.draw(st.sampled_from(self.held))
        known = self.model[grant.id]
        if known.done and likely:
            forward = data.draw(st.sampled_from(sorted(known.done)))
            what = next(undo for undo, takes_back in TAKES_BACK.items() if takes_back.id == forward)
        active = known.ours and not known.over and self.register.open and self.clock.wall - known.wall < known.ttl
        if not self.permitted(use.spend_undo, grant, what, attempt):
            return
        assert what in UNDO
        assert not known.revoked
        assert not known.closed
        assert self.clock.wall - known.wall + what.timeout * 1000 <= known.ttl + UNDO_FOR
        assert not known.ours or self.clock.boot - known.boot + what.timeout * 1000 <= known.ttl + UNDO_FOR
        done = set().union(*(other.done for other in self.model.values())) if active else known.done
        assert TAKES_BACK[what].id in done
        assert not any(id_ == TAKES_BACK[what].id for id_, _ in self.unknown)

    def permitted(
        self, spend: Callable[..., Coroutine[Any, Any, Permit]], grant: Grant, what: Act, attempt: int
    ) -> bool:
        """Whether there is a permit; and what every permit has to be."""
        known = self.model[grant.id]
        try:
            permit = now(spend(grant, what, attempt, **self.around))
        except Refused as refused:
            said = refused.message
            known.over |= "write access ended" in said or said == grants.OVER or "ended the write access" in said
            known.revoked |= said == grants.SET_BACK
            known.closed |= said == grants.UNDO_OVER
            return False
        assert known.signed
        assert attempt >= 1
        assert not any(id_ == what.id for id_, _ in self.unknown)
        one = (grant.id, what.digest(), attempt)
        assert one not in self.used
        assert (permit.grant, permit.act_digest, permit.attempt) == one
        self.used.add(one)
        return True

    @rule(data=st.data())
    def intend(self, data: st.DataObject) -> None:
        if self.used:
            _, digest, attempt = data.draw(st.sampled_from(sorted(self.used)))
            what = next(one for one in (*FORWARD, *UNDO) if one.digest() == digest)
            self.intended(what, attempt)

    def intended(self, what: Act, attempt: int) -> None:
        event = ActIntended(
            run="RUN1",
            step=what.step,
            act=what.id,
            act_digest=what.digest(),
            mode="write",
            target="gateway",
            member=what.place.member,
            shows="",
            attempt=attempt,
        )
        now(self.ledger.append(event))
        self.unknown.add((what.id, attempt))

    @rule(data=st.data(), word=st.sampled_from(["OK", "FAILED", "IN DOUBT", "CANCELLED", "said"]))
    def conclude(self, data: st.DataObject, word: Any) -> None:
        if self.unknown:
            self.concluded(*data.draw(st.sampled_from(sorted(self.unknown))), word)

    def concluded(self, act_id: str, attempt: int, word: Any) -> None:
        step = act_id.partition("@")[0]
        event: Event = ActEnded(run="RUN1", step=step, act=act_id, word=word, attempt=attempt)
        if word == "said":
            event = Resolved(run="RUN1", step=step, act=act_id, done=False, by="asha", why="", attempt=attempt)
        now(self.ledger.append(event))
        if word != "IN DOUBT":
            self.unknown.discard((act_id, attempt))


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLife = Life.TestCase


def test_a_whole_life_is_possible() -> None:
    """The machine above would also be content if nothing were ever permitted."""
    life = Life()

    class First:
        def draw(self, strategy: Any) -> Any:
            return strategy.elements[0]

    first: Any = First()
    life.ask()
    life.sign("meera", "approve")
    life.activate()
    life.write(first, FORWARD[0], 1, True)
    life.the_process_dies(5, first)
    life.incident()
    life.time_passes(40 * MINUTE)
    life.take_up(first)
    life.undo(first, UNDO[0], 1, 0)
    life.write(first, FORWARD[1], 1, True)
    assert [
        (digest, attempt) for _, digest, attempt in sorted(life.used, key=lambda one: one[1] == UNDO[0].digest())
    ] == [
        (FORWARD[0].digest(), 1),
        (UNDO[0].digest(), 1),
    ]
    assert [entry.event.acts for entry in life.ledger.entries if isinstance(entry.event, GrantActivated)] == [3]


def test_a_life_after_break_glass_is_possible() -> None:
    life = Life()

    class First:
        def draw(self, strategy: Any) -> Any:
            return strategy.elements[0]

    first: Any = First()
    life.ask(broken=True)
    life.activate()
    life.write(first, FORWARD[0], 1, True)
    broken = set(life.model)
    assert life.debts == broken
    life.the_process_dies(5, first)
    life.ask()
    life.sign("meera", "approve")
    life.activate()
    assert set(life.model) == broken  # one more has to sign while nobody has looked
    life.sign("tom", "approve")
    life.activate()
    assert len(life.model) == 2
    life.review("asha", "ratify")
    life.review("ravi", "ratify")
    assert life.debts
    life.review("meera", "dispute")
    assert not life.debts
    life.in_order()
    life.revoke("tom")
    life.write(first, FORWARD[1], 1, True)
    assert [one[1] for one in life.used] == [FORWARD[0].digest()]
