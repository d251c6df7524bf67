"""Killing node, server, QEMU and libvirtd while a running machine is backed up, proved, restored.

HAULBACK_KILLS_RUNNING says how often (8), HAULBACK_SEED with which seed (a fresh one, in the
output).
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from haulback.destinations.folder import Folder
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.libvirt.edge import Host
from haulback.errors import HaulbackError
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk
from haulback.server.serve import key_of
from haulback.testing.libvirt_lab import LibvirtLab, lab
from tests.hosts import libvirt_qemu, needs_libvirt
from tests.images import qemu_img
from tests.programs import Site

pytestmark = needs_libvirt
KILLS = int(os.environ.get("HAULBACK_KILLS_RUNNING", "8"))
SIZE = 16 << 20
UUID = "99999999-2222-4333-8444-555555555555"
XML = """<domain type='qemu'><name>db</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='qcow2'/><source file='{image}'/><target dev='vda' bus='virtio'/></disk>
<memballoon model='none'/></devices></domain>"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LibvirtLab]:
    with lab(tmp_path / "h1") as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, host: LibvirtLab) -> Iterator[Site]:
    made = Site(tmp_path / "site", lease=2.0)
    made.open()
    yield made
    made.close()


def test_whatever_is_killed_a_running_machine_loses_nothing(
    site: Site, host: LibvirtLab, tmp_path: Path
):
    seed = os.environ.get("HAULBACK_SEED") or secrets.token_hex(8)
    print(f"HAULBACK_SEED={seed}")
    story = Story(site, host, random.Random(seed))
    for _ in range(KILLS):
        story.round()
    story.check_all()


class Sink:
    """A restored disk in memory."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data


class Story:
    """One machine that runs and writes, backups of it, and what each of them must contain."""

    def __init__(self, site: Site, host: LibvirtLab, chance: random.Random) -> None:
        self.site, self.host, self.chance = site, host, chance
        self.content, self.expected = bytearray(SIZE), dict[str, str]()
        image = host.storage / "db.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", image, str(SIZE))
        host.connection.defineXML(XML.format(uuid=UUID, image=image)).create()
        body = {"name": "kvm", "url": host.uri, "path": str(host.storage)}
        site.hypervisor = site.api.post("/hypervisors", body)
        site.finished(site.hypervisor["task"]["guid"])
        self.machine = site.sync()["db"]
        self.hypervisor = LibvirtHost(host.uri, host.storage)

    def domain(self) -> Any:
        return self.host.connection.lookupByUUIDString(UUID)

    def write(self, count: int) -> None:
        """What a guest does, through QEMU; the same in our copy."""
        offset = self.chance.randrange((SIZE - count) // 512) * 512
        byte = self.chance.randrange(1, 256)
        name = "/machine/peripheral/virtio-disk0/virtio-backend"
        command = f'qemu-io -d {name} "write -P {byte} {offset} {count}"'
        answer = libvirt_qemu.qemuMonitorCommand(self.domain(), command, 1)
        assert "rror" not in answer, answer
        # What a killed QEMU had not written yet would be lost to the guest too.
        libvirt_qemu.qemuMonitorCommand(self.domain(), f'qemu-io -d {name} "flush"', 1)
        self.content[offset : offset + count] = bytes([byte]) * count

    def round(self) -> None:
        """Change, submit, kill somewhere in the middle, restart, wait, check."""
        for count in (4096, 262_144):
            self.write(count)
        kind = "FULL" if self.chance.random() < 0.2 else "INCREMENTAL"
        export = self.site.export(self.machine, kind)
        digest = hashlib.sha256(self.content).hexdigest()
        self.expected[export["backup"]["guid"]] = digest
        self.something_else()
        time.sleep(self.chance.random() * 1.5)  # the moment is what is being tested
        self.kill(self.chance.choice(("node", "server", "qemu", "libvirtd")))
        self.site.all_final()
        self.site.wait_for(self.nothing_left)
        for backup in self.backups()[:1]:
            self.check(str(backup["guid"]))

    def something_else(self) -> None:
        done = [b["guid"] for b in self.backups()]
        if not done or self.chance.random() < 0.5:
            return
        guid = self.chance.choice(done)
        if self.chance.random() < 0.5:
            body = {"backup": guid, "text": "never", "timeout": 1000}
            self.site.api.post("/tasks/prove", body)
            return
        hypervisor = {"guid": self.site.hypervisor["guid"]}
        body = {"backup": guid, "hypervisor": hypervisor, "restoredPeName": "back"}
        self.site.api.post("/tasks/restore-and-import", body)

    def kill(self, victim: str) -> None:
        print(victim)
        if victim == "node":
            self.site.node.end()
            self.site.node.start()
        elif victim == "server":
            self.site.server.end()
            self.site.api.close()
            self.site.start_server()
        elif victim == "qemu":
            os.kill(self.host.pid("db"), signal.SIGKILL)
            self.host.until(lambda: not self.domain().isActive())
            self.domain().create()
        else:
            self.host.kill()
            self.host.start()

    def backups(self) -> list[dict[str, object]]:
        return [dict(one) for one in self.site.api.get("/backups", {"status": "SUCCESS"})]

    def nothing_left(self) -> bool:
        """No job, machine, room, folder or checkpoint that no one needs."""
        found = [domain.name() for domain in self.host.connection.listAllDomains()]
        found = [name for name in found if name.startswith("haulback-")]
        found += ["a backup job"] if Host(self.host.uri).domain(UUID).backup() else []
        return self._left(found)

    def _left(self, found: list[str]) -> bool:
        site, work = self.site, self.hypervisor.work
        found += [str(path) for path in (*site.home.glob("staging/*"), *work.glob("*"))]
        found += [str(path) for path in self.host.storage.glob(".haulback*")]
        used = {Path(v).parent for v in self._images()}
        rooms = self.host.storage.glob("*.haulback-*")
        found += [str(room) for room in rooms if room not in used]
        marks = [c.getName() for c in self.domain().listAllCheckpoints()]
        found += marks[1:]
        if found:
            raise HaulbackError(f"left behind: {found}")
        return True

    def _images(self) -> list[str]:
        texts = [domain.XMLDesc(0) for domain in self.host.connection.listAllDomains()]
        return [part.split("'")[0] for text in texts for part in text.split("<source file='")[1:]]

    def check_all(self) -> None:
        """Every backup that counts, and every machine that came back."""
        assert self.backups(), "some rounds should have made backups all the same"
        for backup in self.backups():
            self.check(str(backup["guid"]))
        digests = set(self.expected.values())
        for domain in self.host.connection.listAllDomains():
            if domain.name() == "db":
                continue
            with LibvirtHost(self.host.uri, self.host.storage).snapshot(
                domain.UUIDString(), "look"
            ) as snapshot:
                [view] = snapshot.views()
                data = bytearray(view.disk.size)
                view.source.read_into(0, memoryview(data))
            assert hashlib.sha256(data).hexdigest() in digests, domain.name()

    def check(self, backup: str) -> None:
        key = key_of(self.site.folder / "server", "", "bd")
        secret = Secret("keyfile", bytes.fromhex(key))
        repository = Repository.open(Folder(self.site.repository), secret)
        [disk] = repository.manifest(backup).disks
        sink = Sink(disk.map.size)
        with ThreadPoolExecutor(2) as pool:
            restore_disk(disk.map, repository.reader(), sink, pool)
        assert hashlib.sha256(sink.data).hexdigest() == self.expected[backup], backup
