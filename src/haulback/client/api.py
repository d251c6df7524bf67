"""HTTP transport of the client: JSON requests and responses, server errors as exceptions.

The HTTP library is imported in this module only.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypedDict, Unpack

import httpx2
import msgspec

from haulback import errors
from haulback.errors import HaulbackError, Malformed, Unavailable
from haulback.loopback import check_plain
from haulback.wire import JsonObject

_TIMEOUT = 30.0  # seconds until the server begins its response, in addition to `wait`
_PROXY = (429, 502, 503, 504)  # statuses that proxies return in place of the server
_CLASSES = errors.by_code()
Query = JsonObject | None


class Timing(TypedDict, total=False):
    """Seconds of a request: `wait` as in `HttpCall`, and `patience` as in `HttpCall`."""

    wait: float
    patience: float


class HttpCall(NamedTuple):
    """A request to the server.

    `wait` is the number of seconds for which the server may hold the request; `patience` is the
    timeout in seconds in addition to `wait`.
    """

    method: str
    path: str
    body: object = None
    query: Query = None
    headers: Mapping[str, str] | None = None
    wait: float = 0.0
    patience: float = _TIMEOUT


class ApiResponse(NamedTuple):
    """Response of the server: `content` is the raw body, header names are lower case."""

    content: bytes
    headers: Mapping[str, str]


class DryRun(Exception):
    """Ends a dry run at its first request that would change something; `content` is the answer."""

    def __init__(self, content: bytes) -> None:
        super().__init__("dry run")
        self.content = content


# Whether this thread's requests other than GET are dry runs.
_DRY_RUN: ContextVar[bool] = ContextVar("dry_run", default=False)


@contextmanager
def dry_run() -> Iterator[None]:
    """Send every request other than GET as a dry run, which ends with DryRun."""
    token = _DRY_RUN.set(True)
    try:
        yield
    finally:
        _DRY_RUN.reset(token)


class Api:
    """Connection to the server at `url`, authenticated with `token`. Threads may share a
    connection.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        trust: str | None = None,
        *,
        insecure_http: bool = False,
    ) -> None:
        """Create the client without opening a connection.

        `trust` is the path of a PEM file with a certificate that is trusted besides the system's
        certificates.  Raises Malformed for plain HTTP to another machine, unless `insecure_http`
        allows it.
        """
        check_plain(url, is_allowed=insecure_http)
        self.url = url.rstrip("/").removesuffix("/api")
        try:
            self._http = httpx2.Client(
                base_url=self.url + "/api",
                timeout=_TIMEOUT,
                verify=_trusted(url, trust),
                trust_env=False,
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise Malformed(
                f"{url[:200]!r} is not the URL of a server: {error}; write it like "
                "https://backup.example:8181",
                field="server",
            ) from None
        self.token = token

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def log_in(self, login: str, password: str) -> str:
        """Log in with a password; later calls use the returned session token.

        Raises Unauthenticated for wrong credentials.
        """
        body = {"login": login, "password": password}
        answer = self.ask(HttpCall("POST", "/session/login", body))
        self.token = answer.headers["x-session-token"]
        return self.token

    def get(self, path: str, query: Query = None, **timing: Unpack[Timing]) -> Any:
        """Send a GET and return the decoded JSON."""
        return self.call("GET", path, None, query, **timing)

    def post(
        self, path: str, body: object = None, query: Query = None, **timing: Unpack[Timing]
    ) -> Any:
        """Send a POST with a JSON body and return the decoded JSON."""
        return self.call("POST", path, body, query, **timing)

    def put(
        self, path: str, body: object = None, query: Query = None, **timing: Unpack[Timing]
    ) -> Any:
        """Send a PUT with a JSON body and return the decoded JSON."""
        return self.call("PUT", path, body, query, **timing)

    def delete(self, path: str) -> object:
        """Send a DELETE and return the decoded JSON."""
        return self.call("DELETE", path)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Query = None,
        **timing: Unpack[Timing],
    ) -> object:
        """Send a request and return the decoded JSON; None for an empty response.

        Raises as `ask`.
        """
        answer = self.ask(HttpCall(method, path, body, query, **timing))
        return _decode(answer.content) if answer.content else None

    def send(self, path: str, data: bytes, query: Query = None) -> Any:
        """POST raw bytes (application/octet-stream) and return the decoded JSON.

        Raises the error that the server reports, or Unavailable when there is no response.
        """
        headers = {**self._headers(0), "content-type": "application/octet-stream"}
        try:
            answer = self._http.post(path, content=data, params=query, headers=headers)
        except httpx2.TransportError as error:
            raise Unavailable(_no_answer(self.url, error)) from None
        if answer.status_code >= 400:
            raise _error(answer)
        return _decode(answer.content)

    def stream(
        self,
        path: str,
        body: object,
        on_headers: Callable[[Mapping[str, str]], object] = len,
        query: Query = None,
    ) -> Iterator[bytes]:
        """POST `body` as JSON and yield the response body in pieces as they arrive.

        `on_headers` is called with the response headers before the first piece. Raises the error
        that the server reports, or Unavailable when the connection breaks.
        """
        sent = {**self._headers(0), "content-type": "application/json"}
        content = msgspec.json.encode(body)
        try:
            with self._http.stream(
                "POST", path, content=content, params=query, headers=sent
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                on_headers(answer.headers)
                yield from answer.iter_bytes()
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.url} stopped responding: {error}") from None

    def lines(self, path: str, query: Query, accept: str) -> Iterator[str]:
        """GET an endless body and yield its lines, without line ends, as they arrive.

        Raises the error that the server reports, or Unavailable when the connection breaks.
        """
        sent = {**self._headers(0), "accept": accept}
        try:
            with self._http.stream("GET", path, params=query, headers=sent) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                yield from answer.iter_lines()
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.url} stopped responding: {error}") from None

    def ask(self, call: HttpCall) -> ApiResponse:
        """Send a request and return the response.

        Raises the error that the server reports, or Unavailable when there is no response.
        """
        is_dry = _DRY_RUN.get() and call.method != "GET"
        if is_dry:
            call = call._replace(query={**(call.query or {}), "dryRun": "true"})
        sent = {**self._headers(call.wait), **(call.headers or {})}
        content = None if call.body is None else msgspec.json.encode(call.body)
        if content is not None:
            sent["content-type"] = "application/json"
        try:
            answer = self._http.request(
                call.method,
                call.path,
                content=content,
                params=call.query,
                headers=sent,
                timeout=call.patience + call.wait,
            )
        except httpx2.TransportError as error:
            raise Unavailable(_no_answer(self.url, error)) from None
        if answer.status_code >= 400:
            raise _error(answer)
        if is_dry:
            raise DryRun(answer.content)
        return ApiResponse(answer.content, answer.headers)

    def _headers(self, wait: float) -> dict[str, str]:
        found = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return found | ({"prefer": f"wait={max(1, round(wait))}"} if wait else {})


