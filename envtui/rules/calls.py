"""What a step, an undo or a probe does, as a call: its texts split, filled and checked, one member at a time."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec

from envtui.core.act import FRAMING, OTHER_METHOD, Bytes, Call, HttpCall, Mode, SecretRef, SqlCall, SshCall, Text
from envtui.core.errors import UsageError
from envtui.core.runbook import Argv, Probe, SqlStep, Stdin, Step, Undo, Until
from envtui.core.shape import seconds

from .bind import check_header, check_item, check_path, segment
from .sql_binds import sql_binds
from .template import Given, Piece, Scope, join, parse, pieces, plain

DEFAULT_TIMEOUT = 60.0
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAFE_IN_URL = "/:@!$&'()*+,;=-._~%?"


class Doing(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that say what is done, whoever says it. `where` begins the errors: `step revert, undo`."""

    where: str
    kind: str
    target: str | None = None
    host: str | None = None
    as_: str | None = None
    needs: tuple[str, ...] = ()
    timeout: str | None = None
    argv: Argv | None = None
    sh: str | None = None
    args: tuple[str, ...] | Mapping[str, str] = ()
    stdin: Stdin | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    query: str | None = None
    file: str | None = None
    transaction: str | None = None
    statement_timeout: str | None = None
    lock_timeout: str | None = None
    affected_max: int | None = None
    path: str | None = None
    method: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: str | None = None
    instructions: str | None = None


_FIELDS = tuple(name for name in Doing.__struct_fields__ if name not in ("where", "kind", "affected_max"))


def doing(step: Step) -> Doing:
    """What a step of kind ssh, sql or http does."""
    limit = step.expect.affected_max if isinstance(step, SqlStep) else None
    found = {name: value for name in _FIELDS if (value := getattr(step, name, None)) is not None}
    return Doing(where=f"step {step.id}", kind=str(step.__struct_config__.tag), affected_max=limit, **found)


def doing_of(part: Undo | Probe | Until, step: Step, name: str) -> Doing:
    """What the undo, the probe or the `until` of a step does. Target, host and account are the step's unless it says."""
    own = str(step.__struct_config__.tag)
    said = [kind for kind, used in _USED.items() if any(getattr(part, each) is not None for each in used)]
    kind = part.kind or (said[0] if len(said) == 1 else own)
    found = {each: value for each in _FIELDS if (value := getattr(part, each, None)) is not None}
    for each in ("target", "host", "as_", "timeout"):
        inherited = getattr(step, each)
        if inherited is not None and (each in ("target", "timeout") or part.target is None):
            found.setdefault(each, inherited)
    if name == "until" and not part.needs:
        found["needs"] = step.needs
    return Doing(where=f"step {step.id}, {name}", kind=kind, **found)


_USED = {"ssh": ("argv", "sh"), "sql": ("query", "file"), "http": ("path",), "manual": ("instructions",)}


def call_of(what: Doing, mode: Mode, scope: Scope, files: Mapping[str, bytes]) -> Call:
    """The call, with `${run.host}` already in `scope`. Raises UsageError for anything that would make a value syntax."""
    if what.kind == "ssh":
        return _ssh(what, scope, files)
    if what.kind == "sql":
        return _sql(what, scope, files)
    return _http(what, mode, scope)


