"""A run's request and its answers as the ledger holds them, each verified again: a roster may have changed since they came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from envtui.core import access as values
from envtui.core.access import Refusal, Signed, Terms, VerifiedRequest, VerifiedSignOff
from envtui.core.errors import Refused
from envtui.core.events import Entry, GrantActivated, GrantEnded, Requested, SignedOff
from envtui.core.ports import Journal, Verifier
from envtui.rules import conditions, grants, paste


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """`asked` None: nothing was asked for, or `problems` says why it does not count any more. `used`: nonces activated."""

    asked: VerifiedRequest | None = None
    given: tuple[VerifiedSignOff, ...] = ()
    used: frozenset[str] = frozenset()
    problems: tuple[Refusal, ...] = ()  # what is in the ledger and does not verify (any more)


async def read_case(run: str, terms: Terms, verifier: Verifier, journal: Journal, request: str = "") -> Case:
    """The run's last request (or that of the id) with its answers, each verified again: a roster may have changed since
    they came. Nonces that were activated stay used, whatever was asked for afterwards."""
    entries = await journal.read(run)
    requested = last_request(entries, request)
    if requested is None:
        return Case()
    used = frozenset(entry.event.nonce for entry in entries if isinstance(entry.event, GrantActivated))
    try:
        asked = await verify_request(paste.unbundle(requested.bundle), terms, verifier)
    except Refused as error:
        return Case(used=used, problems=(_as_refusal(error),))
    given: list[VerifiedSignOff] = []
    problems: list[Refusal] = list(_revoked(entries, requested.request))
    for entry in entries:
        event = entry.event
        if isinstance(event, SignedOff) and event.request == requested.request:
            try:
                one = await verify_signoff(paste.unbundle(event.bundle), terms, verifier)
                check_about(asked, one)
                given.append(one)
            except Refused as error:
                problems.append(_as_refusal(error))
    return Case(asked=asked, given=tuple(given), used=used, problems=tuple(problems))


async def verify_request(signed: Signed, terms: Terms, verifier: Verifier) -> VerifiedRequest:
    """The request of a block or the ledger. Raises Refused when it is altered, foreign or not signed by its requester."""
    body = signed.body.encode()
    request = grants.parse_request(body)
    _check_environment(request.environment, terms)
    by = await verifier.verify(values.namespace("request", terms.environment), body, signed.signature)
    return VerifiedRequest(request=request, sha256=grants.sha256(body), by=by, signed=signed)


async def verify_signoff(signed: Signed, terms: Terms, verifier: Verifier) -> VerifiedSignOff:
    """The sign-off of a block or the ledger. Raises Refused like `verify_request`."""
    body = signed.body.encode()
    signoff = grants.parse_signoff(body)
    _check_environment(signoff.environment, terms)
    by = await verifier.verify(values.namespace("approve", terms.environment), body, signed.signature)
    if not conditions.is_party(signoff.approver.person, signoff.approver.key, by, terms.roster):
        raise Refused(
            f"The answer names {signoff.approver.person[:40]}, its signature is {by.principal}'s.",
            "Ask the approver to sign with their own key.",
        )
    return VerifiedSignOff(signoff=signoff, by=by, signed=signed)


def _check_environment(theirs: str, terms: Terms) -> None:
    if theirs != terms.environment:
        raise Refused(
            f"This is for {theirs[:40]!r}, and {terms.environment} is open here.", f"Ask again in {terms.environment}."
        )


def check_about(asked: VerifiedRequest, one: VerifiedSignOff) -> None:
    """Raises Refused unless the answer is to this very request."""
    if one.signoff.request_sha256 != asked.sha256 or one.signoff.request != asked.request.id:
        raise Refused(
            f"{one.signoff.approver.person} answered another request ({one.signoff.request[:40]}).",
            "Send them this one, or ask for the answer to this one.",
        )


def last_request(entries: Sequence[Entry], request: str = "") -> Requested | None:
    """What a run asked for last, or under this id; earlier requests of it are superseded."""
    every = (entry.event for entry in reversed(entries) if isinstance(entry.event, Requested))
    return next((event for event in every if request in ("", event.request)), None)


def _revoked(entries: Sequence[Entry], request: str) -> Iterator[Refusal]:
    """A request that was revoked in another terminal before it was activated. One that was revoked by signature is seen by
    its sign-off."""
    for entry in entries:
        event = entry.event
        if isinstance(event, GrantActivated) and event.grant == request:
            return
        if isinstance(event, SignedOff) and (event.request, event.verdict) == (request, "revoke"):
            return
        if isinstance(event, GrantEnded) and (event.grant, event.reason) == (request, "REVOKED"):
            yield Refusal(
                code="denied", sentence=f"The request was {event.why}.", way_out="Talk to them, and ask again."
            )
            return


def _as_refusal(error: Refused) -> Refusal:
    return Refusal(code="signature", sentence=error.message, way_out=error.remedy)
