"""Server of a hypervisor: the first object that the remote driver offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from haulback.drivers.capabilities import (
    GuestOperations,
    MachineTarget,
    PowerControl,
    ProofBoot,
    SnapshotKeeper,
    capability,
)
from haulback.drivers.free_space import FreeSpace
from haulback.drivers.hypervisor import Inventory, Machine, MachineSource
from haulback.drivers.remote.disks import OfferedDisk, RemoteSource
from haulback.drivers.remote.guests import ServedBlock, StartedBlock
from haulback.drivers.remote.new_machines import ServedNewMachine
from haulback.drivers.remote.proofs import ServedBootedMachine
from haulback.drivers.remote.rpc import PeerConnection
from haulback.drivers.remote.snapshots import OpenedSnapshot, ServedSnapshot
from haulback.drivers.remote_set import RemoteSet


class ServedHypervisor:
    """Server of a hypervisor driver; calls without their capability raise Unsupported."""

    def __init__(self, link: PeerConnection, inner: MachineSource) -> None:
        self._link, self._inner = link, inner

    def check(self) -> None:
        self._inner.check()

    def inventory(self) -> Inventory:
        return self._inner.inventory()

    def machine(self, uuid: str) -> Machine:
        return self._inner.machine(uuid)

    def snapshot(self, uuid: str, attempt: str, base: str | None) -> OpenedSnapshot:
        snapshot = self._inner.snapshot(uuid, attempt, base)
        try:
            return ServedSnapshot(self._link, snapshot).opened()
        except BaseException:
            snapshot.close()
            raise

    def drop_checkpoints(self, uuid: str, keep: int) -> list[str]:
        return self._inner.drop_checkpoints(uuid, self._names(keep))

    def take_snapshot(self, uuid: str, name: str) -> str:
        return capability(self._inner, SnapshotKeeper).take_snapshot(uuid, name)

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        capability(self._inner, SnapshotKeeper).revert(uuid, name, before, attempt)

    def remove_snapshots(self, uuid: str, names: set[str]) -> list[str]:
        return capability(self._inner, SnapshotKeeper).remove_snapshots(uuid, names)

    def create(self, wanted: Machine, attempt: str, overwrite: bool) -> int:
        new = capability(self._inner, MachineTarget).create(wanted, attempt, overwrite=overwrite)
        return self._link.offer(ServedNewMachine(self._link, new))

    def boot(self, wanted: Machine, sources: dict[str, OfferedDisk], attempt: str) -> int:
        disks = {name: RemoteSource(self._link, disk) for name, disk in sources.items()}
        booted = capability(self._inner, ProofBoot).boot(wanted, disks, attempt)
        return self._link.offer(ServedBootedMachine(self._link, booted))

    def around(self, uuid: str, before: str, after: str) -> StartedBlock:
        def block(warn: Callable[[str], None]) -> AbstractContextManager[None]:
            return capability(self._inner, GuestOperations).around(uuid, before, after, warn)

        return ServedBlock(self._link, block).begin()

    def unpack(self, uuid: str, parts: int, folder: str, name: str) -> None:
        def given() -> Iterator[bytes]:
            while page := self._link.call(parts, "more", kind=list[bytes]):
                yield from page

        capability(self._inner, GuestOperations).unpack(uuid, given(), folder, name)

    def start(self, uuid: str) -> None:
        capability(self._inner, PowerControl).start(uuid)

    def space(self, wanted: Machine) -> list[FreeSpace]:
        return capability(self._inner, MachineTarget).space(wanted)

    def remove(self, uuid: str) -> None:
        capability(self._inner, MachineTarget).remove(uuid)

    def sweep(self, alive: int) -> list[str]:
        return self._inner.sweep(self._names(alive))

    def _names(self, names: int) -> RemoteSet:
        return RemoteSet(lambda name: self._link.call(names, "has", name, kind=bool))
