"""A proxy in front of an HTTP server that fails as networks, proxies and busy stores do."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PAGE = b"<!DOCTYPE html><html><body>Please log in to the network</body></html>"
_DROPPED = {"connection", "transfer-encoding", "keep-alive"}


class HttpFault(Enum):
    """A fault of a single request."""

    NONE = "is passed on"
    PAGE = "is answered with a web page and 200"
    BUSY = "is answered with 503 and a Retry-After"
    CONFLICT = "is answered with 409, and not passed on"
    LOST_REPLY = "is passed on, and the connection breaks before the answer"
    BROKEN = "is not passed on, and the connection breaks"
    SLOW = "is answered a byte at a time"
    FULL = "is answered with 507 of a quota"
    EXPIRED = "is answered with the 400 of expired credentials"
    REGION = "is answered with the 400 of another region"
    FORGOTTEN = "is answered with 404 although the object exists"


HttpPlan = Callable[[str, str], HttpFault]  # takes method, and path with query
_ANSWERS = {
    HttpFault.CONFLICT: (409, "ConditionalRequestConflict", "A conflicting operation occurred"),
    HttpFault.BUSY: (503, "SlowDown", "Please reduce your request rate."),
    HttpFault.FULL: (507, "QuotaExceeded", "The quota of the bucket is used up"),
    HttpFault.EXPIRED: (400, "ExpiredToken", "The provided token has expired."),
    HttpFault.REGION: (
        400,
        "AuthorizationHeaderMalformed",
        "the region 'us-east-1' is wrong; expecting 'eu-west-1'",
    ),
    HttpFault.FORGOTTEN: (404, "NoSuchKey", "The specified key does not exist."),
}


@dataclass
class FaultyHttp:
    """A running proxy: `url` is its address, `seen` the requests so far as (method, path).

    `plan` gives the fault of the next request and may be replaced at any time; `retry_after` is
    the pause that a busy answer asks for, `clock_ahead` moves the time in all answers.
    """

    target: str
    plan: HttpPlan = lambda _method, _path: HttpFault.NONE
    retry_after: int | str = 1
    clock_ahead: float = 0.0
    url: str = ""

    def __post_init__(self) -> None:
        self.seen: list[tuple[str, str]] = []


@contextmanager
def faulty_http(target: str) -> Iterator[FaultyHttp]:
    """A proxy in front of `target`, a URL."""
    proxy = FaultyHttp(target)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(proxy: FaultyHttp) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        faulty = proxy

    return Handler


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyHttp
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.faulty.clock_ahead)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.faulty.seen.append((self.command, self.path))
        fault = self.faulty.plan(self.command, self.path)
        if fault is HttpFault.PAGE:
            self._answer(200, {"Content-Type": "text/html"}, PAGE)
        elif fault is HttpFault.BROKEN:
            self._break()
        elif fault in _ANSWERS:
            self._refuse(fault)
        else:
            self._pass_on(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _refuse(self, fault: HttpFault) -> None:
        status, code, message = _ANSWERS[fault]
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        headers = {"Content-Type": "application/xml"}
        if fault is HttpFault.BUSY:
            headers["Retry-After"] = str(self.faulty.retry_after)
        self._answer(status, headers, text)

    def _pass_on(self, body: bytes, fault: HttpFault) -> None:
        link = http.client.HTTPConnection(urlsplit(self.faulty.target).netloc, timeout=60)
        try:
            # the signature covers the name of the host that the client used
            link.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                link.putheader(name, value)
            link.endheaders(body or None)
            answer = link.getresponse()
            data = answer.read()
        finally:
            link.close()
        if fault is HttpFault.LOST_REPLY:
            self._break()
            return
        headers = {n: v for n, v in answer.getheaders() if n.lower() not in _DROPPED | {"date"}}
        self._answer(answer.status, headers, data, is_slow=fault is HttpFault.SLOW)

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, is_slow: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        length = {n.lower(): v for n, v in headers.items()}.get("content-length")
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._drip(body) if is_slow else self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        with suppress(OSError):
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                self.wfile.flush()
                time.sleep(0.2)

    def _break(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
