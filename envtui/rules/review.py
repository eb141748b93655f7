"""The review of a break-glass: what was done under it, as a record that its owner signs and somebody else ratifies or disputes.

The record's digest is over the hashes of the run's entries, in order, up to and with the end of the grant: who signs it
has seen that very past, and the owner's own ledger has to give the same digest when the answer comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from envtui.core import canonical
from envtui.core.access import Party, Refusal, Request, Terms, VerifiedSignOff
from envtui.core.errors import Refused
from envtui.core.events import (
    ActEnded,
    ActIntended,
    Answered,
    Entry,
    Event,
    GrantActivated,
    GrantEnded,
    LateAccepted,
    Noted,
    Probed,
    Resolved,
    Told,
    UndoStarted,
)

from .break_glass import REVIEWS
from .conditions import SKEW_MS
from .refusals import Refusals
from .words import in_words, outcome_in_words, stamp

LINE = 400
"""Characters of what one act did that a record takes."""

WHAT_BYTES = 40_000
"""Of all that was done, in canonical form: the rest of what is signed fits beside it."""

_Pair = tuple[str, int]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What was done under one break-glass, as its requester signs it. `request` is the grant's id too; times are wall ms.

    `ledger`, `ledger_seq` and `ledger_hash` are the head at the grant's end: who reviews it is its witness.
    """

    v: int = 1
    environment: str
    request: str
    request_sha256: str
    requester: Party
    run: str
    book: str
    incident: str
    reason: str
    what: tuple[str, ...]  # every act and its outcome, in words
    told: tuple[str, ...]  # who was called, and whether it was delivered
    transcript_sha256: str
    entries: int
    began_ms: int
    ended_ms: int
    due_ms: int
    ledger: str
    ledger_seq: int
    ledger_hash: str
    machine: str = ""  # self-reported, of whoever asked


def transcript(entries: Iterable[Entry], grant: str) -> tuple[Entry, ...]:
    """The entries of the grant's run up to and with its end; `entries` are of that run.

    Raises Refused when the grant is none, or is still active.
    """
    own = tuple(entries)
    if not any(isinstance(e.event, GrantActivated) and e.event.grant == grant for e in own):
        raise Refused(f"There is no break-glass {grant[:40]!r} in this run.", "`envtui review ENV` names them.")
    for at, entry in enumerate(own):
        if isinstance(entry.event, GrantEnded) and entry.event.grant == grant:
            return own[: at + 1]
    raise Refused(
        f"The break-glass {grant} is still active.",
        "Give it back first, or wait until it is over; then it is reviewed.",
    )


def transcript_sha256(entries: Sequence[Entry]) -> str:
    """The digest of a transcript: over its entries' hashes, in order."""
    return hashlib.sha256("".join(entry.hash for entry in entries).encode()).hexdigest()


def record(entries: Sequence[Entry], request: Request, request_sha256: str) -> Record:
    """The record of a break-glass, from the entries of its run. Raises Refused like `transcript`."""
    seen = transcript(entries, request.id)
    activated = next(e for e in seen if isinstance(e.event, GrantActivated) and e.event.grant == request.id)
    assert isinstance(activated.event, GrantActivated)
    afterwards = entries[len(seen) :]
    ends = {(e.event.act, e.event.attempt): e.event for e in entries if isinstance(e.event, ActEnded)}
    return Record(
        environment=request.environment,
        request=request.id,
        request_sha256=request_sha256,
        requester=request.requester,
        run=request.run,
        book=request.book,
        incident=request.incident.id,
        reason=request.reason,
        what=_fitting(
            [
                *((True, f"left out: {waiver.step}: {waiver.reason}"[:LINE]) for waiver in request.waivers),
                *_acts(seen, ends, ""),
                *_acts(afterwards, ends, "afterwards, not in the digest: "),
            ]
        ),
        told=tuple(
            in_words(e.event)[:LINE] for e in entries if isinstance(e.event, Told) and e.event.grant == request.id
        ),
        transcript_sha256=transcript_sha256(seen),
        entries=len(seen),
        began_ms=activated.at_ms,
        ended_ms=seen[-1].at_ms,
        due_ms=activated.event.review_by_ms,
        ledger=request.ledger,
        ledger_seq=seen[-1].seq,
        ledger_hash=seen[-1].hash,
        machine=request.machine,
    )


def record_bytes(done: Record) -> bytes:
    """What the requester signs."""
    return canonical.canonical(msgspec.to_builtins(done))


def parse_record(data: bytes) -> Record:
    """The record of canonical bytes. Raises Refused for anything that would not be written in exactly these bytes."""
    try:
        done = msgspec.convert(canonical.parse(data), Record)
    except msgspec.ValidationError as error:
        raise Refused(f"This is no record of a break-glass: {error}.", "Ask for the block to be sent again.") from error
    if record_bytes(done) != data:
        raise Refused("The record has fields that this version does not know.", "Use the same version on both sides.")
    return done


