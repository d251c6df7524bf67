"""Addresses that only this machine can reach, and the rule for plain HTTP beyond them."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from haulback.errors import Malformed


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_plain(url: str, *, is_allowed: bool) -> None:
    """Raises Malformed for plain HTTP to another machine, unless that `is_allowed`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_url = parts.scheme.lower() in ("http", "https") and bool(host)
        is_url = is_url and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise Malformed(
            f"{url[:200]!r} is not the URL of a server: write it like https://backup.example:8181",
            field="server",
        )
    if is_allowed or parts.scheme.lower() == "https" or is_loopback(host):
        return
    raise Malformed(
        f"{url[:200]} is plain HTTP to another machine, so the network can read passwords and "
        "tokens: use https:// (--trust, or HAULBACK_TRUST, names your own certificate), or allow "
        "it by --insecure-http or HAULBACK_INSECURE_HTTP=1",
        field="server",
    )
