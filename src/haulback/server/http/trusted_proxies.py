"""Addresses of clients behind a proxy, accepted from configured proxies only.

The login limiter counts by address.  Any client could write `X-Forwarded-For`, so the header counts
only on a connection from a configured proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from haulback.errors import Malformed

_WORDS = (b"x-forwarded-for", b"x-forwarded-proto")
_PAIR = re.compile(r'(for|proto)=(?:"([^"]*)"|([^;,"\s]+))', re.IGNORECASE)


def check(proxies: Sequence[str]) -> None:
    """Raises Malformed for a text that is neither an address nor a network."""
    for one in proxies:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise Malformed(
                f"--proxy {one}: write the IP address of the proxy, or a network like 10.0.0.0/24"
            ) from None


def behind(site: ASGIApp, proxies: Sequence[str]) -> ASGIApp:
    """The application, with the clients' addresses and schemes as `proxies` report them."""
    if not proxies:
        return site
    trusting: Any = ProxyHeadersMiddleware(site, list(proxies))  # type: ignore[arg-type]

    async def with_forwarded(scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            scope["headers"] = _translated(list(scope["headers"]))
        await trusting(scope, receive, send)

    return with_forwarded


def _translated(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields of `Forwarded` (RFC 7239) as the older headers, if those are absent."""
    given = {name for name, _ in headers}
    if b"forwarded" not in given:
        return headers
    if given & set(_WORDS):
        # A proxy writes one of the two headers and passes the other unchanged, which may be forged:
        # if both are present, neither counts.
        return [header for header in headers if header[0] not in _WORDS]
    said = ", ".join(value.decode("latin-1") for name, value in headers if name == b"forwarded")
    pairs = [(name.lower(), quoted or plain) for name, quoted, plain in _PAIR.findall(said)]
    hops = ", ".join(value for name, value in pairs if name == "for")
    schemes = [value for name, value in pairs if name == "proto"]
    result = [(b"x-forwarded-for", hops.encode("latin-1"))] if hops else []
    result += [(b"x-forwarded-proto", schemes[-1].encode("latin-1"))] if schemes else []
    return headers + result