def _trusted(url: str, certificate: str | None) -> ssl.SSLContext:
    """The certificates that a connection to `url` trusts; plain HTTP trusts none.

    Loading the certificates of the system takes 20 ms, as long as a whole call.  Raises Malformed.
    """
    if certificate:
        return _trusting(certificate)
    if url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.create_ssl_context()


def _trusting(file: str) -> ssl.SSLContext:
    """TLS that trusts the certificates of a PEM file besides the system's.  Raises Malformed."""
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:  # also ssl.SSLError
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise Malformed(
            f"--trust, HAULBACK_TRUST: {file} cannot be read as a certificate in PEM: {why}",
            field="trust",
        ) from None


def _no_answer(url: str, error: Exception) -> str:
    """The sentence for a server that cannot be reached, with the remedy for the usual causes."""
    why = str(error) or type(error).__name__
    remedy = "start the server, or name another by --server or HAULBACK_SERVER"
    if "WRONG_VERSION_NUMBER" in why or "RECORD_LAYER_FAILURE" in why:
        remedy = "the server at this address does not use TLS: write http://, or correct the port"
    elif "CERTIFICATE_VERIFY_FAILED" in why:
        remedy = "name the server's own certificate by HAULBACK_TRUST=FILE (a node: --trust)"
    elif "Name or service not known" in why or "No address associated" in why:
        remedy = "correct the name of the machine in the URL"
    elif "disconnected without" in why:
        remedy = "write https:// for a server with TLS"
    return f"{url} does not answer: {why}; {remedy}"


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        raise Unavailable("the response is not JSON: is this a Haulback server?") from None


def _without_reason(answer: httpx2.Response) -> str:
    """The sentence for an answer that no Haulback server sends, with the remedy if it is known."""
    status = answer.status_code
    if status in _PROXY:
        return _of_proxy(status)
    if status == 400 and b"HTTPS" in answer.content:
        return "the server at this address uses TLS: write https://"
    return (
        f"the server answered with status {status} and without a message; see the log of the server"
    )


def _of_proxy(status: int) -> str:
    return (
        f"a proxy in front of the server answered with status {status}: check that the "
        "server behind the proxy runs, and try again"
    )


def _error(answer: httpx2.Response) -> HaulbackError:
    try:
        decoded = msgspec.json.decode(answer.content, type=JsonObject)
    except msgspec.DecodeError:
        return Unavailable(_without_reason(answer))
    code = str(decoded.get("code"))
    if code not in _CLASSES and answer.status_code in _PROXY:
        return Unavailable(_of_proxy(answer.status_code))
    details = decoded.get("details")
    details = details if isinstance(details, dict) else {}
    return errors.received(_CLASSES, code, str(decoded.get("message")), details)
