"""environment.yaml as types: who an environment is, what it reaches, and the rules it sets.

The same types give the loader its checks and `envtui schema environment` its output. Meaning of each field:
docs/environment.md.
"""

# No postponed annotations here: msgspec reads them, and each one that is text is compiled again at every start.

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .shape import Duration, Name, Shape, Title

EnvironmentName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$(?!\n)")]
Reference = Annotated[
    str, Meta(pattern=r"^(agent|file|env):.+$(?!\n)", description="agent:SHA256:…, file:PATH or env:NAME")
]


class Command(Shape, frozen=True, kw_only=True):
    """`{cmd: [program, …]}`: the first line that the program prints is the secret. The user's own config must allow it."""

    cmd: Annotated[tuple[str, ...], Meta(min_length=1)]


class Credential(Shape, frozen=True, kw_only=True):
    kind: Literal["ssh", "sql", "http"]
    access: Literal["read", "write"]
    user: str | None = None  # `${me}` is the operator
    key: Reference | None = None  # ssh
    secret: Reference | Command | None = None  # sql password, http header value
    header: str | None = None  # http: the header that carries the secret
    sudo: bool = False


class Identity(Shape, frozen=True, kw_only=True):
    """What a connection must show before anything else is sent over it."""

    argv: tuple[str, ...] | None = None  # ssh: its output, stripped, equals or matches
    equals: str | None = None
    matches: str | None = None
    query: str | None = None  # sql: one value, compared as text
    system_identifier: str | None = None  # sql: alone it does not tell a clone
    path: str | None = None  # http
    expect: str | None = None  # http: the body, stripped


class Identities(Shape, frozen=True, kw_only=True):
    """Defaults for the targets of each kind; a target's own identity replaces them."""

    ssh: Identity | None = None
    sql: Identity | None = None
    http: Identity | None = None


class _Target(Shape, frozen=True, kw_only=True, tag_field="kind"):
    read: Name
    write: Name | None = None
    via: Name | None = None  # an ssh target through which it is reached
    identity: Identity | None = None
    min_protection: str | None = None
    keep_output: bool = True
    links: tuple[str, ...] = ()
    doc: str = ""


class SshTarget(_Target, frozen=True, kw_only=True, tag="ssh", rename={"as_": "as"}):
    """`hosts` are NAME or NAME=ADDRESS[:PORT]; a range app-[01-60] stands for its members."""

    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    as_: str | None = None


class SqlTarget(_Target, frozen=True, kw_only=True, tag="sql"):
    """`hosts` are NAME or NAME=ADDRESS[:PORT]; `session` says which kind of server will do."""

    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    dbname: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 5432
    session: Literal["primary", "standby", "any"] = "primary"
    tls: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    ca: str | None = None  # a file below the tree


class HttpTarget(_Target, frozen=True, kw_only=True, tag="http"):
    base: Annotated[str, Meta(pattern=r"^https?://[^/\s]+(/.*)?$(?!\n)")]
    ca: str | None = None


Target = SshTarget | SqlTarget | HttpTarget


class SecretHeader(Shape, frozen=True, kw_only=True):
    """A header's value that is made of a secret: `prefix` and it; with `user`, HTTP Basic of both."""

    secret: Reference | Command
    prefix: str = ""
    user: str | None = None  # `${me}` is the operator


