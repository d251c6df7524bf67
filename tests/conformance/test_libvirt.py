"""The libvirt driver passes the conformance suite, for stopped and for running machines."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.libvirt.definition import CopyMode, compose
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.libvirt.firmware import write
from haulback.drivers.libvirt.machine_builder import UNFINISHED
from haulback.drivers.nbd_server import NbdServer
from haulback.drivers.source import Extent
from haulback.errors import (
    Conflict,
    HaulbackError,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)
from haulback.inventory.hardware import hardware_of
from haulback.libvirt_xml import XML
from haulback.testing.hypervisors import CHECKS, contents, read
from haulback.testing.libvirt_lab import LibvirtLab, lab
from haulback.testing.memory_hypervisor import MemoryDisk
from haulback.units import MIB
from tests.hosts import libvirt_qemu, needs_libvirt
from tests.images import Dying, qemu_img, qemu_io

pytestmark = needs_libvirt


class StoppedBench:
    """A bench whose guests are stopped while they write, so that the images change."""

    format, tracks = "qcow2", True

    def __init__(self, host: LibvirtLab) -> None:
        self.host = host
        self.hypervisor = LibvirtHost(host.uri, host.storage, host.folder / "work")

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        [image] = self.host.storage.rglob("*.qcow2")
        qemu_io(image, f"write -q -P {data[0]} {offset} {len(data)}")

    def save_memory(self, uuid: str) -> None:
        domain = self.host.connection.lookupByUUIDString(uuid)
        if not domain.isActive():
            domain.create()
        domain.managedSave()

    def has_memory(self, uuid: str) -> bool:
        return bool(self.host.connection.lookupByUUIDString(uuid).hasManagedSaveImage())


class Awake:
    """A hypervisor that starts its machines before they are read."""

    def __init__(self, host: LibvirtLab, inner) -> None:
        self._host, self.inner = host, inner
        # Protocols are looked up among real attributes, so that `__getattr__` would not be enough.
        for name in set(dir(inner)) - set(dir(Awake)):
            if not name.startswith("_"):
                setattr(self, name, getattr(inner, name))

    def wake(self, uuid: str):
        domain = self._host.connection.lookupByUUIDString(uuid)
        if not domain.isActive():
            domain.create()
        return domain

    def asleep(self) -> None:
        for domain in self._host.connection.listAllDomains():
            if domain.isActive():
                domain.destroy()

    def snapshot(self, uuid: str, attempt: str, base: str | None = None):
        if any(one.uuid == uuid for one in self.inner.inventory().machines):
            self.wake(uuid)
        return self.inner.snapshot(uuid, attempt, base)

    def create(self, *arguments, **more):
        self.asleep()
        return self.inner.create(*arguments, **more)

    def remove(self, uuid: str) -> None:
        self.asleep()
        self.inner.remove(uuid)


class RunningBench(StoppedBench):
    """A bench whose guests run: their writes go through QEMU's block layer."""

    def __init__(self, host: LibvirtLab) -> None:
        super().__init__(host)
        self.hypervisor = Awake(host, self.hypervisor)

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        domain = self.hypervisor.wake(uuid)
        write = f"write -P {data[0]} {offset} {len(data)}"
        command = f'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "{write}"'
        answer = libvirt_qemu.qemuMonitorCommand(
            domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        )
        assert "rror" not in answer, answer


@pytest.fixture(params=[StoppedBench, RunningBench])
def bench(request: pytest.FixtureRequest, host: LibvirtLab):
    yield request.param(host)
    host.clear()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_libvirt_keeps_the_promises_of_a_hypervisor(bench, host: LibvirtLab, check):
    check(bench)
    assert not list((host.folder / "work").iterdir())
    assert not [p for p in host.storage.iterdir() if p.name.startswith(".")]
    assert bench.hypervisor.sweep(set()) == []


