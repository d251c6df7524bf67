"""The image folder driver and QEMU's own tools: their images are read, their locks are
respected.
"""

import os
import select
import signal
import subprocess
import sys

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.images.qemu import ServedImage, bitmaps
from haulback.drivers.source import Extent
from haulback.errors import SourceChanged, Unavailable, Unsupported
from haulback.testing.hypervisors import read
from haulback.units import KIB, MIB
from tests.images import UUID, Dying, needs_qemu, qcow2_machine, qemu_img, qemu_io, raw_machine

pytestmark = needs_qemu


@pytest.fixture
def folder(tmp_path):
    return ImageFolder(tmp_path)


def backed_up(folder, attempt="b1", base=None):
    """The view of the first disk: (changed extents or None, reason, bytes)."""
    with folder.snapshot(UUID, attempt, base) as snapshot:
        view = snapshot.views()[0]
        return view.changed and list(view.changed), view.reason, read(view)


class Holder:
    """A QEMU process that has opened an image for writing."""

    def __init__(self, image, kind):
        command = ["qemu-io", "-f", kind, str(image)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        self.process.stdin.write(b"length\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline()
        return self.process

    def __exit__(self, *_):
        self.process.communicate(b"quit\n", timeout=20)


def test_the_increment_names_exactly_the_clusters_that_were_written(folder):
    image = qcow2_machine(folder.root)
    qemu_io(image, "write -P 0x11 0 1M")
    assert backed_up(folder)[0] is None
    qemu_io(image, "write -P 0x55 1M 64k")
    qemu_io(image, "write -P 0x56 4196k 4k")
    changed, _, data = backed_up(folder, "b2", "haulback-b1")
    assert changed == [Extent(MIB, 64 * KIB), Extent(4160 * KIB, 64 * KIB)]
    assert data == bytes.fromhex("11") * MIB + b"\x55" * 64 * KIB + bytes(
        4196 * KIB - 1088 * KIB
    ) + (b"\x56" * 4096) + bytes(8 * MIB - 4200 * KIB)


def test_only_what_holds_data_is_read(folder):
    image = qcow2_machine(folder.root, size="1T")
    qemu_io(image, "write -P 1 512G 64k")
    qemu_io(image, "write -z 100G 1M")
    with folder.snapshot(UUID, "b1") as snapshot:
        (view,) = snapshot.views()
        assert view.source.size == 1 << 40
        assert list(view.source.extents()) == [Extent(512 << 30, 64 * KIB)]


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_image_that_a_machine_is_writing_is_refused_by_name(folder, kind):
    image = qcow2_machine(folder.root)
    if kind == "raw":
        image = raw_machine(folder.root, "raw", UUID[:-1] + "0") / "root.raw"
    uuid = UUID if kind == "qcow2" else UUID[:-1] + "0"
    with Holder(image, kind):
        with pytest.raises(SourceChanged, match=rf"{image}.*stop the machine"):
            folder.snapshot(uuid, "b1")
        with pytest.raises(SourceChanged, match="in use"):
            folder.remove(uuid)
        assert folder.machine(uuid)
    folder.snapshot(uuid, "b1").close()


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_no_machine_can_start_writing_while_its_image_is_read(folder, kind):
    image = qcow2_machine(folder.root)
    if kind == "raw":
        image.parent.joinpath("machine.json").unlink()
        image = raw_machine(folder.root, "raw") / "root.raw"
    with folder.snapshot(UUID, "b1"):
        refused = subprocess.run(
            ["qemu-io", "-f", kind, "-c", "write 0 512", str(image)], capture_output=True
        )
        assert b"write" in refused.stderr
        assert refused.returncode
    qemu_img("info", image)


def test_a_bitmap_that_a_killed_qemu_left_inconsistent_means_a_full_read(folder):
    image = qcow2_machine(folder.root)
    backed_up(folder)
    with Holder(image, "qcow2") as process:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdin = None
    changed, reason, _ = backed_up(folder, "b2", "haulback-b1")
    assert changed is None
    assert "inconsistent" in reason
    assert folder.drop_checkpoints(UUID, {"haulback-b2"}) == ["haulback-b1"]
    assert [bitmap.name for bitmap in bitmaps(image)] == [f"haulback-b2.{8 * MIB}"]


def test_a_resized_disk_is_read_whole(folder):
    image = qcow2_machine(folder.root)
    backed_up(folder)
    qemu_img("resize", "-q", "-f", "qcow2", image, "9M")
    changed, reason, data = backed_up(folder, "b2", "haulback-b1")
    assert (changed, len(data)) == (None, 9 * MIB)
    assert "resized" in reason


def test_an_old_image_cannot_track_and_says_how_it_could(folder):
    image = qcow2_machine(folder.root)
    qemu_img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", image, "8M")
    with folder.snapshot(UUID, "b1", "haulback-b0") as snapshot:
        assert snapshot.checkpoint is None
        assert "qemu-img amend" in snapshot.views()[0].reason


def test_bitmaps_of_others_are_left_alone(folder):
    image = qcow2_machine(folder.root)
    for name in ("mine", "haulback-notes", "haulback-x.y"):
        qemu_img("bitmap", "--add", image, name)
    backed_up(folder)
    assert folder.drop_checkpoints(UUID, set()) == ["haulback-b1"]
    assert len(bitmaps(image)) == 3


def test_a_snapshot_that_fails_halfway_leaves_no_bitmap(folder):
    image = qcow2_machine(folder.root)
    definition = image.parent / "machine.json"
    second = image.with_name("second.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", second, "1M")
    with open(second, "r+b") as file:  # a first-level table at an impossible offset
        file.seek(40)
        file.write((513).to_bytes(8, "big"))
    text = definition.read_text()
    more = ', {"name": "second", "file": "second.qcow2", "format": "qcow2"}]'
    definition.write_text(text.replace("]", more))
    with pytest.raises(Unavailable, match=r"second\.qcow2"):
        folder.snapshot(UUID, "b1")
    assert bitmaps(image) == ()


def test_the_image_server_ends_with_the_process_that_asked_for_it(folder):
    image = qcow2_machine(folder.root)
    script = (
        "import sys; from pathlib import Path\n"
        "from haulback.drivers.images.qemu import ServedImage\n"
        "served = ServedImage(Path(sys.argv[1]), writable=True)\n"
        "print(served._child.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(image)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        watch = os.pidfd_open(int(owner.stdout.readline()))
        owner.send_signal(signal.SIGKILL)
        try:
            assert select.select([watch], [], [], 20)[0], "qemu-nbd outlived its owner"
        finally:
            os.close(watch)
    qemu_io(image, "write 0 512")


def test_an_imported_qcow2_image_is_sound_and_sparse(folder):
    wanted = Machine(UUID, "web", (MachineDisk("root", 1 << 34, "qcow2"),), {"cpus": 2})
    with folder.create(wanted, "a1") as new:
        new.sink("root").write_at(1 << 33, b"z" * MIB)
        assert new.commit().uuid == UUID
    image = folder.root / "web" / "root.qcow2"
    qemu_img("check", "-q", image)
    assert image.stat().st_blocks * 512 < 3 * MIB
    served = ServedImage(image)
    assert list(served.export.extents()) == [Extent(1 << 33, MIB)]
    served.close()


@pytest.mark.parametrize("last", range(3))
def test_going_back_that_dies_leaves_the_disks_as_they_were(folder, monkeypatch, last):
    image = qcow2_machine(folder.root)
    folder.take_snapshot(UUID, "good")
    backed_up(folder)
    qemu_io(image, "write -P 0x55 1M 64k")
    dying = Dying(monkeypatch, last)
    with pytest.raises(Dying.Died):
        folder.revert(UUID, "good", "before", "a1")
    dying.over()
    assert folder.sweep({"a1"}) == []
    assert folder.sweep(set()) == [".haulback-a1.back"]
    assert [snapshot.name for snapshot in folder.machine(UUID).snapshots] == ["good"]
    changed, _, data = backed_up(folder, "b2", "haulback-b1")
    assert data[MIB : MIB + 64 * KIB] == b"\x55" * 64 * KIB
    assert changed in (None, [Extent(MIB, 64 * KIB)])


def test_a_snapshot_that_fails_halfway_is_in_no_image(folder):
    raw_machine(folder.root)
    with pytest.raises(Unsupported, match="cannot hold snapshots"):
        folder.take_snapshot(UUID, "one")
    assert folder.machine(UUID).snapshots == ()


def test_a_snapshot_is_found_by_its_name_though_another_has_that_id(folder):
    image = qcow2_machine(folder.root)
    for number, name in ((1, "2"), (2, "1")):  # QEMU numbers the snapshots of an image itself
        qemu_io(image, f"write -P {number} 0 64k")
        qemu_img("snapshot", "-c", name, image)
    qemu_io(image, "write -P 9 0 64k")
    folder.revert(UUID, "1", "before", "r1")
    assert backed_up(folder)[2][:4] == b"\2" * 4
