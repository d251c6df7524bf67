"""Saved memory of stopped libvirt machines, and the disks that belong to that memory."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.images.internal_snapshots import RevertNote
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.source import Extent
from haulback.errors import Conflict, HaulbackError
from haulback.libvirt_xml import XML
from haulback.testing.hypervisors import contents, read
from haulback.testing.libvirt_lab import LibvirtLab
from haulback.units import MIB
from tests.conformance.test_libvirt import RunningBench
from tests.hosts import needs_libvirt

pytestmark = needs_libvirt
PAUSED = 3


@pytest.fixture
def bench(host: LibvirtLab) -> Iterator[RunningBench]:
    yield RunningBench(host)
    host.clear()


@pytest.fixture
def inner(bench: RunningBench) -> LibvirtHost:
    return bench.hypervisor.inner


def made(bench: RunningBench) -> str:
    disks = (MachineDisk("vda", 8 * MIB, "qcow2"),)
    with bench.hypervisor.create(Machine("", "web", disks, {"memory": 64}), "make") as new:
        new.sink("vda").write_at(MIB, b"a" * 4096)
        return new.commit().uuid


def test_a_backup_of_a_machine_in_managed_save_says_how_it_stands_and_increments_go_on(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(bench)
    with bench.hypervisor.snapshot(uuid, "b1"):
        pass
    bench.guest_writes(uuid, "vda", 2 * MIB, b"\x22" * 65536)
    bench.save_memory(uuid)
    with inner.snapshot(uuid, "b2", "haulback-b1") as saved:
        assert saved.consistency == "CRASH"
        assert [item.name for item in saved.machine.apart] == ["the saved memory"]
        assert list(saved.views()[0].changed or []) == [Extent(2 * MIB, 65536)]
    assert bench.has_memory(uuid)
    bench.guest_writes(uuid, "vda", 4 * MIB, b"\x33" * 65536)  # the machine resumes
    with inner.snapshot(uuid, "b3", "haulback-b2") as again:
        assert again.machine.apart == ()
        assert list(again.views()[0].changed or []) == [Extent(4 * MIB, 65536)]
    bench.hypervisor.asleep()
    with inner.snapshot(uuid, "b4") as stopped:
        assert (stopped.consistency, stopped.machine.apart) == ("STOPPED", ())


def test_a_refusal_names_the_way_out_also_when_memory_was_saved_at_the_last_moment(
    bench: RunningBench, inner: LibvirtHost, monkeypatch: pytest.MonkeyPatch
):
    uuid = made(bench)
    inner.take_snapshot(uuid, "old")
    bench.guest_writes(uuid, "vda", 2 * MIB, b"\x22" * 65536)
    domain = inner._host.domain(uuid)
    with monkeypatch.context() as patch:
        patch.setattr(type(domain), "stop", lambda _: bench.save_memory(uuid))
        with pytest.raises(Conflict, match="managed save"):
            inner.revert(uuid, "old", "before", "a1")
    assert inner.sweep(set()) == []
    assert bench.has_memory(uuid)
    with pytest.raises(Conflict, match=r"web is in managed save.*virsh managedsave-remove web"):
        inner.revert(uuid, "old", "before", "a2")
    with pytest.raises(Conflict, match=r"managed save.*before removing it"):
        inner.remove(uuid)
    with pytest.raises(Conflict, match=r"managed save.*before moving it"):
        inner.move(uuid, inner, "m1", print, print)
    domain.drop_memory()
    with inner.snapshot(uuid, "look") as look:
        assert read(look.views()[0])[2 * MIB : 2 * MIB + 512] == b"\x22" * 512
    inner.revert(uuid, "old", "before", "a3")


def test_disks_of_a_machine_that_was_saved_to_a_file_are_as_after_a_power_cut(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(bench)
    file = bench.host.folder / "work" / "memory"
    bench.hypervisor.wake(uuid).save(str(file))
    assert inner.take_snapshot(uuid, "saved") == "CRASH"
    with inner.snapshot(uuid, "b1") as snapshot:
        assert snapshot.consistency == "CRASH"
    file.unlink()


def test_a_revert_that_died_is_not_undone_below_memory_that_was_saved_since(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(bench)
    inner.take_snapshot(uuid, "before")
    # another program started the machine meanwhile
    bench.guest_writes(uuid, "vda", 2 * MIB, b"\x22" * 65536)
    note = inner._left.note_back("dead", RevertNote(uuid, "before", ran=True))
    bench.save_memory(uuid)
    inner.sweep(set())
    assert bench.has_memory(uuid)
    assert not note.exists()
    assert contents(bench.hypervisor, uuid)[0][2 * MIB : 2 * MIB + 512] == b"\x22" * 512


def test_a_machine_that_somebody_paused_is_paused_after_a_revert(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(bench)
    inner.take_snapshot(uuid, "old")
    domain = bench.hypervisor.wake(uuid)
    domain.suspend()
    inner.revert(uuid, "old", "before", "a1")
    assert domain.state()[0] == PAUSED


def test_memory_stays_when_the_new_definition_is_refused_and_goes_with_the_old_disks(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(bench)
    bench.save_memory(uuid)
    machine = inner.machine(uuid)
    text = machine.definition[XML].replace("<vcpu placement='static'>1<", "<vcpu>0<")
    broken = machine._replace(definition={**machine.definition, XML: text})
    with inner.create(broken, "a1", overwrite=True) as new, pytest.raises(HaulbackError):
        new.commit()
    inner.sweep(set())
    assert bench.has_memory(uuid)
    assert inner.machine(uuid) == machine
    with inner.create(machine, "a2", overwrite=True) as new:
        new.commit()
        assert [item for item in new.left_out() if "saved memory" in item]
    assert not bench.has_memory(uuid)


def test_an_overwrite_that_died_leaves_memory_only_to_the_disks_that_it_belongs_to(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(bench)
    bench.save_memory(uuid)
    inner._left.note_replaced("dead", inner._host.domain(uuid), None)
    inner.sweep(set())
    assert bench.has_memory(uuid)
    inner._left.note_replaced("dead", inner._host.domain(uuid), None)
    text = inner.machine(uuid).definition[XML]
    bench.host.connection.defineXML(text.replace("disk0.qcow2", "other.qcow2"))
    inner.sweep(set())
    assert not bench.has_memory(uuid)


def test_a_note_of_an_earlier_version_is_carried_out(bench: RunningBench, inner: LibvirtHost):
    uuid = made(bench)
    bench.hypervisor.asleep()
    old = bench.host.storage / "old.qcow2"
    old.write_bytes(b"x")
    [used] = bench.host.storage.rglob("disk0.qcow2")
    note = bench.host.storage / ".haulback-dead.gone"
    note.write_bytes(msgspec.json.encode([str(old), str(used)]))
    inner.sweep(set())
    assert (old.exists(), used.exists(), note.exists()) == (False, True, False)
    with inner.snapshot(uuid, "look") as look:
        assert len(read(look.views()[0])) == 8 * MIB
