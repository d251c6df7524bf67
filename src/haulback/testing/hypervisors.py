"""Conformance suite of hypervisor drivers.

The tests of a driver implement `Bench` and run every function of `CHECKS` on a fresh bench.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, runtime_checkable

from haulback.drivers.capabilities import (
    InstantRestore,
    MachineTarget,
    SnapshotKeeper,
    capabilities,
    capability,
)
from haulback.drivers.hypervisor import DiskView, Machine, MachineDisk, MachineSource, NewMachine
from haulback.drivers.nbd_server import NbdServer
from haulback.drivers.source import Extent
from haulback.errors import Conflict, HaulbackError, NotFound
from haulback.hypervisor_types import Capability
from haulback.testing.memory_hypervisor import MemoryDisk
from haulback.units import MIB


class Bench(Protocol):
    """A fresh hypervisor under test.

    `format` is a writable disk format, `tracks` whether the driver records changes of such disks. A
    bench whose platform can save the memory of a stopped machine is a `SavedMemoryBench` too, and
    a bench whose driver cannot create machines is a `PlatformBench`.
    """

    hypervisor: MachineSource
    format: str
    tracks: bool

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        """Write to a disk as the guest would; offset and length are multiples of 512 bytes."""


Check = Callable[[Bench], None]


@runtime_checkable
class PlatformBench(Protocol):
    """A bench that adds machines to the platform itself, because its driver cannot create them."""

    def add_machine(self, wanted: Machine, data: bytes) -> Machine:
        """Add a machine like `wanted` whose disk `root` holds `data` at offset 1 MiB."""


@runtime_checkable
class SavedMemoryBench(Protocol):
    """A bench whose platform can save the memory of a machine that is off."""

    def save_memory(self, uuid: str) -> None:
        """Save a machine's memory and stop it; a stopped machine is started first."""

    def has_memory(self, uuid: str) -> bool:
        """Whether the next start of a machine resumes from saved memory."""


def read(view: DiskView, extents: Iterable[Extent] | None = None) -> bytes:
    """Bytes of a disk: all, or only those within `extents` and zeros elsewhere."""
    data = bytearray(view.source.size)
    for offset, length in view.source.extents() if extents is None else extents:
        view.source.read_into(offset, memoryview(data)[offset : offset + length])
    return bytes(data)


def contents(hypervisor: MachineSource, uuid: str) -> list[bytes]:
    """Current bytes of all disks of a machine."""
    with hypervisor.snapshot(uuid, "look") as snapshot:
        found = [read(view) for view in snapshot.views()]
    hypervisor.drop_checkpoints(uuid, set())
    return found


def make(bench: Bench, name: str = "web", data: bytes = b"x" * 4096, uuid: str = "") -> Machine:
    """Create a machine with one disk of 8 MiB that holds `data` at offset 1 MiB."""
    if isinstance(bench, PlatformBench):
        return bench.add_machine(wanted(bench, name, uuid), data)
    with target(bench).create(wanted(bench, name, uuid), "make") as new:
        new.sink("root").write_at(MIB, data)
        return new.commit()


def wanted(bench: Bench, name: str = "web", uuid: str = "") -> Machine:
    """Description of the machine that `make` creates."""
    return Machine(uuid, name, (MachineDisk("root", 8 * MIB, bench.format),), {"memory": 512})


def held(bench: Bench, uuid: str) -> list[str]:
    """Names of a machine's snapshots, oldest first."""
    return [one.name for one in bench.hypervisor.machine(uuid).snapshots or ()]


def target(bench: Bench) -> MachineTarget:
    """The hypervisor, on which machines can be created."""
    return capability(bench.hypervisor, MachineTarget)


def keeper(bench: Bench) -> SnapshotKeeper:
    """The hypervisor, which keeps snapshots."""
    return capability(bench.hypervisor, SnapshotKeeper)


