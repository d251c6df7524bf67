"""NBD server: Sources as read-only exports on a UNIX socket.

The server uses fixed newstyle, with structured replies and base:allocation on request. Clients are
not trusted: every request is checked against the export before data is read. Specification:
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock, Thread
from typing import NamedTuple, Self

from haulback.drivers.source import Source
from haulback.errors import HaulbackError, is_away
from haulback.units import MIB

log = logging.getLogger(__name__)
_GREETING = struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 1 | 2)
_OPTION, _OPTION_REPLY = struct.Struct(">QII"), struct.Struct(">QIII")
_REQUEST, _REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
_CHUNK, _DATA, _ERROR = struct.Struct(">IHHQI"), struct.Struct(">IHHQIQ"), struct.Struct(">IH")
_ZEROS, _RUN = struct.Struct(">QI"), struct.Struct(">II")
_I_HAVE_OPT, _OPTION_REPLY_MAGIC = 0x49484156454F5054, 0x3E889045565A9
_REQUEST_MAGIC, _REPLY_MAGIC, _CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
_ABORT, _LIST, _INFO, _GO, _STRUCTURED, _LIST_META, _SET_META = 2, 3, 6, 7, 8, 9, 10
_DONE, _OFFSET_DATA, _OFFSET_HOLE, _STATUS_OF, _FAILED = 1, 1, 2, 5, (1 << 15) + 1
_ACK, _SERVER, _INFORMATION, _CONTEXT = 1, 2, 3, 4
_UNSUPPORTED, _INVALID, _UNKNOWN = (1 << 31) + 1, (1 << 31) + 3, (1 << 31) + 6
_READ, _WRITE, _DISCONNECT, _FLUSH, _STATUS = 0, 1, 2, 3, 7
_HOLE = 1 | 2  # status flags: a hole that reads as zeros
_ALLOCATION, _ALLOCATION_ID = b"base:allocation", 1
_REQ_ONE = 1 << 3  # request flag: report one range only
_MOST_RUNS = 1024  # ranges in a block status reply
_EXPORT_FLAGS = 1 | 2 | 4 | 1 << 8  # has flags, read-only, can flush, many connections
_EPERM, _EIO, _EINVAL, _ESHUTDOWN = 1, 5, 22, 108
_LARGEST = 32 * MIB  # bytes of a read or write request, the protocol's default limit
_REPLY_KEPT = 2 * MIB  # bytes of a reply whose memory is used again
_MOST_WORDS = 200  # bytes of an error message


class NbdServer:
    """NBD server that runs until it is closed; `exports` maps names to Sources."""

    def __init__(self, path: Path, exports: Mapping[str, Source]) -> None:
        self._exports, self._path = exports, path
        self._links: set[socket.socket] = set()
        # guards `_links`, `_threads` and `_over`; see `_accept`
        self._lock, self._over = Lock(), False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._threads = [Thread(target=self._accept, name="nbd", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and remove the socket; returns when all threads have ended."""
        with self._lock:
            self._over = True
            links = list(self._links)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                # Checked under the lock: `close` has already collected the links, and a later
                # link would stay open.
                if self._over:
                    link.close()
                    return
                self._links.add(link)
                thread = Thread(target=self._serve, args=(link,), name="nbd-link", daemon=True)
                self._threads = [*filter(Thread.is_alive, self._threads), thread]
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        try:
            with suppress(OSError, EOFError):
                if agreed := self._negotiate(link):
                    _transmit(link, agreed)
        finally:
            with self._lock:
                self._links.discard(link)
            link.close()

    def _negotiate(self, link: socket.socket) -> _Agreed | None:
        link.sendall(_GREETING)
        _take(link, 4)
        structured, status_of = False, None
        while True:
            magic, option, length = _OPTION.unpack(_take(link, _OPTION.size))
            if magic != _I_HAVE_OPT or length > 65536:
                return None
            data = bytes(_take(link, length))
            if option == _ABORT:
                _answer(link, option, _ACK)
                return None
            if option == _LIST:
                self._list(link)
            elif option in (_INFO, _GO):
                name = _text(data)
                if self._inform(link, option, name) and option == _GO:
                    return _Agreed(self._exports[name], structured, status_of == name)
            elif option in (_LIST_META, _SET_META):
                status_of = self._contexts(link, option, data, structured)
            elif option == _STRUCTURED and not data:
                structured = True
                _answer(link, option, _ACK)
            else:
                _answer(link, option, _UNSUPPORTED)

    def _list(self, link: socket.socket) -> None:
        for name in self._exports:
            _answer(link, _LIST, _SERVER, struct.pack(">I", len(name.encode())) + name.encode())
        _answer(link, _LIST, _ACK)

    def _inform(self, link: socket.socket, option: int, name: str) -> bool:
        source = self._exports.get(name)
        if source is None:
            _answer(link, option, _UNKNOWN)
            return False
        _answer(link, option, _INFORMATION, struct.pack(">HQH", 0, source.size, _EXPORT_FLAGS))
        _answer(link, option, _ACK)
        return True

    def _contexts(
        self, link: socket.socket, option: int, data: bytes, structured: bool
    ) -> str | None:
        """Negotiate metadata contexts; returns the export whose allocation the client may query."""
        name = _text(data)
        asked = _queries(data[4 + len(name.encode()) :])
        if asked is None or (option == _SET_META and not structured):
            _answer(link, option, _INVALID)
            return None
        if name not in self._exports:
            _answer(link, option, _UNKNOWN)
            return None
        wanted = {_ALLOCATION, b"base:"} if option == _LIST_META else {_ALLOCATION}
        is_asked = bool(wanted & set(asked)) or (option == _LIST_META and not asked)
        if is_asked:
            number = _ALLOCATION_ID if option == _SET_META else 0
            _answer(link, option, _CONTEXT, struct.pack(">I", number) + _ALLOCATION)
        _answer(link, option, _ACK)
        return name if is_asked and option == _SET_META else None


