"""NBD client for one export, with pipelined requests.

The client uses fixed newstyle with structured replies and metadata contexts over a stream socket.
The server is not trusted: every length, offset and cookie is checked before use, and the connection
is closed at the first violation. Specification:
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Never

from haulback.drivers.nbd_requests import Pending, ProtocolViolation
from haulback.drivers.source import Extent
from haulback.errors import OutOfSpace, Unavailable, Unreadable, Unsupported
from haulback.units import GIB, KIB, MIB

ALLOCATION = "base:allocation"

_GREETING = struct.Struct(">QQH")
_OPTION = struct.Struct(">QII")
_OPTION_REPLY = struct.Struct(">QIII")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY_HEAD = struct.Struct(">I")
_SIMPLE = struct.Struct(">IQ")
_CHUNK = struct.Struct(">HHQI")
_HOLE = struct.Struct(">QI")
_OFFSET = struct.Struct(">Q")
_DESCRIPTOR = struct.Struct(">II")

_MAGIC, _I_HAVE_OPT = 0x4E42444D41474943, 0x49484156454F5054
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_REQUEST_MAGIC, _SIMPLE_MAGIC, _CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_GO, _OPT_STRUCTURED, _OPT_META = 7, 8, 10
_REP_ACK, _REP_INFO, _REP_META, _REP_ERROR = 1, 3, 4, 1 << 31
_READ, _WRITE, _DISCONNECT, _FLUSH, _BLOCK_STATUS = 0, 1, 2, 3, 7
_NONE, _DATA, _ZEROS, _STATUS, _ERROR = 0, 1, 2, 5, 1 << 15
_DONE, _HAS_FLAGS, _READ_ONLY, _CAN_FLUSH = 1, 1, 2, 4
_IS_ZERO, _IS_DIRTY = 2, 1

_PIECE = 512 * KIB  # bytes of a read or write request
_WINDOW = 16  # requests in flight
_STATUS_SPAN = GIB  # bytes of the disk that a block status request covers
_MOST_INFORMATION = 64 * KIB  # bytes of an option reply or an error chunk
_MOST_STATUS = 4 * MIB  # bytes of a block status chunk
_MOST_REPLIES = 64  # replies to an option
_EIO, _ENOSPC = 5, 28


class BlockStatus(NamedTuple):
    """A range of `length` bytes from `offset` with the same `flags` in a metadata context."""

    offset: int
    length: int
    flags: int


class Export:
    """An export of an NBD server: a Source, and a Sink if it is writable.

    The export takes ownership of `link`, a connected stream socket. `contexts` are the metadata
    contexts to request; see `offers`. `wait` is the timeout in seconds for the server's responses.
    Threads may share an export; their calls are serialised.

    Any call raises Unavailable when the server fails, disconnects, times out or violates the
    protocol; the export is closed then. A read that fails with EIO raises Unreadable, and the
    export stays open.
    """

    def __init__(
        self, link: socket.socket, name: str = "", contexts: Sequence[str] = (), wait: float = 120
    ) -> None:
        self._link, self._lock, self._cookie = link, threading.Lock(), 0
        self._pending: dict[int, Pending] = {}
        self.size, self._flags = 0, 0
        self._contexts: dict[str, int] = {}
        self._open = True
        self._unreadable: list[str] = []  # the server's reasons for failed parts of a read
        limit = struct.pack("ll", int(wait), int(wait % 1 * 1e6))
        with _Guard(self):
            # Timeouts in the kernel keep the socket blocking, so that MSG_WAITALL works.
            link.settimeout(None)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._greet()
            self._negotiate(name.encode(), contexts)

    def offers(self, context: str) -> bool:
        """Whether the server offers this metadata context."""
        return context in self._contexts

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """Extents that may hold data, from `start` on; all other bytes are zeros."""
        if not self.offers(ALLOCATION):
            return iter([Extent(start, self.size - start)] if start < self.size else [])
        found = self.status(ALLOCATION, start)
        return join(Extent(s.offset, s.length) for s in found if not s.flags & _IS_ZERO)

    def dirty(self, bitmap: str) -> Iterator[Extent]:
        """Extents marked in a QEMU dirty bitmap, whose context must have been requested."""
        found = self.status(dirty_bitmap(bitmap))
        return join(Extent(s.offset, s.length) for s in found if s.flags & _IS_DIRTY)

    def status(self, context: str, start: int = 0) -> Iterator[BlockStatus]:
        """Ranges of a metadata context from `start` to the end of the disk.

        Raises Unsupported when the server does not offer the context.
        """
        if context not in self._contexts:
            raise Unsupported(f"the NBD server does not offer {context}")
        at = start
        while at < self.size:
            for run in self._status(context, at, min(_STATUS_SPAN, self.size - at)):
                yield run
                at += run.length

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset` (bytes).

        Raises Unreadable for EIO, after all responses have arrived, so that the export stays
        usable.
        """
        with self._lock, _Guard(self):
            self._unreadable.clear()
            for low in range(0, len(buffer), _PIECE):
                view = buffer[low : low + _PIECE]
                self._make_room(_WINDOW)
                self._send(_READ, offset + low, len(view), Pending(offset + low, view))
            self._make_room(1)
            if self._unreadable:
                reason = f"{len(buffer)} bytes at {offset} of the disk cannot be read"
                raise Unreadable(f"{reason}: {self._unreadable[0]}")

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Send bytes to write at `offset`; an error may surface at a later call, at last in
        `flush`.
        """
        view = memoryview(data)
        with self._lock, _Guard(self):
            if self._flags & _READ_ONLY:
                raise Unsupported("the NBD export is read-only")
            for low in range(0, len(view), _PIECE):
                part = view[low : low + _PIECE]
                self._make_room(_WINDOW)
                self._send(_WRITE, offset + low, len(part), Pending(offset + low), part)

    def flush(self) -> None:
        """Wait for all writes and make them durable on the server."""
        with self._lock, _Guard(self):
            self._make_room(1)
            if self._flags & _CAN_FLUSH:
                self._send(_FLUSH, 0, 0, Pending(0))
                self._make_room(1)

    def close(self) -> None:
        """Send a disconnect request and close the socket; a second call is no error."""
        with self._lock:
            if self._open:
                with suppress(OSError):  # the server may have disconnected already
                    self._send(_DISCONNECT, 0, 0, None)
            self._shut()

    def _greet(self) -> None:
        magic, have, flags = _GREETING.unpack(self._take(_GREETING.size))
        if magic != _MAGIC or have != _I_HAVE_OPT or not flags & _FIXED_NEWSTYLE:
            raise ProtocolViolation("no fixed newstyle greeting")
        self._link.sendall(struct.pack(">I", flags & (_FIXED_NEWSTYLE | _NO_ZEROES)))

    def _negotiate(self, name: bytes, contexts: Sequence[str]) -> None:
        self._option(_OPT_STRUCTURED, b"")
        if contexts:
            asked = b"".join(_prefixed(context.encode()) for context in contexts)
            data = _prefixed(name) + struct.pack(">I", len(contexts)) + asked
            for kind, reply in self._option(_OPT_META, data):
                if kind == _REP_META:
                    self._learn_context(reply, contexts)
        information = self._option(_OPT_GO, _prefixed(name) + struct.pack(">H", 0))
        self._learn_export([reply for kind, reply in information if kind == _REP_INFO])

    def _learn_context(self, reply: bytes, contexts: Sequence[str]) -> None:
        number, context = int.from_bytes(reply[:4], "big"), reply[4:].decode(errors="replace")
        if len(reply) < 4 or context not in contexts or number in self._contexts.values():
            raise ProtocolViolation("a metadata context that was not asked for")
        self._contexts[context] = number

    def _learn_export(self, information: list[bytes]) -> None:
        exports = [data for data in information if data[:2] == b"\0\0" and len(data) == 12]
        if not exports:
            raise ProtocolViolation("no size of the export")
        self.size, self._flags = struct.unpack(">QH", exports[0][2:])
        if self.size >= 1 << 63 or not self._flags & _HAS_FLAGS:
            raise ProtocolViolation(
                f"an impossible export ({self.size} bytes, flags {self._flags:#x})"
            )

    def _option(self, option: int, data: bytes) -> list[tuple[int, bytes]]:
        """Negotiate an option; returns the replies before the acknowledgement."""
        self._link.sendall(_OPTION.pack(_I_HAVE_OPT, option, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while len(replies) < _MOST_REPLIES:
            magic, echo, kind, length = _OPTION_REPLY.unpack(self._take(_OPTION_REPLY.size))
            if magic != _OPTION_REPLY_MAGIC or echo != option or length > _MOST_INFORMATION:
                raise ProtocolViolation("an option reply without a request")
            reply = bytes(self._take(length))
            if kind & _REP_ERROR:
                raise Unsupported(f"the NBD server refuses option {option}: {_words(reply)}")
            if kind == _REP_ACK:
                return replies
            replies.append((kind, reply))
        raise ProtocolViolation("endless option replies")

    def _status(self, context: str, offset: int, length: int) -> list[BlockStatus]:
        """Ranges of a context from `offset` on, covering at least one byte, at most `length`."""
        pending = Pending(offset)
        with self._lock, _Guard(self):
            self._send(_BLOCK_STATUS, offset, length, pending)
            self._make_room(1)
            raw = pending.status.get(self._contexts[context], b"")
            if not raw or len(raw) % _DESCRIPTOR.size:
                raise ProtocolViolation("a block status without extents")
            return list(_descriptors(raw, offset, offset + length))

    def _send(
        self,
        kind: int,
        offset: int,
        length: int,
        pending: Pending | None,
        data: memoryview | None = None,
    ) -> None:
        if offset < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} are not within {self.size} bytes")
        self._cookie += 1
        if pending:
            self._pending[self._cookie] = pending
        self._link.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, kind, self._cookie, offset, length))
        if data:
            self._link.sendall(data)

    def _make_room(self, window: int) -> None:
        """Read responses until fewer than `window` requests are in flight."""
        while len(self._pending) >= window:
            (magic,) = _REPLY_HEAD.unpack(self._take(_REPLY_HEAD.size))
            if magic == _CHUNK_MAGIC:
                self._chunk()
            elif magic == _SIMPLE_MAGIC:
                self._simple()
            else:
                raise ProtocolViolation("a reply of an unknown kind")

    def _simple(self) -> None:
        error, cookie = _SIMPLE.unpack(self._take(_SIMPLE.size))
        if error:
            self._refused(cookie, error, b"")
        self._finish(cookie)

    def _chunk(self) -> None:
        flags, kind, cookie, length = _CHUNK.unpack(self._take(_CHUNK.size))
        pending = self._pending.get(cookie)
        if pending is None:
            raise ProtocolViolation("a reply without a request")
        if kind == _DATA and length > _OFFSET.size:
            (offset,) = _OFFSET.unpack(self._take(_OFFSET.size))
            self._fill(pending.place(offset, length - _OFFSET.size))
        elif kind == _ZEROS and length == _HOLE.size:
            view = pending.place(*_HOLE.unpack(self._take(length)))
            view[:] = bytes(len(view))
        elif kind == _STATUS and 4 < length <= _MOST_STATUS:
            self._learn_status(pending, bytes(self._take(length)))
        elif kind & _ERROR and 4 <= length <= _MOST_INFORMATION:
            raw = bytes(self._take(length))
            self._refused(cookie, int.from_bytes(raw[:4], "big"), raw[6:])
        elif kind != _NONE or length or not flags & _DONE:
            raise ProtocolViolation(f"a chunk of kind {kind} and {length} bytes")
        if flags & _DONE:
            self._finish(cookie)

    def _refused(self, cookie: int, code: int, reason: bytes) -> None:
        """Record a read that failed with EIO; every other failure is raised."""
        pending = self._pending.get(cookie)
        if code != _EIO or pending is None or pending.view is None:
            _fail(code)
        pending.is_refused = True
        self._unreadable.append(_words(reason))

    def _learn_status(self, pending: Pending, raw: bytes) -> None:
        number = int.from_bytes(raw[:4], "big")
        if number not in self._contexts.values() or number in pending.status:
            raise ProtocolViolation("a block status that was not asked for")
        pending.status[number] = raw[4:]

    def _finish(self, cookie: int) -> None:
        pending = self._pending.pop(cookie, None)
        if pending is None:
            raise ProtocolViolation("a reply without a request")
        pending.check()

    def _take(self, count: int) -> memoryview:
        view = memoryview(bytearray(count))
        self._fill(view)
        return view

    def _fill(self, view: memoryview) -> None:
        while view:
            count = self._link.recv_into(view, 0, socket.MSG_WAITALL)
            if not count:
                raise ConnectionResetError("it disconnected")
            view = view[count:]

    def _shut(self) -> None:
        self._open = False
        self._pending.clear()
        self._link.close()


class _Guard:
    """Closes the export at the first error, and maps the error to one of `haulback.errors`."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def __enter__(self) -> None:
        if not self._export._open:
            raise Unavailable("the NBD connection is closed")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, ValueError | Unreadable):
            return
        self._export._shut()
        if isinstance(error, ProtocolViolation):
            raise Unavailable(f"the NBD server violates the protocol: it sent {error}")
        if isinstance(error, BlockingIOError):
            raise Unavailable("the NBD server does not respond") from None
        if isinstance(error, OSError):
            raise Unavailable(
                f"the NBD server closed the connection: {error.strerror or error}"
            ) from None


