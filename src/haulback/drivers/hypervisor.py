"""Machines of a hypervisor, and the Protocol that every hypervisor driver implements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from haulback.drivers.sink import Sink
from haulback.drivers.source import Extent, Source
from haulback.hypervisor_types import HypervisorType
from haulback.wire import JsonObject

# Member of a definition: names of disks whose space is allocated. The prefix distinguishes this
# member from the members that a user writes.
ALLOCATED = "haulback:allocated"


class MachineDisk(NamedTuple):
    """A disk of a machine; `name` is unique within the machine, `size` in bytes as the guest sees.

    `format` is the hypervisor's name of the image format ("raw", "qcow2", ...). `allocate`
    preallocates the whole space of a new disk; in a snapshot it says whether an existing disk is
    preallocated.
    `was` is the disk's name in the definition where that name differs. `store` is the storage pool
    for a new disk, "" the default one.
    """

    name: str
    size: int
    format: str
    allocate: bool = False
    was: str = ""
    store: str = ""


class NetworkCardSettings(NamedTuple):
    """Settings of network card `number` (from 0) of a new machine; "" keeps the original
    setting.
    """

    number: int
    network: str = ""
    mac: str = ""


class SnapshotInfo(NamedTuple):
    """A snapshot kept on the hypervisor; `time` in epoch ms, `whole` if every disk has it."""

    name: str
    time: int
    whole: bool = True


class UnprotectedPart(NamedTuple):
    """A part of a machine that backups leave out, with the reason.

    `held` is set for a part that backups contain, but not consistently, `off` for a part of a
    running machine that only backups of the stopped machine leave out.
    """

    name: str
    why: str
    held: bool = False
    off: bool = False


class Machine(NamedTuple):
    """A virtual machine; `definition` is the hypervisor's own description, kept in the backup.

    `definition` must be JSON-like. `cards` configures the network cards of a new machine.
    `snapshots` are kept on the hypervisor and not in backups; None if they cannot be read. `apart`
    lists the parts that backups leave out.
    """

    uuid: str
    name: str
    disks: tuple[MachineDisk, ...]
    definition: JsonObject
    cards: tuple[NetworkCardSettings, ...] = ()
    snapshots: tuple[SnapshotInfo, ...] | None = None
    apart: tuple[UnprotectedPart, ...] = ()


class Problem(NamedTuple):
    """A machine that cannot be read: its place, the reason, and its uuid ("" if unknown).

    A `where` in the form of a uuid is the machine's uuid, unless a folder has such a name.
    """

    where: str
    message: str
    uuid: str = ""


class HypervisorResource(NamedTuple):
    """A network, or a storage pool with its capacity (`total`, `free` in bytes)."""

    name: str
    uuid: str = ""
    total: int | None = None
    free: int | None = None


class Inventory(NamedTuple):
    """Machines of a hypervisor; a machine that cannot be read is listed as a problem.

    `networks` and `pools` are None where the hypervisor cannot list them. `places` maps uuids to
    the places of machines, in the form of `Problem.where`; empty where problems always carry uuids.
    """

    machines: list[Machine]
    problems: list[Problem]
    networks: list[HypervisorResource] | None = None
    pools: list[HypervisorResource] | None = None
    places: Mapping[str, str] = {}


class DiskView(NamedTuple):
    """A disk at the moment of the snapshot.

    `changed` holds the extents that may differ from the base, ascending and disjoint; it can be
    iterated several times. None means that the whole disk must be read, for the given `reason`.
    """

    disk: MachineDisk
    source: Source
    changed: Iterable[Extent] | None
    reason: str | None


class Snapshot(AbstractContextManager["Snapshot"], Protocol):
    """The state of a machine at one moment. `close` frees the resources for reading; the checkpoint
    stays.
    """

    @property
    def machine(self) -> Machine:
        """The machine at the moment of the snapshot."""

    @property
    def checkpoint(self) -> str | None:
        """Base for a later `MachineSource.snapshot`; None without change tracking."""

    @property
    def consistency(self) -> str:
        """STOPPED, APPLICATION (file systems were frozen) or CRASH (as after a power cut).

        A stopped machine with saved memory is CRASH: its disks lack the guest's cached writes.
        """

    def views(self) -> list[DiskView]:
        """The disks in the machine's order; valid until the snapshot is closed."""

    def close(self) -> None:
        """Stop reading; a second call is no error.

        Raises SourceChanged if an image changed while it was read.
        """


class NewMachine(AbstractContextManager["NewMachine"], Protocol):
    """A machine under construction: invisible until `commit`, removed without it.

    As a context manager it abandons a machine that was not committed.
    """

    def sink(self, disk: str) -> Sink:
        """Sink of a disk; every call returns the same object. Unwritten bytes read as zeros."""

    def commit(self) -> Machine:
        """Make the machine visible, complete and durable, and return its description.

        The uuid and the name differ from the requested values when another machine has them.
        """

    def left_out(self) -> list[str]:
        """Sentences about the parts that the new machine lacks; available after `commit`."""

    def abandon(self) -> None:
        """Remove all that was created; a second call, or a call after `commit`, does nothing."""


class BootedMachine(AbstractContextManager["BootedMachine"], Protocol):
    """A machine that runs in isolation, for a proof; closing it removes all traces."""

    def left_out(self) -> list[str]:
        """Sentences about the parts of the wanted machine that this machine lacks."""

    def is_running(self) -> bool:
        """Whether the machine is still running."""

    def console(self) -> str:
        """The end of the serial console's output."""

    def agent_answers(self) -> bool:
        """Whether the guest agent responds."""

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        """Run a shell script in the guest; returns exit code and output.

        Raises Unavailable when the script takes longer than `seconds`.
        """

    def screen(self) -> bytes | None:
        """Screenshot as PNG; None for a machine without a screen."""

    def close(self) -> None:
        """Stop and remove the machine; a second call is no error."""


@runtime_checkable
class MachineSource(Protocol):
    """A hypervisor whose machines can be backed up; every driver implements this Protocol.

    Everything else is optional, see `drivers.capabilities`. All intermediate state of a call
    carries the name of its attempt (at most 64 letters, digits, `-` and `_`), so that `sweep` and
    `drop_checkpoints` can find it later. Any call may raise Unavailable when the hypervisor does
    not respond, and Unsupported when a machine needs a feature that this installation lacks.
    """

    @property
    def declaration(self) -> HypervisorType:
        """Declaration of the hypervisor's type; the driver implements its capabilities."""

    def check(self) -> None:
        """Raise Unavailable or Malformed, with a remedy, if the hypervisor cannot be used."""

    def inventory(self) -> Inventory:
        """All machines, sorted by name, and the machines that cannot be read."""

    def machine(self, uuid: str) -> Machine:
        """Description of a machine. Raises NotFound, or Malformed for a broken definition."""

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        """Freeze a machine for reading and start a checkpoint.

        `base` is the checkpoint of an earlier snapshot. The base keeps recording, so a later
        snapshot can use it again if this one fails. Raises SourceChanged when a disk is in use and
        cannot be frozen. After any error no checkpoint is left.
        """

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        """Remove all checkpoints of Haulback except `keep`; returns the removed checkpoints,
        sorted.
        """

    def sweep(self, alive: Set[str]) -> list[str]:
        """Remove or undo unfinished work of attempts that are not in `alive`.

        Returns the names of the leftovers. Checkpoints are not swept, because only the caller knows
        which checkpoints are bases of backups; see `drop_checkpoints`.
        """

    def close(self) -> None:
        """Close the connection and the objects opened through it; a second call is no error."""