class _Agreed(NamedTuple):
    """Result of the negotiation: the export, structured replies, block status queries."""

    source: Source
    structured: bool
    status: bool


def _text(data: bytes) -> str:
    """A string that is prefixed by its length (4 bytes, big endian)."""
    length = int.from_bytes(data[:4], "big")
    return data[4 : 4 + length].decode(errors="replace")


def _queries(data: bytes) -> list[bytes] | None:
    """Requested metadata contexts; None for malformed data."""
    count, at = int.from_bytes(data[:4], "big"), 4
    queries: list[bytes] = []
    while len(queries) < count:
        length = int.from_bytes(data[at : at + 4], "big")
        if len(data) < at + 4 + length or len(data) < 4:
            return None
        queries.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return queries if at == len(data) else None


class _Request(NamedTuple):
    """A read or status request: its byte range, and the cookie of its reply."""

    offset: int
    length: int
    cookie: int


def _transmit(link: socket.socket, agreed: _Agreed) -> None:
    source, structured = agreed.source, agreed.structured
    read, refuse = (_read_chunk, _refuse_chunk) if structured else (_read, _refuse)
    reply = _ReplyBuffer()
    while True:
        magic, flags, kind, cookie, offset, length = _REQUEST.unpack(_take(link, _REQUEST.size))
        if magic != _REQUEST_MAGIC or kind == _DISCONNECT:
            return
        if kind == _WRITE:
            if length > _LARGEST:
                return
            _take(link, length)
            _refuse(link, _EPERM, cookie)
        elif kind == _FLUSH:
            link.sendall(_REPLY.pack(_REPLY_MAGIC, 0, cookie))
        elif not _may(agreed, kind, offset, length):
            refuse(link, _EINVAL, cookie)
        else:
            try:
                request = _Request(offset, length, cookie)
                if kind == _READ:
                    read(link, source, request, reply)
                else:
                    _status(link, source, request, 1 if flags & _REQ_ONE else _MOST_RUNS)
            except HaulbackError as error:
                log.error("read of %d bytes at %d failed: %s", length, offset, error.message)
                # EIO: these bytes are unreadable; ESHUTDOWN: the whole disk is unreachable.
                refuse(link, _ESHUTDOWN if is_away(error) else _EIO, cookie, error.message)


