"""Disks over a connection: a Source that one side serves and the other side reads."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import count, islice
from threading import Lock
from typing import NamedTuple

import msgspec

from haulback.drivers.remote.rpc import PeerConnection
from haulback.drivers.source import Extent, Source
from haulback.errors import Conflict, Malformed, Unavailable
from haulback.units import MIB

MOST_BYTES = 8 * MIB  # bytes of one read
_FEW_EXTENTS, _MOST_EXTENTS = 64, 4096  # extents in the first and in the largest page
_MOST_BEGUN = 64  # open iterations of a disk
_PIECE, _AHEAD = MIB, 2  # bytes of a read, reads that are prefetched


class OfferedDisk(NamedTuple):
    """A disk that the peer can read: the number of its object, its size in bytes."""

    number: int
    size: int


class ServedSource:
    """Server of a Source; extents are fetched in pages by the number of an iteration.

    Clients do not report an abandoned iteration: beyond 64 open iterations the oldest is dropped.
    """

    def __init__(self, source: Source, changed: Iterable[Extent] | None = None) -> None:
        self._source, self._changed = source, changed
        self._begun: OrderedDict[int, Iterator[Extent]] = OrderedDict()
        self._numbers, self._lock = count(), Lock()

    def read(self, offset: int, length: int) -> bytes:
        if not 0 < length <= MOST_BYTES or offset < 0:
            raise Malformed(f"a read of {length} bytes at {offset} is outside the limits")
        data = bytearray(length)
        self._source.read_into(offset, memoryview(data))
        return bytes(data)

    def extents(self, start: int) -> int:
        return self._begin(self._source.extents(start))

    def changed(self) -> int:
        return self._begin(iter(self._changed or ()))

    def more(self, number: int, most: int) -> list[Extent]:
        """Next page of at most `most` extents; an empty page ends the iteration.

        Raises Conflict for an iteration that was dropped.
        """
        with self._lock:
            pages = self._begun.get(number)
        if pages is None:
            raise Conflict("the iteration over these extents has ended; start a new iteration")
        page = list(islice(pages, max(1, min(most, _MOST_EXTENTS))))
        if not page:
            with self._lock:
                self._begun.pop(number, None)
        return page

    def _begin(self, pages: Iterator[Extent]) -> int:
        with self._lock:
            number = next(self._numbers)
            self._begun[number] = pages
            while len(self._begun) > _MOST_BEGUN:
                self._begun.popitem(last=False)
        return number


class _Coming(NamedTuple):
    """A prefetched piece of a disk: its range in bytes, and the future of its data."""

    offset: int
    length: int
    data: Future[msgspec.Raw]


class RemoteSource:
    """A Source that the peer serves.

    Sequential reads are prefetched within the extents that were fetched last.
    """

    def __init__(self, link: PeerConnection, offered: OfferedDisk) -> None:
        self._link, self._number, self.size = link, offered.number, offered.size
        self._extents_page: list[Extent] = []
        self._ahead: deque[_Coming] = deque()

    def extents(self, start: int = 0) -> Iterator[Extent]:
        return self._paged("extents", start)

    def changed(self) -> Iterator[Extent]:
        return self._paged("changed")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        at, end, coming = offset, offset + len(buffer), list[_Coming]()
        ahead, self._ahead = self._ahead, deque()
        while ahead and ahead[0].offset == at and at + ahead[0].length <= end:
            coming.append(ahead.popleft())
            at += coming[-1].length
        if at == offset:
            ahead.clear()  # non-sequential read: drop the prefetch queue
        while at < end:
            coming.append(self._fetch(at, min(_PIECE, end - at)))
            at += coming[-1].length
        self._go_on(ahead[-1].offset + ahead[-1].length if ahead else at, ahead)
        for piece in coming:
            low = piece.offset - offset
            self._take(piece, buffer[low : low + piece.length])

    def _go_on(self, at: int, ahead: deque[_Coming]) -> None:
        while len(ahead) < _AHEAD and (length := self._sure(at)):
            ahead.append(self._fetch(at, length))
            at += length
        self._ahead = ahead

    def _sure(self, at: int) -> int:
        """Bytes from `at` to the end of its MiB that lie in an extent fetched last."""
        index = bisect_right(self._extents_page, at, key=lambda extent: extent.offset) - 1
        if index < 0:
            return 0
        told = self._extents_page[index]
        return max(0, min(told.offset + told.length, at // _PIECE * _PIECE + _PIECE) - at)

    def _fetch(self, offset: int, length: int) -> _Coming:
        return _Coming(offset, length, self._link.begin(self._number, "read", offset, length))

    def _take(self, one: _Coming, into: memoryview) -> None:
        data = self._link.result(one.data, bytes)
        if len(data) != one.length:
            raise Unavailable(f"the peer sent {len(data)} of {one.length} bytes")
        into[:] = data

    def _paged(self, how: str, *arguments: int) -> Iterator[Extent]:
        """Fetch extents page by page; pages grow, because some callers need only the first
        extent.
        """
        pages = self._link.call(self._number, how, *arguments, kind=int)
        last, most = 0, _FEW_EXTENTS
        while page := self._link.call(self._number, "more", pages, most, kind=list[Extent]):
            most = min(most * 4, _MOST_EXTENTS)
            for extent in page:
                if extent.offset < last or extent.length <= 0:
                    raise Unavailable(f"the peer sent extents out of order at {extent.offset}")
                last = extent.offset + extent.length
            self._extents_page = page
            yield from page
