"""Addresses of receivers: each name is resolved once, and the checked address is used to connect.

A receiver must not be this machine or a cloud's metadata service, because a user who may add a
channel could otherwise reach services that trust this machine.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress

from haulback.errors import Forbidden, Malformed, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Metadata services outside the link-local range: EC2 over IPv6, Alibaba, Oracle.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Addresses that no machine has: if a bind to them succeeds, binds do not prove ownership.
_NEVER_OWN: dict[int, Address] = {
    4: ipaddress.ip_address("240.0.0.1"),
    6: ipaddress.ip_address("100::1"),
}
_DISCARD = 9  # a port for a datagram socket that sends nothing
_OPTION = "--notify-network"


def networks(texts: Sequence[str]) -> list[Network]:
    """The networks that an administrator allows.  Raises Malformed."""
    try:
        return [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError:
        raise Malformed(f"{_OPTION}: write a network like 127.0.0.0/8") from None


def checked(host: str, port: int, allowed: Sequence[Network]) -> str:
    """The address of a host to connect to.

    Raises Unavailable for a name without an address, Forbidden when one of its addresses is not
    allowed.
    """
    addresses = _resolved(host, port)
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if any(address in network for network in allowed):
            continue
        if is_internal(address) or _is_own(_inner(address) or address):
            shown = host if host == text else f"{host} ({address})"
            raise Forbidden(
                f"{shown} is an address of this machine or of its platform; allow the "
                f"address by {_OPTION} of the server, or name another receiver"
            )
    return addresses[0]


def resolved(host: str, port: int) -> str:
    """The first address of a host, without a check.  Raises Unavailable."""
    return _resolved(host, port)[0]


def _resolved(host: str, port: int) -> list[str]:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(
            f"{host} has no address: {reason}; correct the name of the host"
        ) from None
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def is_internal(address: Address) -> bool:
    """Whether an address is loopback, link-local, a metadata service, or no single host at all."""
    inner = _inner(address)
    if inner is not None:
        return is_internal(inner)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
        or (address.version == 4 and int(address) >> 24 == 0)
    )


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside an IPv6 address, None without one."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner


def _is_own(address: Address) -> bool:
    """Whether an interface of this machine has an address."""
    if not _binds(_NEVER_OWN[address.version]):
        return _binds(address)
    # The machine binds to any address (ip_nonlocal_bind); a route to its own address has that
    # source.
    with suppress(OSError), _datagrams(address) as probe:
        probe.connect((str(address), _DISCARD))
        return ipaddress.ip_address(probe.getsockname()[0]) == address
    return False


def _binds(address: Address) -> bool:
    with suppress(OSError), _datagrams(address) as probe:
        probe.bind((str(address), 0))
        return True
    return False


def _datagrams(address: Address) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_DGRAM)