def connect(path: str, name: str = "", contexts: Sequence[str] = ()) -> Export:
    """Connect to an export of the NBD server at a UNIX socket. Raises Unavailable."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(path)
    except OSError as error:
        link.close()
        raise Unavailable(f"no NBD server at {path}: {error.strerror}") from None
    return Export(link, name, contexts)


def dirty_bitmap(name: str) -> str:
    """Metadata context of a QEMU dirty bitmap."""
    return f"qemu:dirty-bitmap:{name}"


def join(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Merge adjacent extents; the input must be ascending."""
    last: Extent | None = None
    for extent in extents:
        if last and last.offset + last.length == extent.offset:
            last = Extent(last.offset, last.length + extent.length)
            continue
        if last:
            yield last
        last = extent
    if last:
        yield last


def _descriptors(raw: bytes, offset: int, end: int) -> Iterator[BlockStatus]:
    for length, flags in _DESCRIPTOR.iter_unpack(raw):
        if not length or offset >= end:
            raise ProtocolViolation("a block status outside the requested range")
        length = min(length, end - offset)  # the last range may exceed the request
        yield BlockStatus(offset, length, flags)
        offset += length


def _prefixed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _words(reply: bytes) -> str:
    return reply[:200].decode(errors="replace") or "no reason given"


def _fail(code: int) -> Never:
    if code == _ENOSPC:
        raise OutOfSpace("the NBD server has no space left")
    raise Unavailable(f"the NBD server reports an error: {os.strerror(code % 4096)}")
