"""What every hypervisor driver offers: machines, snapshots to read and new machines to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from haulback.drivers.sink import Sink
from haulback.drivers.source import Extent, Source


class Disk(NamedTuple):
    """A disk of a machine: `name` is unique in it, `size` in bytes as the guest sees it.

    `format` is the platform's word for how it is stored ("raw", "qcow2", ...).  `allocate` asks a
    new disk to reserve all of its space; `was` is its name in the definition where that is another;
    `store` is the storage pool that a new one is put into, "" the usual place.
    """

    name: str
    size: int
    format: str
    allocate: bool = False
    was: str = ""
    store: str = ""


class Card(NamedTuple):
    """How the `number`-th network card (from 0) of a new machine is to be; "" as it was."""

    number: int
    network: str = ""
    mac: str = ""


class Taken(NamedTuple):
    """A snapshot that stays on the platform; `time` in epoch ms, `whole`: every disk has it."""

    name: str
    time: int
    whole: bool = True


class Apart(NamedTuple):
    """A part of a machine that no backup holds, and why; `held`: backups hold it, but torn."""

    name: str
    why: str
    held: bool = False


class Machine(NamedTuple):
    """A virtual machine; `definition` is the platform's own, JSON-like, kept with the backup.

    `cards` are what a new machine's network cards are to be like; `snapshots` stay with the
    machine and are in no backup; None: they cannot be told.  `apart` are other parts that no backup
    holds.
    """

    uuid: str
    name: str
    disks: tuple[Disk, ...]
    definition: dict[str, Any]
    cards: tuple[Card, ...] = ()
    snapshots: tuple[Taken, ...] | None = None
    apart: tuple[Apart, ...] = ()


class Problem(NamedTuple):
    """A machine that cannot be read: where it is, why, and its uuid, "" if that is not known.

    A `where` that is a uuid says the machine's, unless a folder is called so.
    """

    where: str
    message: str
    uuid: str = ""


class Place(NamedTuple):
    """A network, or a storage pool with its bytes."""

    name: str
    uuid: str = ""
    total: int | None = None
    free: int | None = None


class Inventory(NamedTuple):
    """What a hypervisor holds.  A broken machine is a problem and hides none of the others.

    `networks` and `pools` are None where the platform knows of none.  `places` are where machines
    lie, by uuid, in the words of `Problem.where`; empty where problems always bear uuids.
    """

    machines: list[Machine]
    problems: list[Problem]
    networks: list[Place] | None = None
    pools: list[Place] | None = None
    places: Mapping[str, str] = {}


class DiskView(NamedTuple):
    """A disk at the moment of the snapshot.

    `changed` are the extents that may differ from the base, ascending and disjoint; it may be
    iterated more than once.  None: everything has to be read, and `reason` says why.
    """

    disk: Disk
    source: Source
    changed: Iterable[Extent] | None
    reason: str | None


class Snapshot(AbstractContextManager["Snapshot"], Protocol):
    """A machine at one moment.  Closing it frees what reading needed; the checkpoint stays."""

    @property
    def machine(self) -> Machine:
        """The machine as it was then."""

    @property
    def checkpoint(self) -> str | None:
        """What a later `Hypervisor.snapshot` may build on; None: nothing tracks changes here."""

    @property
    def consistency(self) -> str:
        """STOPPED, APPLICATION (its file systems were frozen) or CRASH (as after a power cut).

        A machine that is off while its memory is kept for the next start is as after a power cut.
        """

    def views(self) -> list[DiskView]:
        """The disks, in the machine's order; valid until the snapshot is closed."""

    def close(self) -> None:
        """Stop reading; twice is fine.  Raises SourceChanged if an image changed meanwhile."""


class NewMachine(AbstractContextManager["NewMachine"], Protocol):
    """A machine being made: invisible until `commit`, gone without one.

    As a context manager it abandons what was not committed.
    """

    def sink(self, disk: str) -> Sink:
        """Where to write one disk; the same object each time.  Unwritten bytes are zeros."""

    def commit(self) -> Machine:
        """Make the machine exist, complete and durable, and say as what.

        Its uuid and name may differ from the wanted ones when those were taken.
        """

    def left_out(self) -> list[str]:
        """A sentence about each part that the new machine goes without; known after `commit`."""

    def abandon(self) -> None:
        """Remove everything made so far; fine after `commit` (does nothing) and twice."""


class Booted(AbstractContextManager["Booted"], Protocol):
    """A machine that runs in isolation, for a look; closing it leaves nothing of it."""

    def left_out(self) -> list[str]:
        """A sentence about each part of the wanted machine that this one goes without."""

    def is_running(self) -> bool: ...

    def console(self) -> str:
        """The end of what its serial console has said."""

    def agent_answers(self) -> bool:
        """Whether the agent inside is there."""

    def run(self, script: str, seconds: int) -> tuple[int, str]:
        """Exit code and output of a shell script inside.  Raises Unavailable when it hangs."""

    def screen(self) -> bytes | None:
        """What its screen shows, as PNG; None where there is no screen."""

    def close(self) -> None:
        """End it; twice is fine."""