def _ssh(what: Doing, scope: Scope, files: Mapping[str, bytes]) -> SshCall:
    where = what.where
    if (what.argv is None) == (what.sh is None):
        raise UsageError(f"{where}: needs either `argv` or `sh`.", "Say one of the two.")
    script = None
    if what.sh is not None:
        script = _script(what.sh, where)
        words = list(what.args)
    else:
        assert what.argv is not None
        if what.args:
            raise UsageError(f"{where}: `args` belong to `sh`.", "Put them into `argv`.")
        words = _words(what.argv, where)
        if not words or not words[0] or any(not isinstance(part, str) for part in parse(words[0], where)):
            raise UsageError(f"{where}: the program is written out, it is not a value.", "Name it in the book.")
    first = 1 if script is not None else 0
    argv = tuple(_item(word, scope, f"{where}, argument {n}") for n, word in enumerate(words, first))
    for name in what.env:
        if not _ENV_NAME.fullmatch(name):
            raise UsageError(f"{where}: {name!r} is no name of an environment variable.", "Use letters, digits and _.")
    env = tuple((name, _public(text, scope, f"{where}, env {name}")) for name, text in sorted(what.env.items()))
    cwd = plain(what.cwd, scope, f"{where}, cwd") if what.cwd is not None else ""
    content, text = _stdin(what.stdin, scope, files, where)
    return SshCall(argv=argv, sh=script, stdin=content, stdin_text=text, env=env, cwd=cwd)


def _script(sh: str, where: str) -> str:
    parts = parse(sh.replace("$${", "\0"), where) if "${" in sh.replace("$${", "") else (sh.replace("$${", "\0"),)
    if any(not isinstance(part, str) for part in parts):
        raise UsageError(
            f"{where}: `${{…}}` cannot stand in `sh`.", 'Put it into `args` and use it as "$1"; $${ is a literal ${.'
        )
    script = "".join(str(part) for part in parts).replace("\0", "${")
    if not script.strip():
        raise UsageError(f"{where}: `sh` is empty.", "Say what to run.")
    return script


def _words(argv: Argv, where: str) -> list[str]:
    if not isinstance(argv, str):
        return list(argv)
    try:
        return shlex.split(argv)
    except ValueError as error:
        reason = str(error).rstrip(".").lower()
        raise UsageError(
            f"{where}: the command cannot be split: {reason}.", "Close the quote, or write a list."
        ) from error


def _item(word: str, scope: Scope, where: str) -> Text:
    parts = pieces(word, scope, where)
    text = _no_secret(join(parts), where)
    opens = bool(parts) and isinstance(parts[0], Given)
    check_item("".join(part for part in text if isinstance(part, str)), opens, where)
    return text


def _public(text: str, scope: Scope, where: str, spelt: Callable[[str], str] = str) -> Text:
    return _no_secret(join(pieces(text, scope, where), spelt), where)


def _no_secret(text: Text, where: str) -> Text:
    for part in text:
        if isinstance(part, SecretRef):
            raise UsageError(
                f"{where}: the secret ${{params.{part.name}}} would be seen there by others.",
                "Secrets go to stdin or into SQL.",
            )
    return text


def _stdin(
    stdin: Stdin | None, scope: Scope, files: Mapping[str, bytes], where: str
) -> tuple[Bytes | None, Text | None]:
    if stdin is None:
        return None, None
    where = f"{where}, stdin"
    if sum(each is not None for each in (stdin.text, stdin.file, stdin.capture)) != 1:
        raise UsageError(f"{where}: needs exactly one of text, file and capture.", "Say one of the three.")
    if stdin.file is not None:
        return Bytes.of(_file(stdin.file, files, where)), None
    source = stdin.text if stdin.text is not None else f"${{vars.{stdin.capture}}}"
    text = join(pieces(source, scope, where))
    if all(isinstance(part, str) for part in text):
        return Bytes.of("".join(str(part) for part in text).encode()), None
    return None, text


def _file(path: str, files: Mapping[str, bytes], where: str) -> bytes:
    content = files.get(path)
    if content is None:
        raise UsageError(f"{where}: this tree has no file {path}.", "Files are named from the tree's own folder.")
    return content