@pytest.fixture
def running(host: LibvirtLab) -> Iterator[RunningBench]:
    yield RunningBench(host)
    host.clear()


def two_disks(bench: RunningBench) -> str:
    """The uuid of a running machine with two disks."""
    disks = (MachineDisk("vda", 8 * MIB, "qcow2"), MachineDisk("vdb", 4 * MIB, "qcow2"))
    with bench.hypervisor.create(Machine("", "web", disks, {"memory": 64}), "make") as new:
        new.sink("vda").write_at(MIB, b"a" * 4096)
        made = new.commit()
    bench.hypervisor.wake(made.uuid)
    return made.uuid


def reasons(
    bench: RunningBench, uuid: str, attempt: str, base: str | None
) -> dict[str, str | None]:
    """The reason why each disk is read whole, by disk name; None for an incremental read."""
    with bench.hypervisor.snapshot(uuid, attempt, base) as snapshot:
        for view in snapshot.views():
            assert (view.changed is None) == bool(view.reason)
            assert len(read(view)) == view.disk.size
        return {view.disk.name: view.reason for view in snapshot.views()}


def monitor(bench: RunningBench, uuid: str, command: str) -> None:
    answer = libvirt_qemu.qemuMonitorCommand(bench.hypervisor.wake(uuid), command, 0)
    assert "error" not in answer, answer


def test_a_machine_takes_what_it_needs_from_its_share_and_then_needs_it_no_more(
    running: RunningBench, tmp_path: Path
):
    data = (b"x" * MIB).ljust(7 * MIB, b"\0") + b"end!" * (MIB // 4)
    socket = tmp_path / "nbd"
    disk = SlowDisk(8 * MIB, data)
    with NbdServer(socket, {"root": disk}):
        machine = Machine(
            "", "web", (MachineDisk("vda", 8 * MIB, "raw", was="root"),), {"memory": 64}
        )
        uuid = running.hypervisor.create_over(machine, socket, "a1").commit().uuid
        running.hypervisor.wake(uuid)
        running.guest_writes(uuid, "vda", 4 * MIB, b"\x55" * 4096)
        with pytest.raises(KeyError):
            running.hypervisor.make_own(uuid, _fail)
        assert [item.uuid for item in running.hypervisor.on_share(socket)] == [uuid]
        disk.pause = 0.0
        done: list[int] = []
        running.hypervisor.make_own(uuid, done.append)
        assert running.hypervisor.on_share(socket) == []
    expected = data[: 4 * MIB] + b"\x55" * 4096 + data[4 * MIB + 4096 :]
    assert contents(running.hypervisor, uuid) == [expected]
    [image] = running.host.storage.rglob("*.qcow2")
    assert image.stat().st_blocks * 512 < 4 * MIB  # empty parts occupied no space
    running.hypervisor.asleep()
    assert contents(running.hypervisor, uuid) == [expected]
    running.hypervisor.asleep()
    with pytest.raises(SourceChanged, match="is off"):
        running.hypervisor.make_own(uuid, done.append)


def test_a_machine_without_its_image_is_in_nobodys_way(running: RunningBench, tmp_path: Path):
    broken = (
        "<domain type='qemu'><name>broken</name><memory>65536</memory><os><type>hvm</type></os>"
        "<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        "<source file='/nowhere/at/all'/><target dev='vda'/></disk></devices></domain>"
    )
    running.host.connection.defineXML(broken)
    socket = tmp_path / "nbd"
    with NbdServer(socket, {"vda": MemoryDisk(8 * MIB, b"x" * MIB)}):
        machine = Machine("", "web", (MachineDisk("vda", 8 * MIB, "qcow2"),), {"memory": 64})
        uuid = running.hypervisor.create_over(machine, socket, "a1").commit().uuid
        running.hypervisor.wake(uuid)
        assert [item.uuid for item in running.hypervisor.on_share(socket)] == [uuid]
        assert running.hypervisor.go_on(socket) == []  # the driver does not wait
        running.hypervisor.asleep()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtLab]:
    with lab(tmp_path_factory.mktemp("lab") / "h2") as made:
        yield made


