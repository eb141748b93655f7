"""HTTP targets against a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from envtui.core.act import Act, HttpCall, Part, Place, Ref, SecretRef
from envtui.core.environment import Command, Credential, Environment, HttpTarget, Identity
from envtui.core.errors import EnvtuiError, InDoubt, Refused, TimedOut, Unreachable, Unsound, WrongIdentity
from envtui.core.ports import HEAD_BYTES, Reading
from envtui.core.secret import Secret
from envtui.outside.http import HttpReader, HttpWriter
from tests.servers.postgres import Collected, FakeSecrets, permit_for, serving

SECRET = "token-1"


class Secrets(FakeSecrets):
    async def resolve(self, reference: str | Command, name: str) -> Secret:
        values = {"file:token": SECRET, "file:split": "a\r\nX-Other: b", "file:slash": "a/b?c"}
        return Secret(name, values[str(reference)])


class Service:
    """Answers /identity, and everything else as `answer` says: (method, path) -> raw bytes; None hangs, b'' closes."""

    def __init__(self, answer: Callable[[str, str], bytes | None]) -> None:
        self.answer = answer
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append((line, headers, body))
            method, path, _ = line.split(" ")
            data = ok(b"staging\n") if path == "/api/identity" else self.answer(method, path)
            if data is None:
                await asyncio.Event().wait()
            if not data:
                return
            writer.write(data)
            await writer.drain()


def ok(body: bytes, extra: str = "", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


@asynccontextmanager
async def service(answer: Callable[[str, str], bytes | None]) -> AsyncIterator[Service]:
    made = Service(answer)
    async with serving(made.serve) as port:
        made.port = port
        yield made


def setting(port: int, expect: str | None = "staging") -> tuple[Environment, Callable[[str], Path], Secrets]:
    environment = Environment(
        schema="envtui/environment@1",
        name="staging",
        purpose="tests",
        data="synthetic",
        credentials={
            "look": Credential(kind="http", access="read", header="X-Token", secret="file:token"),
            "change": Credential(kind="http", access="write", secret="file:token"),
            "split": Credential(kind="http", access="read", secret="file:split"),
        },
        targets={
            "api": HttpTarget(
                read="look",
                base=f"http://127.0.0.1:{port}/api",
                identity=Identity(path="/identity", expect=expect) if expect else None,
            )
        },
    )
    return environment, Path("/nowhere").joinpath, Secrets()


def act(
    port: int, path: str | tuple[Part, ...] = "/x", method: str = "GET", timeout: float = 5.0, **call: object
) -> Act:
    mode = "read" if method in ("GET", "HEAD") else "write"
    return Act(
        step="look",
        mode=mode,  # type: ignore[arg-type]
        place=Place(
            target="api",
            kind="http",
            member="api",
            address=f"http://127.0.0.1:{port}/api",
            credential=str(call.pop("credential", "look" if mode == "read" else "change")),
        ),
        call=HttpCall(method=method, path=(path,) if isinstance(path, str) else path, **call),  # type: ignore[arg-type]
        timeout=timeout,
    )


async def write(port: int, request: Act) -> Reading:
    permit = permit_for(request)
    return await HttpWriter(permit, *setting(port)).write(permit, request, Collected())


async def test_a_read_with_its_credential_and_identity_first() -> None:
    async with service(lambda method, path: ok(b"[/markup]\xff", "X-Served: gw1\r\n")) as found:
        reader = HttpReader(*setting(found.port))
        sink = Collected()
        request = act(found.port, "/status", query=(("q", ("a b&c",)),), headers=(("X-Trace", ("1",)),))
        shown = await reader.open(request)
        reading = await reader.read(request, sink)
        await reader.close()
    assert (shown.shown, shown.protection) == ("staging", "method-enforced")
    assert (reading.status, reading.stdout, reading.truncated) == (200, b"[/markup]\xff", False)
    assert ("x-served", "gw1") in reading.headers
    assert (sink.data, sink.errors) == (b"[/markup]\xff", b"200 OK\n")
    *_, (asked, without, _), (line, headers, _) = found.requests
    assert asked == "GET /api/identity HTTP/1.1"
    assert "x-token" not in without  # the secret waits until the service has shown who it is
    assert line == "GET /api/status?q=a%20b%26c HTTP/1.1"
    assert (headers["x-token"], headers["x-trace"]) == (SECRET, "1")


async def test_a_redirect_is_shown_and_not_followed() -> None:
    async with service(lambda m, p: ok(b"", "Location: http://127.0.0.1:1/\r\n", "302 Found")) as found:
        sink = Collected()
        reading = await HttpReader(*setting(found.port)).read(act(found.port), sink)
    assert reading.status == 302
    assert sink.errors == b"302 Found\nLocation (not followed): http://127.0.0.1:1/\n"
    assert len(found.requests) == 2


async def test_a_large_answer_is_streamed() -> None:
    async with service(lambda m, p: ok(b"x" * 5_000_000)) as found:
        sink = Collected(keep=False)
        reading = await HttpReader(*setting(found.port)).read(act(found.port), sink)
    assert (sink.size, len(reading.stdout), reading.truncated) == (5_000_000, HEAD_BYTES, True)
    assert sink.largest <= 1024 * 1024


@pytest.mark.parametrize("expect", ["production", "stag"])
async def test_another_service_gets_no_request_and_no_secret(expect: str) -> None:
    async with service(lambda m, p: ok(b"")) as found:
        with pytest.raises(WrongIdentity):
            await HttpReader(*setting(found.port, expect)).read(act(found.port), Collected())
        request = act(found.port, method="POST")
        permit = permit_for(request)
        with pytest.raises(WrongIdentity):
            await HttpWriter(permit, *setting(found.port, expect)).write(permit, request, Collected())
    assert [line for line, _, _ in found.requests] == ["GET /api/identity HTTP/1.1"] * 2
    assert not any(SECRET in headers.values() for _, headers, _ in found.requests)


async def test_without_an_identity_nothing_is_sent() -> None:
    async with service(lambda m, p: ok(b"")) as found:
        with pytest.raises(Unsound, match="no identity"):
            await HttpReader(*setting(found.port, None)).open(act(found.port))
    assert found.requests == []


async def test_what_a_read_may_not_be() -> None:
    reader = HttpReader(*setting(1))
    with pytest.raises(Refused, match="no http read"):
        await reader.read(act(1, method="DELETE"), Collected())
    wrong = act(1)
    with pytest.raises(Refused, match="POST is no read"):
        await reader.read(
            Act(step="x", mode="read", place=wrong.place, call=HttpCall(method="POST", path=("/x",))), Collected()
        )
    for path in ("/a/../b", "/%2e%2E/b", "/a/."):
        with pytest.raises(Refused, match="leads out"):
            await reader.read(act(1, path), Collected())
    with pytest.raises(Refused, match="line end"):
        await reader.read(act(1, credential="split"), Collected())
    with pytest.raises(Refused, match=r"vars\.x"):
        await reader.read(act(1, ("/", Ref("vars.x"))), Collected())
    with pytest.raises(Unsound, match="no http credential"):
        await reader.read(act(1, credential="change"), Collected())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/http://127.0.0.1:1/steal", "GET /api/http://127.0.0.1:1/steal HTTP/1.1"),
        ("/http:/x", "GET /api/http:/x HTTP/1.1"),
        ("/v1:check", "GET /api/v1:check HTTP/1.1"),
        ("/a:b/c", "GET /api/a:b/c HTTP/1.1"),
        ("//127.0.0.1:1/x", "GET /api//127.0.0.1:1/x HTTP/1.1"),
        ("/@127.0.0.1:1/x", "GET /api/@127.0.0.1:1/x HTTP/1.1"),
        ("/x?next=http://127.0.0.1:1/", "GET /api/x?next=http://127.0.0.1:1/ HTTP/1.1"),
    ],
)
async def test_a_path_stays_with_its_target(path: str, line: str) -> None:
    """httpx would take the first of them for another host, and send it the credential."""
    async with service(lambda m, p: ok(b"")) as found:
        reading = await HttpReader(*setting(found.port)).read(act(found.port, path), Collected())
        assert reading.status == 200
        request = act(found.port, path, "POST")
        await write(found.port, request)
    assert [asked for asked, _, _ in found.requests][1::2] == [line, line.replace("GET", "POST")]


@pytest.mark.parametrize(
    "header", ["Host", "transfer-encoding", "Content-Length", "X-HTTP-Method-Override", "Upgrade", "a b", "é", "x:y"]
)
async def test_a_read_frames_no_request_of_its_own_and_asks_for_no_other_method(header: str) -> None:
    async with service(lambda m, p: ok(b"")) as found:
        for request in (
            act(found.port, headers=((header, ("DELETE",)),)),
            act(found.port, headers=(("X-Ok", ("é",)),)),
            act(found.port, body=("x",)),
        ):
            with pytest.raises(Refused):
                await HttpReader(*setting(found.port)).read(request, Collected())
    assert found.requests == []


async def test_a_secret_in_a_path_stays_one_segment() -> None:
    async with service(lambda m, p: ok(b"")) as found:
        await HttpReader(*setting(found.port)).read(act(found.port, ("/t/", SecretRef("t", "file:slash"))), Collected())
    assert found.requests[-1][0] == "GET /api/t/a%2Fb%3Fc HTTP/1.1"


async def test_unreachable_silent_and_broken_services() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        await HttpReader(*setting(1)).open(act(1))

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(never) as port:
        with pytest.raises(TimedOut):
            await HttpReader(*setting(port), seconds=0.05).open(act(port))
    answers: list[tuple[bytes | None, type[EnvtuiError]]] = [
        (None, TimedOut),
        (b"", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", TimedOut),
        (b"not http at all\r\n\r\n", Unreachable),
    ]
    for answer, error in answers:
        async with service(lambda m, p, answer=answer: answer) as found:
            with pytest.raises(error):
                await HttpReader(*setting(found.port)).read(act(found.port, timeout=0.2), Collected())


async def test_a_write_is_sent_once_and_its_answer_is_the_outcome() -> None:
    async with service(lambda m, p: ok(b"made", status="201 Created")) as found:
        reading = await write(found.port, act(found.port, "/things", "POST", body=("{}",)))
    assert (reading.status, reading.stdout) == (201, b"made")
    line, headers, body = found.requests[-1]
    assert (line, headers["authorization"], body) == ("POST /api/things HTTP/1.1", SECRET, b"{}")
    assert len(found.requests) == 2


@pytest.mark.parametrize(
    "answer", [None, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"nonsense\r\n\r\n"]
)
async def test_a_write_whose_answer_is_lost_is_in_doubt(answer: bytes | None) -> None:
    async with service(lambda m, p: answer) as found:
        with pytest.raises(InDoubt, match="was sent"):
            await write(found.port, act(found.port, method="PUT", timeout=0.2))
    assert [line for line, _, _ in found.requests if "PUT" in line] == ["PUT /api/x HTTP/1.1"]


async def test_a_write_that_was_never_sent_is_not_in_doubt() -> None:
    with pytest.raises(Unreachable):
        await write(1, act(1, method="PUT"))


async def test_a_permit_is_for_one_act_and_one_time() -> None:
    async with service(lambda m, p: ok(b"")) as found:
        first, other = act(found.port, "/a", "POST"), act(found.port, "/b", "POST")
        permit = permit_for(first)
        writer = HttpWriter(permit, *setting(found.port))
        with pytest.raises(Refused, match="another act"):
            await writer.write(permit, other, Collected())
        await writer.write(permit, first, Collected())
        with pytest.raises(Refused, match="was used"):
            await writer.write(permit, first, Collected())
        with pytest.raises(TypeError):
            HttpWriter(None, *setting(found.port))  # type: ignore[arg-type]


async def test_the_users_own_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with service(lambda m, p: ok(b"here")) as found:
        assert (await HttpReader(*setting(found.port)).read(act(found.port), Collected())).stdout == b"here"


class Tunnel:
    def __init__(self, port: int) -> None:
        self._port = port

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        assert (via, host, port) == ("bastion", "api.internal", 8080)
        return "127.0.0.1", self._port


async def test_through_a_tunnel_the_service_is_asked_by_its_own_name() -> None:
    async with service(lambda m, p: ok(b"here")) as found:
        request = act(found.port)
        place = msgspec.structs.replace(request.place, address="http://api.internal:8080/api", via="bastion")
        request = msgspec.structs.replace(request, place=place)
        reader = HttpReader(*setting(found.port), tunnels=Tunnel(found.port))
        assert (await reader.read(request, Collected())).stdout == b"here"
        assert {headers["host"] for _, headers, _ in found.requests} == {"api.internal:8080"}
        with pytest.raises(Unsound, match="no way there"):
            await HttpReader(*setting(found.port)).read(request, Collected())
