"""Calls to a server: JSON in and out, its errors as ours.  The HTTP library stays in this file."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx2
import msgspec

from haulback import errors
from haulback.errors import HaulbackError, Unavailable
from haulback.loopback import check_plain

_TIMEOUT = 30.0  # seconds for the server to begin an answer, beside what it was asked to wait
_PROXY = (429, 502, 503, 504)
Query = dict[str, Any] | None


class Answer(NamedTuple):
    """What a server said; the names of `headers` are in lower case."""

    content: bytes
    headers: Mapping[str, str]


class Api:
    """A server at `url`, asked with `token`.  Threads may share it."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        trust: str | None = None,
        *,
        insecure_http: bool = False,
    ) -> None:
        """`trust`: a file with the certificate to expect, beside those the system knows.

        Raises Malformed for plain HTTP to another machine, unless `insecure_http` allows it.
        """
        check_plain(url, is_allowed=insecure_http)
        verify: ssl.SSLContext | bool = True
        if trust:
            verify = ssl.create_default_context(cafile=trust)
        self.url = url.rstrip("/")
        self._http = httpx2.Client(
            base_url=self.url + "/api", timeout=_TIMEOUT, verify=verify, trust_env=False
        )
        self.token = token

    def close(self) -> None:
        self._http.close()

    def log_in(self, login: str, password: str) -> str:
        """Use a person's name from now on; the token, for later.  Raises Unauthenticated."""
        body = {"login": login, "password": password}
        answer = self.ask("POST", "/session/login", body)
        self.token = answer.headers["x-session-token"]
        return self.token

    def get(self, path: str, query: Query = None, *, wait: float = 0.0, **more: float) -> Any:
        """`wait`: seconds the server may take to have something to say."""
        return self.call("GET", path, None, query, wait=wait, **more)

    def post(self, path: str, body: Any = None, query: Query = None, **more: float) -> Any:
        return self.call("POST", path, body, query, **more)

    def put(self, path: str, body: Any = None, query: Query = None, **more: float) -> Any:
        return self.call("PUT", path, body, query, **more)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Query = None,
        *,
        wait: float = 0.0,
        patience: float = _TIMEOUT,
    ) -> Any:
        """Any call, and the JSON it answers; None for an answer without a body."""
        answer = self.ask(method, path, body, query, wait=wait, patience=patience)
        return _decode(answer.content) if answer.content else None

    def send(self, path: str, data: bytes, query: Query = None) -> Any:
        """POST bytes that are no JSON, and the JSON it answers."""
        headers = {**self._headers(0), "content-type": "application/octet-stream"}
        try:
            answer = self._http.post(path, content=data, params=query, headers=headers)
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.url} does not answer: {error}") from None
        if answer.status_code >= 400:
            raise _error(answer)
        return _decode(answer.content)

    def stream(
        self, path: str, body: Any, told: Callable[[Mapping[str, str]], object] = len
    ) -> Iterator[bytes]:
        """What a POST answers, piece by piece; `told` hears the headers before the first.

        Raises what the server says.
        """
        sent = {**self._headers(0), "content-type": "application/json"}
        content = msgspec.json.encode(body)
        try:
            with self._http.stream("POST", path, content=content, headers=sent) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                told(answer.headers)
                yield from answer.iter_bytes()
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.url} stopped answering: {error}") from None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Query = None,
        *,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
        patience: float = _TIMEOUT,
    ) -> Answer:
        """Any call; `patience` in seconds beside what the server was asked to `wait`.

        Raises the error the server named, Unavailable when there is no answer.
        """
        sent = {**self._headers(wait), **(headers or {})}
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            sent["content-type"] = "application/json"
        try:
            answer = self._http.request(
                method, path, content=content, params=query, headers=sent, timeout=patience + wait
            )
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.url} does not answer: {error}") from None
        if answer.status_code >= 400:
            raise _error(answer)
        return Answer(answer.content, answer.headers)

    def _headers(self, wait: float) -> dict[str, str]:
        found = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return found | ({"prefer": f"wait={max(1, round(wait))}"} if wait else {})


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        raise Unavailable("the answer is not JSON: is this a Haulback server?") from None


def _error(answer: httpx2.Response) -> HaulbackError:
    try:
        found = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        return Unavailable(f"the server answered {answer.status_code} without saying why")
    code = str(found.get("code"))
    if code not in _KINDS and answer.status_code in _PROXY:
        return Unavailable(f"something before the server answered {answer.status_code}")
    kind = _KINDS.get(code, HaulbackError)
    details = found.get("details")
    return kind(str(found.get("message")), **(details if isinstance(details, dict) else {}))


def _tree(kind: type[HaulbackError]) -> Iterator[type[HaulbackError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


_KINDS = {kind.code: kind for kind in _tree(errors.HaulbackError)}
