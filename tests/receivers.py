"""Real receivers of notifications on loopback: a mail server and a web server."""

from __future__ import annotations

import email
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests import certificates

LOGIN, PASSWORD = "haulback", "correct horse"


class Mailbox:
    """The mails that a server received; `refused` addresses are answered with 550."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.secure: list[bool] = []
        self.refused: set[str] = set()
        self.port = 0
        self.certificate = ""

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        made = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(made, EmailMessage)
        self.mails.append(made)
        self.recipients.append(list(envelope.rcpt_tos))
        self.secure.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 taken"


class _Controller(Controller):
    """A mail server on a port that the system chose."""

    def _trigger_server(self) -> None:
        assert self.server
        self.port = self.server.sockets[0].getsockname()[1]
        socket.create_connection((self.hostname, self.port)).close()


@contextmanager
def mail_server(folder: Path, security: str = "NONE", *, login: bool = False) -> Iterator[Mailbox]:
    """A mail server on 127.0.0.1 that receives mails; `security` as in a channel."""
    box = Mailbox()
    context, more = None, {}
    if security != "NONE":
        cert, key = certificates.self_signed(folder)
        box.certificate = cert.read_text()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    if security == "STARTTLS":
        more = {"tls_context": context, "require_starttls": True}
    if login:
        more |= {"authenticator": _admit, "auth_required": True}
        more |= {"auth_require_tls": security == "STARTTLS"}
    controller = _Controller(
        box,
        hostname="127.0.0.1",
        port=0,
        ssl_context=context if security == "TLS" else None,
        **more,
    )
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


def _admit(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    right = (data.login, data.password) == (LOGIN.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=right)


class Call(NamedTuple):
    """A request that the web server received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class WebServer:
    """A web server on 127.0.0.1: the received requests, and the next answers."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.calls: list[Call] = []
        self.news = threading.Condition()
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.host = f"127.0.0.1:{server.server_port}"
        self.url = f"http://{self.host}"

    def wait(self, count: int) -> list[Call]:
        """The calls, once this number of them has arrived."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.calls) >= count, 30), self.calls
            return list(self.calls)

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A web server that answers 204, or the next of its `answers`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            with made.news:
                made.calls.append(Call(self.command, self.path, headers, self.rfile.read(size)))
                made.news.notify_all()
            status, more = made.answers.pop(0) if made.answers else (204, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = WebServer(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
