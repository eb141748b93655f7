"""What can happen, as a closed union: the ledger holds these and nothing else, and a run is their fold.

An event is durable before anyone sees it. Times are UTC, milliseconds since 1970, stamped by the journal's entry, not by
the event; `at` inside an event exists only where the moment itself matters to a decision.
"""

# No postponed annotations here: msgspec reads them, and each one that is text is compiled again at every start.

from typing import Literal

import msgspec

from .act import Mode, Value

Finding = Literal["applied", "absent", "unknown"]
Word = Literal["OK", "FAILED", "TIMED OUT", "CANCELLED", "REFUSED", "SKIPPED", "UNDONE", "IN DOUBT"]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    pass


class SessionOpened(_Event, frozen=True, kw_only=True, tag="session-opened"):
    environment: str
    operator: str
    machine: str
    version: str
    manifest_sha256: str = ""


class TrustAccepted(_Event, frozen=True, kw_only=True, tag="trust-accepted"):
    digest: str
    operator: str


class IdentityShown(_Event, frozen=True, kw_only=True, tag="identity-shown"):
    """What a connection showed when it was made; `fits` false ended it."""

    target: str
    member: str
    access: Literal["read", "write"]
    shown: str
    fits: bool
    protection: str = ""


class RunStarted(_Event, frozen=True, kw_only=True, tag="run-started"):
    run: str
    book: str
    book_sha256: str
    title: str
    plan_digest: str
    operator: str
    inputs: dict[str, Value] = msgspec.field(default_factory=dict)
    unscripted: bool = False
    plan: str = ""  # the plan's canonical JSON, so that a run can be read back without the tree
    date: str = ""  # ${run.date}, so that the same plan can be made another day
    book_text: str = ""  # of a book that is in no checkout: an unscripted step, or one edited in the incident


class ActIntended(_Event, frozen=True, kw_only=True, tag="act-intended"):
    """Durable before the command is sent. No `ActEnded` after it means: in doubt, for a write."""

    run: str
    step: str
    act: str
    act_digest: str
    mode: Mode
    target: str
    member: str
    shows: str  # the masked command line or statement
    attempt: int = 1
    permit: str = ""
    transcript: str = ""
    late: dict[str, str] = {}  # slot -> value in this act; its digest is that of the act with the values in it


class ActEnded(_Event, frozen=True, kw_only=True, tag="act-ended"):
    run: str
    step: str
    act: str
    word: Word
    why: str = ""
    exit: int | None = None
    status: int | None = None
    rows: int | None = None
    affected: int | None = None
    milliseconds: int = 0
    output_sha256: str = ""
    output_bytes: int = 0
    truncated: bool = False
    attempt: int = 1
    untouched: bool = False  # a write that failed before anything of it could remain
    refused: tuple[str, ...] = ()  # what the sandbox of a read did not let it do
    transcript: str = ""  # of one that was followed later: not the one of its intent


class ActSent(_Event, frozen=True, kw_only=True, tag="act-sent"):
    """What finds a write again at its target (`ports.Handle`), durable before anything of it can remain; or, with
    `detached`, that it was started and goes on there without us."""

    run: str
    step: str
    act: str
    attempt: int
    handle: dict[str, str] = msgspec.field(default_factory=dict)
    detached: bool = False


class Probed(_Event, frozen=True, kw_only=True, tag="probed"):
    """What was found of a write: by its probe, or by the database's own word on its transaction. `act` is the write's,
    the forward one's also when an undo asks. Conclusive only because the attempt is proven dead (`dead`)."""

    run: str
    step: str
    act: str
    found: Finding
    why: str = ""
    attempt: int = 1
    dead: bool = True


class Resolved(_Event, frozen=True, kw_only=True, tag="resolved"):
    """A person's word on a write in doubt, with the reason: it is done, or it is not (and may be asked for again)."""

    run: str
    step: str
    act: str
    done: bool
    by: str
    why: str
    attempt: int = 1


class Resumed(_Event, frozen=True, kw_only=True, tag="resumed"):
    """The run goes on in another process. `again`: the steps that are read again first. `plan` as in RunStarted, when the
    book or its tree changed since."""

    run: str
    operator: str
    machine: str
    plan_digest: str
    again: tuple[str, ...] = ()
    plan: str = ""
    book_sha256: str = ""
    book_text: str = ""  # with `plan`, as in RunStarted


class StopAsked(_Event, frozen=True, kw_only=True, tag="stop-asked"):
    """The run ends here by a person's word; what must be undone `finally` is undone first."""

    run: str
    why: str
    by: str = ""


class UndoStarted(_Event, frozen=True, kw_only=True, tag="undo-started"):
    """From here on the run takes back what it did. `acts`: ids of the undo acts, or of steps undone by hand, in order."""

    run: str
    acts: tuple[str, ...]
    cause: Literal["person", "on_failure", "finally"]
    why: str = ""
    by: str = ""


