"""Whatever happens and whenever the process dies: nothing is written twice, nothing unknown is passed over, and what is
said to be undone is undone. A small world with targets that remember what was done to them plays against `decide`."""

from __future__ import annotations

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from envtui.core.act import Act, Place, Plan, PlannedStep, SshCall
from envtui.core.events import (
    ActEnded,
    ActIntended,
    ActSent,
    Answered,
    Entry,
    Event,
    Finding,
    GrantActivated,
    GrantEnded,
    PermitSpent,
    Probed,
    Resolved,
    Resumed,
    RunEnded,
    RunStarted,
    StepEnded,
    StopAsked,
    UndoStarted,
    Word,
)
from envtui.core.runbook import Runbook
from envtui.rules import left
from envtui.rules.decide import decide
from envtui.rules.proposals import (
    Done,
    Doubt,
    EndStep,
    Finish,
    Following,
    LookAt,
    NeedsAnswer,
    NeedsDecision,
    Next,
    ReadyRead,
    ReadyUndo,
    ReadyWrite,
    StartUndo,
    UndoByHand,
)
from envtui.rules.run import apply, fold
from envtui.rules.state import Run
from envtui.rules.undo import undoable
from envtui.rules.written import written

PROBE = {"argv": ["p"], "applied": {"stdout_matches": "y"}, "absent": "otherwise"}
UNDO = {"argv": ["u"]}
MEMBERS = ("gw1", "gw2")


def books() -> st.SearchStrategy[Runbook]:
    ways = st.sampled_from(["stop", "ask", "undo"])

    def book(first: str, second: str, third: str, always: bool, attempts: int, needs: frozenset[str]) -> Runbook:
        steps: list[dict[str, object]] = [
            {"id": "look", "kind": "ssh", "argv": ["x"], "on_failure": first, "required": "look" in needs},
            {"id": "one", "kind": "ssh", "mode": "write", "argv": ["w"], "probe": PROBE, "undo": UNDO,
             "on_failure": second, **({"finally": "undo"} if always else {})},
            {"id": "sure", "kind": "choose", "options": {"yes": "two", "first": "check", "past": "hand"}},
            {"id": "check", "kind": "ssh", "argv": ["x"], "on_failure": third, "required": "check" in needs},
            {"id": "two", "kind": "ssh", "mode": "write", "argv": ["w"], "probe": PROBE, "undo": UNDO,
             "attempts": attempts, "on_failure": third},
            {"id": "hand", "kind": "manual", "mode": "write", "instructions": "do", "undo": {"instructions": "back"}},
            {"id": "three", "kind": "ssh", "mode": "write", "argv": ["w"], "repeatable": True, "on_failure": second},
            {"id": "well", "kind": "ssh", "argv": ["x"], "on_failure": third},
        ]  # fmt: skip
        fields = {"schema": "envtui/runbook@1", "id": "b", "environment": "e", "title": "t", "owner": "o"}
        before = [{"id": "up", "kind": "ssh", "argv": ["x"], "required": "up" in needs}]
        return msgspec.convert({**fields, "before": before, "steps": steps}, Runbook)

    firsts = st.sampled_from(["stop", "ask", "goto:one", "goto:three"])
    needs = st.frozensets(st.sampled_from(["up", "look", "check"]))
    return st.builds(book, firsts, ways, ways, st.booleans(), st.integers(1, 2), needs)


def act(step: str, member: str, mode: str) -> Act:
    place = Place(target="gw", kind="ssh", member=member, address=f"{member}:22")
    return Act(step=step, mode="write" if mode == "write" else "read", place=place, call=SshCall(argv=((step,),)))


def plan_of(book: Runbook) -> Plan:
    steps: list[PlannedStep] = []
    for step in (*book.before, *book.steps):
        kind = msgspec.to_builtins(step)["kind"]
        doing = kind == "ssh"
        steps.append(
            PlannedStep(
                id=step.id,
                kind=kind,
                mode=step.mode,
                title=step.id,
                before=step in book.before,
                acts=tuple(act(step.id, m, step.mode) for m in MEMBERS) if doing else (),
                undo=tuple(act(f"{step.id}.undo", m, "write") for m in MEMBERS) if doing and step.undo else (),
                probe=tuple(act(f"{step.id}.probe", m, "read") for m in MEMBERS) if doing and step.probe else (),
                by_hand="back" if step.id == "hand" else "",
                required=step.required,
            )
        )
    return Plan(run="R", book="b", book_sha256="0", environment="e", operator="asha", steps=tuple(steps))


