"""`envtui sign` at the screens: one screen on which an approver pastes a request, reads what it asks for, and answers.

Everything on it was made or looked up on this side; nothing is believed because the block says it. An approval is offered
only where nothing speaks against it, and is typed; a denial always is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from envtui.core.text import clean
from envtui.engine.access import Review
from envtui.rules import reading

from ..dialogs.prompt import Prompt
from ..dialogs.typed import TypedDialog
from ..framed import FramedScreen, dim, key, words
from ..gathering import Gathering

HINT = "Paste the request here, as it came from the chat: all of it, or part after part."


class SignScreen(FramedScreen):
    """`answer` is the block once it was signed, and `signed` gets it; `reference` is the key that signs, '' the user's own."""

    name_ = "sign"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave", "leave"),
        ("f1", "copy_answer", "copy"),
        ("f2", "approve", "approve"),
        ("f3", "deny", "deny"),
    ]
    CSS = """
    SignScreen #review { height: 1fr; }
    """

    def __init__(self, reference: str, signed: Callable[[str], None]) -> None:
        super().__init__()
        self.answer = ""
        self._signed = signed
        self.review: Review | None = None
        self._reference = reference
        self._gathering = Gathering()
        self._signing = False
        self._looks = 0

    def body(self) -> ComposeResult:
        with VerticalScroll(id="review"):
            yield Static(words((HINT, "$tone-dim")), id="text")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#review").focus()
        self.show_state()

    def show_state(self) -> None:
        """What may be done now."""
        self.show_keys()
        review = self.review
        if self.answer:
            said = words(
                (f"send it back to {self._asker()}: ", "$tone-text"),
                key("F1"),
                dim(" copies it; it is printed when you leave"),
            )
            self.now("signed", said, "$tone-good")
        elif self._signing:
            self.now("signing", words(("your key signs; answer it where it asks", "$tone-text")), "$tone-wait")
        elif review is None:
            self.now("paste", words(("the request", "$tone-text")), "$tone-send")
        elif review.refusals:
            said = words((clean(str(review.refusals[0]), 300) + "   ", "$tone-text"), key("F3"), dim(" denies it"))
            self.now("not possible", said, "$tone-bad")
        else:
            self.now(
                "yours", words(key("F2"), dim(" approves exactly this   "), key("F3"), dim(" denies it")), "$tone-wait"
            )

    def show_keys(self) -> None:
        possible = self.review is not None and not self.answer
        pairs = [("F1", "copy")] if self.answer else []
        pairs += [("F2", "approve")] if possible and self.review is not None and not self.review.refusals else []
        pairs += [("F3", "deny")] if possible else []
        parts: list[tuple[str, str]] = []
        for name, label in (*pairs, ("↑↓", "read"), ("esc", "leave"), ("?", "help")):
            parts += [(name, "bold $tone-text"), (f" {label}   ", "$tone-dim")]
        self.put("#keys", words(*parts))

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.take(event.text)

    def take(self, text: str) -> None:
        """A text that was pasted: the request, or a part of it. Another one takes its place until something was signed."""
        session = self.envtui.session
        if session is None or self.answer or self._signing:
            return
        whole, missing = self._gathering.take(text)
        if missing:
            self.envtui.tell(missing)
            return

        self._looks += 1
        number = self._looks
        # What was read before is not what was pasted now: it can be answered no more, whatever comes of this.
        self.review = None
        self.query_one("#text", Static).update(words((HINT, "$tone-dim")))
        self.show_state()

        async def look() -> None:
            review = await session.access.review(whole)
            if number != self._looks or self.answer or self._signing:
                return  # another one was pasted since
            self.review = review
            self.query_one("#text", Static).update(shown(self.review))
            self.query_one("#review").scroll_home(animate=False)
            self.show_state()

        self.envtui.work(look())

    def action_approve(self) -> None:
        if self.review is None or self.answer:
            self.envtui.tell("Paste the request first." if self.review is None else "It is answered already.")
            return
        if self.review.refusals:
            self.envtui.say(str(self.review.refusals[0]))
            return
        review, request = self.review, self.review.request
        what = words(
            (
                clean(
                    f"{request.requester.person} gets write access to {request.environment} for exactly this plan.", 300
                ),
                "$tone-text",
            )
        )
        answers = {request.environment: f"signs with {self._reference or 'your own key'}"}
        dialog = TypedDialog("APPROVE", what, answers, "back to the request", "Nothing was signed.")
        self.app.push_screen(
            dialog, lambda word: self._sign(review, "approve", "") if word == request.environment else None
        )

    def action_deny(self) -> None:
        if self.review is None or self.answer:
            self.envtui.tell("Paste the request first." if self.review is None else "It is answered already.")
            return
        review = self.review
        self.app.push_screen(
            Prompt("DENY", "Why not? It is said with the answer, and signed."),
            lambda reason: self._sign(review, "deny", reason) if reason is not None else None,
        )

    def _sign(self, review: Review, verdict: str, reason: str) -> None:
        """Answer the request that was confirmed, and no other that was pasted since."""
        session = self.envtui.session
        if session is None or self._signing:
            return
        if review is not self.review:
            self.envtui.say("Another request was pasted meanwhile; nothing was signed. Read it, then answer.")
            return
        self._signing = True
        self.show_state()

        async def sign() -> None:
            try:
                self.answer = await session.access.sign(
                    review, verdict, key=self._reference, reason=reason, waiting=self.envtui.hands
                )
            finally:
                self._signing = False
            self._signed(self.answer)
            self.query_one("#text", Static).update(
                words(
                    (f"{verdict.upper()}, signed. Send this back:\n\n", "bold $tone-text"), (self.answer, "$tone-text")
                )
            )
            self.query_one("#review").scroll_home(animate=False)
            self.show_state()

        self.envtui.work(sign())

    def action_copy_answer(self) -> None:
        if self.answer:
            self.envtui.copy(self.answer)
        else:
            self.envtui.tell("Nothing is signed yet.")

    async def action_leave(self) -> None:
        if self._signing:
            self.envtui.tell("Your key is signing: answer it, or refuse it there.")
            return
        await self.envtui.action_quit()

    def _asker(self) -> str:
        return clean(self.review.request.requester.person, 60) if self.review is not None else ""


def shown(review: Review) -> Content:
    """The request in full, as this side computed it, and what speaks against it first."""
    parts: list[str | tuple[str, str]] = []
    for refusal in review.refusals:
        parts += [("NOT POSSIBLE  ", "bold $tone-bad"), (clean(str(refusal), 1200) + "\n", "$tone-text")]
    for difference in review.differences:
        parts += [("DIFFERS       ", "bold $tone-bad"), (clean(difference, 600) + "\n", "$tone-text")]
    before = None
    for label, text in reading.lines(review.request, review.incident, review.plan):
        head = "" if label == before else label
        parts += [(f"{head:<13} ", "$tone-label"), (clean(text, 2000) + "\n", "$tone-text")]
        before = label
    for number, line in enumerate(review.last):
        parts += [("" if number else "Last run      ", "$tone-label"), (" " * 14 if number else "", "")]
        parts += [(clean(line, 600) + "\n", "$tone-dim")]
    for line in review.edited:
        tone = "$tone-good" if line.startswith("+") else "$tone-bad" if line.startswith("-") else "$tone-dim"
        parts += [(" " * 14, ""), (clean(line, 600) + "\n", tone)]
    return words(*parts)
