"""The steps from a request to a permit, as each person takes them in the world of `access_kit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from access_kit import World, act, plan, undo_act

import envtui.engine.access as use
from envtui.core.access import Grant, Permit, Request
from envtui.core.act import Act, Plan
from envtui.core.ports import Signer, Verifier

REASON = "The gateway answers 403 to everyone"


async def asked(world: World, **changes) -> str:
    given = {"plan": plan(), "incident_id": "INC-1001", "reason": REASON, "ttl_ms": 0, **changes}
    signer = given.pop("signer", world.keys.signer("asha"))
    _, block = await use.ask(
        given["plan"], given["incident_id"], given["reason"], given["ttl_ms"],
        terms=world.terms(), signer=signer, tracker=world.tracker, journal=world.journal, clock=world.clock,
        waiting=world.waited.append, full=given.get("full", False),
    )  # fmt: skip
    return block


async def reviewed(world: World, block: str, replan: Callable[[Request], Plan] | None = None) -> use.Review:
    return await use.review(
        block, terms=world.terms("laptop-b"), replan=replan or world.replan, verifier=world.verifier,
        tracker=world.tracker, clock=world.clock,
    )  # fmt: skip


async def signed(
    world: World, review: use.Review, who: str | Signer = "meera", verdict="approve", machine: str = "laptop-b", why=""
) -> str:
    signer = world.keys.signer(who) if isinstance(who, str) else who
    return await use.sign(
        review,
        verdict,
        terms=world.terms(machine),
        signer=signer,
        clock=world.clock,
        waiting=world.waited.append,
        reason=why,
    )


async def received(world: World, block: str, verifier: Verifier | None = None):
    return await use.receive(
        block,
        "RUN1",
        terms=world.terms(),
        verifier=verifier or world.verifier,
        journal=world.journal,
        clock=world.clock,
    )


async def activated(world: World, run_plan: Plan | None = None) -> Grant:
    return await use.activate(
        "RUN1", terms=world.terms(), plan=run_plan or plan(), verifier=world.verifier, tracker=world.tracker,
        journal=world.journal, clock=world.clock,
    )  # fmt: skip


async def standing(world: World) -> use.Standing:
    return await use.status(
        "RUN1", terms=world.terms(), plan=plan(), verifier=world.verifier, journal=world.journal, clock=world.clock
    )


async def spent(world: World, grant: Grant, what: Act | None = None, attempt: int = 1) -> Permit:
    return await use.spend(grant, what or act(), attempt, **around(world))


async def undone(world: World, grant: Grant, what: Act | None = None, attempt: int = 1) -> Permit:
    return await use.spend_undo(grant, what or undo_act(), attempt, **around(world))


def around(world: World) -> dict[str, Any]:
    return {"terms": world.terms(), "tracker": world.tracker, "journal": world.journal, "clock": world.clock}


async def granted(world: World) -> Grant:
    await received(world, await signed(world, await reviewed(world, await asked(world))))
    return await activated(world)