def moved_to(bench: RunningBench, other: LibvirtLab) -> LibvirtHost:
    return LibvirtHost(other.uri, other.storage, other.folder / "work")


def test_a_machine_moves_to_another_host_while_it_runs(running: RunningBench, other: LibvirtLab):
    there, uuid = moved_to(running, other), two_disks(running)
    running.hypervisor.snapshot(uuid, "b1").close()
    told: list[int] = []
    made = running.hypervisor.move(uuid, there, "m1", told.append, told.append)
    assert (made.uuid, made.name, [d.name for d in made.disks]) == (uuid, "web", ["vda", "vdb"])
    assert other.connection.lookupByUUIDString(uuid).isActive()
    assert running.hypervisor.inventory().machines == []
    assert not list(running.host.storage.iterdir())
    assert not list((running.host.folder / "work").iterdir())
    assert contents(there, uuid)[0][MIB : MIB + 4096] == b"a" * 4096
    assert there.sweep(set()) == []
    assert running.hypervisor.move(uuid, there, "m2", told.append, told.append).uuid == uuid
    back = running.hypervisor.inner
    assert there.move(uuid, back, "m3", told.append, told.append).uuid == uuid
    assert there.inventory().machines == []
    other.clear()


def test_a_move_that_fails_leaves_the_machine_where_it_was(
    running: RunningBench, other: LibvirtLab
):
    there, uuid = moved_to(running, other), two_disks(running)
    with pytest.raises(KeyError):
        running.hypervisor.move(uuid, there, "m1", print, _fail)
    assert running.hypervisor.wake(uuid).state()[0] == 1
    assert there.inventory().machines == []
    assert not list(other.storage.iterdir())
    running.guest_writes(uuid, "vda", 0, b"\x66" * 512)
    assert contents(running.hypervisor, uuid)[0][:512] == b"\x66" * 512
    with running.hypervisor.inner.create(
        Machine("", "web", (MachineDisk("vda", MIB, "qcow2"),), {}), "x"
    ):
        pass
    with there.create(
        Machine("", "web", (MachineDisk("vda", MIB, "qcow2"),), {"memory": 64}), "x"
    ) as n:
        n.commit()
    with pytest.raises(Conflict, match="has a machine web"):
        running.hypervisor.move(uuid, there, "m2", print, print)
    other.clear()
    running.hypervisor.inner.take_snapshot(uuid, "haulback-s1")
    with pytest.raises(Conflict, match="snapshots"):
        running.hypervisor.move(uuid, there, "m2", print, print)
    running.hypervisor.asleep()
    with pytest.raises(SourceChanged, match="is off"):
        running.hypervisor.move(uuid, there, "m2", print, print)


class SlowDisk(MemoryDisk):
    """A disk whose reads take `pause` seconds, so that a copy of it continues until it is
    stopped.
    """

    pause = 0.2

    def read_into(self, offset: int, buffer: memoryview) -> None:
        time.sleep(self.pause)
        super().read_into(offset, buffer)


def _fail(_: int) -> None:
    raise KeyError


def test_a_killed_qemu_loses_its_records_and_every_disk_is_read_whole(running: RunningBench):
    uuid = two_disks(running)
    reasons(running, uuid, "b1", None)
    os.kill(running.host.pid("web"), signal.SIGKILL)
    running.host.until(lambda: not running.host.connection.lookupByUUIDString(uuid).isActive())
    found = reasons(running, uuid, "b2", "haulback-b1")
    assert all("lost or broken" in (why or "") for why in found.values()), found
    assert running.hypervisor.drop_checkpoints(uuid, {"haulback-b2"}) == ["haulback-b1"]
    assert reasons(running, uuid, "b3", "haulback-b2") == {"vda": None, "vdb": None}


