"""Write access as values: incident, request, sign-off, grant, permit.

Request and sign-off are canonical bytes that people sign; grant and permit exist only inside the process that may write.
Grants come from `rules.grants.activate`, permits from `rules.grants.spend`: neither has a public constructor, because a
writer believes whoever holds one.
"""

from __future__ import annotations

from typing import Literal, NoReturn

import msgspec


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


class Party(msgspec.Struct, frozen=True, kw_only=True):
    person: str
    key: str


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
    inputs: dict[str, str]
    date: str
    targets: dict[str, str]  # member -> address and expected identity, as planned
    plan_digest: str
    ttl_ms: int
    undo_for_ms: int
    created_ms: int
    expires_ms: int
    ledger: str
    ledger_seq: int
    ledger_hash: str


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    v: int = 1
    verdict: Literal["approve", "deny"]
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


class _NoPublicConstructor(type):
    """Calling the class is an error; `_issue` is for `rules.grants` alone."""

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} has no public constructor: it is issued by envtui.rules.grants")

    def _issue(cls, **fields: object) -> object:
        made = object.__new__(cls)
        for name in cls.__slots__:  # type: ignore[attr-defined]
            object.__setattr__(made, name, fields.pop(name))
        if fields:
            raise TypeError(f"unknown fields: {', '.join(fields)}")
        return made


class Grant(metaclass=_NoPublicConstructor):
    """Write access to exactly one plan, for a while."""

    __slots__ = ("activated_boot_ms", "id", "incident", "plan_digest", "request", "run", "signed_by", "until_ms")
    id: str
    request: Request
    run: str
    plan_digest: str
    incident: Incident
    signed_by: tuple[str, ...]
    until_ms: int  # wall
    activated_boot_ms: int

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a grant does not change")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a grant stays in the process that activated it")


class Permit(metaclass=_NoPublicConstructor):
    """One act, one attempt. Issued after the journal says that it is consumed."""

    __slots__ = ("act_digest", "attempt", "grant", "id", "run")
    id: str
    grant: str
    run: str
    act_digest: str
    attempt: int

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a permit does not change")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a permit stays in the process that it was issued in")