class Hypervisor(Protocol):
    """A place where machines live.

    Everything a call leaves behind while it works bears the name of its attempt (at most 64
    letters, digits, `-` and `_`), so that `sweep` and `drop_checkpoints` find it later.  Any call
    may raise Unavailable when the platform does not answer, and Unsupported when a machine needs
    what this installation lacks.
    """

    def check(self) -> None:
        """Raise Unavailable or Malformed, with a remedy, when the platform cannot be used."""

    def inventory(self) -> Inventory:
        """All machines, by name, and what could not be understood."""

    def machine(self, uuid: str) -> Machine:
        """One machine.  Raises NotFound, or Malformed when it is there but broken."""

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        """Freeze a machine for reading and begin a checkpoint.

        `base` is the checkpoint of an earlier snapshot; it goes on recording, so a later snapshot
        may build on it again if this one comes to nothing.  Raises SourceChanged when a disk
        cannot be frozen because someone uses it.  Nothing is left behind on any error.
        """

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        """Remove all our checkpoints of a machine but `keep`; returns the removed ones, sorted."""

    def take_snapshot(self, uuid: str, name: str) -> str:
        """Keep the disks as they are at one moment, and say how consistent (see `Snapshot`).

        An older one of that name is replaced.  Raises Unsupported when a disk cannot keep one.
        Nothing is left behind on any error.
        """

    def revert(self, uuid: str, name: str, before: str, attempt: str) -> None:
        """Put all disks back to a snapshot, keep what they were as the snapshot `before`.

        All checkpoints go first: what they recorded no longer tells what changed.  A machine that
        runs is switched off, and on again afterwards.  Raises NotFound for a snapshot that no disk
        has, Conflict for one that only some have, and for a machine that is off while its memory
        is kept for the next start: the memory belongs to the disks as they are.  The disks are
        unchanged then, and so they are, at the latest once `sweep` was here, whenever it does not
        return.
        """

    def remove_snapshots(self, uuid: str, names: Set[str]) -> list[str]:
        """Remove snapshots from whatever disks have them; returns the removed ones, sorted."""

    def create(self, wanted: Machine, attempt: str, *, overwrite: bool = False) -> NewMachine:
        """Begin a machine like `wanted` (an empty uuid asks for a fresh one).

        With `overwrite` the commit replaces the machine of that uuid, or else of that name; until
        then the old one stays.  Memory that was kept for its next start goes with its old disks.
        Where the new one is the same machine (by the uuid in `wanted.definition`), what belongs
        to it and lies on no disk of `wanted` stays; any other machine gets nothing that belongs to
        the one that it is a copy of.  Without `overwrite` a taken uuid is exchanged for a fresh
        one, and a taken name gets a number.  Raises Malformed for a definition no machine can
        have, Unsupported for a disk format this platform cannot write.
        """

    def create_over(self, wanted: Machine, share: Path, attempt: str) -> NewMachine:
        """Begin a machine whose disks are layers over what an NBD server at a socket offers.

        The exports are called like the disks (like their `was`, where they have one).  Nothing is
        written to the sinks; the machine needs the share until `make_own`.  Raises Unsupported
        where that cannot be, else as `create`.
        """

    def on_share(self, socket: Path) -> list[Machine]:
        """The machines that need what is offered at a socket, running or not."""

    def go_on(self, socket: Path) -> list[str]:
        """Let machines run on that stopped because what is offered there was away; their names.

        Raises Unavailable when one stops again.
        """

    def make_own(self, uuid: str, count: Callable[[int], None]) -> None:
        """Copy what the disks of a running machine still take from a share; it goes on running.

        `count` hears of bytes done, and may raise: what is copied until then stays, and the
        machine still needs its share.  Raises SourceChanged for one that is off.
        """

    def move(  # which, where to, by whom, and who hears of it
        self,
        uuid: str,
        there: Hypervisor,
        attempt: str,
        expect: Callable[[int], None],
        count: Callable[[int], None],
    ) -> Machine:
        """Move a machine that runs to another hypervisor of its kind, with its disks.

        It goes on here if that does not come to an end; what was moved once is moved.  `expect`
        hears of bytes to be copied, `count` of bytes copied, and may raise.  Checkpoints are
        dropped.  Raises SourceChanged for one that is off, Conflict for what would be left behind
        or is in the way, Unsupported where nothing can run.
        """

    def boot(self, wanted: Machine, sources: Mapping[str, Source], attempt: str) -> Booted:
        """Run a machine like `wanted` on read-only disks (by name), what it writes set aside.

        It has no network and nothing of this host, and nobody else's tools see it as a machine of
        theirs.  Raises Unsupported where nothing can run.
        """

    def around(
        self, uuid: str, before: str, after: str, warn: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        """Run shell commands in a guest that runs, when a block begins and when it ends.

        Nothing of one that is off.  `after` is run whatever happens to the block or to this
        process; `warn` hears what went wrong with it.  Raises Unavailable without an agent that
        answers, Conflict when `before` fails.
        """

    def unpack(self, uuid: str, parts: Iterable[bytes], folder: str, name: str) -> None:
        """Unpack a tar in a folder of a guest that runs; it lies there as `name` meanwhile.

        Raises SourceChanged for one that is off, Unavailable when it has no agent that answers,
        Malformed with what the guest says when it cannot.
        """

    def start(self, uuid: str) -> None:
        """Power a machine on; one that runs is fine.  Raises Unsupported where nothing can run."""

    def remove(self, uuid: str) -> None:
        """Delete a machine and its disks; a missing one is fine.

        Raises SourceChanged for one that runs, Conflict for one whose memory is kept for the next
        start.
        """

    def sweep(self, alive: Set[str]) -> list[str]:
        """Remove, or undo, what attempts not in `alive` left of `create` and `remove`.

        Returns the names of the leftovers.  Checkpoints are not swept here: which of them is the
        base of a backup only the caller knows, see `drop_checkpoints`.
        """

    def close(self) -> None:
        """Let go of the platform; what was opened on it is closed before.  Twice is fine."""