def test_only_the_disk_whose_record_is_lost_is_read_whole(running: RunningBench):
    uuid = two_disks(running)
    reasons(running, uuid, "b1", None)
    node = running.host.node(uuid, "vdb")
    monitor(running, uuid, json.dumps({
        "execute": "block-dirty-bitmap-remove",
        "arguments": {"node": node, "name": "haulback-b1"},
    }))  # fmt: skip
    result = reasons(running, uuid, "b2", "haulback-b1")
    assert result["vda"] is None
    assert "lost or broken" in (result["vdb"] or "")


def test_only_the_disk_that_was_resized_is_read_whole(running: RunningBench):
    uuid = two_disks(running)
    reasons(running, uuid, "b1", None)
    running.hypervisor.wake(uuid).blockResize("vdb", 6 * MIB, 1)
    found = reasons(running, uuid, "b2", "haulback-b1")
    assert found["vda"] is None
    assert "resized" in (found["vdb"] or "")


def test_a_block_job_of_the_owner_is_named_and_a_lost_checkpoint_is_a_full(running: RunningBench):
    uuid = two_disks(running)
    domain = running.hypervisor.wake(uuid)
    copy = f"<disk><source file='{running.host.storage}/copy'/><driver type='qcow2'/></disk>"
    domain.blockCopy("vdb", copy, None, 4)  # VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    with pytest.raises(
        Unavailable, match=r"a block job that Haulback did not start .* runs on vdb; wait for"
    ):
        running.hypervisor.inner.snapshot(uuid, "b1")
    domain.blockJobAbort("vdb")
    reasons(running, uuid, "b2", None)
    running.hypervisor.asleep()
    text = domain.XMLDesc()
    domain.undefineFlags(16)  # VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    running.host.connection.defineXML(text)
    with running.hypervisor.inner.snapshot(uuid, "b3", "haulback-b2") as snapshot:
        told = {view.reason for view in snapshot.views()}
    assert told == {"the record of the checkpoint haulback-b2 is gone"}


def test_only_the_disk_that_was_added_is_read_whole(running: RunningBench):
    uuid = two_disks(running)
    reasons(running, uuid, "b1", None)
    image = running.host.storage / "more.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "2M")
    running.hypervisor.wake(uuid).attachDevice(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{image}'/><target dev='vdc' bus='virtio'/></disk>"
    )
    result = reasons(running, uuid, "b2", "haulback-b1")
    assert (result["vda"], result["vdb"]) == (None, None)
    assert "no record" in (result["vdc"] or "")


def test_an_increment_crosses_a_stop_and_a_start(running: RunningBench):
    uuid = two_disks(running)
    reasons(running, uuid, "b1", None)
    running.guest_writes(uuid, "vda", 3 * MIB, b"\x11" * 65536)
    running.hypervisor.asleep()
    inner = running.hypervisor.inner
    with inner.snapshot(uuid, "b2", "haulback-b1") as snapshot:
        changed = [list(view.changed or []) for view in snapshot.views()]
    assert changed == [[Extent(3 * MIB, 65536)], []]
    running.guest_writes(uuid, "vda", 5 * MIB, b"\x22" * 65536)
    with running.hypervisor.snapshot(uuid, "b3", "haulback-b2") as snapshot:
        changed = [list(view.changed or []) for view in snapshot.views()]
    assert changed == [[Extent(5 * MIB, 65536)], []]


def test_what_a_dead_reader_left_is_swept_and_hinders_nobody(running: RunningBench):
    uuid = two_disks(running)
    left = running.hypervisor.snapshot(uuid, "dead")
    assert running.hypervisor.sweep({"dead"}) == []
    assert running.hypervisor.sweep(set()) == ["haulback-dead"]
    assert not list((running.host.folder / "work").iterdir())
    with suppress(HaulbackError):
        left.close()
    another = running.hypervisor.snapshot(uuid, "dead2")
    assert reasons(running, uuid, "b1", None).keys() == {"vda", "vdb"}
    assert running.hypervisor.drop_checkpoints(uuid, set()) == [
        "haulback-b1", "haulback-dead", "haulback-dead2",
    ]  # fmt: skip
    with suppress(HaulbackError):
        another.close()


