"""Machines in an image folder, created by hand as a user would."""

import json
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.images import qemu

needs_qemu = pytest.mark.skipif(
    not (shutil.which("qemu-img") and shutil.which("qemu-nbd") and shutil.which("qemu-io")),
    reason="qemu-utils is not installed, and qcow2 images need it",
)
UUID = "11111111-2222-4333-8444-555555555555"


def image_of(hypervisor: ImageFolder, uuid, disk):
    """The path of a machine's image."""
    for folder in hypervisor.root.iterdir():
        definition = json.loads((folder / "machine.json").read_text())
        if definition["uuid"] == uuid:
            return folder / next(d["file"] for d in definition["disks"] if d["name"] == disk)
    raise KeyError(uuid)


def raw_machine(root, name="web", uuid=UUID, **more):
    """A folder with one raw image of 1 MiB; `more` replaces fields of machine.json."""
    folder = root / name
    folder.mkdir()
    (folder / "root.raw").write_bytes(b"r" * (1 << 20))
    disks = [{"name": "root", "file": "root.raw", "format": "raw"}]
    (folder / "machine.json").write_text(
        json.dumps({"uuid": uuid, "name": name, "disks": disks, **more})
    )
    return folder


def qcow2_machine(root, name="web", uuid=UUID, size="8M"):
    """A folder with one empty qcow2 image; returns the image."""
    disks = [{"name": "root", "file": "root.qcow2", "format": "qcow2"}]
    folder = raw_machine(root, name, uuid, disks=disks)
    (folder / "root.raw").unlink()
    qemu_img("create", "-q", "-f", "qcow2", folder / "root.qcow2", size)
    return folder / "root.qcow2"


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def qemu_io(image, command):
    """Run qemu-io, which fails while another program has the image."""
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", command, str(image)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert not done.returncode, done.stdout + done.stderr


def qemu_io_when_free(image, command):
    """Run qemu-io, repeated for ten seconds while a task or an orphaned tool has the image."""
    end = time.monotonic() + 10
    while True:
        try:
            return qemu_io(image, command)
        except AssertionError as error:
            if "lock" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.05)


class Dying:
    """A process that changes images by qemu-img several times, then dies."""

    class Died(BaseException):
        pass

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
        self.count, self.last = 0, last
        self._patch = monkeypatch
        self._real = {name: getattr(qemu, name) for name in ("change_inner", "remove_bitmap")}
        for name in self._real:
            monkeypatch.setattr(qemu, name, partial(self._call, name))

    def _call(self, name, *arguments) -> None:
        if self.count >= self.last:
            raise self.Died
        self.count += 1
        self._real[name](*arguments)

    def over(self) -> None:
        for name, real in self._real.items():
            self._patch.setattr(qemu, name, real)


def restored_disk(folder: Path) -> Path:
    """The only disk in a folder of restored disks."""
    [disk] = folder.glob("*.raw")
    return disk
