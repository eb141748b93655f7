"""A tracker on loopback that speaks the parts of PagerDuty's REST API v2 and Jira's v2 which are publicly documented, and
behaves badly on demand."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "tkn-8c1f4a2e77b94d05"  # long enough to be found wherever it leaks
ACCOUNT = "asha@shop.example"

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Fake:
    """Incidents by id -> state; `next` answers instead, `times` times (-1: for good)."""

    incidents: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    opened: str = "2026-11-23T08:12:00Z"
    service: str = "Shop production"
    next: Callable[[str], Answer | None] | None = None
    times: int = -1
    gone: threading.Event = field(default_factory=threading.Event)  # whoever is kept waiting may go
    port: int = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def badly(self, status: int, body: bytes | str = b"", times: int = -1, **headers: str) -> None:
        """Answer every request like this."""
        data = body.encode() if isinstance(body, str) else body
        self.times = times
        self.next = lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, data)

    def silent(self) -> None:
        self.next = lambda _: None

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        self.asked.append((method, path))
        if self.next is not None and self.times != 0:
            self.times -= 1
            return self.next(path)
        plain = unquote(urlsplit(path).path)
        words = plain.strip("/").split("/")
        if words[0] == "incidents":
            return self._pagerduty(method, words[1:], headers, body)
        if words[:4] == ["rest", "api", "2", "issue"]:
            return self._jira(method, words[4:], headers, body)
        return said(404, {"error": "no such place"})

    def _pagerduty(self, method: str, words: list[str], headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Token token={TOKEN}":
            return said(401, {"error": {"message": "Unauthorized", "code": 2006}})
        if "version=2" not in headers.get("accept", ""):
            return said(400, {"error": {"message": "Version is required"}})
        if words[0] not in self.incidents:
            return said(404, {"error": {"message": "Not Found", "code": 2100}})
        if words[1:] == ["notes"] and method == "POST":
            if "@" not in headers.get("from", ""):
                return said(400, {"error": {"message": "Requester User Not Found", "code": 1008}})
            content = json.loads(body)["note"]["content"]
            self.notes.append((words[0], content))
            return said(201, {"note": {"id": "PWL7QXS", "content": content, "created_at": self.opened}})
        url = f"https://shop.pagerduty.com/incidents/{words[0]}"
        incident = {
            "id": words[0], "type": "incident", "summary": "[#1234] 403 for everyone", "html_url": url,
            "incident_number": 1234, "title": "403 for everyone", "created_at": self.opened,
            "status": self.incidents[words[0]], "urgency": "high", "priority": None,
            "service": {"id": "PIJ90N7", "type": "service_reference", "summary": self.service},
        }  # fmt: skip
        return said(200, {"incident": incident})

    def _jira(self, method: str, words: list[str], headers: dict[str, str], body: bytes) -> Answer:
        basic = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if headers.get("authorization") not in (f"Basic {basic}", f"Bearer {TOKEN}"):
            return said(401, {"errorMessages": ["You do not have the permission to see the specified issue."]})
        if words[0] not in self.incidents:
            return said(404, {"errorMessages": ["Issue does not exist or you do not have permission to see it."]})
        if words[1:] == ["comment"] and method == "POST":
            self.notes.append((words[0], json.loads(body)["body"]))
            return said(201, {"id": "10100", "body": json.loads(body)["body"]})
        category = self.incidents[words[0]]
        return said(200, {
            "id": "10002", "key": words[0], "self": f"{self.base}/rest/api/2/issue/10002",
            "fields": {
                "summary": "403 for everyone", "created": self.opened.replace("Z", ".000+0000"),
                "status": {"name": "Any", "statusCategory": {"id": 4, "key": category, "name": "Any"}},
                "priority": {"name": "Highest"}, "customfield_10010": {"value": self.service},
            },
        })  # fmt: skip


def said(status: int, value: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def tracking() -> Iterator[Fake]:
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.answer(self.command, self.path, headers, body)
            if answer is None:
                fake.gone.wait(60)
                self.close_connection = True
                return
            status, more, data = answer
            try:
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # who asked has had enough

        def __getattr__(self, name: str) -> object:
            if name in ("do_GET", "do_POST", "do_PUT"):
                return self.answer
            raise AttributeError(name)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        fake.gone.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    with tracking() as made:
        yield made