class Captured(_Event, frozen=True, kw_only=True, tag="captured"):
    """`value` is text, a list of rows, or a list of texts; `member` where the capture is per host."""

    run: str
    step: str
    name: str
    value: Value | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    member: str = ""


class PickOffered(_Event, frozen=True, kw_only=True, tag="pick-offered"):
    run: str
    step: str
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class StepEnded(_Event, frozen=True, kw_only=True, tag="step-ended"):
    run: str
    step: str
    word: Word
    why: str = ""
    goto: str = ""  # where the run goes on: an id or `end`; empty: the next one


class Answered(_Event, frozen=True, kw_only=True, tag="answered"):
    """A person's answer: the chosen label, the asked values, or the decision after a failure."""

    run: str
    step: str
    answer: str = ""
    values: dict[str, Value] = msgspec.field(default_factory=dict)
    by: str = ""


class LateAccepted(_Event, frozen=True, kw_only=True, tag="late-accepted"):
    """A person saw that these values are other ones than those signed, and lets the act be sent with them."""

    run: str
    step: str
    act: str
    grant: str
    values: dict[str, str]  # slot -> value
    by: str = ""


class WaitStarted(_Event, frozen=True, kw_only=True, tag="wait-started"):
    run: str
    step: str
    until_ms: int  # wall clock, absolute


class Noted(_Event, frozen=True, kw_only=True, tag="noted"):
    run: str
    text: str
    by: str


class WriteNeeded(_Event, frozen=True, kw_only=True, tag="write-needed"):
    run: str
    step: str


class RunEnded(_Event, frozen=True, kw_only=True, tag="run-ended"):
    run: str
    word: Word
    why: str = ""


class Requested(_Event, frozen=True, kw_only=True, tag="requested"):
    run: str
    request: str  # id
    request_sha256: str
    incident: str
    reason: str
    bundle: str = ""  # the canonical request and its signature


class SignedOff(_Event, frozen=True, kw_only=True, tag="signed-off"):
    run: str
    request: str
    verdict: Literal["approve", "deny", "revoke", "ratify", "dispute"]
    person: str
    key: str
    bundle: str = ""
    reason: str = ""  # what was said with it


class SignOffRefused(_Event, frozen=True, kw_only=True, tag="sign-off-refused"):
    run: str
    request: str
    why: str


class GrantActivated(_Event, frozen=True, kw_only=True, tag="grant-activated"):
    run: str
    grant: str
    plan_digest: str
    incident: str
    signed_by: tuple[str, ...]
    until_ms: int
    acts: int
    nonce: str = ""  # of the request: it activates once
    break_glass: bool = False  # somebody else's review is due
    review_by_ms: int = 0  # of a break-glass: until when, wall clock
    waived: tuple[str, ...] = ()  # ids of required reads that may be left out
    late: dict[str, str] = {}  # late slot -> the value that was known when it was signed


class Told(_Event, frozen=True, kw_only=True, tag="told"):
    """Somebody was told, or could not be: people by `notify`, the incident's tracker by a note."""

    run: str
    to: Literal["notify", "tracker"]
    about: str  # what was said, in a line
    delivered: bool
    why: str = ""  # it was not delivered
    grant: str = ""


class PermitSpent(_Event, frozen=True, kw_only=True, tag="permit-spent"):
    """Durable before the write credential is resolved; once for each (grant, act, attempt). `act_digest` is the act's as it
    was signed, with its places open; `bound` that of what is sent, where late values filled them."""

    run: str
    grant: str
    permit: str
    act: str
    act_digest: str
    attempt: int
    bound: str = ""


class GrantEnded(_Event, frozen=True, kw_only=True, tag="grant-ended"):
    run: str
    grant: str
    reason: Literal["COMPLETED", "EXPIRED", "REVOKED", "INCIDENT_CLOSED", "CLOCK_JUMP", "GIVEN_BACK"]
    why: str = ""


Event = (
    SessionOpened
    | TrustAccepted
    | IdentityShown
    | RunStarted
    | ActIntended
    | ActEnded
    | ActSent
    | Probed
    | Resolved
    | Resumed
    | StopAsked
    | UndoStarted
    | Captured
    | PickOffered
    | StepEnded
    | Answered
    | WaitStarted
    | LateAccepted
    | Noted
    | WriteNeeded
    | RunEnded
    | Requested
    | SignedOff
    | SignOffRefused
    | GrantActivated
    | PermitSpent
    | GrantEnded
    | Told
)


class Entry(msgspec.Struct, frozen=True):
    """A ledger row: `body` is the event's canonical bytes, `hash` = sha256(prev ‖ seq ‖ at ‖ body); see `outside.ledger`."""

    seq: int
    at_ms: int
    event: Event
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The end of a ledger, as a request carries it and a sign-off repeats it: the signer is the witness."""

    ledger: str
    seq: int
    hash: str


def run_of(event: Event) -> str:
    """The run that an event belongs to; '' for the session's own."""
    return getattr(event, "run", "")