def _sql(what: Doing, scope: Scope, files: Mapping[str, bytes]) -> SqlCall:
    where = what.where
    if (what.query is None) == (what.file is None):
        raise UsageError(f"{where}: needs either `query` or `file`.", "Say one of the two.")
    source = what.query
    if what.file is not None:
        try:
            source = _file(what.file, files, where).decode()
        except UnicodeDecodeError as error:
            raise UsageError(f"{where}: {what.file} is not UTF-8.", "Save it as UTF-8.") from error
    assert source is not None
    if not source.strip():
        raise UsageError(f"{where}: the statement is empty.", "Say what to run.")
    text, binds = sql_binds(source, scope, where)
    return SqlCall(
        text=text,
        binds=binds,
        transaction="none" if what.transaction == "none" else "single",
        statement_timeout=_seconds(what.statement_timeout),
        lock_timeout=_seconds(what.lock_timeout),
        affected_max=what.affected_max,
    )


def _http(what: Doing, mode: Mode, scope: Scope) -> HttpCall:
    where = what.where
    if what.path is None:
        raise UsageError(f"{where}: needs `path`.", "Say which path of the service.")
    method = what.method or "GET"
    if mode == "read" and method not in ("GET", "HEAD"):
        raise UsageError(f"{where}: {method} is no read.", "Say `mode: write`, or use GET or HEAD.")
    parts = pieces(what.path, scope, f"{where}, path")
    encoded = tuple(quote(part, safe=_SAFE_IN_URL) if isinstance(part, str) else part for part in parts)
    path = _no_secret(join(encoded, lambda value: segment(value, f"{where}, path")), f"{where}, path")
    shown = "".join(part if isinstance(part, str) else "x" for part in path)
    if not shown.startswith("/") or shown.startswith("//"):
        raise UsageError(f"{where}: a path begins with one /.", "The rest of the address is the target's.")
    check_path(shown, f"{where}, path")
    if method in ("GET", "HEAD") and what.body is not None:
        raise UsageError(f"{where}: a {method} has no body.", "Put it into `args`, or say mode: write.")
    args = what.args if isinstance(what.args, Mapping) else {}
    headers = tuple(
        (name, _public(text, scope, f"{where}, header {name}")) for name, text in sorted(what.headers.items())
    )
    reads = method in ("GET", "HEAD")
    for name, text in headers:
        if name.lower() in (FRAMING | OTHER_METHOD if reads else FRAMING):
            raise UsageError(f"{where}: {name} is no header that a step may set.", "Leave it out.")
        check_header(name + "".join(part for part in text if isinstance(part, str)), f"{where}, header {name}")
    return HttpCall(
        method=method,
        path=path,
        query=tuple((name, _public(text, scope, f"{where}, args {name}")) for name, text in args.items()),
        headers=headers,
        body=_body(what.body, scope, f"{where}, body") if what.body is not None else None,
    )


def _body(body: str, scope: Scope, where: str) -> Text:
    """The body; where it is JSON, values are escaped inside its strings, and only numbers and truths stand outside."""
    parts = pieces(body, scope, where)
    if not _is_json(parts):
        return _no_secret(join(parts), where)
    inside = False
    spelt: list[Piece] = []
    for part in parts:
        if isinstance(part, str):
            inside = inside != (len(re.findall(r'(?<!\\)(?:\\\\)*"', part)) % 2 == 1)
            spelt.append(part)
        elif isinstance(part, Given) and (inside or part.value.type in ("int", "bool")):
            spelt.append(json.dumps(part.value.text, ensure_ascii=False)[1:-1])
        else:
            name = part.name if not isinstance(part, SecretRef) else f"params.{part.name}"
            raise UsageError(
                f"{where}: ${{{name}}} cannot stand there in JSON.",
                "Put it between quotes; only int and bool parameters stand without, and captured values not at all.",
            )
    return _no_secret(join(tuple(spelt)), where)


def _is_json(parts: tuple[Piece, ...]) -> bool:
    try:
        json.loads("".join(part if isinstance(part, str) else "0" for part in parts))
    except ValueError:
        return False
    return any(isinstance(part, str) and part.strip()[:1] in ("{", "[", '"') for part in parts[:1])


def _seconds(duration: str | None) -> float:
    return seconds(duration) if duration is not None else 0.0
