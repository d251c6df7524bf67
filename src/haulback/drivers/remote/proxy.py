"""Hypervisor proxy: each call is carried out by a driver at the far end of a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, NamedTuple, Self, TypeVar

from haulback.drivers.hypervisor import (
    Booted,
    DiskView,
    Inventory,
    Machine,
    NewMachine,
    Snapshot,
)
from haulback.drivers.remote.rpc import Exchange
from haulback.drivers.remote.server import (
    Begun,
    FarSource,
    Names,
    Offered,
    Parts,
    ServedSnapshot,
    ServedSource,
    View,
)
from haulback.drivers.sink import Sink
from haulback.drivers.source import Extent, Source
from haulback.errors import Conflict, HaulbackError
from haulback.hypervisor_types import LIBVIRT_BY_SSH
from haulback.units import MIB

PLATFORM = 0  # number of the first object that the far end offers
_AHEAD, _PIECE = 8, MIB  # writes in flight, bytes of each
T = TypeVar("T")


class FarHypervisor:
    """A hypervisor whose driver runs at the far end; `connect` opens a connection on demand."""

    declaration = LIBVIRT_BY_SSH

    def __init__(self, connect: Callable[[], Exchange]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._made: Exchange | None = None

    @property
    def _link(self) -> Exchange:
        with self._lock:
            if self._made is None or self._made.over.is_set():
                self._made = self._connect()
            return self._made

    def _call(self, method: str, *arguments: object, kind: type[T]) -> T:
        return self._link.call(PLATFORM, method, *arguments, kind=kind)

    def check(self) -> None:
        self._call("check", kind=type(None))

    def inventory(self) -> Inventory:
        return self._call("inventory", kind=Inventory)

    def machine(self, uuid: str) -> Machine:
        return self._call("machine", uuid, kind=Machine)

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        link = self._link
        return _Snapshot(
            link, link.call(PLATFORM, "snapshot", uuid, attempt, base, kind=ServedSnapshot)
        )

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        link = self._link  # object numbers are valid only on the connection that issued them
        with _offered(link, Names(keep)) as names:
            return link.call(PLATFORM, "drop_checkpoints", uuid, names, kind=list[str])

    def take_snapshot(self, uuid: str, name: str) -> str:
        return self._call("take_snapshot", uuid, name, kind=str)

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        self._call("revert", uuid, name, before, attempt, kind=type(None))

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        return self._call("remove_snapshots", uuid, list(names), kind=list[str])

    def create(self, wanted: Machine, attempt: str, *, overwrite: bool = False) -> NewMachine:
        link = self._link
        number = link.call(PLATFORM, "create", wanted, attempt, overwrite, kind=int)
        return _NewMachine(link, number, wanted)

    def boot(self, wanted: Machine, sources: Mapping[str, Source], attempt: str) -> Booted:
        return _Booted(self._link, wanted, sources, attempt)

    @contextmanager
    def around(
        self, uuid: str, before: str, after: str, warn: Callable[[str], None]
    ) -> Iterator[None]:
        link = self._link
        begun = link.call(PLATFORM, "around", uuid, before, after, kind=Begun)
        try:
            for said in begun.warnings:
                warn(said)
            yield
        finally:
            try:
                for said in link.call(begun.number, "end", kind=list[str]):
                    warn(said)
            except HaulbackError as error:  # the far end runs the command even without us
                warn(f"the result of the command after the backup is unknown: {error.message}")

    def unpack(self, uuid: str, parts: Iterable[bytes], folder: str, name: str) -> None:
        pieces = (part[low : low + _PIECE] for part in parts for low in range(0, len(part), _PIECE))
        link = self._link
        with _offered(link, Parts(pieces)) as number:
            link.call(PLATFORM, "unpack", uuid, number, folder, name, kind=type(None))

    def start(self, uuid: str) -> None:
        self._call("start", uuid, kind=type(None))

    def remove(self, uuid: str) -> None:
        self._call("remove", uuid, kind=type(None))

    def sweep(self, alive: Set[str]) -> list[str]:
        link = self._link
        with _offered(link, Names(alive)) as names:
            return link.call(PLATFORM, "sweep", names, kind=list[str])

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made:
            made.close()
            made.wait()


@contextmanager
def _offered(link: Exchange, what: object) -> Iterator[int]:
    try:
        yield link.offer(what)
    finally:
        link.withdraw(what)


class _Snapshot:
    def __init__(self, link: Exchange, opened: ServedSnapshot) -> None:
        self._link, self._number, self._open = link, opened.number, True
        self.machine, self.checkpoint = opened.machine, opened.checkpoint
        self.consistency = opened.consistency
        self._views = [self._view(view) for view in opened.views]

    def _view(self, view: View) -> DiskView:
        source = FarSource(self._link, view.source)
        return DiskView(view.disk, source, _Changed(source) if view.tracks else None, view.reason)

    def views(self) -> list[DiskView]:
        return self._views

    def close(self) -> None:
        if self._open:
            self._open = False
            self._link.call(self._number, "close", kind=type(None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:  # the current error must not be hidden by a failure to close
            with suppress(HaulbackError):
                self.close()


class _Changed:
    def __init__(self, source: FarSource) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Extent]:
        return self._source.changed()


class _NewMachine:
    def __init__(self, link: Exchange, number: int, wanted: Machine) -> None:
        self._link, self._number, self._over = link, number, False
        self._left: list[str] = []
        self._sinks = {disk.name: _FarSink(link, number, disk.name) for disk in wanted.disks}

    def sink(self, disk: str) -> Sink:
        return self._sinks[disk]

    def commit(self) -> Machine:
        if self._over:
            raise Conflict("the new machine was committed or abandoned already")
        try:
            for sink in self._sinks.values():
                sink.settle()
            made = self._link.call(self._number, "commit", kind=Machine)
            with suppress(HaulbackError):  # the machine exists even if the connection breaks now
                self._left = self._link.call(self._number, "left_out", kind=list[str])
            return made
        finally:
            self.abandon()

    def left_out(self) -> list[str]:
        return self._left

    def abandon(self) -> None:
        if not self._over:
            self._over = True
            with suppress(HaulbackError):  # a far end that lost its connection has cleaned up
                self._link.call(self._number, "close", kind=type(None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.abandon()


class _Sent(NamedTuple):
    """A write in flight: byte range of the disk, and the future of its result."""

    low: int
    high: int
    done: Future[Any]


class _FarSink:
    """Sink with several writes in flight; an error may surface at a later write or in `settle`."""

    def __init__(self, link: Exchange, number: int, disk: str) -> None:
        self._link, self._number, self._disk = link, number, disk
        self._sent: deque[_Sent] = deque()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for low in range(0, len(view), _PIECE):
            piece = view[low : low + _PIECE]
            self._send(offset + low, piece)

    def _send(self, low: int, piece: memoryview) -> None:
        high = low + len(piece)
        if any(one.low < high and low < one.high for one in self._sent):
            self.settle()  # writes in flight may be reordered, so overlapping ones must not coexist
        while len(self._sent) >= _AHEAD:
            self._take()
        done = self._link.begin(self._number, "write", self._disk, low, piece)
        self._sent.append(_Sent(low, high, done))

    def settle(self) -> None:
        while self._sent:
            self._take()

    def _take(self) -> None:
        self._link.result(self._sent.popleft().done, type(None))


class _Booted:
    def __init__(
        self, link: Exchange, wanted: Machine, sources: Mapping[str, Source], attempt: str
    ) -> None:
        self._link, self._open = link, True
        self._disks = [ServedSource(source) for source in sources.values()]
        sizes = [source.size for source in sources.values()]
        offers = [Offered(link.offer(d), s) for d, s in zip(self._disks, sizes, strict=True)]
        told = dict(zip(sources, offers, strict=True))
        try:
            self._number = link.call(PLATFORM, "boot", wanted, told, attempt, kind=int)
        except BaseException:
            self._let_go()
            raise

    def left_out(self) -> list[str]:
        return self._link.call(self._number, "left_out", kind=list[str])

    def is_running(self) -> bool:
        return self._link.call(self._number, "is_running", kind=bool)

    def console(self) -> str:
        return self._link.call(self._number, "console", kind=str)

    def agent_answers(self) -> bool:
        return self._link.call(self._number, "agent_answers", kind=bool)

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        return self._link.call(self._number, "run", script, seconds, kind=tuple[int, str])

    def screen(self) -> bytes | None:
        return next(iter(self._link.call(self._number, "screen", kind=list[bytes])), None)

    def close(self) -> None:
        if self._open:
            self._open = False
            try:
                self._link.call(self._number, "close", kind=type(None))
            finally:
                self._let_go()

    def _let_go(self) -> None:
        for disk in self._disks:
            self._link.withdraw(disk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(HaulbackError):
            self.close()
