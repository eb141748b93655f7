"""A book as types. The same types give the loader its checks and `envtui schema runbook` its output.

Meaning of each field: docs/runbooks.md. Fields whose execution is not built yet are part of the format; planning refuses
them by name (`rules.plan`).
"""

# No postponed annotations here: msgspec reads them, and each one that is text is compiled again at every start.

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .environment import EnvironmentName
from .shape import Duration, Name, Shape, StepId, Title

ValueType = Literal["string", "int", "bool", "enum", "duration", "timestamp", "host", "ident", "secret", "path"]
Need = Literal["network", "sockets", "root"]
"""What a read on a host needs beyond the sandbox that holds it."""

Argv = Annotated[tuple[str, ...], Meta(min_length=1)] | str
"""A list, or one string that is split into words without a shell."""


class Param(Shape, frozen=True, kw_only=True):
    type: ValueType
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    min: str | None = None
    max: str | None = None
    default: str | None = None
    required: bool = False
    ask: str = ""
    generate: bool = False
    doc: str = ""


class Subject(Shape, frozen=True, kw_only=True):
    kind: str
    id: str
    artifact: str | None = None
    digest: str | None = None


class Defaults(Shape, frozen=True, kw_only=True, rename={"as_": "as"}):
    target: Name | None = None
    timeout: Duration | None = None
    as_: str | None = None
    host: str | None = None


class Stdin(Shape, frozen=True, kw_only=True):
    """Exactly one of the three."""

    text: str | None = None
    file: str | None = None
    capture: str | None = None


class SshExpect(Shape, frozen=True, kw_only=True):
    exit: int | tuple[int, ...] | None = None
    stdout_matches: str | None = None
    stdout_absent: str | None = None
    json: dict[str, str] | None = None  # JSON pointer -> expected text
    any_host: bool = False  # one host that meets it is enough


class SqlExpect(Shape, frozen=True, kw_only=True):
    rows: int | None = None
    rows_min: int | None = None
    rows_max: int | None = None
    affected_max: int | None = None
    value: str | None = None  # the first column of the first row: text, or an operator and a literal


class HttpExpect(Shape, frozen=True, kw_only=True):
    status: int | tuple[int, ...] | None = None
    json: dict[str, str] | None = None
    value: str | None = None


class AnyExpect(Shape, frozen=True, kw_only=True):
    """The matchers of a probe: those of the kind that it reads with."""

    exit: int | tuple[int, ...] | None = None
    stdout_matches: str | None = None
    stdout_absent: str | None = None
    rows: int | None = None
    rows_min: int | None = None
    rows_max: int | None = None
    value: str | None = None
    status: int | tuple[int, ...] | None = None
    json: dict[str, str] | None = None


class Poll(Shape, frozen=True, kw_only=True, rename={"for_": "for"}):
    every: Duration = "5s"
    for_: Duration
    until: Literal["expect", "person"] = "expect"
    in_a_row: Annotated[int, Meta(ge=1)] = 1
    failure_limit: Annotated[int, Meta(ge=0)] | None = None


class Each(Shape, frozen=True, kw_only=True, rename={"in_": "in"}):
    in_: str
    pause: Duration = "0s"
    max: Annotated[int, Meta(ge=1)] = 100


class Capture(Shape, frozen=True, kw_only=True, rename={"from_": "from"}):
    from_: Literal["stdout", "lines", "rows", "json", "headers", "answer"]
    regex: str | None = None
    path: str | None = None  # JSON pointer
    where: dict[str, str] = msgspec.field(default_factory=dict)
    pick: Literal["only", "one", "many", "all"] = "only"
    columns: dict[str, ValueType] = msgspec.field(default_factory=dict)
    type: ValueType = "string"
    per_host: bool = False
    to: Literal["file"] | None = None