class World:
    """One run, its ledger, and the targets: `there` are the forward acts whose effect is there."""

    def __init__(self, book: Runbook, draw: st.DataObject) -> None:
        self.book = book
        self.plan = plan_of(book)
        self.data = draw
        self.calm = draw.draw(st.integers(0, 3))
        self.run = Run(id="R")
        self.entries: list[Entry] = []
        self.there: dict[str, bool] = {}
        self.sent: dict[str, int] = {}  # how often each act reached its target
        self.by_hand = False
        self.grants = 0
        started = RunStarted(
            run="R", book="b", book_sha256="0", title="t", plan_digest="d", operator="asha", plan=written(self.plan, {})
        )
        self.append(started)

    def append(self, *events: Event) -> None:
        for one in events:
            entry = Entry(len(self.entries) + 1, 1000 * len(self.entries) + 1, one, "")
            self.entries.append(entry)
            self.run = apply(self.run, entry)

    def chance(self, good: str, *others: str) -> str:
        """What happens: in a calm world nearly always the first."""
        if self.calm and self.data.draw(st.integers(0, 10 * self.calm)):
            return good
        return self.data.draw(st.sampled_from((good, *others)))

    def next(self) -> Next:
        return decide(self.run, self.plan, self.book)

    # -- what each proposal leads to ----------------------------------------------------------------------------

    def play(self, proposed: Next) -> None:
        match proposed:
            case EndStep():
                self.append(
                    StepEnded(run="R", step=proposed.step, word=proposed.word, why=proposed.why, goto=proposed.goto)
                )
            case Finish():
                self.append(RunEnded(run="R", word=proposed.word, why=proposed.why))
            case StartUndo():
                self.append(UndoStarted(run="R", acts=proposed.acts, cause=proposed.cause, why=proposed.why))
            case ReadyRead():
                for one in proposed.acts:
                    self.append(self.intent(one, 1))
                    if self.chance("goes on", "goes on", "dies") == "dies":
                        self.resume()
                        return
                    word: Word = "FAILED" if self.chance("good", "bad") == "bad" else "OK"
                    self.append(ActEnded(run="R", step=proposed.step, act=one.id, word=word, why="so"))
            case NeedsAnswer():
                if proposed.held:
                    assert self.lacking(proposed.step)
                    self.pass_over()
                    return
                if proposed.step == "hand":
                    assert not self.lacking("hand"), "changed by hand, and a required read was not OK"
                    self.by_hand = True
                answer = self.chance(*(proposed.options or ("done",)))
                self.append(Answered(run="R", step=proposed.step, answer=answer))
            case ReadyWrite() | ReadyUndo():
                self.write(proposed)
            case Doubt():
                self.doubt(proposed)
            case Following():
                self.end(proposed.step, self.act(proposed.act), "OK")
            case LookAt():
                for act_id in proposed.acts:
                    self.probed(proposed.step, act_id, self.found(act_id, self.chance("sees", "sees", "cannot")))
            case UndoByHand():
                self.by_hand = False
                self.append(Resolved(run="R", step="hand", act="hand", done=True, by="asha", why="did it"))
            case NeedsDecision():
                self.decided(proposed)
            case _:
                raise AssertionError(proposed)

    def write(self, proposed: ReadyWrite | ReadyUndo) -> None:
        one, attempt = proposed.act, proposed.attempt
        state = self.run.act(one.id)
        assert state is not None
        assert not self.run.in_doubt, "something is in doubt, and a write is proposed"
        assert not state.intended
        grant = self.run.grant
        if isinstance(proposed, ReadyWrite) and proposed.held:
            event("held")
            assert self.lacking(proposed.step), "held, and every required read was OK or is waived"
            self.pass_over()
            return
        if not proposed.granted:
            self.grants += 1
            self.append(
                GrantActivated(
                    run="R", grant=f"G{self.grants}", plan_digest="d", incident="", signed_by=(), until_ms=0, acts=6,
                    nonce=f"n{self.grants}",
                )
            )  # fmt: skip
            return
        assert grant is not None
        undo = isinstance(proposed, ReadyUndo)
        assert undo or not grant.ended
        assert undo or not self.lacking(proposed.step), "a required read was neither OK nor waived"
        assert (one.digest(), attempt) not in self.run.permits
        step = next(s for s in self.book.steps if s.id == one.step.partition(".")[0])
        if undo:
            assert self.there.get(self.forward(one)), "nothing is there, and its undo is proposed"
        elif not step.repeatable and step.attempts == 1:
            assert not self.there.get(one.id), "it is there already, and is proposed again"
        self.append(
            PermitSpent(
                run="R", grant=grant.id, permit=f"P{len(self.entries)}", act=one.id, act_digest=one.digest(),
                attempt=attempt,
            )
        )  # fmt: skip
        if self.chance("goes on", *["goes on"] * 8, "dies") == "dies":
            self.resume()
            return
        self.append(self.intent(one, attempt))
        if self.chance("goes on", *["goes on"] * 8, "dies") == "dies":
            self.resume()
            return
        self.sent[one.id] = self.sent.get(one.id, 0) + 1
        what = self.chance("works", "works", "fails", "half", "lost", "dies", "refused", "detached")
        if what in ("works", "half") or (
            what in ("lost", "dies", "detached") and self.chance("did", "did not") == "did"
        ):
            self.effect(one)
        if what == "dies":
            self.resume()
        elif what == "detached" and not undo:
            self.append(ActSent(run="R", step=one.step, act=one.id, attempt=attempt, detached=True))
        else:
            words: dict[str, Word] = {"works": "OK", "lost": "IN DOUBT", "detached": "IN DOUBT", "refused": "REFUSED"}
            self.end(step.id, one, words.get(what, "FAILED"), untouched=what == "refused")

    def lacking(self, step: str) -> list[str]:
        """Required reads before a step that ended otherwise than OK, or never, and are not waived now. From the ledger alone."""
        words: dict[str, str] = {}
        waived: tuple[str, ...] = ()
        for entry in self.entries:
            match entry.event:
                case StepEnded(step=ended, word=word):
                    words[ended] = word
                case GrantActivated():
                    waived = entry.event.waived
                case GrantEnded():
                    waived = ()
        order = [each.id for each in (*self.book.before, *self.book.steps)]
        before = order[: order.index(step)]
        required = [each.id for each in (*self.book.before, *self.book.steps) if each.required and each.mode == "read"]
        return [each for each in required if each in before and words.get(each) != "OK" and each not in waived]

    def pass_over(self) -> None:
        """Nobody writes now: some or all of what lacks is waived under a new grant, or a person ends the run."""
        if self.chance("waive", "stop") == "stop":
            self.stop()
            return
        event("waived")
        if self.run.grant is not None and not self.run.grant.ended:
            self.append(GrantEnded(run="R", grant=self.run.grant.id, reason="GIVEN_BACK"))
        self.grants += 1
        waived = self.data.draw(st.frozensets(st.sampled_from(["up", "look", "check"]), min_size=1))
        self.append(
            GrantActivated(
                run="R", grant=f"G{self.grants}", plan_digest="d", incident="", signed_by=(), until_ms=0, acts=6,
                nonce=f"n{self.grants}", waived=tuple(sorted(waived)),
            )
        )  # fmt: skip

    def end(self, step: str, one: Act, word: Word, untouched: bool = False) -> None:
        state = self.run.act(one.id)
        assert state is not None
        if word == "OK" and not self.there.get(self.forward(one), False) and not one.step.endswith(".undo"):
            word = "FAILED"
        self.append(
            ActEnded(run="R", step=step, act=one.id, word=word, why="so", attempt=state.attempt, untouched=untouched)
        )

    def effect(self, one: Act) -> None:
        self.there[self.forward(one)] = not one.step.endswith(".undo")

    def doubt(self, proposed: Doubt) -> None:
        assert isinstance(proposed.choices, tuple)
        if proposed.found is None or (self.chance("say", "look") == "look" and "look" in proposed.choices):
            runs = self.chance("ended", "runs") == "runs"
            found: Finding = "unknown" if runs else self.found(proposed.act, self.chance("sees", "sees", "cannot"))
            self.append(Probed(run="R", step=proposed.step, act=proposed.act, found=found, why="so", dead=not runs))
            return
        truth = self.found(proposed.act, "sees") == "applied"
        said = "done" if truth else "not done"
        assert said in proposed.choices, "a truthful person cannot say what is"
        self.append(Resolved(run="R", step=proposed.step, act=proposed.act, done=truth, by="asha", why="looked"))

    def found(self, act_id: str, how: str) -> Finding:
        if how == "cannot":
            return "unknown"
        one = self.act(act_id)
        there = self.there.get(self.forward(one), False)
        return "applied" if there != one.step.endswith(".undo") else "absent"

    def probed(self, step: str, act_id: str, found: Finding) -> None:
        self.append(Probed(run="R", step=step, act=act_id, found=found, why="so"))

    def decided(self, proposed: NeedsDecision) -> None:
        step = next((s for s in (*self.book.before, *self.book.steps) if s.id == proposed.step), None)
        if step is not None and step.required:
            grant = self.run.grant
            waived = grant is not None and not grant.ended and step.id in grant.waived
            assert ("skip" in proposed.choices) == waived, "a required step may be left out only where that was signed"
        choice = self.chance(*proposed.choices)
        self.append(Answered(run="R", step=proposed.step, answer=choice))
        if choice == "undo":
            self.append(UndoStarted(run="R", acts=undoable(self.run, self.plan), cause="person"))
        elif choice == "skip":
            self.append(StepEnded(run="R", step=proposed.step, word="SKIPPED"))
        elif choice == "stop":
            self.append(StepEnded(run="R", step=proposed.step, word="FAILED", goto="="))

    def resume(self) -> None:
        """The process died here; another one takes the run up from what is in the ledger."""
        event("resumed")
        self.run = fold(self.entries, "R")
        if self.run.grant is not None and not self.run.grant.ended:
            self.append(GrantEnded(run="R", grant=self.run.grant.id, reason="GIVEN_BACK"))
        again = left.again(self.run, self.plan, self.book)
        self.append(Resumed(run="R", operator="asha", machine="m", plan_digest="d", again=again))

    def stop(self) -> None:
        if not isinstance(self.next(), Done):
            self.append(StopAsked(run="R", why="enough"))

    def undo(self) -> None:
        acts = undoable(self.run, self.plan)
        if acts and not self.run.in_doubt and not self.run.detached:
            self.append(UndoStarted(run="R", acts=acts, cause="person"))

    # -- names --------------------------------------------------------------------------------------------------

    def intent(self, one: Act, attempt: int) -> ActIntended:
        return ActIntended(
            run="R", step=one.step.partition(".")[0], act=one.id, act_digest=one.digest(), mode=one.mode, target="gw",
            member=one.place.member, shows="x", attempt=attempt, permit="P",
        )  # fmt: skip

    def act(self, act_id: str) -> Act:
        return next(a for s in self.plan.steps for a in (*s.acts, *s.undo) if a.id == act_id)

    def forward(self, one: Act) -> str:
        return f"{one.step.partition('.')[0]}@{one.place.member}"


