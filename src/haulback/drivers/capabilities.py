"""Optional capabilities of hypervisor drivers, each a small Protocol.

The capabilities of a type are declared in `haulback.hypervisor_types`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from haulback.drivers.free_space import FreeSpace
from haulback.drivers.hypervisor import BootedMachine, Machine, MachineSource, NewMachine
from haulback.drivers.source import Source
from haulback.errors import Unsupported
from haulback.hypervisor_types import Capability

_Wanted = TypeVar("_Wanted")


@runtime_checkable
class MachineTarget(Protocol):
    """A hypervisor on which machines can be created and removed."""

    def create(self, wanted: Machine, attempt: str, *, overwrite: bool = False) -> NewMachine:
        """Begin to create a machine like `wanted`; an empty uuid requests a new one.

        With `overwrite` the commit replaces the machine with that uuid, or else with that name; the
        old machine stays until then. The saved memory of the replaced machine is removed with its
        old disks.

        If the replaced machine is the original of the backup (by the uuid in `wanted.definition`),
        the machine keeps its devices and its disks that `wanted` does not list. A copy of another
        machine gets none of the original's devices.

        Without `overwrite` an existing uuid is replaced by a new one, and an existing name gets a
        number. Raises Malformed for an invalid definition, Unsupported for a disk format that the
        hypervisor cannot write.
        """

    def space(self, wanted: Machine) -> list[FreeSpace]:
        """The free space for the disks that `create` would make; what is unknown is left out.

        The disks of a machine that `create` replaces still take their space.
        """

    def remove(self, uuid: str) -> None:
        """Delete a machine and its disks; a missing machine is no error.

        Raises SourceChanged for a running machine, Conflict for a machine with saved memory.
        """


@runtime_checkable
class PowerControl(Protocol):
    """A hypervisor that runs machines."""

    def start(self, uuid: str) -> None:
        """Start a machine; a running machine is no error. Raises NotFound."""


@runtime_checkable
class SnapshotKeeper(Protocol):
    """A hypervisor that keeps snapshots of its machines."""

    def take_snapshot(self, uuid: str, name: str) -> str:
        """Take a snapshot that is kept on the hypervisor; returns its consistency (see `Snapshot`).

        An older snapshot with the same name is replaced. Raises Unsupported if a disk cannot hold
        snapshots. After any error no snapshot is left.
        """

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        """Revert all disks to a snapshot; the present state is kept as the snapshot `before`.

        All checkpoints are dropped first, because their records no longer describe the changes. A
        running machine is switched off and started again afterwards.

        Raises NotFound for a snapshot that no disk has, Conflict for a snapshot that only some
        disks have, and Conflict for a machine with saved memory, which belongs to the present
        disks. After any error or crash the disks are unchanged, at the latest after the next
        `sweep`.
        """

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        """Remove snapshots from all disks that have them; returns the removed snapshots, sorted."""


@runtime_checkable
class GuestOperations(Protocol):
    """A hypervisor that can run commands in its running guests."""

    def around(
        self, uuid: str, before: str, after: str, warn: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        """Run shell commands in a running guest at the start and at the end of a block.

        No command runs for a stopped machine. `after` runs even if the block fails or this process
        dies; `warn` is called with its errors. Raises Unavailable without a responding agent,
        Conflict when `before` fails.
        """

    def unpack(self, uuid: str, parts: Iterable[bytes], folder: str, name: str) -> None:
        """Unpack a tar in a folder of a running guest, which holds the tar as `name` until then.

        Raises SourceChanged for a stopped machine, Unavailable without a responding agent,
        Malformed with the guest's message when unpacking fails.
        """


@runtime_checkable
class ProofBoot(Protocol):
    """A hypervisor that boots a backup in isolation."""

    def boot(self, wanted: Machine, sources: Mapping[str, Source], attempt: str) -> BootedMachine:
        """Boot a machine like `wanted` on read-only disks (by name); its writes are discarded.

        The machine has no network and no devices of the host, and is not listed as a machine by
        other tools.
        """


@runtime_checkable
class InstantRestore(Protocol):
    """A hypervisor on the node's own machine that runs machines from a mounted backup."""

    def create_over(self, wanted: Machine, share: Path, attempt: str) -> NewMachine:
        """Start to create a machine whose disks are overlays on the exports of an NBD server.

        `share` is the server's UNIX socket. Exports have the names of the disks, or their `was` if
        set. The sinks are not written to. The machine depends on the share until `make_own`. Raises
        Unsupported where overlays are not possible, else the errors of `create`.
        """

    def on_share(self, socket: Path) -> list[Machine]:
        """Machines that depend on the NBD server at `socket`, running or not."""

    def go_on(self, socket: Path) -> list[str]:
        """Resume machines that stopped because the NBD server at `socket` was unavailable.

        Returns their names. Raises Unavailable when a machine stops again.
        """

    def make_own(self, uuid: str, count: Callable[[int], None]) -> None:
        """Copy the data that the disks of a running machine still read from a mount.

        The machine keeps running. `count` is called with copied bytes and may raise: copied data
        stays, and the machine still depends on the share. Raises SourceChanged for a stopped
        machine.
        """


@runtime_checkable
class LiveMigration(Protocol):
    """A hypervisor that moves running machines to another hypervisor of its type."""

    def move(
        self,
        uuid: str,
        there: MachineSource,
        attempt: str,
        expect: Callable[[int], None],
        count: Callable[[int], None],
    ) -> Machine:
        """Move a running machine with its disks to another hypervisor of the same type.

        If the migration fails, the machine keeps running here. A repetition after a success is no
        error. `expect` is called with the total bytes to copy, `count` with bytes copied; either
        may raise to cancel. Checkpoints are dropped. Raises SourceChanged for a stopped machine,
        Conflict for parts that would be left behind or for a machine with that name on the target,
        Unsupported for a hypervisor of another type.
        """


PROTOCOLS: Mapping[Capability, type[object]] = {
    Capability.CREATE: MachineTarget,
    Capability.POWER: PowerControl,
    Capability.SNAPSHOTS: SnapshotKeeper,
    Capability.GUEST: GuestOperations,
    Capability.PROOF: ProofBoot,
    Capability.INSTANT_RESTORE: InstantRestore,
    Capability.LIVE_MIGRATION: LiveMigration,
}


def capability(source: MachineSource, wanted: type[_Wanted]) -> _Wanted:
    """The driver, typed as a Protocol of `PROTOCOLS`.

    Raises Unsupported, naming the type of the hypervisor and the capability that it lacks.
    """
    if isinstance(source, wanted):
        return source
    lacking = next(one for one, protocol in PROTOCOLS.items() if protocol is wanted)
    raise Unsupported(source.declaration.lack(lacking))


def capabilities(source: MachineSource) -> frozenset[Capability]:
    """The capabilities that a driver implements, whatever its type declares."""
    return frozenset(one for one, protocol in PROTOCOLS.items() if isinstance(source, protocol))