class Late(Shape, frozen=True, kw_only=True):
    """A slot of a write for a captured value: its name is what stands after `vars.`."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)?$(?!\n)", max_length=128)]
    type: ValueType = "string"
    pattern: str
    max_length: Annotated[int, Meta(ge=1, le=4096)] = 64
    fixed: bool = False


class Fanout(Shape, frozen=True, kw_only=True):
    batches: tuple[str, ...] = ("100%",)
    max_failures: int = 0
    pause: Duration = "0s"


class _Doing(Shape, frozen=True, kw_only=True, rename={"as_": "as"}):
    """What an undo, a probe or a wait's `until` does: the fields of a step's own kind, or of the kind named."""

    kind: Literal["ssh", "sql", "http", "manual"] | None = None
    target: Name | None = None
    host: str | None = None
    as_: str | None = None
    needs: tuple[Need, ...] = ()
    timeout: Duration | None = None
    argv: Argv | None = None
    sh: str | None = None
    args: tuple[str, ...] | dict[str, str] = ()
    stdin: Stdin | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    query: str | None = None
    file: str | None = None
    transaction: Literal["single", "none"] | None = None
    path: str | None = None
    check: str | None = None
    method: str | None = None
    body: str | None = None
    instructions: str | None = None


class Undo(_Doing, frozen=True, kw_only=True):
    """How this write is taken back."""


class Probe(_Doing, frozen=True, kw_only=True):
    """A read that tells whether the write is there. `absent: otherwise` must be written out."""

    preset: str | None = None  # service active NAME | file exists PATH | row exists QUERY
    applied: AnyExpect | None = None
    absent: AnyExpect | Literal["otherwise"] | None = None


class Until(_Doing, frozen=True, kw_only=True):
    expect: AnyExpect


class _Step(Shape, frozen=True, kw_only=True, tag_field="kind", rename={"if_": "if", "as_": "as"}):
    id: StepId
    title: str = ""
    doc: str = ""
    example: str = ""
    target: Name | None = None
    host: str | None = None
    as_: str | None = None
    needs: tuple[Need, ...] = ()
    if_: str | None = None  # ${…} == literal, ${…} != literal
    next: str | None = None
    required: bool = False
    timeout: Duration | None = None
    idle_timeout: Duration | None = None
    poll: Poll | None = None
    each: Each | None = None
    capture: dict[Name, Capture] = msgspec.field(default_factory=dict)
    on_failure: Annotated[str, Meta(pattern=r"^(stop|ask|undo|goto:[a-z][a-z0-9_-]*)$(?!\n)")] = "stop"
    retry: Annotated[int, Meta(ge=0)] = 0
    # write steps
    mode: Literal["read", "write"] = "read"
    probe: Probe | None = None
    repeatable: bool = False
    undo: Undo | None = None
    point_of_no_return: str | None = None
    fanout: Fanout | None = None
    late: tuple[Late, ...] = ()
    attempts: Annotated[int, Meta(ge=1)] = 1
    confirm: str | None = None
    detach: bool = False
    finally_: Literal["undo"] | None = msgspec.field(default=None, name="finally")


class SshStep(_Step, frozen=True, kw_only=True, tag="ssh"):
    argv: Argv | None = None
    sh: str | None = None
    args: tuple[str, ...] = ()
    stdin: Stdin | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    expect: SshExpect = SshExpect()


class SqlStep(_Step, frozen=True, kw_only=True, tag="sql"):
    query: str | None = None
    file: str | None = None
    transaction: Literal["single", "none"] = "single"
    statement_timeout: Duration | None = None
    lock_timeout: Duration | None = None
    expect: SqlExpect = SqlExpect()


class HttpStep(_Step, frozen=True, kw_only=True, tag="http"):
    path: str | None = None
    check: Name | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    args: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: str | None = None
    expect: HttpExpect = HttpExpect()


class ManualStep(_Step, frozen=True, kw_only=True, tag="manual"):
    instructions: str
    ask: dict[Name, ValueType] = msgspec.field(default_factory=dict)
    see: str | None = None


class ChooseStep(_Step, frozen=True, kw_only=True, tag="choose"):
    options: Annotated[dict[str, str], Meta(min_length=1)]


class WaitStep(_Step, frozen=True, kw_only=True, tag="wait", rename={"if_": "if", "as_": "as", "for_": "for"}):
    for_: Duration | None = None
    until: Until | None = None


Step = SshStep | SqlStep | HttpStep | ManualStep | ChooseStep | WaitStep


class Watch(Shape, frozen=True, kw_only=True, rename={"for_": "for"}):
    for_: Duration
    every: Duration
    checks: tuple[Name, ...]
    on_breach: Literal["propose-undo", "tell"] = "tell"


class After(Shape, frozen=True, kw_only=True):
    watch: Watch


class GateTerms(Shape, frozen=True, kw_only=True, rename={"in_": "in", "for_": "for", "with_": "with"}):
    """The terms of one gate; which of them a gate knows is in docs/runbooks.md."""

    in_: EnvironmentName | None = None
    of: str | None = None
    for_: Duration | None = None
    within: Duration | None = None
    max_gap: Duration | None = None
    margin: Duration | None = None
    with_: EnvironmentName | None = None
    thresholds: dict[str, str] = msgspec.field(default_factory=dict)
    check: Name | None = None
    waive: Literal["never", "incident"] = "never"


class Gate(Shape, frozen=True, kw_only=True):
    """Exactly one key, the gate's name."""

    order: GateTerms | None = None
    soak: GateTerms | None = None
    load_test: GateTerms | None = None
    rehearsal: GateTerms | None = None
    same_code: GateTerms | None = None
    window: GateTerms | None = None
    data_class: GateTerms | None = None
    clean_ledger: GateTerms | None = None


class Runbook(Shape, frozen=True, kw_only=True):
    """One book: what to do, in order, in one environment."""

    schema: Literal["envtui/runbook@1"]
    id: Name
    environment: EnvironmentName
    title: Title
    owner: str
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]
    alerts: tuple[str, ...] = ()
    use_when: str = ""
    change: Literal["none", "forward", "rollback"] = "none"
    doc: str = ""
    tags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    params: dict[Name, Param] = msgspec.field(default_factory=dict)
    defaults: Defaults = Defaults()
    subject: Subject | None = None
    gates: tuple[Gate, ...] = ()
    before: tuple[Step, ...] = ()
    after: tuple[After, ...] = ()
    estimate: Duration | None = None