def lines(done: Record) -> Iterator[tuple[str, str]]:
    """(label, text) pairs in reading order: all that a reviewer reads before signing. Not cleaned here."""
    yield "Environment", done.environment
    yield (
        "BREAK-GLASS",
        f"by {done.requester.person} ({done.requester.key}) on {done.machine or 'a machine without a name'}",
    )
    yield "Incident", done.incident or "none"
    yield "Reason", done.reason
    yield "Book", f"{done.book}, run {done.run}"
    yield "Began", stamp(done.began_ms)
    yield "Ended", stamp(done.ended_ms)
    for told in done.told or ("NOT DELIVERED to people: the ledger does not say that anybody was called",):
        yield "Told", told
    for line in done.what or ("nothing was sent",):
        yield "Did", line
    yield "Review due", stamp(done.due_ms)
    yield "Transcript", f"{done.transcript_sha256}, {done.entries} entries, up to {done.ledger_seq}:{done.ledger_hash}"


def of_reviewer(
    requester: Party, asked_on: str, reviewer: Party, machine: str, touched: bool, terms: Terms
) -> tuple[Refusal, ...]:
    """May this person, with this key, on this machine, review that break-glass? Never one's own, by person and by key."""
    found, policy, who = Refusals(), terms.policy.signoff, reviewer.person
    others = terms.roster.approvers(policy.roles, besides=requester.person)
    ask = f"Ask {', '.join(others)}." if others else "The environment's owners must add a person who may."
    found.unless(
        bool(who) and who != requester.person and reviewer.key != requester.key,
        "self-review",
        f"{who or 'Nobody'} broke the glass and cannot review it.",
        ask,
    )
    found.unless(
        terms.roster.may(who, policy.roles),
        "role",
        f"{who or 'This key'} has none of the roles that review here: {', '.join(policy.roles)}.",
        ask,
    )
    found.unless(
        touched or not policy.require_touch,
        "touch",
        f"The key of {who} was not touched, and {terms.environment} asks for it.",
        "Sign with a security key (ed25519-sk, ecdsa-sk) and touch it.",
    )
    found.unless(
        touched or policy.same_machine == "allowed" or machine != asked_on,
        "same-machine",
        f"{who} signed on the machine of the break-glass ({asked_on}).",
        "Send the record to the reviewer's own machine, or have them touch their security key here.",
    )
    return found.all


def of_answer(one: VerifiedSignOff, done: Record, terms: Terms, now_ms: int) -> tuple[Refusal, ...]:
    """What keeps an answer from paying the debt; `done` is the record as this ledger gives it now."""
    said, found = one.signoff, Refusals()
    who = said.approver.person
    found.unless(
        said.verdict in REVIEWS,
        "verdict",
        f"{who} answered {said.verdict}, which is no review.",
        f"Ask for one: envtui ratify {terms.environment}, or dispute, with the record.",
    )
    found.unless(
        (said.request, said.request_sha256) == (done.request, done.request_sha256),
        "altered",
        f"{who} answered another request ({said.request[:40]}).",
        "Send them the record of this one.",
    )
    found.unless(
        said.transcript_sha256 == done.transcript_sha256
        and (said.ledger, said.ledger_seq, said.ledger_hash) == (done.ledger, done.ledger_seq, done.ledger_hash),
        "transcript",
        f"{who} reviewed another transcript ({said.transcript_sha256[:12]}) than this ledger has.",
        "Send them the record again: envtui review.",
    )
    found.extend(of_reviewer(done.requester, done.machine, said.approver, said.machine, one.by.touched is True, terms))
    found.unless(
        done.ended_ms - SKEW_MS <= said.signed_ms <= now_ms + SKEW_MS,
        "clock",
        f"The time of {who}'s signature does not fit the break-glass or this clock.",
        "Set both clocks and ask for the review again.",
    )
    found.unless(
        said.verdict != "dispute" or bool(said.reason.strip()), "reason", f"{who} disputes without a reason.", ""
    )
    return found.all


def _acts(entries: Sequence[Entry], ends: Mapping[_Pair, ActEnded], prefix: str) -> Iterator[tuple[bool, str]]:
    """(whether it wrote, a line) for every act with its outcome, also one that came later, and for what people said."""
    for entry in entries:
        event = entry.event
        if isinstance(event, ActIntended):
            end = ends.get((event.act, event.attempt))
            word = "no outcome is known: IN DOUBT" if event.mode == "write" else "it did not end"
            if end is not None:
                word = f"{end.word}{f', {end.why}' if end.why else ''} ({outcome_in_words(end)})"
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            what = "WRITE" if event.mode == "write" else "read"
            said = f"{event.act}{again}: {what} on {event.target}/{event.member}: {word}: {event.shows}"
            yield event.mode == "write", f"{prefix}{stamp(entry.at_ms)} {said}"[:LINE]
        elif isinstance(event, Probed | Resolved | UndoStarted | Noted | Answered | LateAccepted):
            yield _writes(event), f"{prefix}{stamp(entry.at_ms)} {in_words(event)}"[:LINE]


def _writes(event: Event) -> bool:
    return isinstance(event, Resolved | UndoStarted | LateAccepted)


def _fitting(found: Sequence[tuple[bool, str]]) -> tuple[str, ...]:
    """All of it; where that is too long, the writes and how much is left out: the transcript has it, and its digest."""
    if sum(_size(line) for _, line in found) <= WHAT_BYTES:
        return tuple(line for _, line in found)
    kept: list[str] = []
    room = WHAT_BYTES - 200
    for wrote, line in found:
        if wrote and room >= _size(line):
            room -= _size(line)
            kept.append(line)
    return (*kept, f"… and {len(found) - len(kept)} more lines, which the ledger has: `envtui report`")


def _size(line: str) -> int:
    return len(canonical.canonical(line)) + 1
