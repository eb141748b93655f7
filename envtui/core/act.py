"""Acts and plans: exactly what would happen, as values with canonical bytes.

An act is one step on one member of one target, with everything that changes its effect and nothing else. What was signed
is what runs: the runner hands the connection an Act, never a step.
"""

# No postponed annotations here: msgspec reads them, and each one that is text is compiled again at every start.

import functools
import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .canonical import canonical_record, digest

Mode = Literal["read", "write"]
Kind = Literal["ssh", "sql", "http", "manual", "choose", "wait"]


class Ref(msgspec.Struct, frozen=True, tag="ref", tag_field="t"):
    """A place in a text that is filled at run time: `vars.pids`, `vars.leader.host`. A write has one only where a slot
    for it was signed (`Slot`)."""

    name: str


class SecretRef(msgspec.Struct, frozen=True, tag="secret", tag_field="t"):
    """A place that a secret parameter fills; by name and reference, never by value or digest."""

    name: str
    reference: str


Part = str | Ref | SecretRef
Text = Annotated[tuple[Part, ...], Meta(description="literal parts and places, joined")]


def literal(text: str) -> tuple[Part, ...]:
    return (text,)


class Bytes(msgspec.Struct, frozen=True):
    """Content that travels with an act: its sha256 is in the act, the bytes were read once, when the plan was made."""

    sha256: str
    size: int
    content: bytes = b""

    @classmethod
    def of(cls, content: bytes) -> "Bytes":
        return cls(hashlib.sha256(content).hexdigest(), len(content), content)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an act happens: a member of a target, and the account it happens as."""

    target: str
    kind: Literal["ssh", "sql", "http"]
    member: str  # the name on screen: gw1
    address: str  # host:port, or an http base
    user: str = ""
    as_: str = msgspec.field(default="", name="as")
    dbname: str = ""
    via: str = ""  # the jump target's name
    credential: str = ""
    terms: str = ""  # digest of what the manifest says of it besides: identity, tls, session, key, the way there


class SshCall(msgspec.Struct, frozen=True, kw_only=True, tag="ssh", tag_field="call"):
    """Run `argv` directly, or `sh` with `argv` as $1… ."""

    argv: tuple[Text, ...] = ()
    sh: str | None = None
    stdin: Bytes | None = None
    stdin_text: Text | None = None  # with places in it
    env: tuple[tuple[str, Text], ...] = ()
    cwd: str = ""


class SqlCall(msgspec.Struct, frozen=True, kw_only=True, tag="sql", tag_field="call"):
    """SQL as written, places replaced by `$1`…; `binds` fill them in order, each with its PostgreSQL type name or ''."""

    text: str
    binds: tuple[tuple[Text, str], ...] = ()
    transaction: Literal["single", "none"] = "single"
    statement_timeout: float = 0.0  # seconds; 0: the act's own timeout
    lock_timeout: float = 0.0
    affected_max: int | None = None  # more rows than this: rolled back before COMMIT


FRAMING = frozenset({"host", "transfer-encoding", "content-length", "connection", "upgrade", "te", "trailer", "expect"})
"""Headers that frame a request, or lead it elsewhere: they are the connection's, and no step sets them."""

OTHER_METHOD = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
"""Headers by which a GET would be carried out as something else: no read sets them."""


class HttpCall(msgspec.Struct, frozen=True, kw_only=True, tag="http", tag_field="call"):
    """`path` is URL-encoded already except for its places, which are encoded when they are filled."""

    method: str = "GET"
    path: Text = ()
    query: tuple[tuple[str, Text], ...] = ()
    headers: tuple[tuple[str, Text], ...] = ()
    body: Text | None = None


Call = SshCall | SqlCall | HttpCall


