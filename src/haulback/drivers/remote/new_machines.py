"""New machines over a connection: the remote driver serves a NewMachine, the node writes its
disks.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, Self

from haulback.drivers.hypervisor import Machine, NewMachine
from haulback.drivers.remote.rpc import PeerConnection
from haulback.drivers.sink import Sink
from haulback.errors import Conflict, HaulbackError
from haulback.units import MIB

_AHEAD, _PIECE = 8, MIB  # writes in flight, bytes of each


class ServedNewMachine:
    """Server of a NewMachine."""

    def __init__(self, link: PeerConnection, new: NewMachine) -> None:
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


class RemoteNewMachine:
    def __init__(self, link: PeerConnection, number: int, wanted: Machine) -> None:
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
            # A remote driver that lost its connection has already cleaned up.
            with suppress(HaulbackError):
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

    def __init__(self, link: PeerConnection, number: int, disk: str) -> None:
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
            # Writes in flight may be reordered, so overlapping writes must not coexist.
            self.settle()
        while len(self._sent) >= _AHEAD:
            self._take()
        done = self._link.begin(self._number, "write", self._disk, low, piece)
        self._sent.append(_Sent(low, high, done))

    def settle(self) -> None:
        while self._sent:
            self._take()

    def _take(self) -> None:
        self._link.result(self._sent.popleft().done, type(None))
