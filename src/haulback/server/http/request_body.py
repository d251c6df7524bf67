"""The body of a request: reading it within the limits of size, depth and number of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from litestar.types import Receive

from haulback.errors import HaulbackError, TooLarge
from haulback.units import KIB, MIB


class Bounds(NamedTuple):
    """Bounds of a body: bytes, nesting depth, number of values.

    `values` counts commas and opening brackets, also in texts: an upper bound that needs no
    decoding.
    """

    size: int
    depth: int
    values: int


STRANGERS = Bounds(64 * KIB, 32, 4_000)
PEOPLE = Bounds(4 * MIB, 100, 400_000)
NODES = Bounds(8 * MIB, 100, 800_000)
DAMAGE = Bounds(MIB, 32, 50_000)  # a report of damage by a mount
INVENTORY = Bounds(64 * MIB, 100, 4_000_000)  # the inventory of a large site
PIECES = Bounds(64 * MIB, 0, 0)  # bytes of files, never decoded


class ClientDisconnected(HaulbackError):
    """The client closed the connection before its request was complete."""

    code, status = "hung_up", 400


async def read_body(receive: Receive, headers: Mapping[str, str], bounds: Bounds) -> bytes:
    """The body, read up to the limits of `bounds`.

    Raises HungUp, and TooLarge; if the head names the length, TooLarge is raised before the first
    byte is read.
    """
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > bounds.size:
        raise _too_large(bounds)
    pieces: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected(
                "the client closed the connection before the request was complete"
            )
        piece = message.get("body", b"")
        size += len(piece)
        if size > bounds.size:
            raise _too_large(bounds)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def check_values(body: bytes, bounds: Bounds) -> None:
    """Refuse a body with too many values before it is decoded.

    Raises TooLarge.
    """
    if not bounds.values or len(body) < bounds.values:
        return
    result = body.count(b",") + body.count(b"[") + body.count(b"{")
    if result > bounds.values:
        raise TooLarge(
            f"the request body has more than {bounds.values} values; send it in parts",
            most=bounds.values,
        )


def check_declared(key: str, bounds: Bounds, public: bool) -> None:
    """Check that a public operation declares a small body.  Raises ValueError."""
    if public and any(own > most for own, most in zip(bounds, STRANGERS, strict=True)):
        raise ValueError(f"{key}: clients without a login may send at most {STRANGERS}")


def describe(bounds: Bounds) -> str:
    """The limits in words, for the documents."""
    size = bounds.size // KIB
    shown = f"{size // KIB} MiB" if size % KIB == 0 else f"{size} KiB"
    if not bounds.values:
        return f"The body is larger than {shown}."
    return f"The body is larger than {shown} or has more than {bounds.values} values."


def _too_large(bounds: Bounds) -> TooLarge:
    return TooLarge(
        f"the request body is larger than {bounds.size} bytes; send it in parts", most=bounds.size
    )
