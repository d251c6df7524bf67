"""Messages over a stream socket: a length of four bytes, then msgpack."""

from __future__ import annotations

import socket
import time
from typing import Any, TypeVar

import msgspec

from haulback.units import MIB

MOST = 16 * MIB
_Message = TypeVar("_Message")
_encoder = msgspec.msgpack.Encoder()


def send(link: socket.socket, message: Any) -> None:
    """Raises OSError when the other side is gone."""
    data = _encoder.encode(message)
    link.sendall(len(data).to_bytes(4, "big") + data)


def receive(
    link: socket.socket, decoder: msgspec.msgpack.Decoder[_Message], until: float | None = None
) -> _Message:
    """The next message.  Raises EOFError, TimeoutError (at `until`, monotonic), ValueError."""
    length = int.from_bytes(take(link, 4, until), "big")
    if length > MOST:
        raise ValueError(f"a message of {length} bytes")
    return decoder.decode(take(link, length, until))


def take(link: socket.socket, count: int, until: float | None = None) -> bytearray:
    """Exactly `count` bytes.  Raises EOFError, TimeoutError."""
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
