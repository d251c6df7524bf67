"""A web server with prepared answers, which records the requests: proxies and failing servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """A request as it arrived; `path` is relative to /api."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


class Web:
    """The server: `says` prepares the next answer; the last answer is repeated."""

    def __init__(self, protocol: str) -> None:
        self.asked: list[Asked] = []
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        handler = type("Handler", (_Handler,), {"web": self, "protocol_version": protocol})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def says(self, body: Any = None, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, content, spelled))

    @property
    def last(self) -> Asked:
        return self.asked[-1]


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        query, path = parse_qsl(parts.query), parts.path.removeprefix("/api")
        self.web.asked.append(
            Asked(self.command, path, query, {k.lower(): v for k, v in self.headers.items()}, body)
        )
        status, content, headers = self.web.answers[0]
        if len(self.web.answers) > 1:
            del self.web.answers[0]
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if headers.get("content-length", str(len(content))) != str(len(content)):
            self.close_connection = True  # the answer breaks off

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *said: Any) -> None:
        """Keep the output of tests clean."""


@contextmanager
def served(protocol: str = "HTTP/1.1") -> Iterator[Web]:
    """The server in a separate thread; it speaks HTTP/1.0 and closes each connection."""
    made = Web(protocol)
    thread = Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.http.shutdown()
        made.http.server_close()
        thread.join()