def test_a_backup_of_somebody_else_is_left_alone(running: RunningBench):
    uuid = two_disks(running)
    socket = running.host.folder / "work" / "other"
    domain = running.hypervisor.wake(uuid)
    domain.backupBegin(
        "<domainbackup mode='pull'><server transport='unix' "
        f"socket='{socket}'/></domainbackup>", None
    )  # fmt: skip
    with pytest.raises(SourceChanged, match="another program"):
        running.hypervisor.snapshot(uuid, "b1")
    assert running.hypervisor.sweep(set()) == []
    assert domain.jobInfo()[0]
    domain.abortJob()
    running.host.until(lambda: not socket.exists() or not domain.jobInfo()[0])
    for left in (running.host.folder / "work").iterdir():
        left.unlink()


def test_a_running_machine_is_neither_replaced_nor_removed(running: RunningBench):
    uuid = two_disks(running)
    inner, wanted = running.hypervisor.inner, running.hypervisor.machine(uuid)
    with pytest.raises(SourceChanged, match="stop it"):
        inner.remove(uuid)
    with pytest.raises(SourceChanged, match="stop it"):
        inner.create(wanted, "a1", overwrite=True)
    running.hypervisor.asleep()
    with inner.create(wanted, "a1", overwrite=True) as new:
        new.sink("vda").write_at(0, b"new")
        running.hypervisor.wake(uuid)  # another program starts the machine meanwhile
        with pytest.raises(SourceChanged, match="stop it"):
            new.commit()
    wanted = running.hypervisor.machine(uuid)
    assert running.hypervisor.machine(uuid) == wanted
    assert inner.sweep(set()) == []


def test_a_replacement_that_died_before_or_after_its_one_step_is_finished(running: RunningBench):
    uuid = two_disks(running)
    running.hypervisor.asleep()
    inner = running.hypervisor.inner
    old = set(running.host.storage.rglob("*.qcow2"))
    new = inner.create(inner.machine(uuid), "a1", overwrite=True)
    # the attempt died directly before the exchange
    inner._left.note_gone("a1", inner._host.domain(uuid))
    new._close(sync=False)
    assert inner.sweep({"a1"}) == []
    assert any("haulback-a1" in name for name in inner.sweep(set()))
    assert set(running.host.storage.rglob("*.qcow2")) == old
    assert inner.machine(uuid)


def test_images_of_a_machine_that_was_undefined_are_the_users(running: RunningBench):
    uuid = two_disks(running)
    running.hypervisor.asleep()
    images = set(running.host.storage.rglob("*.qcow2"))
    assert len(images) == 2
    running.host.connection.lookupByUUIDString(uuid).undefine()
    assert running.hypervisor.sweep(set()) == []
    assert set(running.host.storage.rglob("*.qcow2")) == images


def test_a_maker_that_died_right_after_the_one_step_has_made_a_machine(running: RunningBench):
    uuid = two_disks(running)
    running.hypervisor.asleep()
    [room] = {path.parent for path in running.host.storage.rglob("*.qcow2")}
    (room / UNFINISHED).touch()
    assert running.hypervisor.sweep(set()) == []
    assert not (room / UNFINISHED).exists()
    assert running.hypervisor.machine(uuid)


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_machine_that_was_made_unheard_keeps_its_images(
    running: RunningBench, monkeypatch: pytest.MonkeyPatch, overwrite: bool
):
    uuid = two_disks(running)
    running.hypervisor.asleep()
    inner = running.hypervisor.inner
    with inner.create(inner.machine(uuid), "a1", overwrite=overwrite) as new:
        new.sink("vda").write_at(0, b"new" + bytes(509))
        with monkeypatch.context() as patch:
            patch.setattr(inner, "_measure", _does_not_answer)
            with pytest.raises(Unavailable):
                new.commit()
    machines = inner.inventory().machines
    assert len(machines) == (1 if overwrite else 2)
    inner.sweep(set())
    made = uuid if overwrite else next(item.uuid for item in machines if item.uuid != uuid)
    with inner.snapshot(made, "look") as snapshot:
        assert read(snapshot.views()[0])[:3] == b"new"
    assert not list(running.host.storage.rglob(UNFINISHED))


