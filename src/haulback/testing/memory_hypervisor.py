"""Hypervisor in memory, for tests of code that uses hypervisors."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator, Set
from typing import NamedTuple, Self

from haulback.drivers.capabilities import MachineTarget, SnapshotKeeper
from haulback.drivers.free_space import FreeSpace
from haulback.drivers.hypervisor import (
    DiskView,
    Inventory,
    Machine,
    MachineDisk,
    MachineSource,
    Problem,
    Snapshot,
    SnapshotInfo,
)
from haulback.drivers.sink import Sink
from haulback.drivers.source import Extent
from haulback.errors import Conflict, Malformed, NotFound, SourceChanged, Unavailable
from haulback.hypervisor_types import Capability, HypervisorType
from haulback.units import KIB

_GRAIN = 64 * KIB  # granularity of extents and of change tracking
MEMORY = HypervisorType(
    driver="memory",
    label="MEMORY",
    words="a hypervisor in memory",
    capabilities=frozenset({Capability.CREATE, Capability.SNAPSHOTS}),
)


class MemoryDisk:
    """A disk in memory: a Source and a Sink that records changes since each checkpoint."""

    def __init__(self, size: int, data: bytes | bytearray = b"") -> None:
        self.size, self.data = size, bytearray(data).ljust(size, b"\0")
        self.dirty: dict[str, set[int]] = {}

    def extents(self, start: int = 0) -> Iterator[Extent]:
        for at in range(start // _GRAIN * _GRAIN, self.size, _GRAIN):
            grain = self.data[at : at + _GRAIN]
            if grain.count(0) != len(grain):
                yield Extent(at, len(grain))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise SourceChanged(f"{len(buffer)} bytes at {offset} of a disk of {self.size}")
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data
        for marked in self.dirty.values():
            marked.update(range(offset // _GRAIN, -(-(offset + len(data)) // _GRAIN)))

    def changed(self, checkpoint: str) -> list[Extent]:
        grains = (at * _GRAIN for at in sorted(self.dirty[checkpoint]))
        return [Extent(at, min(_GRAIN, self.size - at)) for at in grains]


class MemoryMachine(NamedTuple):
    """A machine of the fake: its description, its disks, and its snapshots' disk contents."""

    machine: Machine
    disks: dict[str, MemoryDisk]
    taken: dict[str, dict[str, bytes]]

    def keep(self, name: str) -> None:
        """Take a snapshot of all disks."""
        self.taken[name] = {disk: bytes(one.data) for disk, one in self.disks.items()}


class MemorySnapshot:
    """A Snapshot that holds copies of the disks."""

    consistency = "CRASH"

    def __init__(self, source: MemoryMachine, checkpoint: str, base: str | None) -> None:
        self.machine, self.checkpoint = source.machine, checkpoint
        self._views = [
            self._view(disk, source.disks[disk.name], base) for disk in source.machine.disks
        ]

    def views(self) -> list[DiskView]:
        return self._views

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _view(self, disk: MachineDisk, memory: MemoryDisk, base: str | None) -> DiskView:
        frozen = MemoryDisk(memory.size, memory.data)
        if base is None or base not in memory.dirty:
            return DiskView(disk, frozen, None, f"there is no record of changes since {base}")
        return DiskView(disk, frozen, memory.changed(base), None)