@settings(max_examples=200, deadline=None)
@given(books(), st.data())
def test_nothing_twice_and_nothing_unknown_is_passed_over(book: Runbook, data: st.DataObject) -> None:
    world = World(book, data)
    resumed = 0
    for _ in range(400):
        proposed = world.next()
        if isinstance(proposed, Done):
            check_end(world, proposed)
            resumed += 1
            if resumed > 3:
                return
            if proposed.word in ("OK", "UNDONE"):
                if proposed.word == "OK" and world.chance("undo", "leave") == "undo":
                    world.undo()
                    if not isinstance(world.next(), Done):
                        continue
                return
            world.resume() if world.chance("resume", "undo") == "resume" else world.undo()
            continue
        what = world.chance("goes on", *["goes on"] * 12, "dies", "stops", "undoes")
        if what == "dies":
            world.resume()
        elif what == "stops":
            world.stop()
        elif what == "undoes":
            world.undo()
        else:
            world.play(proposed)
        assert fold(world.entries, "R") == world.run


def check_end(world: World, done: Done) -> None:
    event(f"ended {done.word}")
    run = world.run
    assert not run.in_doubt, "the run ended over a doubt"
    if done.word == "UNDONE":
        left_over = [a for a, there in world.there.items() if there and a.partition("@")[0] in ("one", "two")]
        assert not left_over, f"said to be undone, and is there: {left_over}"
        assert not world.by_hand
    always = {s.id for s in world.book.steps if s.finally_ == "undo"}
    if done.word in ("OK", "CANCELLED", "UNDONE"):
        assert not [a for a, there in world.there.items() if there and a.partition("@")[0] in always]
