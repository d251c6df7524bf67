"""A small NBD server: Sources as read-only exports on a UNIX socket.

Speaks fixed newstyle, with structured replies where they are asked for.  Clients are not trusted:
what they ask is checked against the export before anything is read.
(The words of the protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md)
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Self

from haulback.drivers.source import Source
from haulback.errors import HaulbackError
from haulback.units import MIB

log = logging.getLogger(__name__)
_GREETING = struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 1 | 2)
_OPTION, _OPTION_REPLY = struct.Struct(">QII"), struct.Struct(">QIII")
_REQUEST, _REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
_CHUNK, _DATA, _ERROR = struct.Struct(">IHHQI"), struct.Struct(">IHHQIQ"), struct.Struct(">IH")
_I_HAVE_OPT, _OPTION_REPLY_MAGIC = 0x49484156454F5054, 0x3E889045565A9
_REQUEST_MAGIC, _REPLY_MAGIC, _CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
_ABORT, _LIST, _INFO, _GO, _STRUCTURED = 2, 3, 6, 7, 8
_DONE, _OFFSET_DATA, _FAILED = 1, 1, (1 << 15) + 1
_ACK, _SERVER, _INFORMATION, _UNSUPPORTED, _UNKNOWN = 1, 2, 3, (1 << 31) + 1, (1 << 31) + 6
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_EXPORT_FLAGS = 1 | 2 | 4 | 1 << 8  # has flags, read-only, can flush, many connections
_EPERM, _EIO, _EINVAL = 1, 5, 22
_LARGEST = 32 * MIB


class NbdServer:
    """Serves while the block lasts; `exports` are Sources by name."""

    def __init__(self, path: Path, exports: Mapping[str, Source]) -> None:
        self._exports, self._path = exports, path
        self._links: set[socket.socket] = set()
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
        """Hang up on everybody."""
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
                if self._over:
                    link.close()
                    return
                self._links.add(link)
                thread = Thread(target=self._serve, args=(link,), name="nbd-link", daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        try:
            with suppress(OSError, EOFError):
                if agreed := self._negotiate(link):
                    self._transmit(link, *agreed)
        finally:
            with self._lock:
                self._links.discard(link)
            link.close()

    def _negotiate(self, link: socket.socket) -> tuple[Source, bool] | None:
        """The export, and whether replies are structured."""
        link.sendall(_GREETING)
        _take(link, 4)
        structured = False
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
                source = self._inform(link, option, data)
                if source and option == _GO:
                    return source, structured
            elif option == _STRUCTURED and not data:
                structured = True
                _answer(link, option, _ACK)
            else:
                _answer(link, option, _UNSUPPORTED)

    def _list(self, link: socket.socket) -> None:
        for name in self._exports:
            _answer(link, _LIST, _SERVER, struct.pack(">I", len(name.encode())) + name.encode())
        _answer(link, _LIST, _ACK)

    def _inform(self, link: socket.socket, option: int, data: bytes) -> Source | None:
        length = int.from_bytes(data[:4], "big")
        source = self._exports.get(data[4 : 4 + length].decode(errors="replace"))
        if source is None:
            _answer(link, option, _UNKNOWN)
            return None
        _answer(link, option, _INFORMATION, struct.pack(">HQH", 0, source.size, _EXPORT_FLAGS))
        _answer(link, option, _ACK)
        return source

    def _transmit(self, link: socket.socket, source: Source, structured: bool) -> None:
        read, refuse = (_read_chunk, _refuse_chunk) if structured else (_read, _refuse)
        while True:
            magic, _, kind, cookie, offset, length = _REQUEST.unpack(_take(link, _REQUEST.size))
            if magic != _REQUEST_MAGIC or kind == _DISCONNECT:
                return
            if kind == _WRITE:
                if length > _LARGEST:
                    return
                _take(link, length)
                _refuse(link, _EPERM, cookie)
            elif kind == _FLUSH:
                link.sendall(_REPLY.pack(_REPLY_MAGIC, 0, cookie))
            elif kind != _READ:
                _refuse(link, _EINVAL, cookie)
            elif not 0 < length <= _LARGEST or offset + length > source.size:
                refuse(link, _EINVAL, cookie)
            else:
                try:
                    read(link, source, offset, length, cookie)
                except HaulbackError as error:
                    log.error("%d bytes at %d cannot be read: %s", length, offset, error.message)
                    refuse(link, _EIO, cookie)


def _read(link: socket.socket, source: Source, offset: int, length: int, cookie: int) -> None:
    buffer = bytearray(_REPLY.size + length)
    source.read_into(offset, memoryview(buffer)[_REPLY.size :])
    _REPLY.pack_into(buffer, 0, _REPLY_MAGIC, 0, cookie)
    link.sendall(buffer)


def _read_chunk(link: socket.socket, source: Source, offset: int, length: int, cookie: int) -> None:
    buffer = bytearray(_DATA.size + length)
    source.read_into(offset, memoryview(buffer)[_DATA.size :])
    _DATA.pack_into(buffer, 0, _CHUNK_MAGIC, _DONE, _OFFSET_DATA, cookie, 8 + length, offset)
    link.sendall(buffer)


def _refuse(link: socket.socket, error: int, cookie: int) -> None:
    link.sendall(_REPLY.pack(_REPLY_MAGIC, error, cookie))


def _refuse_chunk(link: socket.socket, error: int, cookie: int) -> None:
    head = _CHUNK.pack(_CHUNK_MAGIC, _DONE, _FAILED, cookie, _ERROR.size)
    link.sendall(head + _ERROR.pack(error, 0))


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
