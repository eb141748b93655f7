"""What changed in a tree since this user accepted it. Nothing of the tree is believed before it is accepted here."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from envtui.core.errors import EnvtuiError
from envtui.core.policy import Judgement
from envtui.core.text import clean

from .. import actions
from ..dialogs.prompt import Prompt
from ..framed import FramedScreen, words


class TrustScreen(FramedScreen):
    """The difference of manifest, access and host keys; accepted by typing the environment's name."""

    name_ = "trust"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings("trust")  # type: ignore[assignment]

    def __init__(self, environment: str) -> None:
        super().__init__()
        self._environment = environment
        self._judgement: Judgement | None = None

    def body(self) -> ComposeResult:
        tree, _, _ = self.envtui.world.tree(self._environment)
        self._tree = tree
        status = self.envtui.world.trust(tree)
        what = "was never accepted by you" if status.word == "new" else "changed since you accepted it"
        facts = "".join(f"{clean(fact, 400)}\n" for fact in in_short(status.diff))
        yield Static(
            words(
                (clean(self._environment.upper()), "bold $tone-text"),
                (f"  {what}\n", "$tone-wait"),
                (facts, "$tone-text"),
            ),
            id="changed",
        )
        yield Static("", id="owners")
        with VerticalScroll() as scroll:
            scroll.can_focus = True
            yield Static(_coloured(status.diff))

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(VerticalScroll).focus()
        self.envtui.work(self._judge())
        self.now(
            "trust",
            words(
                ("press ", "$tone-dim"),
                ("a", "bold $tone-text"),
                (" to accept what stands here; until then nothing is opened", "$tone-dim"),
            ),
            "$tone-wait",
        )

    async def _judge(self) -> None:
        """What the owners say of it, once: the tree that is accepted is the one that was read."""
        from envtui.rules import owners

        if self._judgement is None:
            self._judgement = await self.envtui.world.judge(self._tree)
        if self.is_mounted:
            tone = "$tone-bad" if self._judgement.lacking else "$tone-wait"
            said = "".join(f"{clean(line, 600)}\n" for line in owners.words(self._judgement))
            self.query_one("#owners", Static).update(words((said, tone)))

    def action_accept(self) -> None:
        self.envtui.work(self._ask())

    async def _ask(self) -> None:
        await self._judge()
        judgement = self._judgement
        if judgement is not None and judgement.lacking:
            self.envtui.world.accept(self._tree, judgement)  # says why not, and who may sign
            return

        async def decide(typed: str | None) -> None:
            if typed == self._environment:
                try:
                    self.envtui.world.accept(self._tree, judgement)
                except EnvtuiError as error:
                    self.envtui.say(error)
                    return
                self.app.pop_screen()
                self.envtui.open_environment(self._environment)
            elif typed is not None:
                self.envtui.tell("Nothing was accepted.")

        said = f"Whoever can change these files can decide what you connect to and who may sign.\nType {self._environment} to accept them as shown."
        self.app.push_screen(Prompt("Accept this tree", said), decide)

    def action_back(self) -> None:
        self.app.pop_screen()


def in_short(diff: str) -> list[str]:
    """What a unified difference comes to: lines by file, then the signers by name, because that is what matters most."""
    counts: dict[str, list[int]] = {}
    signers: dict[str, set[str]] = {"+": set(), "-": set()}
    path, before = "", ""
    for line in diff.splitlines():
        if line.startswith("--- ") and not before:
            before = line[4:]
        elif line.startswith("+++ ") and before:
            path, before = (line[4:] if line[4:] != "/dev/null" else before), ""
            counts[path] = [0, 0]
        elif line[:1] in ("+", "-") and path:
            counts[path][line[0] == "-"] += 1
            if path == "access/allowed_signers" and (said := line[1:].split()) and not said[0].startswith("#"):
                signers[line[0]].add(said[0])
        elif line.startswith("@@"):
            before = ""
    facts = [" · ".join(f"{path} {_count(*count)}" for path, count in counts.items())] if counts else []
    came, went = signers["+"], signers["-"]
    for word, names in (("added", came - went), ("removed", went - came), ("changed", came & went)):
        if names:
            facts.append(f"{len(names)} signer{'' if len(names) == 1 else 's'} {word}: {', '.join(sorted(names))}")
    return facts


def _count(came: int, went: int) -> str:
    return " ".join(part for part, number in ((f"+{came}", came), (f"−{went}", went)) if number)


def _coloured(diff: str) -> Content:
    tones = {"+": "$tone-good", "-": "$tone-bad", "@": "$tone-label"}
    return words(*((line + "\n", tones.get(line[:1], "$tone-dim")) for line in clean(diff, 200_000).splitlines()))