@pytest.mark.parametrize("last", range(6))
def test_a_revert_that_dies_at_any_step_is_undone_and_the_machine_runs_again(
    running: RunningBench, monkeypatch: pytest.MonkeyPatch, last: int
):
    uuid = two_disks(running)
    inner = running.hypervisor.inner
    inner.take_snapshot(uuid, "good")
    with inner.snapshot(uuid, "b1") as first:
        base = first.checkpoint
    running.guest_writes(uuid, "vda", MIB, b"\x77" * 4096)
    dying = Dying(monkeypatch, last)
    with pytest.raises(Dying.Died):
        inner.revert(uuid, "good", "before", "a1")
    dying.over()
    assert inner.sweep({"a1"}) == []
    inner.sweep(set())
    assert inner._host.domain(uuid).is_active
    assert [item.name for item in inner.machine(uuid).snapshots] == ["good"]
    with inner.snapshot(uuid, "b2", base) as snapshot:
        (view, _) = snapshot.views()
        assert (view.changed, bool(view.reason)) == (None, True)
        assert read(view)[MIB : MIB + 4096] == b"\x77" * 4096


def test_a_guest_goes_on_while_a_snapshot_is_taken_and_one_by_hand_is_let_be(
    running: RunningBench,
):
    uuid = two_disks(running)
    domain = running.hypervisor.wake(uuid)
    assert running.hypervisor.take_snapshot(uuid, "mine") == "CRASH"
    assert domain.state()[0] == 1
    running.hypervisor.asleep()
    for image in running.host.storage.rglob("*.qcow2"):
        qemu_img("snapshot", "-c", "theirs", image)
    assert running.hypervisor.inner.remove_snapshots(uuid, {"mine"}) == ["mine"]
    [left] = running.hypervisor.machine(uuid).snapshots
    assert (left.name, left.whole) == ("theirs", True)


def test_a_disk_that_was_added_since_keeps_a_machine_from_going_back(running: RunningBench):
    uuid = two_disks(running)
    running.hypervisor.asleep()
    inner = running.hypervisor.inner
    inner.take_snapshot(uuid, "good")
    late = next(p for p in running.host.storage.rglob("*.qcow2") if p.name.startswith("disk1"))
    qemu_img("snapshot", "-d", "good", late)
    with pytest.raises(Conflict, match="disk1"):
        inner.revert(uuid, "good", "before", "a1")
    assert inner.sweep(set()) == []
    assert [snapshot.whole for snapshot in inner.machine(uuid).snapshots] == [False]


def test_a_raw_disk_keeps_no_snapshot_and_says_what_would(running: RunningBench):
    disks = (MachineDisk("vda", MIB, "qcow2"), MachineDisk("vdb", MIB, "raw"))
    with running.hypervisor.create(Machine("", "web", disks, {"memory": 64}), "make") as new:
        made = new.commit()
    with pytest.raises(Unsupported, match=r"vdb is a raw image.*qcow2"):
        running.hypervisor.take_snapshot(made.uuid, "one")
    assert running.hypervisor.machine(made.uuid).snapshots == ()


_MAC = "52:54:00:11:22:33"
CARD = f"<interface type='network'><mac address='{_MAC}'/><source network='lan'/></interface>"


