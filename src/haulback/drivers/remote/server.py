"""Objects that one side serves to the other: the hypervisor, what it opens, disks, names, tars."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import Future
from contextlib import AbstractContextManager
from itertools import count, islice
from threading import Lock
from typing import NamedTuple

import msgspec

from haulback.drivers.capabilities import (
    GuestOperations,
    MachineTarget,
    PowerControl,
    ProofBoot,
    SnapshotKeeper,
    capability,
)
from haulback.drivers.hypervisor import (
    Booted,
    DiskView,
    Inventory,
    Machine,
    MachineDisk,
    MachineSource,
    NewMachine,
    Snapshot,
)
from haulback.drivers.remote.rpc import Exchange
from haulback.drivers.remote_set import AskedNames
from haulback.drivers.source import Extent, Source
from haulback.errors import Conflict, Malformed, Unavailable
from haulback.units import MIB

MOST_BYTES = 8 * MIB  # bytes of one read
_FEW_EXTENTS, _MOST_EXTENTS = 64, 4096  # extents in the first and in the largest page
_MOST_BEGUN = 64  # open iterations of a disk
_PIECE, _AHEAD = MIB, 2  # bytes of a read, reads that are prefetched


class Offered(NamedTuple):
    """A disk that the peer can read: the number of its object, its size in bytes."""

    number: int
    size: int


class View(NamedTuple):
    """A DiskView; `tracks` tells whether `changed` extents are available."""

    disk: MachineDisk
    source: Offered
    tracks: bool
    reason: str | None


class ServedSnapshot(NamedTuple):
    """An open Snapshot: the number of its object, and its properties."""

    number: int
    machine: Machine
    checkpoint: str | None
    consistency: str
    views: list[View]


class Begun(NamedTuple):
    """A started block of `Hypervisor.around`: the number of its object, and warnings so far."""

    number: int
    warnings: list[str]


class ServedSource:
    """Server of a Source; extents are fetched in pages by the number of an iteration.

    Clients do not report an abandoned iteration: beyond 64 open ones the oldest is dropped.
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
            raise Conflict("the iteration over these extents was dropped; start a new one")
        found = list(islice(pages, max(1, min(most, _MOST_EXTENTS))))
        if not found:
            with self._lock:
                self._begun.pop(number, None)
        return found

    def _begin(self, pages: Iterator[Extent]) -> int:
        with self._lock:
            number = next(self._numbers)
            self._begun[number] = pages
            while len(self._begun) > _MOST_BEGUN:
                self._begun.popitem(last=False)
        return number


class Names:
    """Server of a set that offers only a membership test."""

    def __init__(self, names: Set[str]) -> None:
        self._names = names

    def has(self, name: str) -> bool:
        return name in self._names


