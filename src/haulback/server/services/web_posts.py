"""HTTP requests to webhooks and monitors: one attempt to a checked address.

The HTTP library is loaded at the first request, so that a server without webhooks stays small.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from haulback.errors import HaulbackError, Malformed
from haulback.server.services import host_addresses, notifications
from haulback.server.services.connection_limit import ConnectionLimit
from haulback.server.services.host_addresses import Network

TIMEOUT_SECONDS = 15.0  # seconds of each step of a request, including the connection
LONGEST_SECONDS = 60.0  # seconds of a whole request; shorter than the lease of a message
GONE = 410  # HTTP status of a receiver that wants no more messages
_TOO_MANY = 429  # HTTP status of a receiver that asks for a pause
_READ = 2000  # bytes of an answer
_PORTS = {"http": 80, "https": 443}


class WebAnswer(NamedTuple):
    """The result of a request: the HTTP status, None without an answer; `delay` (ms) is the
    requested delay.
    """

    status: int | None
    text: str
    delay: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the receiver took the message."""
        return self.status is not None and 200 <= self.status < 300


class WebRequest(NamedTuple):
    """A request: a `body` of None means GET; `certificate` (PEM) is trusted besides the
    system's.
    """

    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    certificate: str = ""


def signed(secret: str, guid: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers of a message as Standard Webhooks define them; `seconds` since the epoch."""
    content = f"{guid}.{seconds}.".encode() + body
    digest = hmac.new(notifications.webhook_key(secret), content, hashlib.sha256).digest()
    return {
        "webhook-id": guid,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def send(wanted: WebRequest, allowed: Sequence[Network]) -> WebAnswer:
    """Send a request once; a fault is returned as a result without a status.  Redirects are not
    followed, because they could lead to an unchecked address.
    """
    try:
        parts = notifications.checked_url(wanted.url, "url")
        port = parts.port or _PORTS[parts.scheme]
        address = host_addresses.checked(parts.hostname or "", port, allowed)
        return _sent(wanted, f"[{address}]" if ":" in address else address)
    except Malformed as error:
        return WebAnswer(None, error.message)
    except HaulbackError as error:
        return WebAnswer(None, error.message)


def _sent(wanted: WebRequest, address: str) -> WebAnswer:
    import httpx2

    place = httpx2.URL(wanted.url)
    name = place.host
    with ConnectionLimit(LONGEST_SECONDS) as limit:
        try:
            return _exchanged(wanted, address, limit)
        except httpx2.TimeoutException:
            text = f"{name} did not answer within {TIMEOUT_SECONDS:.0f} seconds"
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, ValueError) as error:
            text = _unreachable(place.netloc.decode(), str(error))
        if limit.is_over:
            text = f"{name} did not complete its answer within {LONGEST_SECONDS:.0f} seconds"
        return WebAnswer(None, text)


def _unreachable(place: str, why: str) -> str:
    """The sentence for a receiver that gave no answer."""
    if "WRONG_VERSION_NUMBER" in why:
        return f"{place} does not speak TLS: write http:// in the URL, or another port"
    if "CERTIFICATE_VERIFY_FAILED" in why:
        told = why.rpartition("verify failed: ")[2].partition(" (_ssl")[0]
        return (
            f"the certificate of {place} is not trusted ({told}): give its `certificate`, or "
            "correct the URL"
        )
    return f"{place} cannot be reached: {why}; check host and port of the URL, and the receiver"


def _exchanged(wanted: WebRequest, address: str, limit: ConnectionLimit) -> WebAnswer:
    import httpx2

    url = httpx2.URL(wanted.url)
    headers = {"host": url.netloc.decode(), "user-agent": "Haulback", **wanted.headers}
    with (
        httpx2.Client(
            timeout=TIMEOUT_SECONDS,
            verify=_trust(wanted.certificate),
            trust_env=False,
            follow_redirects=False,
        ) as http,
        http.stream(
            "GET" if wanted.body is None else "POST",
            url.copy_with(host=address),
            content=wanted.body,
            headers=headers,
            extensions={"sni_hostname": url.host, "trace": _watched(limit)},
        ) as answer,
    ):
        return _answer(answer.status_code, answer.headers, _start(answer.iter_raw(_READ)))


def _watched(limit: ConnectionLimit) -> Callable[[str, dict[str, object]], None]:
    """A trace function of the HTTP library that limits a new connection before its TLS
    handshake.
    """

    def trace(name: str, info: dict[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            limit.watch(info["return_value"].get_extra_info("socket"))

    return trace


def _start(pieces: object) -> str:
    piece = next(iter(pieces), b"")  # type: ignore[call-overload]
    text = bytes(piece)[:_READ].decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


def _answer(status: int, headers: Mapping[str, str], start: str) -> WebAnswer:
    text = f"the receiver answered {status}" + (f": {start}" if start else "")
    if 300 <= status < 400:
        text = f"the receiver answered {status}; redirects are not followed, name the new URL"
    elif status == GONE:
        text += "; it wants no more messages, so the channel is disabled until `active` is true"
    elif 400 <= status < 500 and status != _TOO_MANY:
        text += "; check the URL"
    said = headers.get("retry-after", "")
    delay = int(said) * 1000 if said.isascii() and said.isdigit() and len(said) < 8 else 0
    return WebAnswer(status, text, delay)


def _trust(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if certificate:
        context.load_verify_locations(cadata=certificate)
    return context