def test_what_is_around_machines_is_told_and_what_they_are_tagged_with(running: RunningBench):
    host, inner = running.host, running.hypervisor.inner
    host.connection.networkDefineXML("<network><name>lan</name><bridge name='hb9'/></network>")
    uuid = two_disks(running)
    domain = host.connection.lookupByUUIDString(uuid)
    domain.attachDeviceFlags(CARD, 2)
    tags = "<tags> db, prod,,db</tags>"
    domain.setMetadata(2, tags, "haulback", "urn:haulback:tags:1", 2)
    with a_pool(host, "more"):
        result = inner.inventory()
        [network] = result.networks or []
        assert (network.name, len(network.uuid)) == ("lan", 36)
        [space] = result.pools or []
        assert space.name == "more"
        assert 0 < (space.free or 0) < (space.total or 0)
        hardware = hardware_of(result.machines[0].definition)
        assert hardware.tags == ["db", "prod"]
        assert [(card.mac, card.network) for card in hardware.cards] == [(_MAC, "lan")]
    host.connection.networkLookupByName("lan").undefine()


@contextmanager
def a_pool(host: LibvirtLab, name: str) -> Iterator[Path]:
    """A libvirt storage pool of type dir."""
    place = host.folder / f"pool-{name}"
    place.mkdir()
    target = f"<target><path>{place}</path></target>"
    pool = f"<pool type='dir'><name>{name}</name>{target}</pool>"
    made = host.connection.storagePoolDefineXML(pool)
    made.create()
    try:
        yield place
    finally:
        made.destroy()
        made.undefine()
        shutil.rmtree(place)


def test_disks_go_into_the_pools_that_are_named_and_leave_them_with_their_machine(
    running: RunningBench,
):
    inner = running.hypervisor.inner
    disks = (MachineDisk("vda", MIB, "qcow2", store="fast"), MachineDisk("vdb", MIB, "raw"))
    wanted = Machine("", "web", disks, {"memory": 64})
    with a_pool(running.host, "fast") as fast:
        with inner.create(wanted, "make") as new:
            new.sink("vda").write_at(0, b"a" * 4096)
            made = new.commit()
        [room], [other] = list(fast.iterdir()), list(running.host.storage.iterdir())
        assert [path.name for path in room.iterdir()] == ["disk0.qcow2"]
        assert [path.name for path in other.iterdir()] == ["disk1.raw"]
        with inner.snapshot(made.uuid, "one") as snapshot:
            assert read(snapshot.views()[0])[:4096] == b"a" * 4096
        inner.remove(made.uuid)
        assert not [*fast.iterdir(), *running.host.storage.iterdir()]
        with suppress(RuntimeError), inner.create(wanted, "give-up"):
            raise RuntimeError
        assert not [*fast.iterdir(), *running.host.storage.iterdir()]
        left = inner.create(wanted, "dead")
        assert len(inner.sweep(set())) == 1
        assert not [*fast.iterdir(), *running.host.storage.iterdir()]
        left.abandon()
        slow = wanted._replace(disks=(MachineDisk("vda", MIB, "qcow2", store="slow"),))
        with pytest.raises(NotFound, match="slow"):
            inner.create(slow, "make")
        assert not [*fast.iterdir(), *running.host.storage.iterdir()]


def test_what_others_have_not_finished_in_a_pool_is_theirs(running: RunningBench):
    inner = running.hypervisor.inner
    wanted = Machine("", "web", (MachineDisk("vda", MIB, "qcow2", store="shared"),), {"memory": 64})
    with a_pool(running.host, "shared") as pool:
        theirs = inner.create(wanted, "theirs")
        [room] = pool.iterdir()
        (room / UNFINISHED).write_text("another-host /var/tmp/haulback-1")
        ours = inner.create(wanted, "ours")
        assert len(inner.sweep(set())) == 1
        assert list(pool.iterdir()) == [room]
        for item in (theirs, ours):
            item.abandon()


