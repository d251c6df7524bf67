"""Receivers on loopback: a mail server, and an HTTP server for webhooks and pings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller


class ReceivedMail(NamedTuple):
    """A mail as it arrived: the addresses of its envelope, and its content."""

    recipients: list[str]
    content: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.content["Subject"])

    def body(self, kind: str = "plain") -> str:
        part = self.content.get_body((kind,))
        assert part
        return str(part.get_content())


class _Controller(Controller):
    """A mail server on a free port, which the system chooses at its start."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()


class MailReceiver:
    """A mail server that accepts every mail; `refuses` makes it answer 451."""

    def __init__(self) -> None:
        self.mails: list[ReceivedMail] = []
        self.refuses = False
        self._controller = _Controller(self, hostname="127.0.0.1", port=0)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuses:
            return "451 4.3.0 come back later"
        content = message_from_bytes(envelope.content, policy=default)
        self.mails.append(ReceivedMail(envelope.rcpt_tos, content))  # type: ignore[arg-type]
        return "250 OK"

    @property
    def port(self) -> int:
        return int(self._controller.port)

    @contextmanager
    def running(self) -> Iterator[MailReceiver]:
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()


class HttpRequest(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HttpReceiver:
    """An HTTP server that answers 204 to everything."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                taken = HttpRequest(self.command, self.path, headers, self.rfile.read(length))
                receiver.requests.append(taken)
                self.send_response(204)
                self.end_headers()

            do_GET = do_POST = do_HEAD = _take

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[HttpReceiver]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
