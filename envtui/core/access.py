"""Write access as values: incident, request, sign-off, grant, permit.

Request and sign-off are canonical bytes that people sign; grant and permit exist only inside the process that may write.
Grants come from `rules.grants.activate` and `rules.reinstating.reinstate`, permits from `rules.grants.spend` and
`rules.grants.spend_undo`: neither has a public constructor, because a writer believes whoever holds one.
"""

# No postponed annotations here: msgspec reads them, and each one that is text is compiled again at every start.

import base64
import hashlib
from collections.abc import Mapping
from typing import Literal, NoReturn, TypeVar

import msgspec

from .act import Slot, Value
from .canonical import digest
from .environment import AccessPolicy, Person
from .ports import Signature

SignedKind = Literal["request", "approve", "record", "policy"]
"""What a block holds. A record is what was done under a break-glass, signed by whoever did it, in the requests' namespace."""
Verdict = Literal["approve", "deny", "revoke", "ratify", "dispute"]
"""What an approver may say of a request, all in one shape and namespace: the word is in the signed bytes. `revoke` ends
what was granted; `ratify` and `dispute` are the review of a break-glass, over its transcript's digest."""
_T = TypeVar("_T")


def namespace(kind: SignedKind, environment: str) -> str:
    """The SSHSIG namespace: kind and environment are in it, so a yes for staging is no signature for production."""
    return f"{kind}.v1.{environment}@envtui"


def fingerprint(key: str) -> str:
    """`SHA256:…` of a public key 'ssh-ed25519 AAAA…', as ssh-keygen prints it. Raises ValueError when it is none."""
    words = key.split()
    if len(words) < 2:
        raise ValueError("a public key is a type and base64 text")
    blob = base64.b64decode(words[1], validate=True)
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


class Operator(msgspec.Struct, frozen=True):
    """Who sits here: the person's name and the machine's, as reported by themselves."""

    name: str
    machine: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What the tracker says of an incident, now. `checked_ms` is wall time."""

    id: str
    state: Literal["open", "closed", "unverified"]
    title: str = ""
    severity: str = ""
    environment: str = ""
    opened_ms: int = 0
    checked_ms: int = 0
    tracker: str = ""
    url: str = ""
    by: str = ""  # who recorded it
    service: str = ""  # that it is about, where the tracker says so
    why: str = ""  # it is unverified: what the tracker said instead of an answer


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A person and the fingerprint of the key that they sign with."""

    person: str
    key: str


class Waiver(msgspec.Struct, frozen=True, kw_only=True):
    """A required read that is left out under this request, by its step's id, and why. Signed with the rest."""

    step: str
    reason: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: inputs, not a list of acts. The approver computes the plan again from their own checkout."""

    v: int = 1
    environment: str
    id: str
    nonce: str
    requester: Party
    incident: Incident
    reason: str
    run: str
    book: str
    book_sha256: str
    manifest_sha256: str
    policy_sha256: str
    roster_sha256: str
    inputs: dict[str, Value]  # with their origins, which the plan's digest covers
    date: str
    targets: dict[str, str]  # target/member -> account and address of each write, as planned
    plan_digest: str
    ttl_ms: int
    undo_for_ms: int
    created_ms: int
    expires_ms: int
    ledger: str
    ledger_seq: int
    ledger_hash: str
    machine: str = ""  # self-reported: catches a slip, is no evidence
    waivers: tuple[Waiver, ...] = ()
    late: dict[str, str] = {}  # late slot -> the value that is known by now; a slot without one is not in it
    book_text: str = ""  # of a book that is in no checkout: an unscripted step, or one edited in the incident
    break_glass: bool = False  # nobody else signs before; somebody reviews after
    debts: tuple[str, ...] = ()  # the requester's break-glass grants that nobody reviewed yet, as their ledger has them


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    v: int = 1
    verdict: Verdict
    environment: str
    request: str
    request_sha256: str
    approver: Party
    ttl_ms: int
    incident: Incident  # as the approver's own client saw it
    signed_ms: int
    ledger: str
    ledger_seq: int
    ledger_hash: str
    reason: str = ""
    machine: str = ""
    transcript_sha256: str = ""  # ratify, dispute: of what was done


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What travels in a block and stands in the ledger: canonical text, the armoured signature over it, and on wish the
    plan's canonical text (`--full`), which is believed only if its digest is the signed one."""

    kind: SignedKind
    body: str
    signature: str
    plan: str = ""


class VerifiedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose signature holds. `sha256` is of its canonical bytes."""

    request: Request
    sha256: str
    by: Signature
    signed: Signed


class VerifiedSignOff(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-off whose signature holds."""

    signoff: SignOff
    by: Signature
    signed: Signed


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why not, and the way out of it. `code` is stable: expired, self-approval, incident, …"""

    code: str
    sentence: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.way_out}"


class RosterLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of allowed_signers: a literal principal, one key, and where it counts. Times are wall ms; 0: no limit."""

    principal: str
    key: str  # 'ssh-ed25519 AAAA…'
    namespaces: tuple[str, ...]
    valid_after_ms: int = 0
    valid_before_ms: int = 0
    line: int = 0


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """Who may sign in one environment: allowed_signers, revoked_keys and people.yaml, read once."""

    environment: str
    lines: tuple[RosterLine, ...] = ()
    revoked: frozenset[str] = frozenset()  # fingerprints
    people: Mapping[str, Person] = {}

    def line(self, key: str) -> RosterLine | None:
        """The line of a public key or of a fingerprint."""
        wanted = key if key.startswith("SHA256:") else fingerprint(key)
        return next((line for line in self.lines if fingerprint(line.key) == wanted), None)

    def person(self, key: str) -> str:
        """Whose key it is (the id in people.yaml); '' when it is nobody's."""
        line = self.line(key)
        return self.person_of(line.principal) if line else ""

    def person_of(self, principal: str) -> str:
        """The person of a principal; '' when there is none."""
        return next((person for person, entry in self.people.items() if principal in entry.principals), "")

    def may(self, person: str, roles: tuple[str, ...]) -> bool:
        """Has one of `roles`; any will do when `roles` is empty."""
        entry = self.people.get(person)
        return entry is not None and (not roles or any(role in entry.roles for role in roles))

    def approvers(self, roles: tuple[str, ...], besides: str = "") -> tuple[str, ...]:
        """People who may approve: in one of `roles`, with an unrevoked key for it, other than `besides`."""
        wanted = namespace("approve", self.environment)
        able = {
            self.person_of(line.principal)
            for line in self.lines
            if wanted in line.namespaces and fingerprint(line.key) not in self.revoked
        }
        return tuple(person for person in self.people if person in able - {besides} and self.may(person, roles))

    @property
    def sha256(self) -> str:
        """Digest of all of it: whoever signs and whoever believes stand on the same roster."""
        return digest(
            {
                "environment": self.environment,
                "lines": [
                    [line.principal, line.key, list(line.namespaces), line.valid_after_ms, line.valid_before_ms]
                    for line in self.lines
                ],
                "revoked": sorted(self.revoked),
                "people": {person: msgspec.to_builtins(entry) for person, entry in self.people.items()},
            }
        )


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What this client's own checkout says about write access to one environment. `machine` names this machine."""

    environment: str
    policy: AccessPolicy
    roster: Roster
    manifest_sha256: str
    machine: str

    @property
    def policy_sha256(self) -> str:
        return digest(msgspec.to_builtins(self.policy))


class _NoPublicConstructor(type):
    """Calling the class is an error; `_issue` is for the rules alone."""

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} has no public constructor: it is issued by envtui.rules.grants")

    def _issue(cls: type[_T], **fields: object) -> _T:
        made = object.__new__(cls)
        for name in cls.__slots__:  # type: ignore[attr-defined]
            object.__setattr__(made, name, fields.pop(name))
        if fields:
            raise TypeError(f"unknown fields: {', '.join(fields)}")
        return made


class Grant(metaclass=_NoPublicConstructor):
    """Write access to exactly one plan, for a while; and for a while longer to take back what was done under it.

    `undo_only`: it was activated by a process that is gone, and takes back only what that one did.
    """

    __slots__ = (
        "activated_boot_ms",
        "activated_ms",
        "acts",
        "id",
        "incident",
        "plan_digest",
        "request",
        "run",
        "signed_by",
        "slots",
        "undo_only",
        "undo_until_ms",
        "undos",
        "until_ms",
    )
    id: str
    request: Request
    run: str
    plan_digest: str
    acts: frozenset[str]  # digests of the plan's writes; none when it is `undo_only`
    undos: Mapping[str, frozenset[str]]  # digest of each undo act -> ids of the acts that it takes back
    slots: Mapping[str, tuple[Slot, ...]]  # digest of each write or undo act with open places -> what may fill them
    incident: Incident
    signed_by: tuple[str, ...]  # people; the requester alone where policy asks for nobody else
    activated_ms: int  # wall
    activated_boot_ms: int
    until_ms: int  # wall
    undo_until_ms: int  # wall: `undo_for` after that, however it ended; a revoke and a clock set back end it at once
    undo_only: bool

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a grant does not change")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a grant stays in the process that activated it")


class Permit(metaclass=_NoPublicConstructor):
    """One act, one attempt. Issued after the journal says that it is consumed. `act_digest` is that of what is sent."""

    __slots__ = ("act_digest", "attempt", "grant", "id", "run", "until_ms")
    id: str
    grant: str
    run: str
    act_digest: str
    attempt: int
    until_ms: int  # wall: when its grant's time (of an undo: the time to take back) is over

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a permit does not change")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a permit stays in the process that it was issued in")
