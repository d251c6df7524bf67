"""Hypervisor proxy: a remote driver carries out each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager
from threading import Lock
from typing import TypeVar

from haulback.drivers.free_space import FreeSpace
from haulback.drivers.hypervisor import BootedMachine, Inventory, Machine, NewMachine, Snapshot
from haulback.drivers.remote.guests import GuestCommands, StreamServer, far_block
from haulback.drivers.remote.new_machines import RemoteNewMachine
from haulback.drivers.remote.proofs import RemoteBootedMachine
from haulback.drivers.remote.rpc import HYPERVISOR, PeerConnection
from haulback.drivers.remote.snapshots import OpenedSnapshot, RemoteSnapshot
from haulback.drivers.remote_set import SetServer
from haulback.drivers.source import Source
from haulback.hypervisor_types import LIBVIRT_BY_SSH
from haulback.units import MIB

_PIECE = MIB  # bytes of a tar that are sent at once
T = TypeVar("T")


class RemoteHypervisor:
    """A hypervisor whose driver runs on another host; `connect` opens a connection on demand."""

    declaration = LIBVIRT_BY_SSH

    def __init__(self, connect: Callable[[], PeerConnection]) -> None:
        self._connect = connect
        # one thread connects; the others wait for its connection
        self._lock = Lock()
        self._made: PeerConnection | None = None

    @property
    def _link(self) -> PeerConnection:
        with self._lock:
            if self._made is None or self._made.over.is_set():
                self._made = self._connect()
            return self._made

    def _call(self, method: str, *arguments: object, kind: type[T]) -> T:
        return self._link.call(HYPERVISOR, method, *arguments, kind=kind)

    def check(self) -> None:
        self._call("check", kind=type(None))

    def inventory(self) -> Inventory:
        return self._call("inventory", kind=Inventory)

    def machine(self, uuid: str) -> Machine:
        return self._call("machine", uuid, kind=Machine)

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        link = self._link
        return RemoteSnapshot(
            link, link.call(HYPERVISOR, "snapshot", uuid, attempt, base, kind=OpenedSnapshot)
        )

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        link = self._link  # object numbers are valid only on the connection that issued them
        with link.offered(SetServer(keep)) as names:
            return link.call(HYPERVISOR, "drop_checkpoints", uuid, names, kind=list[str])

    def take_snapshot(self, uuid: str, name: str) -> str:
        return self._call("take_snapshot", uuid, name, kind=str)

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        self._call("revert", uuid, name, before, attempt, kind=type(None))

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        return self._call("remove_snapshots", uuid, list(names), kind=list[str])

    def create(self, wanted: Machine, attempt: str, *, overwrite: bool = False) -> NewMachine:
        link = self._link
        number = link.call(HYPERVISOR, "create", wanted, attempt, overwrite, kind=int)
        return RemoteNewMachine(link, number, wanted)

    def boot(self, wanted: Machine, sources: Mapping[str, Source], attempt: str) -> BootedMachine:
        return RemoteBootedMachine(self._link, wanted, sources, attempt)

    def around(
        self, uuid: str, before: str, after: str, warn: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        return far_block(self._link, GuestCommands(uuid, before, after), warn)

    def unpack(self, uuid: str, parts: Iterable[bytes], folder: str, name: str) -> None:
        pieces = (part[low : low + _PIECE] for part in parts for low in range(0, len(part), _PIECE))
        link = self._link
        with link.offered(StreamServer(pieces)) as number:
            link.call(HYPERVISOR, "unpack", uuid, number, folder, name, kind=type(None))

    def start(self, uuid: str) -> None:
        self._call("start", uuid, kind=type(None))

    def space(self, wanted: Machine) -> list[FreeSpace]:
        return self._call("space", wanted, kind=list[FreeSpace])

    def remove(self, uuid: str) -> None:
        self._call("remove", uuid, kind=type(None))

    def sweep(self, alive: Set[str]) -> list[str]:
        link = self._link
        with link.offered(SetServer(alive)) as names:
            return link.call(HYPERVISOR, "sweep", names, kind=list[str])

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made:
            made.close()
            made.wait()