def with_variables(running: RunningBench, template: str) -> tuple[str, Path, bytes]:
    """A machine that boots by UEFI, with the path and the content of its variable store."""
    uuid = two_disks(running)
    running.hypervisor.asleep()
    domain = running.host.connection.lookupByUUIDString(uuid)
    root = ET.fromstring(domain.XMLDesc())
    path, raw = running.host.folder / "own_VARS.fd", os.urandom(2000) * 100
    path.write_bytes(raw)
    system = root.find("os")
    assert system is not None
    loader = {"readonly": "yes", "type": "pflash"}
    ET.SubElement(system, "loader", loader).text = str(running.host.folder / "CODE.fd")
    ET.SubElement(system, "nvram", {"template": template} if template else {}).text = str(path)
    running.host.connection.defineXML(ET.tostring(root, encoding="unicode"))
    return uuid, path, raw


def test_variables_of_a_firmware_that_libvirt_chooses_come_back_too(running: RunningBench):
    uuid = two_disks(running)
    running.hypervisor.asleep()
    machine = running.hypervisor.inner.machine(uuid)
    text = machine.definition[XML].replace("<os>", "<os firmware='efi'>")
    packed = base64.b64encode(zlib.compress(b"mine")).decode()
    room = running.host.folder / "room"
    room.mkdir()
    write({"nvram": packed}, room)
    wanted = machine._replace(definition={XML: text})
    places = {disk.name: room / disk.name for disk in machine.disks}
    told = ET.fromstring(compose(wanted, places, "qemu", CopyMode(fresh=True)))
    path = told.findtext("os/nvram")
    assert Path(path or "").read_bytes() == b"mine"


def variables_of(running: RunningBench, uuid: str) -> str | None:
    domain = running.host.connection.lookupByUUIDString(uuid)
    return ET.fromstring(domain.XMLDesc()).findtext("os/nvram")


def test_the_variables_of_a_firmware_come_back_with_their_machine(running: RunningBench):
    inner = running.hypervisor.inner
    uuid, path, raw = with_variables(running, "/usr/share/VARS.fd")
    with inner.snapshot(uuid, "one") as snapshot:
        then = snapshot.machine
    path.write_bytes(b"later")
    with inner.create(then, "make") as new:
        copy = new.commit()
    its = Path(variables_of(running, copy.uuid) or "")
    assert its.read_bytes() == raw
    assert (its.parent.parent, path.read_bytes()) == (running.host.storage, b"later")
    assert len(copy.definition[XML]) < 10_000  # the variables are not stored twice
    with inner.create(then, "over", overwrite=True) as new:
        new.commit()
    assert not path.exists()
    assert Path(variables_of(running, uuid) or "").read_bytes() == raw
    for item in (uuid, copy.uuid):
        inner.remove(item)
    assert not list(running.host.storage.iterdir())


@pytest.mark.parametrize("template", ["", "/usr/share/VARS.fd"])
def test_a_copy_without_variables_gets_fresh_ones_and_never_those_of_another(
    running: RunningBench, template: str
):
    inner = running.hypervisor.inner
    uuid, path, _ = with_variables(running, template)
    machine = inner.machine(uuid)
    with inner.create(machine, "make") as new:
        copy = new.commit()
    assert variables_of(running, copy.uuid) != str(path)
    inner.remove(copy.uuid)
    assert path.exists()


@pytest.mark.parametrize(
    "packed", ["???", "eA==", base64.b64encode(zlib.compress(bytes(65 << 20))).decode(), 7]
)
def test_variables_that_are_none_are_refused_and_nothing_is_left(
    running: RunningBench, packed: object
):
    inner = running.hypervisor.inner
    machine = Machine("", "web", (), {"memory": 64, "nvram": packed})
    with pytest.raises(Malformed, match="variables"):
        inner.create(machine, "make")
    assert not list(running.host.storage.iterdir())


def _does_not_answer(*_: object) -> None:
    raise Unavailable("libvirt was killed")
