"""Every hypervisor driver passes the same conformance suite."""

import subprocess

import pytest

from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.testing.hypervisors import CHECKS
from haulback.testing.memory_hypervisor import MemoryHypervisor
from tests.images import image_of, needs_qemu


class MemoryBench:
    format, tracks = "memory", True

    def __init__(self, root):
        self.hypervisor = MemoryHypervisor()

    def guest_writes(self, uuid, disk, offset, data):
        self.hypervisor.machines[uuid].disks[disk].write_at(offset, data)

    def save_memory(self, uuid):
        self.hypervisor.saved.add(uuid)

    def has_memory(self, uuid):
        return uuid in self.hypervisor.saved


class RawBench:
    format, tracks = "raw", False

    def __init__(self, root):
        self.hypervisor = ImageFolder(root)

    def guest_writes(self, uuid, disk, offset, data):
        with open(image_of(self.hypervisor, uuid, disk), "r+b") as file:
            file.seek(offset)
            file.write(data)


class Qcow2Bench(RawBench):
    format, tracks = "qcow2", True

    def guest_writes(self, uuid, disk, offset, data):
        write = f"write -P {data[0]} {offset} {len(data)}"
        image = image_of(self.hypervisor, uuid, disk)
        subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", write, image], check=True, stdout=subprocess.DEVNULL
        )


@pytest.fixture(params=[MemoryBench, RawBench, pytest.param(Qcow2Bench, marks=needs_qemu)])
def bench(request, tmp_path):
    return request.param(tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_hypervisor_keeps_its_promise(bench, check):
    check(bench)
    if isinstance(bench.hypervisor, ImageFolder):
        assert not list(bench.hypervisor.root.glob(".haulback-*"))
