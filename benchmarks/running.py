"""Benchmark of a running machine: Haulback's increments and virtnbdbackup's, Haulback's restore and
qemu-img.

`python -m benchmarks.running [--size GIB] [--rounds N]`; as root, with libvirtd, QEMU, and for the
comparison virtnbdbackup.  Wall times run from the request to the end of the last task.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hosts import libvirt_qemu
from tests.programs import Site

from haulback.testing.libvirt_lab import LibvirtLab, lab
from haulback.units import GIB, KIB, MIB

XML = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='qcow2'/><source file='{image}'/><target dev='vda' bus='virtio'/></disk>
<memballoon model='none'/></devices></domain>"""
_BLOCK = 64 * KIB


class Machine:
    """A running machine without a guest; its writes go through QEMU."""

    def __init__(self, host: LibvirtLab, name: str, image: Path) -> None:
        self.host, self.name, self.uuid, self.image = host, name, str(uuid.uuid4()), image
        text = XML.format(name=name, uuid=self.uuid, image=image)
        host.connection.defineXML(text).create()

    def write(self, offset: int, byte: int) -> None:
        name = "/machine/peripheral/virtio-disk0/virtio-backend"
        command = f'qemu-io -d {name} "write -P {byte} {offset} {_BLOCK}"'
        domain = self.host.connection.lookupByUUIDString(self.uuid)
        libvirt_qemu.qemuMonitorCommand(domain, command, 1)


def filled(path: Path, size: int) -> None:
    """Fill half of an image with alternating random data and text."""
    chance, raw = random.Random(1), path.with_suffix(".raw")
    with open(raw, "wb") as file:
        for number in range(size // MIB // 2):
            words = b"".join(b"line %d of many\n" % chance.randrange(999) for _ in range(40_000))
            file.write(chance.randbytes(MIB) if number % 2 else words[:MIB].ljust(MIB, b"."))
        file.truncate(size)
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path]
    subprocess.run(convert, check=True)
    raw.unlink()


def timed(call: Callable[[], Any]) -> float:
    os.sync()
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def peer(host: LibvirtLab, name: str, folder: Path, level: str) -> None:
    """Run virtnbdbackup in the host's own namespace, because it knows only the default socket."""
    usual = host.folder / "run" / "libvirt-sock"
    if not usual.is_symlink():
        usual.symlink_to(host.folder / "sock" / "libvirt-sock")
    command = ["nsenter", "-t", str(host.process_id), "-m", "-u", "virtnbdbackup", "-n", "-q"]
    command += ["-U", "qemu:///system", "-d", name, "-l", level, "-o", str(folder)]
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def measure(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    result: dict[str, Any] = {"size": size}
    with lab(folder / "h1") as host:
        ours, theirs = host.storage / "ours.qcow2", host.storage / "theirs.qcow2"
        filled(ours, size)
        shutil.copy(ours, theirs)
        machines = [Machine(host, "ours", ours), Machine(host, "theirs", theirs)]
        site = Site(folder / "site", lease=30.0)
        site.open()
        try:
            result |= increments(site, host, machines, folder, size, rounds)
            result |= restores(site, ours, folder, rounds)
        finally:
            site.close()
    return result


def increments(
    site: Site, host: LibvirtLab, machines: list[Machine], folder: Path, size: int, rounds: int
) -> dict[str, Any]:
    body = {"name": "kvm", "url": host.uri, "path": str(host.storage)}
    site.hypervisor = site.api.post("/hypervisors", body)
    site.finished(site.hypervisor["task"]["guid"])
    machine = site.sync()["ours"]
    compared = shutil.which("virtnbdbackup") is not None
    full = timed(lambda: site.backed_up(machine, "FULL"))
    their_full = timed(lambda: peer(host, "theirs", folder / "peer", "full")) if compared else 0.0
    chance, mine, others, read, changed = random.Random(2), [], [], [], 0
    for number in range(rounds):
        changed = size // 100 // _BLOCK
        for block in chance.sample(range(size // _BLOCK), changed):
            for running in machines:
                running.write(block * _BLOCK, number + 1)
        mine.append(timed(lambda: read.append(site.backed_up(machine, "INCREMENTAL"))))
        if compared:
            others.append(timed(lambda: peer(host, "theirs", folder / "peer", "inc")))
    bytes_read = statistics.median(row["transferredSize"] for row in read)
    result = {"full s": full, "increment s": statistics.median(mine)}
    result |= {"read / changed": bytes_read / (changed * _BLOCK)}
    if others:
        theirs = statistics.median(others)
        result |= {"virtnbdbackup full s": their_full, "virtnbdbackup increment s": theirs}
        result |= {"increment / virtnbdbackup": statistics.median(mine) / theirs}
    return result


def restores(site: Site, image: Path, folder: Path, rounds: int) -> dict[str, Any]:
    backup = site.api.get("/backups", {"status": "SUCCESS"})[0]["guid"]
    hypervisor = {"guid": site.hypervisor["guid"]}

    def restore() -> None:
        body = {
            "backup": backup,
            "hypervisor": hypervisor,
            "restoredPeName": uuid.uuid4().hex,
            "restoredDiskAllocationFormat": "SPARSE",
        }
        site.finished(site.api.post("/tasks/restore-and-import", body)["guid"])
        site.all_final()

    def convert() -> None:
        out = folder / "out.qcow2"
        subprocess.run(["qemu-img", "convert", "-U", "-O", "qcow2", image, out], check=True)
        with open(out, "rb") as file:
            os.fsync(file.fileno())
        out.unlink()

    # Alternately, because pending writes of one program must not slow down the other.
    pairs = [(timed(restore), timed(convert)) for _ in range(rounds)]
    ours, theirs = (statistics.median(pair) for pair in zip(*pairs, strict=True))
    return {"restore s": ours, "qemu-img convert s": theirs, "restore / convert": ours / theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2, help="GiB")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), wanted.size * GIB, wanted.rounds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
