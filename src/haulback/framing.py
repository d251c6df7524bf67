"""Messages over a stream: a length (4 bytes, big endian), then MessagePack."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from haulback.units import MIB

MOST = 16 * MIB  # bytes of a message over a socket
_Message = TypeVar("_Message")
_HEAD = struct.Struct(">I")
_encode = msgspec.msgpack.Encoder().encode


def pack(message: object) -> bytes:
    """The bytes of a message on a stream."""
    data = _encode(message)
    return _HEAD.pack(len(data)) + data


def read(
    take_bytes: Callable[[int], bytearray],
    decoder: msgspec.msgpack.Decoder[_Message],
    most: int = MOST,
) -> _Message:
    """Read one message; `take_bytes` returns exactly that many bytes of the stream, or raises.

    Raises ValueError for a message that is malformed or longer than `most` bytes.
    """
    [length] = _HEAD.unpack(take_bytes(_HEAD.size))
    if length > most:
        raise ValueError(f"a message of {length} bytes is too long")
    return decoder.decode(take_bytes(length))


def send(link: socket.socket, message: object) -> None:
    """Send a message over a socket. Raises OSError when the peer has disconnected."""
    link.sendall(pack(message))


def receive(
    link: socket.socket, decoder: msgspec.msgpack.Decoder[_Message], until: float | None = None
) -> _Message:
    """Receive a message from a socket; `until` is a deadline in monotonic seconds.

    Raises EOFError at the end of the stream, TimeoutError at the deadline, ValueError for a message
    that is too long or malformed.
    """
    return read(lambda count: take(link, count, until), decoder)


def take(link: socket.socket, count: int, until: float | None = None) -> bytearray:
    """Receive exactly `count` bytes from a socket. Raises EOFError, TimeoutError."""
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
