"""Break-glass on the screen that asks for write access: where nobody answers, and the policy names who sits here."""

from __future__ import annotations

from textual.widgets import Input

from envtui.core.shape import seconds
from envtui.core.text import clean
from envtui.engine.runner import RunTask
from envtui.rules import break_glass
from envtui.rules.refusals import refuse

from ..moments import moment
from .waiving import Waiving


class Breaking(Waiving):
    """What the screen of a request can do when no signature comes. It has the fields `incident`, `reason` and `ttl`."""

    run_task: RunTask
    _block: str
    _asking: bool

    def may_break(self) -> bool:
        """Whether the policy names this person."""
        session = self.envtui.session
        return session is not None and break_glass.allowed(session.environment.access, session.operator.name)

    def glass(self) -> list[str | tuple[str, str]]:
        """Of a break-glass that goes on: whether people were called, and until when somebody else looks at it."""
        grant = self.run_task.run.grant
        if grant is None or grant.ended or not grant.break_glass:
            return []
        tone = "bold $tone-bad" if grant.told.startswith("NOT") else "$tone-text"
        return [
            ("BREAK-GLASS  ", "bold $tone-bad"), ("nobody else signed\n", "$tone-text"),
            ("people   ", "$tone-label"), (clean(grant.told or "are being called", 300) + "\n", tone),
            ("review   ", "$tone-label"), (f"by somebody else, until {moment(grant.review_by_ms)}\n", "$tone-text"),
        ]  # fmt: skip

    def action_break_glass(self) -> None:
        """Ask what it takes, in a dialog that no single key confirms; then it begins at once."""
        session = self.envtui.session
        if session is None or self._asking:
            return
        if self.run_task.run.write_active:
            self.envtui.tell("Write access is active.")
            return
        asked = self.run_task.run.requests[-1] if self.run_task.run.requests else None
        incident = asked.incident if asked else self.query_one("#incident", Input).value.strip()
        reason = asked.reason if asked else self.query_one("#reason", Input).value.strip()
        self.envtui.work(self._ask_to_break(incident, reason, self._wanted_ms()))

    def _wanted_ms(self) -> int:
        """What the form says, where that is less than a break-glass gives; 0: all of it."""
        session = self.envtui.session
        assert session is not None
        try:
            wanted = round(seconds(self.query_one("#ttl", Input).value.strip()) * 1000)
        except ValueError:
            return 0
        return wanted if 0 < wanted < break_glass.longest_ms(session.environment.access) else 0

    async def _ask_to_break(self, incident: str, reason: str, ttl_ms: int) -> None:
        from envtui.engine.debts import why_no_glass

        from ..dialogs.break_glass import BreakGlassDialog

        session = self.envtui.session
        assert session is not None
        ways, terms, person = session.ways, session.access.terms, session.operator.name
        hinder = await why_no_glass(
            person,
            reason,
            ttl_ms,
            incident,
            terms=terms,
            tracker=ways.tracker,
            journal=ways.journal,
            clock=ways.clock,
        )
        refuse(refusal for refusal in hinder if refusal.code != "reason")  # that is asked for now

        def done(given: str | None) -> None:
            if given:
                self.envtui.work(self._break(incident, given, ttl_ms))

        self.app.push_screen(BreakGlassDialog(session.environment, self.run_task.plan, incident, reason, ttl_ms), done)

    async def _break(self, incident: str, reason: str, ttl_ms: int) -> None:
        session = self.envtui.session
        assert session is not None
        self._asking = True
        try:
            await session.ask_write(
                self.run_task,
                incident,
                reason,
                ttl_ms,
                waiting=self.envtui.hands,
                break_glass=True,
                waivers=self.waivers,
            )
            self._block = ""  # it is the new request's from now on
            grant = await session.access.activate(self.run_task)
        finally:
            self._asking = False
        self.envtui.say(f"BREAK-GLASS until {moment(grant.until_ms)}. Somebody else has to review what you do.")