class Act(msgspec.Struct, frozen=True, kw_only=True, dict=True):  # dict: where the digest is kept
    """One call at one place. `timeout` in seconds; so is `idle_timeout`, after which silence counts as one (0: never).

    `detach` (ssh writes): it goes on when nobody waits for it, and ends by itself when its timeout is over.
    """

    step: str
    mode: Mode
    place: Place
    call: Call
    timeout: float = 60.0
    needs: tuple[str, ...] = ()
    idle_timeout: float = 0.0
    detach: bool = False

    @property
    def id(self) -> str:
        """Unique within a plan: step@member."""
        return f"{self.step}@{self.place.member}"

    @property
    def complete(self) -> bool:
        """No places are left to fill."""
        return not self.places()

    def places(self) -> tuple[str, ...]:
        """Names of the run-time places in it, in order of appearance, each once."""
        seen: dict[str, None] = {}
        for text in texts(self.call):
            for part in text:
                if isinstance(part, Ref):
                    seen[part.name] = None
        return tuple(seen)

    def as_data(self) -> dict[str, object]:
        """What is hashed and signed: seconds become whole milliseconds, content becomes its sha256."""
        data: dict[str, object] = msgspec.to_builtins(self)
        data["timeout"] = round(self.timeout * 1000)
        data["idle_timeout"] = round(self.idle_timeout * 1000)
        call: dict[str, object] = data["call"]  # type: ignore[assignment]
        if isinstance(self.call, SqlCall):
            call["statement_timeout"] = round(self.call.statement_timeout * 1000)
            call["lock_timeout"] = round(self.call.lock_timeout * 1000)
        if isinstance(self.call, SshCall) and self.call.stdin is not None:
            call["stdin"] = {"sha256": self.call.stdin.sha256, "size": self.call.stdin.size}
        return data

    def digest(self) -> str:
        """sha256 of what is signed, as 64 hex digits."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        return hashlib.sha256(canonical_record(self.as_data())).hexdigest()


def texts(call: Call) -> tuple[Text, ...]:
    """Every text of a call that may hold places."""
    if isinstance(call, SshCall):
        extra = (call.stdin_text,) if call.stdin_text is not None else ()
        return (*call.argv, *(value for _, value in call.env), *extra)
    if isinstance(call, SqlCall):
        return tuple(value for value, _ in call.binds)
    extra = (call.body,) if call.body is not None else ()
    return (call.path, *(value for _, value in call.query), *(value for _, value in call.headers), *extra)


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A typed value with where it came from. A secret's `text` is empty and `reference` says where it is."""

    type: str
    text: str = ""
    origin: Literal["default", "given", "answer", "capture", "run"] = "given"
    secret: bool = False
    reference: str = ""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """What a captured value must be like to fill a place of a write: it is signed in the value's stead.

    `name` is the place's without `vars.`; `max_length` in characters; `fixed`: no other value than the one that was signed.
    """

    name: str
    type: str
    pattern: str
    max_length: int
    fixed: bool = False


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step with its acts, one for each member; steps of a person (manual, choose, wait for) have none.

    `instead` (reads with `host: any`): the same act on the other members, in order, for when a member is unreachable.
    `only` (reads): the run-time place that names the one member whose act runs, `vars.leader.host`; '' is all of them.
    `by_hand`: what a person does to undo it, where the undo is manual. `late` (writes): the slots of its open places.
    """

    id: str
    kind: Kind
    mode: Mode
    title: str
    acts: tuple[Act, ...] = ()
    before: bool = False
    required: bool = False
    undo: tuple[Act, ...] = ()  # shown and signed
    probe: tuple[Act, ...] = ()
    instead: tuple[Act, ...] = ()
    only: str = ""
    by_hand: str = ""
    late: tuple[Slot, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run would do. Its digest covers the ordered acts, their slots, the inputs and which reads are required."""

    run: str
    book: str
    book_sha256: str
    environment: str
    operator: str
    inputs: tuple[tuple[str, Value], ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    incident: str = ""  # filled when write access is asked for and a step uses ${run.incident}
    date: str = ""  # ${run.date}, fixed when the plan is made

    def as_data(self) -> dict[str, object]:
        return {
            "v": 1,
            "run": self.run,
            "book": self.book,
            "book_sha256": self.book_sha256,
            "environment": self.environment,
            "operator": self.operator,
            "incident": self.incident,
            "date": self.date,
            "inputs": {name: msgspec.to_builtins(value) for name, value in self.inputs},
            "steps": [
                {
                    "id": s.id,
                    "kind": s.kind,
                    "mode": s.mode,
                    "required": s.required,
                    "before": s.before,
                    "only": s.only,
                    "by_hand": s.by_hand,
                    "instead": [a.as_data() for a in s.instead],
                    "acts": [a.as_data() for a in s.acts],
                    "undo": [a.as_data() for a in s.undo],
                    "probe": [a.as_data() for a in s.probe],
                    **({"late": [msgspec.to_builtins(slot) for slot in s.late]} if s.late else {}),
                }
                for s in self.steps
            ],
        }

    def digest(self) -> str:
        return digest(self.as_data())

    @property
    def needs(self) -> tuple[str, ...]:
        """What its reads open beyond reading files, each once."""
        return tuple(dict.fromkeys(n for s in self.steps for act in (*s.acts, *s.probe) for n in act.needs))

    @property
    def writes(self) -> tuple[Act, ...]:
        """What it changes, in order."""
        return tuple(a for s in self.steps if s.mode == "write" for a in s.acts)

    @property
    def undos(self) -> tuple[Act, ...]:
        """What takes its changes back, in the order of the changes."""
        return tuple(a for s in self.steps for a in s.undo)
