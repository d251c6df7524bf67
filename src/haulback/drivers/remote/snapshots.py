"""Snapshots over a connection: the remote driver serves an open Snapshot, the node reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from haulback.drivers.auto_close import ClosesAtExit
from haulback.drivers.hypervisor import DiskView, Machine, MachineDisk, Snapshot
from haulback.drivers.remote.disks import OfferedDisk, RemoteSource, ServedSource
from haulback.drivers.remote.rpc import PeerConnection
from haulback.drivers.source import Extent


class View(NamedTuple):
    """A DiskView; `tracks` tells whether `changed` extents are available."""

    disk: MachineDisk
    source: OfferedDisk
    tracks: bool
    reason: str | None


class OpenedSnapshot(NamedTuple):
    """An open Snapshot: the number of its object, and its properties."""

    number: int
    machine: Machine
    checkpoint: str | None
    consistency: str
    views: list[View]


class ServedSnapshot:
    """Server of an open Snapshot."""

    def __init__(self, link: PeerConnection, snapshot: Snapshot) -> None:
        self._link, self._snapshot = link, snapshot
        self._disks: list[ServedSource] = []

    def opened(self) -> OpenedSnapshot:
        found = self._snapshot
        views = [self._view(view) for view in found.views()]
        number = self._link.offer(self)
        return OpenedSnapshot(number, found.machine, found.checkpoint, found.consistency, views)

    def close(self) -> None:
        if self._link.withdraw(self):
            for disk in self._disks:
                self._link.withdraw(disk)
            self._snapshot.close()

    def _view(self, view: DiskView) -> View:
        disk = ServedSource(view.source, view.changed)
        self._disks.append(disk)
        offered = OfferedDisk(self._link.offer(disk), view.source.size)
        return View(view.disk, offered, view.changed is not None, view.reason)


class RemoteSnapshot(ClosesAtExit):
    def __init__(self, link: PeerConnection, opened: OpenedSnapshot) -> None:
        self._link, self._number, self._open = link, opened.number, True
        self.machine, self.checkpoint = opened.machine, opened.checkpoint
        self.consistency = opened.consistency
        self._views = [self._view(view) for view in opened.views]

    def _view(self, view: View) -> DiskView:
        source = RemoteSource(self._link, view.source)
        return DiskView(view.disk, source, _Changed(source) if view.tracks else None, view.reason)

    def views(self) -> list[DiskView]:
        return self._views

    def close(self) -> None:
        if self._open:
            self._open = False
            self._link.call(self._number, "close", kind=type(None))


class _Changed:
    def __init__(self, source: RemoteSource) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Extent]:
        return self._source.changed()
