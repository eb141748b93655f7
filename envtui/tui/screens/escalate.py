"""Asking for write access: the incident looked up, the reason, for how long; the request in full; the signature.

Two ways for the signature: as a block through chat, or beside you where the policy allows it, by the other person's key.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from envtui.core.act import Plan
from envtui.core.errors import EnvtuiError, Unreachable, UsageError
from envtui.core.events import SignOffRefused
from envtui.core.shape import seconds
from envtui.core.text import clean, clean_line
from envtui.engine.runner import RunTask

from ..dialogs.choose import Choose
from ..dialogs.prompt import Prompt
from ..framed import words
from ..gathering import Gathering
from ..moments import moment
from .asked import asked as asked_of
from .breaking import Breaking
from .plan import describe


class EscalateScreen(Breaking):
    """A form, then the request as it was signed, then what it waits for."""

    name_ = "escalate"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "back", "back"),
        ("f1", "copy_block", "copy"),
        ("f2", "beside", "beside me"),
        ("f3", "paste_answer", "paste"),
        ("f4", "break_glass", "break glass"),
        ("f5", "waive", "waive"),
    ]
    CSS = """
    EscalateScreen Input { border: none; background: $tone-line; height: 1; padding: 0 1; margin: 0 0 1 0; }
    EscalateScreen .label { color: $tone-label; }
    EscalateScreen #form { height: 1fr; }
    """

    def __init__(self, task: RunTask) -> None:
        super().__init__()
        self.run_task = task
        self._block = ""
        self._asking = False
        self._gathering = Gathering()

    def body(self) -> ComposeResult:
        session = self.envtui.session
        assert session is not None
        policy = session.environment.access
        mark = self.run_task.run.mark
        with VerticalScroll(id="form", can_focus=False):
            yield Static(
                words(
                    ("Ask for write access\n", "bold $tone-text"),
                    ("to exactly this plan and nothing else\n", "$tone-dim"),
                    (
                        f"{mark}: this book is in no checkout, and travels with the request\n" if mark else "",
                        "$tone-bad",
                    ),
                )
            )
            yield Static(f"incident{' (required)' if policy.incident.required else ' (or nothing)'}", classes="label")
            yield Input(placeholder=policy.incident.looks, id="incident")
            yield Static("", id="found")
            yield Static("reason", classes="label")
            yield Input(placeholder="what is wrong and what this will do", id="reason")
            yield Static(f"for (at most {policy.grant.max})", classes="label")
            yield Input(value=policy.grant.max, id="ttl")
            yield Static("", id="waivers")
            yield Static("", id="request")
            yield Static(describe(_writes(self.run_task)), id="plan")

    def on_mount(self) -> None:
        super().on_mount()
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#incident").focus()
        self.show_state()

    def show_state(self) -> None:
        """What is asked for already, and what it waits for."""
        self.show_keys()
        run = self.run_task.run
        asked = asked_of(self.run_task)
        if asked is not None and not self._block:
            from envtui.rules import paste

            self._block = paste.block(paste.unbundle(asked.bundle))
        if asked is None:
            self.now(
                "ask",
                words(("enter", "bold $tone-text"), (" signs the request with your key", "$tone-dim")),
                "$tone-send",
            )
            return
        for field in self.query(Input):
            field.disabled = True
        signed = [f"{v.person}: {v.verdict}" for v in asked.verdicts]
        parts: list[str | tuple[str, str]] = [
            ("request  ", "$tone-label"), (f"{asked.id} · {clean(asked.incident) or 'no incident'} · {clean(asked.reason, 300)}\n", "$tone-text"),
            ("answers  ", "$tone-label"), (clean(", ".join(signed) or "none yet", 300) + "\n", "$tone-good" if signed else "$tone-dim"),
        ]  # fmt: skip
        for refusal in asked.refusals[-2:]:
            parts += [("refused  ", "$tone-label"), (clean(refusal, 300) + "\n", "$tone-bad")]
        parts += self.glass()
        self.query_one("#request", Static).update(words(*parts))
        if run.write_active:
            self.now(
                "write access",
                words(("esc", "bold $tone-text"), (" back to the run, then w", "$tone-dim")),
                "$tone-bad",
            )
            return
        self.now(
            "waits",
            words(
                ("for an answer: ", "$tone-dim"),
                ("F1", "bold $tone-text"),
                (" to chat, or ", "$tone-dim"),
                ("F2", "bold $tone-text"),
                (" somebody beside you", "$tone-dim"),
            ),
            "$tone-wait",
        )

    def show_keys(self) -> None:
        asked, active = asked_of(self.run_task) is not None, self.run_task.run.write_active
        back = ("esc", "back")
        broken = (("F4", "break glass"),) if self.may_break() else ()
        waives = (("F5", "waive"),) if self.may_waive() else ()
        form = (("tab", "next field"), ("enter", "next; ask"), *waives, *broken, back)
        waits = (("F1", "copy"), ("F2", "beside me"), ("F3", "paste"), *broken, back, ("?", "help"))
        keys = (back, ("?", "help")) if active else waits if asked else form
        parts: list[tuple[str, str]] = []
        room = self.size.width - 2
        for key, label in keys:
            room -= len(key) + len(label) + 4
            if room >= 0:
                parts += [(key, "bold $tone-text"), (f" {label}   ", "$tone-dim")]
        self.put("#keys", words(*parts))

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "incident":
            self.query_one("#found", Static).update("")

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "incident":
            if await self._look_up():
                self.query_one("#reason").focus()
        elif event.input.id == "reason" and not event.value.strip():
            self.query_one("#ttl").focus()
        else:
            self._ask()

    async def _look_up(self) -> bool:
        """Show what the register says. False: there is something to correct."""
        session = self.envtui.session
        assert session is not None
        name = self.query_one("#incident", Input).value.strip()
        found = self.query_one("#found", Static)
        policy = session.environment.access.incident
        if not name:
            if policy.required:
                found.update(words((f"Write access needs an incident: {policy.looks}\n", "$tone-bad")))
            return not policy.required
        try:
            incident = await session.ways.tracker.lookup(name)
        except Unreachable as error:  # one may ask nevertheless: more people sign then
            must = max(2, session.environment.access.signoff.min)
            unsure = f"Unverified{f', which needs {must} signatures' if policy.required else ''}: {error}"
            found.update(words((clean_line(unsure, 400) + "\n", "$tone-wait")))
            return True
        except EnvtuiError as error:
            found.update(words((clean_line(str(error), 400) + "\n", "$tone-bad")))
            return False
        tone = "$tone-good" if incident.state == "open" else "$tone-bad"
        said = (incident.severity, incident.title, incident.service, incident.tracker)
        facts = [clean_line(fact, 200) for fact in said]
        found.update(
            words((incident.state, tone), ("".join(f" · {fact}" for fact in facts if fact.strip()) + "\n", "$tone-dim"))
        )
        return incident.state != "closed"

    def _ask(self) -> None:
        session = self.envtui.session
        if session is None or self._asking or asked_of(self.run_task) is not None:
            return
        incident = self.query_one("#incident", Input).value.strip()
        reason = self.query_one("#reason", Input).value.strip()
        ttl = self.query_one("#ttl", Input).value.strip()
        self._asking = True

        async def ask() -> None:
            try:
                try:
                    ttl_ms = round(seconds(ttl) * 1000) if ttl else 0
                except ValueError as error:
                    raise UsageError(f"{error}.", "Write it like 30m.") from error
                _, self._block = await session.ask_write(
                    self.run_task, incident, reason, ttl_ms, waiting=self.envtui.hands, waivers=self.waivers
                )
                await self._activate_if_signed()
            finally:
                self._asking = False

        self.envtui.work(ask())

    async def _activate_if_signed(self) -> None:
        session = self.envtui.session
        assert session is not None
        standing = await session.access.standing(self.run_task)
        if standing.state == "APPROVED":
            grant = await session.access.activate(self.run_task)
            self.envtui.tell(f"Write access until {moment(grant.until_ms)}.")

    def action_copy_block(self) -> None:
        if self._block:
            self.envtui.copy(self._block)
        else:
            self.envtui.tell("Ask first: fill the form and press enter.")

    def action_paste_answer(self) -> None:
        self.app.push_screen(
            Prompt("Paste the answer", "The block that the approver sent back, as it came:"), self._take
        )

    def on_paste(self, event: events.Paste) -> None:
        """A block pasted anywhere on this screen is taken."""
        if "ENVTUI" in event.text:
            event.stop()
            self._take(event.text)

    def _take(self, text: str | None) -> None:
        session = self.envtui.session
        if not text or session is None:
            return
        whole, missing = self._gathering.take(text)
        if missing:
            self.envtui.tell(missing)
            return

        async def receive() -> None:
            event = await session.access.receive(self.run_task, whole)
            if isinstance(event, SignOffRefused):
                self.envtui.say(event.why)
                return
            await self._activate_if_signed()

        self.envtui.work(receive())

    def action_beside(self) -> None:
        session = self.envtui.session
        if session is None:
            return
        if not self._block:
            self.envtui.tell("Ask first: fill the form and press enter.")
            return
        if session.environment.access.signoff.same_machine != "allowed":
            self.envtui.say(
                "This environment's policy refuses a signature made on the asking machine. Send the block (F1)."
            )
            return
        keys = self.envtui.world.config.beside
        if not keys:
            self.app.push_screen(
                Prompt("Beside me", "The other person's key: agent:SHA256:… or file:PATH"), self._sign_with
            )
            return
        names = list(keys)

        def chosen(index: int | None) -> None:
            if index is not None:
                self._sign_with(keys[names[index]])

        self.app.push_screen(
            Choose("Who sits beside you?", "They look at the plan on this screen, and sign with their own key.", names),
            chosen,
        )

    def _sign_with(self, reference: str | None) -> None:
        session = self.envtui.session
        if not reference or session is None:
            return

        async def sign() -> None:
            review = await session.access.review(self._block)
            answer = await session.access.sign(review, "approve", key=reference, waiting=self.envtui.hands)
            event = await session.access.receive(self.run_task, answer)
            if isinstance(event, SignOffRefused):
                self.envtui.say(event.why)
                return
            await self._activate_if_signed()

        self.envtui.work(sign())

    def action_back(self) -> None:
        self.app.pop_screen()


def _writes(task: RunTask) -> Plan:
    return msgspec.structs.replace(task.plan, steps=tuple(s for s in task.plan.steps if s.mode == "write"))