def _may(agreed: _Agreed, kind: int, offset: int, length: int) -> bool:
    """Whether a read or status request is within the export and the limits."""
    if not length or offset + length > agreed.source.size:
        return False
    return length <= _LARGEST if kind == _READ else kind == _STATUS and agreed.status


class _ReplyBuffer:
    """Memory of a connection for replies: new memory would be cleared for each reply."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def of(self, length: int) -> bytearray:
        """Memory of `length` bytes or more with any content, valid until the next call."""
        if length > _REPLY_KEPT:
            return bytearray(length)
        if length > len(self._kept):
            self._kept = bytearray(length)
        return self._kept


def _read(link: socket.socket, source: Source, request: _Request, reply: _ReplyBuffer) -> None:
    offset, length, cookie = request
    buffer, end = reply.of(_REPLY.size + length), _REPLY.size + length
    view = memoryview(buffer)
    source.read_into(offset, view[_REPLY.size : end])
    _REPLY.pack_into(buffer, 0, _REPLY_MAGIC, 0, cookie)
    link.sendall(view[:end])


def _read_chunk(
    link: socket.socket, source: Source, request: _Request, reply: _ReplyBuffer
) -> None:
    offset, length, cookie = request
    buffer, end = reply.of(_DATA.size + length), _DATA.size + length
    view = memoryview(buffer)
    source.read_into(offset, view[_DATA.size : end])
    if _is_zero(buffer, _DATA.size, end):
        head = _CHUNK.pack(_CHUNK_MAGIC, _DONE, _OFFSET_HOLE, cookie, _ZEROS.size)
        link.sendall(head + _ZEROS.pack(offset, length))  # zeros are sent as a hole, without data
        return
    _DATA.pack_into(buffer, 0, _CHUNK_MAGIC, _DONE, _OFFSET_DATA, cookie, 8 + length, offset)
    link.sendall(view[:end])


def _is_zero(buffer: bytearray, low: int, high: int) -> bool:
    """Whether a range is all zeros; most data already has another byte near its start."""
    if any(buffer[low : min(low + 16, high)]):
        return False
    return buffer.count(0, low, high) == high - low


def _status(link: socket.socket, source: Source, request: _Request, most: int) -> None:
    offset, length, cookie = request
    runs = b"".join(_RUN.pack(*run) for run in islice(_runs(source, offset, length), most))
    size = 4 + len(runs)
    head = _CHUNK.pack(_CHUNK_MAGIC, _DONE, _STATUS_OF, cookie, size)
    link.sendall(head + struct.pack(">I", _ALLOCATION_ID) + runs)


def _runs(source: Source, offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Lengths and flags of consecutive ranges from `offset` on: data and holes."""
    at, end, data = offset, offset + length, 0
    for extent in source.extents(offset):
        low, high = max(extent.offset, at), min(extent.offset + extent.length, end)
        if low >= end:
            break
        if low > at + data:
            if data:
                yield data, 0
            yield low - at - data, _HOLE
            at, data = low, 0
        data = high - at
    if data:
        yield data, 0
    if at + data < end:
        yield end - at - data, _HOLE


def _refuse(link: socket.socket, error: int, cookie: int, _: str = "") -> None:
    link.sendall(_REPLY.pack(_REPLY_MAGIC, error, cookie))


def _refuse_chunk(link: socket.socket, error: int, cookie: int, reason: str = "") -> None:
    words = reason.encode(errors="replace")[:_MOST_WORDS]
    size = _ERROR.size + len(words)
    head = _CHUNK.pack(_CHUNK_MAGIC, _DONE, _FAILED, cookie, size)
    link.sendall(head + _ERROR.pack(error, len(words)) + words)


def _answer(link: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    link.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, kind, len(data)) + data)


def _take(link: socket.socket, count: int) -> memoryview:
    view = memoryview(bytearray(count))
    left = view
    while left:
        got = link.recv_into(left, 0, socket.MSG_WAITALL)
        if not got:
            raise EOFError
        left = left[got:]
    return view