Headers = dict[Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$(?!\n)")], str | SecretHeader]
Pointer = Annotated[str, Meta(pattern=r"^/", description="a JSON pointer: /incident/status")]


class TrackerFields(Shape, frozen=True, kw_only=True):
    """Where a tracker's answer says what: JSON pointers. What decides has to be there, the others are only shown."""

    id: Pointer | None = None
    state: Pointer | None = None
    opened: Pointer | None = None  # ISO 8601
    environment: Pointer | None = None
    title: Pointer | None = None
    severity: Pointer | None = None
    service: Pointer | None = None
    url: Pointer | None = None


class TrackerNote(Shape, frozen=True, kw_only=True):
    """How a line is written into an incident: `body` is JSON in whose texts `${incident}` and `${text}` are filled in."""

    url: str
    body: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"


class IncidentPolicy(Shape, frozen=True, kw_only=True):
    tracker: Literal["file", "http", "command", "none"] = "none"
    path: str | None = None  # file: the register, absolute or below the tree's parent
    preset: Literal["pagerduty", "jira", "none"] = "none"  # http: whose API it is
    url: str | None = None  # http: with `${incident}` in it; of a preset the service's own address
    secret: Reference | Command | None = None  # of a preset: its token
    user: str | None = None  # of a preset: the account; `${me}` is the operator
    headers: Headers = msgspec.field(default_factory=dict)
    fields: TrackerFields = TrackerFields()
    open: tuple[str, ...] = ()  # the states that count as open; every other one is closed
    here: tuple[str, ...] = ()  # what `fields.environment` says of incidents of this environment; empty: its name
    note: TrackerNote | None = None
    notes: bool = True  # whether a preset's notes are written
    ca: str | None = None  # a file below the tree
    command: tuple[str, ...] | None = None  # one item is `${incident}`
    required: bool = True
    max_age: Duration = "7d"
    pattern: str = r"[A-Z][A-Z0-9]*-\d+"

    @property
    def looks(self) -> str:
        """What an id looks like, for people: `INC-\\d+` is INC-…; a pattern that names nothing says nothing."""
        named = re.fullmatch(r"\^?([A-Za-z][A-Za-z0-9_-]*-)(?:\\d|\[0-9\])(?:\+|\*|\{[0-9,]+\})\$?", self.pattern)
        return f"{named[1]}…" if named else "the incident's id"


class SignoffPolicy(Shape, frozen=True, kw_only=True):
    """`min` counts people other than the requester; 0: the requester's own signature is enough."""

    min: Annotated[int, Meta(ge=0, le=5)] = 1
    roles: tuple[str, ...] = ()  # empty: any role
    require_touch: bool = False
    same_machine: Literal["refused", "allowed"] = "refused"


class GrantPolicy(Shape, frozen=True, kw_only=True):
    max: Duration = "30m"
    activate_within: Duration = "15m"
    request_expires: Duration = "4h"
    undo_for: Duration = "15m"


class BreakGlass(Shape, frozen=True, kw_only=True):
    people: tuple[str, ...] = ()
    max: Duration = "15m"
    review_due: Duration = "24h"


class AccessPolicy(Shape, frozen=True, kw_only=True):
    incident: IncidentPolicy = IncidentPolicy()
    signoff: SignoffPolicy = SignoffPolicy()
    grant: GrantPolicy = GrantPolicy()
    owners: Annotated[int, Meta(ge=0, le=5)] = 0
    break_glass: BreakGlass | None = None
    write_gate: Literal["advisory", "issuer", "short-lived", "target-enforced"] | None = (
        None  # must be said in the last environment
    )
    escalation: str = ""


class Protection(Shape, frozen=True, kw_only=True):
    """The least read protection for each kind of target; levels in docs/protection.md."""

    ssh: str = "advisory"
    sql: str = "session-enforced"
    http: str = "method-enforced"


class Window(Shape, frozen=True, kw_only=True, rename={"from_": "from"}):
    name: str
    kind: Literal["allow", "deny"]
    tz: str = "UTC"
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    from_: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$(?!\n)")] | None = None
    to: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$(?!\n)")] | None = None
    start: str | None = None
    end: str | None = None


Comparison = Annotated[
    str, Meta(pattern=r"^(==|!=|<=|>=|<|>) ?\S+$(?!\n)", description="an operator and a literal: < 0.01")
]


class Check(Shape, frozen=True, kw_only=True, rename={"pass_": "pass"}):
    """A named measurement. Between `pass` and `fail` it is inconclusive."""

    target: Name
    query: str | None = None
    path: str | None = None
    json: str | None = None  # JSON pointer into the answer
    pass_: Comparison
    fail: Comparison


class Accept(Shape, frozen=True, kw_only=True, rename={"from_": "from"}):
    from_: EnvironmentName
    signers: tuple[str, ...]


class EvidencePolicy(Shape, frozen=True, kw_only=True):
    attesters: tuple[str, ...] = ()
    accept: tuple[Accept, ...] = ()
    checkpoint_max_age: Duration = "1h"


class Notify(Shape, frozen=True, kw_only=True):
    """Who is called: a program that reads JSON, or a service that is posted it."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    http: Annotated[str, Meta(pattern=r"^https?://[^/\s]+(/.*)?$(?!\n)")] | None = None
    headers: Headers = msgspec.field(default_factory=dict)
    ca: str | None = None  # a file below the tree


class Environment(Shape, frozen=True, kw_only=True):
    """The manifest of one environment."""

    schema: Literal["envtui/environment@1"]
    name: EnvironmentName
    purpose: Title
    data: Literal["synthetic", "anonymised", "seeded", "production"]
    credentials: dict[Name, Credential]
    targets: dict[Name, Target]
    rules: tuple[str, ...] = ()
    reset: Literal["free", "forbidden"] = "forbidden"
    promotes_from: EnvironmentName | None = None
    timezone: str = "UTC"
    identity: Identities = Identities()
    access: AccessPolicy = AccessPolicy()
    protection: Protection = Protection()
    windows: tuple[Window, ...] = ()
    monitoring: dict[Name, Check] = msgspec.field(default_factory=dict)
    evidence: EvidencePolicy = EvidencePolicy()
    notify: Notify | None = None


class Person(Shape, frozen=True, kw_only=True):
    """One line of people.yaml: whose key a principal's is, and what that person may sign."""

    name: str
    principals: Annotated[tuple[str, ...], Meta(min_length=1)]
    roles: tuple[str, ...] = ()


class People(Shape, frozen=True, kw_only=True):
    schema: Literal["envtui/people@1"]
    people: dict[Name, Person]