def needs(*wanted: Capability) -> Callable[[Check], Check]:
    """Skip a check on hypervisors whose type does not declare the capabilities."""

    def restricted(check: Check) -> Check:
        @wraps(check)
        def checked(bench: Bench) -> None:
            if bench.hypervisor.declaration.capabilities.issuperset(wanted):
                check(bench)

        return checked

    return restricted


def _refuses(kind: type[HaulbackError], call: Callable[[], object]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def a_driver_implements_exactly_what_its_type_declares(bench: Bench) -> None:
    assert capabilities(bench.hypervisor) == bench.hypervisor.declaration.capabilities


def what_was_written_comes_back_and_the_rest_is_zeros(bench: Bench) -> None:
    made = make(bench, data=b"abcd" * 1024)
    assert bench.hypervisor.inventory().machines == [made]
    assert bench.hypervisor.machine(made.uuid) == made
    assert made.definition["memory"] == 512
    assert made.disks == wanted(bench).disks
    expected = (bytes(MIB) + b"abcd" * 1024).ljust(8 * MIB, b"\0")
    assert contents(bench.hypervisor, made.uuid) == [expected]


@needs(Capability.CREATE)
def a_machine_is_not_seen_before_its_commit_nor_after_it_was_abandoned(bench: Bench) -> None:
    new = target(bench).create(wanted(bench), "a1")
    new.sink("root").write_at(0, b"half")
    assert bench.hypervisor.inventory()[:2] == ([], [])
    new.abandon()
    new.abandon()
    assert bench.hypervisor.inventory()[:2] == ([], [])
    assert bench.hypervisor.sweep(set()) == []
    _refuses(Conflict, new.commit)


@needs(Capability.CREATE)
def a_block_that_fails_leaves_no_machine(bench: Bench) -> None:
    try:
        with target(bench).create(wanted(bench), "a1") as new:
            new.sink("root").write_at(0, b"half")
            raise KeyError
    except KeyError:
        pass
    assert bench.hypervisor.sweep(set()) == []
    assert bench.hypervisor.inventory().machines == []


@needs(Capability.CREATE)
def a_taken_uuid_and_a_taken_name_are_exchanged(bench: Bench) -> None:
    first = make(bench)
    second = make(bench, uuid=first.uuid)
    assert (second.name, second.uuid != first.uuid) == ("web (2)", True)
    third = make(bench, name="db", uuid=str(uuids.uuid4()).upper())
    assert third.name == "db"
    assert len(bench.hypervisor.inventory().machines) == 3


@needs(Capability.CREATE)
def overwriting_keeps_the_old_machine_until_the_new_one_is_complete(bench: Bench) -> None:
    old = make(bench, data=b"old!" * 1024)
    for identity in (old.uuid, ""):  # identified by its uuid, then by its name
        old = bench.hypervisor.machine(old.uuid)
        new = target(bench).create(wanted(bench, uuid=identity), "a2", overwrite=True)
        new.sink("root").write_at(0, b"new!" * 128)
        assert bench.hypervisor.machine(old.uuid) == old
        made = new.commit()
        assert (made.uuid, made.name) == (old.uuid, old.name)
        assert bench.hypervisor.inventory().machines == [made]
        assert contents(bench.hypervisor, old.uuid) == [(b"new!" * 128).ljust(8 * MIB, b"\0")]
    assert bench.hypervisor.sweep(set()) == []


@needs(Capability.CREATE)
def the_free_space_is_told_once_for_each_new_disk_and_makes_nothing(bench: Bench) -> None:
    asked = wanted(bench)
    spaces = target(bench).space(asked)
    told = [disk for space in spaces for disk in space.disks]
    assert sorted(told) in ([], sorted(disk.name for disk in asked.disks))
    assert all(space.where and space.free >= 0 for space in spaces)
    assert bench.hypervisor.sweep(set()) == []


@needs(Capability.CREATE, Capability.INSTANT_RESTORE)
def a_machine_over_a_share_needs_it_as_long_as_it_is_there(bench: Bench) -> None:
    with TemporaryDirectory(prefix="haulback-") as folder:
        share, machine = Path(folder) / "nbd", wanted(bench, "over it")
        with NbdServer(share, {"root": MemoryDisk(8 * MIB, b"abcd" * 1024)}):
            overlays = capability(bench.hypervisor, InstantRestore)
            new = overlays.create_over(machine, share, "a1")
            assert overlays.on_share(share) == []
            made = new.commit()
            bench.guest_writes(made.uuid, "root", 4 * MIB, b"\x77" * 512)
            assert [dependent.uuid for dependent in overlays.on_share(share)] == [made.uuid]
            assert overlays.on_share(share.with_name("other")) == []
            target(bench).remove(made.uuid)
            assert overlays.on_share(share) == []


def an_increment_finds_every_change_since_its_base(bench: Bench) -> None:
    uuid = make(bench).uuid
    with bench.hypervisor.snapshot(uuid, "b1") as first:
        before, base = read(first.views()[0]), first.checkpoint
    bench.guest_writes(uuid, "root", 3 * MIB, b"\x55" * 65536)
    bench.guest_writes(uuid, "root", 8 * MIB - 512, b"\x66" * 512)
    with bench.hypervisor.snapshot(uuid, "b2", base) as second:
        (view,) = second.views()
        now = read(view)
        if not bench.tracks:
            assert (base, view.changed, bool(view.reason)) == (None, None, True)
            return
        assert view.changed is not None
        assert list(view.changed) == list(view.changed)
        _assert_changes(view, before, now)


def after_a_failed_increment_the_next_one_reads_the_union(bench: Bench) -> None:
    uuid = make(bench).uuid
    with bench.hypervisor.snapshot(uuid, "b1") as first:
        before, base = read(first.views()[0]), first.checkpoint
    bench.guest_writes(uuid, "root", 2 * MIB, b"\x11" * 65536)
    bench.hypervisor.snapshot(uuid, "failed", base).close()
    bench.guest_writes(uuid, "root", 5 * MIB, b"\x22" * 65536)
    if not base:
        return
    assert bench.hypervisor.drop_checkpoints(uuid, {base}) == ["haulback-failed"]
    with bench.hypervisor.snapshot(uuid, "b2", base) as again:
        _assert_changes(again.views()[0], before, read(again.views()[0]))


def two_repositories_build_on_their_own_bases(bench: Bench) -> None:
    uuid = make(bench).uuid
    with bench.hypervisor.snapshot(uuid, "b1") as first:
        before, first_base = read(first.views()[0]), first.checkpoint
    bench.guest_writes(uuid, "root", 2 * MIB, b"\x11" * 65536)
    with bench.hypervisor.snapshot(uuid, "b2") as second:
        between, second_base = read(second.views()[0]), second.checkpoint
    bench.guest_writes(uuid, "root", 5 * MIB, b"\x22" * 65536)
    if not first_base or not second_base:
        return
    for attempt, base, then in (("b3", first_base, before), ("b4", second_base, between)):
        with bench.hypervisor.snapshot(uuid, attempt, base) as snapshot:
            _assert_changes(snapshot.views()[0], then, read(snapshot.views()[0]))
    dropped = bench.hypervisor.drop_checkpoints(uuid, {first_base, second_base})
    assert dropped == ["haulback-b3", "haulback-b4"]


def without_its_base_a_disk_is_read_whole_and_says_why(bench: Bench) -> None:
    uuid = make(bench).uuid
    bench.hypervisor.snapshot(uuid, "b1").close()
    dropped = bench.hypervisor.drop_checkpoints(uuid, set())
    assert dropped == (["haulback-b1"] if bench.tracks else [])
    assert bench.hypervisor.drop_checkpoints(uuid, set()) == []
    with bench.hypervisor.snapshot(uuid, "b2", "haulback-b1") as snapshot:
        (view,) = snapshot.views()
        assert view.changed is None
        assert view.reason


@needs(Capability.SNAPSHOTS)
def a_snapshot_stays_until_it_is_removed_and_nothing_else_goes_with_it(bench: Bench) -> None:
    if not bench.tracks:
        return
    uuid = make(bench).uuid
    with bench.hypervisor.snapshot(uuid, "b1") as first:
        before, base = read(first.views()[0]), first.checkpoint
    keeper(bench).take_snapshot(uuid, "one")
    bench.guest_writes(uuid, "root", 2 * MIB, b"\x11" * 65536)
    keeper(bench).take_snapshot(uuid, "two")
    keeper(bench).take_snapshot(uuid, "two")
    assert held(bench, uuid) == ["one", "two"]
    assert keeper(bench).remove_snapshots(uuid, {"one", "three"}) == ["one"]
    assert held(bench, uuid) == ["two"]
    with bench.hypervisor.snapshot(uuid, "b2", base) as second:
        _assert_changes(second.views()[0], before, read(second.views()[0]))


@needs(Capability.SNAPSHOTS)
def going_back_brings_the_bytes_keeps_what_was_and_voids_every_base(bench: Bench) -> None:
    if not bench.tracks:
        return
    uuid = make(bench).uuid
    old = contents(bench.hypervisor, uuid)
    keeper(bench).take_snapshot(uuid, "old")
    with bench.hypervisor.snapshot(uuid, "b1") as first:
        base = first.checkpoint
    bench.guest_writes(uuid, "root", 2 * MIB, b"\x11" * 65536)
    with bench.hypervisor.snapshot(uuid, "look") as look:
        new = [read(view) for view in look.views()]
    keeper(bench).revert(uuid, "old", "before", "a1")
    assert held(bench, uuid) == ["old", "before"]
    with bench.hypervisor.snapshot(uuid, "b2", base) as snapshot:
        (view,) = snapshot.views()
        assert (view.changed, bool(view.reason)) == (None, True)
        assert [read(view)] == old
    keeper(bench).revert(uuid, "before", "again", "a2")
    assert contents(bench.hypervisor, uuid) == new
    _refuses(NotFound, lambda: keeper(bench).revert(uuid, "never", "before", "a3"))
    assert contents(bench.hypervisor, uuid) == new
    assert bench.hypervisor.sweep(set()) == []


@needs(Capability.CREATE)
def a_disk_that_is_not_restored_stays_with_its_machine_and_is_in_no_copy(bench: Bench) -> None:
    both = (MachineDisk("root", 8 * MIB, bench.format), MachineDisk("data", MIB, bench.format))
    with target(bench).create(wanted(bench)._replace(disks=both), "make") as new:
        new.sink("data").write_at(0, b"data" * 128)
        made = new.commit()
    part = made._replace(disks=made.disks[:1])
    with target(bench).create(part, "a1") as new:
        copy = new.commit()
        [told] = new.left_out()
    assert told.startswith("data is left out")
    assert [disk.name for disk in copy.disks] == ["root"]
    with target(bench).create(part, "a2", overwrite=True) as new:
        new.sink("root").write_at(0, b"new!" * 128)
        made = new.commit()
        [told] = new.left_out()
    assert told.startswith("data stays as it is")
    assert [disk.name for disk in made.disks] == ["root", "data"]
    root, data = contents(bench.hypervisor, made.uuid)
    assert (root, data) == (
        (b"new!" * 128).ljust(8 * MIB, b"\0"),
        (b"data" * 128).ljust(MIB, b"\0"),
    )
    with target(bench).create(part._replace(uuid=copy.uuid), "a3", overwrite=True) as new:
        assert [disk.name for disk in new.commit().disks] == [
            "root"
        ]  # the uuid differs: a backup of another machine


@needs(Capability.CREATE, Capability.SNAPSHOTS)
def saved_memory_and_its_disks_do_not_come_apart(bench: Bench) -> None:
    if not isinstance(bench, SavedMemoryBench):
        return
    made = make(bench)
    keeper(bench).take_snapshot(made.uuid, "old")
    bench.guest_writes(made.uuid, "root", 2 * MIB, b"\x11" * 65536)
    bench.save_memory(made.uuid)
    _refuses(Conflict, lambda: keeper(bench).revert(made.uuid, "old", "before", "a1"))
    inner = getattr(bench.hypervisor, "inner", bench.hypervisor)
    _refuses(Conflict, lambda: capability(inner, MachineTarget).remove(made.uuid))
    assert bench.has_memory(made.uuid)
    assert held(bench, made.uuid) == ["old"]
    assert keeper(bench).take_snapshot(made.uuid, "asleep") == "CRASH"
    assert bench.hypervisor.sweep(set()) == []
    assert bench.has_memory(made.uuid)
    with target(bench).create(made, "a2", overwrite=True) as new:
        assert bench.has_memory(made.uuid)
        new.sink("root").write_at(0, b"new!" * 128)
        new.commit()
    assert not bench.has_memory(made.uuid)
    [now] = contents(bench.hypervisor, made.uuid)
    assert now == (b"new!" * 128).ljust(8 * MIB, b"\0")


@needs(Capability.CREATE)
def a_removed_machine_is_gone_and_removing_it_again_is_fine(bench: Bench) -> None:
    made, other = make(bench), make(bench, name="other")
    target(bench).remove(made.uuid)
    target(bench).remove(made.uuid)
    assert bench.hypervisor.inventory().machines == [other]
    _refuses(NotFound, lambda: bench.hypervisor.machine(made.uuid))
    _refuses(NotFound, lambda: bench.hypervisor.snapshot(made.uuid, "b1"))
    assert bench.hypervisor.sweep(set()) == []


@needs(Capability.CREATE)
def sweeping_spares_the_living_and_names_what_it_removed(bench: Bench) -> None:
    living: NewMachine = target(bench).create(wanted(bench), "living")
    dead = target(bench).create(wanted(bench), "dead")
    (swept,) = bench.hypervisor.sweep({"living"})
    assert "dead" in swept
    dead.abandon()
    assert living.commit().name == "web"
    assert bench.hypervisor.sweep(set()) == []


def _assert_changes(view: DiskView, before: bytes, now: bytes) -> None:
    """Check that the changed extents turn `before` into `now` and are not the whole disk."""
    assert view.changed is not None, view.reason
    patched, extents = bytearray(before), list(view.changed)
    for offset, length in extents:
        view.source.read_into(offset, memoryview(patched)[offset : offset + length])
    assert bytes(patched) == now
    assert sum(length for _, length in extents) <= MIB


CHECKS: list[Check] = [
    a_driver_implements_exactly_what_its_type_declares,
    what_was_written_comes_back_and_the_rest_is_zeros,
    a_machine_is_not_seen_before_its_commit_nor_after_it_was_abandoned,
    a_block_that_fails_leaves_no_machine,
    the_free_space_is_told_once_for_each_new_disk_and_makes_nothing,
    a_taken_uuid_and_a_taken_name_are_exchanged,
    overwriting_keeps_the_old_machine_until_the_new_one_is_complete,
    a_machine_over_a_share_needs_it_as_long_as_it_is_there,
    an_increment_finds_every_change_since_its_base,
    after_a_failed_increment_the_next_one_reads_the_union,
    two_repositories_build_on_their_own_bases,
    without_its_base_a_disk_is_read_whole_and_says_why,
    a_snapshot_stays_until_it_is_removed_and_nothing_else_goes_with_it,
    going_back_brings_the_bytes_keeps_what_was_and_voids_every_base,
    a_disk_that_is_not_restored_stays_with_its_machine_and_is_in_no_copy,
    saved_memory_and_its_disks_do_not_come_apart,
    a_removed_machine_is_gone_and_removing_it_again_is_fine,
    sweeping_spares_the_living_and_names_what_it_removed,
]
