"""Messages over a stream socket: a length (4 bytes, big endian), then MessagePack."""

from __future__ import annotations

import socket
import time
from typing import Any, TypeVar

import msgspec

from haulback.units import MIB

MOST = 16 * MIB  # bytes of a message
_Message = TypeVar("_Message")
_encoder = msgspec.msgpack.Encoder()


def send(link: socket.socket, message: Any) -> None:
    """Send a message. Raises OSError when the peer has disconnected."""
    data = _encoder.encode(message)
    link.sendall(len(data).to_bytes(4, "big") + data)


def receive(
    link: socket.socket, decoder: msgspec.msgpack.Decoder[_Message], until: float | None = None
) -> _Message:
    """Receive a message; `until` is a deadline in monotonic seconds.

    Raises EOFError at the end of the stream, TimeoutError at the deadline, ValueError for a message
    that is too long or malformed.
    """
    length = int.from_bytes(take(link, 4, until), "big")
    if length > MOST:
        raise ValueError(f"a message of {length} bytes is too long")
    return decoder.decode(take(link, length, until))


def take(link: socket.socket, count: int, until: float | None = None) -> bytearray:
    """Receive exactly `count` bytes. Raises EOFError, TimeoutError."""
    data = bytearray(count)
    left = memoryview(data)
    while left:
        if until is not None:
            link.settimeout(max(0.001, until - time.monotonic()))
        got = link.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return data
