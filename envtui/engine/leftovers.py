"""What writes left at the hosts of an environment: directories whose outcome was never forgotten, or that still run.

Looking needs the write credential, because only the account of a write may read them; so somebody has to ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from envtui.core.act import Act, Place, SshCall
from envtui.core.environment import SshTarget
from envtui.core.errors import EnvtuiError
from envtui.core.events import PermitSpent
from envtui.rules.places import places

if TYPE_CHECKING:
    from .session import EnvironmentSession


class Kept(Protocol):
    """One directory, as its host tells it now. `state` as in `ports.Fate`."""

    @property
    def permit(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def exit(self) -> int | None: ...
    @property
    def age_seconds(self) -> int | None: ...


@runtime_checkable
class Keeps(Protocol):
    """An Ender whose targets keep something."""

    async def leftovers(self, place: Place) -> Sequence[Kept]: ...


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A directory at a host, or why one could not be looked at (`error`). `run` and `act` where the ledger knows its permit."""

    target: str
    member: str
    account: str
    permit: str = ""
    state: str = ""
    exit: int | None = None
    age_seconds: int | None = None
    run: str = ""
    act: str = ""
    error: str = ""
    error_code: int = 0


async def leftovers(session: EnvironmentSession) -> tuple[Leftover, ...]:
    """Look at every member of every ssh target that can be written to, as every account that the tree's books write as."""
    permits = {e.event.permit: e.event for e in await session.entries() if isinstance(e.event, PermitSpent)}
    found: list[Leftover] = []
    for place in _places(session):
        ender = session.ways.ender(Act(step="look", mode="write", place=place, call=SshCall()))
        if not isinstance(ender, Keeps):
            continue
        where = Leftover(target=place.target, member=place.member, account=place.as_ or place.user)
        try:
            for one in await ender.leftovers(place):
                spent = permits.get(one.permit)
                found.append(
                    msgspec.structs.replace(
                        where,
                        permit=one.permit,
                        state=one.state,
                        exit=one.exit,
                        age_seconds=one.age_seconds,
                        run=spent.run if spent else "",
                        act=spent.act if spent else "",
                    )
                )
        except EnvtuiError as error:
            said = session.ways.masked(str(error))
            found.append(msgspec.structs.replace(where, error=said, error_code=error.exit_code))
        finally:
            await ender.close()
    return tuple(found)


def _places(session: EnvironmentSession) -> tuple[Place, ...]:
    accounts: dict[str, dict[str | None, None]] = {
        name: {None: None}
        for name, target in session.environment.targets.items()
        if isinstance(target, SshTarget) and target.write is not None
    }
    for book in session.tree.books.values():
        for step in (*book.runbook.before, *book.runbook.steps):
            target = step.target or book.runbook.defaults.target or ""
            if step.mode == "write" and step.as_ and target in accounts:
                accounts[target][step.as_] = None
    seen: dict[tuple[str, str, str], Place] = {}
    for target, names in accounts.items():
        for name in names:
            for place in places(session.environment, target, "write", session.operator.name, name):
                seen.setdefault((target, place.member, place.as_ or place.user), place)
    return tuple(seen.values())