class MemoryNewMachine:
    """A NewMachine of the fake."""

    def __init__(self, owner: MemoryHypervisor, wanted: Machine, attempt: str, over: bool) -> None:
        self._owner, self._wanted, self._attempt, self._over = owner, wanted, attempt, over
        self.disks = {disk.name: MemoryDisk(disk.size) for disk in wanted.disks}
        self._there: set[str] = set()

    def sink(self, disk: str) -> Sink:
        return self.disks[disk]

    def commit(self) -> Machine:
        if self._owner.making.pop(self._attempt, None) is None:
            raise Conflict("the new machine was committed or abandoned already")
        made = self._owner.adopt(self._wanted, self.disks, overwrite=self._over)
        self._there = {disk.name for disk in made.disks}
        return made

    def left_out(self) -> list[str]:
        restored = {name for disk in self._wanted.disks for name in (disk.was, disk.name)}
        return [
            f"{name} {'stays as it is' if name in self._there else 'is left out'}: not restored"
            for name in self._wanted.definition.get("disks", [])
            if name not in restored
        ]

    def abandon(self) -> None:
        self._owner.making.pop(self._attempt, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()


class MemoryHypervisor:
    """A Hypervisor whose machines live in this process.

    For tests: machines in `held` are in use, `down` makes the hypervisor unavailable, `problems`
    are reported by the inventory, machines in `saved` are off and have saved memory, `free` is the
    free space in bytes.
    """

    declaration = MEMORY

    def __init__(self) -> None:
        self.machines: dict[str, MemoryMachine] = {}
        self.making: dict[str, MemoryNewMachine] = {}
        self.problems: list[Problem] = []
        self.held: set[str] = set()
        self.saved: set[str] = set()
        self.down = False
        self.free: int | None = None

    def check(self) -> None:
        if self.down:
            raise Unavailable("the hypervisor does not respond; start it")

    def inventory(self) -> Inventory:
        self.check()
        machines = [self.machine(uuid) for uuid in self.machines]
        return Inventory(sorted(machines, key=lambda machine: machine.name), list(self.problems))

    def machine(self, uuid: str) -> Machine:
        found = self._find(uuid)
        kept = tuple(SnapshotInfo(name, 0) for name in found.taken)
        return found.machine._replace(snapshots=kept)

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> MemorySnapshot:
        found = self._find(uuid)
        if uuid in self.held:
            raise SourceChanged(f"{found.machine.name} is in use; stop it and try again")
        snapshot = MemorySnapshot(found, f"haulback-{attempt}", base)
        for disk in found.disks.values():
            disk.dirty[snapshot.checkpoint] = set()
        return snapshot

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        disks = self._find(uuid).disks.values()
        unwanted = {checkpoint for disk in disks for checkpoint in disk.dirty} - keep
        for disk in disks:
            for checkpoint in unwanted:
                disk.dirty.pop(checkpoint, None)
        return sorted(unwanted)

    def take_snapshot(self, uuid: str, name: str) -> str:
        self._find(uuid).keep(name)  # allowed with saved memory: the disks do not change
        return "CRASH"

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:  # noqa: ARG002
        machine = self._find(uuid)
        if uuid in self.saved:
            raise Conflict(
                f"{machine.machine.name} has saved memory that belongs to its disks; start it"
            )
        if name not in machine.taken:
            raise NotFound(f"the machine has no snapshot {name}")
        machine.keep(before)
        for disk, content in machine.disks.items():
            content.data[:] = machine.taken[name][disk]
            content.dirty.clear()

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        taken = self._find(uuid).taken
        return sorted(name for name in names if taken.pop(name, None) is not None)

    def create(self, wanted: Machine, attempt: str, *, overwrite: bool = False) -> MemoryNewMachine:
        self.check()
        if not wanted.name:
            raise Malformed("a machine needs a name")
        if attempt in self.making:
            raise Conflict(f"attempt {attempt} makes a machine already")
        self.making[attempt] = MemoryNewMachine(self, wanted, attempt, overwrite)
        return self.making[attempt]

    def space(self, wanted: Machine) -> list[FreeSpace]:
        names = tuple(disk.name for disk in wanted.disks)
        return [] if self.free is None else [FreeSpace("the memory", self.free, names)]

    def remove(self, uuid: str) -> None:
        self.check()
        if uuid in self.saved:
            raise Conflict(f"{uuid} has saved memory for its next start; start it")
        self.machines.pop(uuid, None)

    def sweep(self, alive: Set[str]) -> list[str]:
        self.check()
        dead = sorted(attempt for attempt in self.making if attempt not in alive)
        for attempt in dead:
            del self.making[attempt]
        return dead

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def adopt(
        self, wanted: Machine, disks: dict[str, MemoryDisk], *, overwrite: bool = False
    ) -> Machine:
        """Add a machine; its uuid and name are replaced if another machine has them."""
        if overwrite and wanted.uuid not in self.machines:
            same = [uuid for uuid, m in self.machines.items() if m.machine.name == wanted.name]
            wanted = wanted._replace(uuid=wanted.uuid or "".join(same[:1]))
            self.machines.pop("".join(same[:1]), None)
        if not wanted.uuid or (wanted.uuid in self.machines and not overwrite):
            wanted = wanted._replace(uuid=str(uuids.uuid4()))
        others = {m.machine.name for uuid, m in self.machines.items() if uuid != wanted.uuid}
        name, number = wanted.name, 1
        while name in others:
            number += 1
            name = f"{wanted.name} ({number})"
        made, disks = self._with_the_rest(wanted._replace(name=name), disks)
        self.saved.discard(made.uuid)
        self.machines[made.uuid] = MemoryMachine(made, disks, {})
        return self.machine(made.uuid)

    def _with_the_rest(
        self, made: Machine, disks: dict[str, MemoryDisk]
    ) -> tuple[Machine, dict[str, MemoryDisk]]:
        """A machine restored over itself keeps the disks that were not restored."""
        old = self.machines.get(made.uuid)
        if old and made.definition.get("uuid", made.uuid) == made.uuid:
            rest = [disk for disk in old.machine.disks if disk.name not in disks]
            made = made._replace(disks=(*made.disks, *rest))
            disks = {**disks, **{disk.name: old.disks[disk.name] for disk in rest}}
        named = [disk.name for disk in made.disks]
        definition = {**made.definition, "uuid": made.uuid, "disks": named}
        return made._replace(definition=definition), disks

    def _find(self, uuid: str) -> MemoryMachine:
        self.check()
        if uuid not in self.machines:
            raise NotFound(f"no machine {uuid}")
        return self.machines[uuid]


def _conforms(
    fake: MemoryHypervisor, snapshot: MemorySnapshot
) -> tuple[MachineSource, MachineTarget, SnapshotKeeper, Snapshot]:
    # The type checker proves here that the fake implements the Protocols.
    return fake, fake, fake, snapshot