class Parts:
    """Server of a byte stream, for instance a tar."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)

    def more(self) -> list[bytes]:
        """The next part in a list; an empty list ends the stream."""
        return list(islice(self._parts, 1))


class Reading:
    """Server of an open Snapshot."""

    def __init__(self, link: Exchange, snapshot: Snapshot) -> None:
        self._link, self._snapshot = link, snapshot
        self._disks: list[ServedSource] = []

    def opened(self) -> ServedSnapshot:
        found = self._snapshot
        views = [self._view(view) for view in found.views()]
        number = self._link.offer(self)
        return ServedSnapshot(number, found.machine, found.checkpoint, found.consistency, views)

    def close(self) -> None:
        if self._link.withdraw(self):
            for disk in self._disks:
                self._link.withdraw(disk)
            self._snapshot.close()

    def _view(self, view: DiskView) -> View:
        disk = ServedSource(view.source, view.changed)
        self._disks.append(disk)
        offered = Offered(self._link.offer(disk), view.source.size)
        return View(view.disk, offered, view.changed is not None, view.reason)


class Making:
    """Server of a NewMachine."""

    def __init__(self, link: Exchange, new: NewMachine) -> None:
        self._link, self._new = link, new

    def write(self, disk: str, offset: int, data: bytes) -> None:
        self._new.sink(disk).write_at(offset, data)

    def commit(self) -> Machine:
        return self._new.commit()

    def left_out(self) -> list[str]:
        return self._new.left_out()

    def abandon(self) -> None:
        self._new.abandon()

    def close(self) -> None:
        if self._link.withdraw(self):
            self._new.abandon()


class Looking:
    """Server of a Booted machine."""

    def __init__(self, link: Exchange, booted: Booted) -> None:
        self._link, self._booted = link, booted

    def left_out(self) -> list[str]:
        return self._booted.left_out()

    def is_running(self) -> bool:
        return self._booted.is_running()

    def console(self) -> str:
        return self._booted.console()

    def agent_answers(self) -> bool:
        return self._booted.agent_answers()

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        return self._booted.run(script, seconds)

    def screen(self) -> list[bytes]:
        found = self._booted.screen()
        return [] if found is None else [found]

    def close(self) -> None:
        if self._link.withdraw(self):
            self._booted.close()


class Block:
    """Server of a block of `Hypervisor.around`; the block ends with `end` or with the
    connection.
    """

    def __init__(self, link: Exchange, around: Callable[..., AbstractContextManager[None]]) -> None:
        self._link, self._warnings = link, list[str]()
        self._block = around(self._warnings.append)

    def begin(self) -> Begun:
        self._block.__enter__()
        return Begun(self._link.offer(self), self._told())

    def end(self) -> list[str]:
        if self._link.withdraw(self):
            self._block.__exit__(None, None, None)
        return self._told()

    def close(self) -> None:
        self.end()

    def _told(self) -> list[str]:
        told, self._warnings[:] = list(self._warnings), []
        return told


class ServedHypervisor:
    """Server of a Hypervisor; the first object that the far end offers."""

    def __init__(self, link: Exchange, inner: MachineSource) -> None:
        self._link, self._inner = link, inner

    def check(self) -> None:
        self._inner.check()

    def inventory(self) -> Inventory:
        return self._inner.inventory()

    def machine(self, uuid: str) -> Machine:
        return self._inner.machine(uuid)

    def snapshot(self, uuid: str, attempt: str, base: str | None) -> ServedSnapshot:
        snapshot = self._inner.snapshot(uuid, attempt, base)
        try:
            return Reading(self._link, snapshot).opened()
        except BaseException:
            snapshot.close()
            raise

    def drop_checkpoints(self, uuid: str, keep: int) -> list[str]:
        return self._inner.drop_checkpoints(uuid, self._asked(keep))

    def take_snapshot(self, uuid: str, name: str) -> str:
        return capability(self._inner, SnapshotKeeper).take_snapshot(uuid, name)

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        capability(self._inner, SnapshotKeeper).revert(uuid, name, before, attempt)

    def remove_snapshots(self, uuid: str, names: set[str]) -> list[str]:
        return capability(self._inner, SnapshotKeeper).remove_snapshots(uuid, names)

    def create(self, wanted: Machine, attempt: str, overwrite: bool) -> int:
        new = capability(self._inner, MachineTarget).create(wanted, attempt, overwrite=overwrite)
        return self._link.offer(Making(self._link, new))

    def boot(self, wanted: Machine, sources: dict[str, Offered], attempt: str) -> int:
        disks: Mapping[str, Source] = {
            name: FarSource(self._link, one) for name, one in sources.items()
        }
        return self._link.offer(
            Looking(self._link, capability(self._inner, ProofBoot).boot(wanted, disks, attempt))
        )

    def around(self, uuid: str, before: str, after: str) -> Begun:
        def around(warn: Callable[[str], None]) -> AbstractContextManager[None]:
            return capability(self._inner, GuestOperations).around(uuid, before, after, warn)

        return Block(self._link, around).begin()

    def unpack(self, uuid: str, parts: int, folder: str, name: str) -> None:
        def given() -> Iterator[bytes]:
            while some := self._link.call(parts, "more", kind=list[bytes]):
                yield from some

        capability(self._inner, GuestOperations).unpack(uuid, given(), folder, name)

    def start(self, uuid: str) -> None:
        capability(self._inner, PowerControl).start(uuid)

    def remove(self, uuid: str) -> None:
        capability(self._inner, MachineTarget).remove(uuid)

    def sweep(self, alive: int) -> list[str]:
        return self._inner.sweep(self._asked(alive))

    def _asked(self, names: int) -> AskedNames:
        return AskedNames(lambda name: self._link.call(names, "has", name, kind=bool))


class _Coming(NamedTuple):
    """A prefetched piece of a disk: its range in bytes, and the future of its data."""

    offset: int
    length: int
    data: Future[msgspec.Raw]


class FarSource:
    """A Source that the peer serves.

    Sequential reads are prefetched within the extents that were fetched last.
    """

    def __init__(self, link: Exchange, offered: Offered) -> None:
        self._link, self._number, self.size = link, offered.number, offered.size
        self._told: list[Extent] = []
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
            coming.append(self._ask(at, min(_PIECE, end - at)))
            at += coming[-1].length
        self._go_on(ahead[-1].offset + ahead[-1].length if ahead else at, ahead)
        for one in coming:
            low = one.offset - offset
            self._take(one, buffer[low : low + one.length])

    def _go_on(self, at: int, ahead: deque[_Coming]) -> None:
        while len(ahead) < _AHEAD and (length := self._sure(at)):
            ahead.append(self._ask(at, length))
            at += length
        self._ahead = ahead

    def _sure(self, at: int) -> int:
        """Bytes from `at` to the end of its MiB that lie in an extent fetched last."""
        index = bisect_right(self._told, at, key=lambda extent: extent.offset) - 1
        if index < 0:
            return 0
        told = self._told[index]
        return max(0, min(told.offset + told.length, at // _PIECE * _PIECE + _PIECE) - at)

    def _ask(self, offset: int, length: int) -> _Coming:
        return _Coming(offset, length, self._link.begin(self._number, "read", offset, length))

    def _take(self, one: _Coming, into: memoryview) -> None:
        data = self._link.result(one.data, bytes)
        if len(data) != one.length:
            raise Unavailable(f"the far end sent {len(data)} of {one.length} bytes")
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
                    raise Unavailable(f"the far end sent extents out of order at {extent.offset}")
                last = extent.offset + extent.length
            self._told = page
            yield from page
