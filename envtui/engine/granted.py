"""A run exactly as it was asked for and signed: what must be so before anything of it begins.

A request is for one run, once. Whatever is wrong is said before the run starts, so that a forgotten answer or a changed
book costs nobody a new request.
"""

from __future__ import annotations

from envtui.core.access import Request, Signed
from envtui.core.act import Plan
from envtui.core.errors import InDoubt, NeedsWrite, Refused, UsageError
from envtui.rules import conditions, difference, grants, paste
from envtui.rules.state import Run

from .access import Standing


def request_in(blocks: str, environment: str, book: str | None) -> tuple[Signed, Request]:
    """The one request in what was pasted; `book` None: of a book that came along, whichever it is.

    Raises UsageError when there is none, several, or another book's.
    """
    asked = [signed for signed in paste.blocks(blocks) if signed.kind == "request"]
    if len(asked) != 1:
        raise UsageError(
            f"There are {len(asked)} requests in what was given.", "Give one request and the sign-offs for it."
        )
    request = grants.parse_request(asked[0].body.encode())
    if book is None and not request.book_text:
        raise UsageError(f"The request is for the book {request.book}.", "Name it.")
    if (request.environment, request.book) != (environment, request.book if book is None else book):
        raise UsageError(
            f"The request is for {request.environment}/{request.book}.", "Name the book that was asked for."
        )
    return asked[0], request


def answers_in(blocks: str) -> tuple[str, ...]:
    """The approvals in what was pasted, each as a block of its own."""
    return tuple(paste.block(signed) for signed in paste.blocks(blocks) if signed.kind == "approve")


def refuse_old(request: Request, run: Run) -> None:
    """`run` is what the ledger knows of the request's run. Raises InDoubt or Refused when it has run already."""
    again = f"envtui request {request.environment} {request.book}"
    if not any(known.id == request.id for known in run.requests):
        raise Refused(f"Request {request.id} was not made here.", f"Ask again: {again}.")
    if run.in_doubt:
        acts = ", ".join(act.id for act in run.in_doubt)
        raise InDoubt(
            f"Run {run.id} is in doubt: {acts} was sent, and nobody knows what became of it. It is not sent again.",
            f"Look at the target, and at `envtui ledger show {request.environment} {run.id}`.",
        )
    if run.started_ms:
        raise Refused(
            f"Run {run.id} was started from this request before ({run.word or 'not ended'}); a request is for one run.",
            f"`envtui ledger show {request.environment} {run.id}` says what it did. For another one: {again}.",
        )


def refuse_another(signed: Signed, request: Request, plan: Plan) -> None:
    """Raises Refused, naming what differs, when the plan made here is not the one that was asked for."""
    refusals = conditions.of_plan(request, plan)
    if not refusals:
        return
    sent = signed.plan if signed.plan and grants.sha256(signed.plan.encode()) == request.plan_digest else ""
    differs = "; ".join(difference.of_plans(request, sent, plan))
    raise Refused(
        " ".join(refusal.sentence for refusal in refusals),
        f"{differs}\nWhat was signed is what runs: take the change back, or ask again for the plan as it is now.".strip(),
    )


def refuse_unsigned(standing: Standing) -> None:
    """Raises NeedsWrite with everything that the request still lacks."""
    if standing.refusals:
        first, *rest = standing.refusals
        raise NeedsWrite(first.sentence, "\n".join((first.way_out, *map(str, rest))))
