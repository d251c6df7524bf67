"""Node, server, QEMU, libvirtd and mounts are killed during work on a running machine.

The machine is backed up, proved, restored, run from its backup and migrated, mounted, snapshotted
and reverted.

HAULBACK_CASES=SEED:COUNT gives the first seed and the number of cases; by default tests/shares.py
selects them.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.repository_keys import key_of
from haulback.destinations.folder import Folder
from haulback.drivers.libvirt.connection import Host
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.libvirt.overlay import lies_on
from haulback.drivers.libvirt.volumes import located
from haulback.errors import HaulbackError
from haulback.mounts.supervisor import MountSupervisor
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk
from haulback.testing.libvirt_lab import LibvirtLab, lab
from tests import shares
from tests.hosts import libvirt_qemu, needs_libvirt
from tests.images import qemu_img
from tests.programs import Site

pytestmark = needs_libvirt
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
    keeper = MountSupervisor(made.home / "shares")
    for guid in keeper.all():
        keeper.end(guid)


def test_whatever_is_killed_a_running_machine_loses_nothing(
    site: Site, host: LibvirtLab, tmp_path: Path
):
    cases = shares.cases("running")
    story = Story(site, host, random.Random(cases.first))
    for _ in range(cases.count):
        story.round()
    story.check_all()


class Sink:
    """A restored disk in memory."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data


class Story:
    """A running machine that writes, its backups, and the expected content of each backup."""

    def __init__(self, site: Site, host: LibvirtLab, chance: random.Random) -> None:
        self.site, self.host, self.chance = site, host, chance
        self.content, self.expected = bytearray(SIZE), dict[str, str]()
        self.held: dict[str, bytes] = {}  # the expected content of snapshots, by name
        self.shares = MountSupervisor(site.home / "shares")
        image = host.storage / "db.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", image, str(SIZE))
        host.connection.defineXML(XML.format(uuid=UUID, image=image)).create()
        body = {"name": "kvm", "url": host.uri, "path": str(host.storage)}
        site.hypervisor = site.api.post("/hypervisors", body)
        site.finished(site.hypervisor["task"]["guid"])
        self.machine = site.sync()["db"]

    @property
    def hypervisor(self) -> LibvirtHost:
        """A new connection, because the process of the earlier one may be killed."""
        return LibvirtHost(self.host.uri, self.host.storage)

    def domain(self) -> Any:
        return self.host.connection.lookupByUUIDString(UUID)

    def write(self, count: int) -> None:
        """Write through QEMU as a guest would, and into the test's own copy."""
        offset = self.chance.randrange((SIZE - count) // 512) * 512
        byte = self.chance.randrange(1, 256)
        name = "/machine/peripheral/virtio-disk0/virtio-backend"
        command = f'qemu-io -d {name} "write -P {byte} {offset} {count}"'
        answer = libvirt_qemu.qemuMonitorCommand(self.domain(), command, 1)
        assert "rror" not in answer, answer
        # A guest would also lose data that a killed QEMU had not written yet.
        libvirt_qemu.qemuMonitorCommand(self.domain(), f'qemu-io -d {name} "flush"', 1)
        self.content[offset : offset + count] = bytes([byte]) * count

    def round(self) -> None:
        """Change, submit, kill at a random moment, restart, wait, check."""
        for count in (4096, 262_144):
            self.write(count)
        if self.held and self.chance.random() < 0.3:
            self.revert()
            return
        kind = "FULL" if self.chance.random() < 0.2 else "INCREMENTAL"
        export = self.site.export(self.machine, kind)
        digest = hashlib.sha256(self.content).hexdigest()
        self.expected[export["backup"]["guid"]] = digest
        self.something_else()
        self.kill_soon("node", "server", "qemu", "libvirtd", *(["share"] if self.mounted() else []))
        for row in self.site.api.get("/snapshots"):
            self.held.setdefault(row["uuid"], bytes(self.content))
        for backup in self.backups()[:1]:
            self.check(str(backup["guid"]))

    def kill_soon(self, *victims: str) -> None:
        time.sleep(self.chance.random() * 1.5)  # the random moment is the subject of the test
        self.kill(self.chance.choice(victims))
        self.site.all_final()
        self.site.wait_for(self.nothing_left)

    def something_else(self) -> None:
        """Start a random task besides the export, on existing objects."""
        done = [b["guid"] for b in self.backups()]
        others = (self.snapshot, self.prove, self.bring_back, self.mount, self.run, self.run)
        if done and self.chance.random() < 0.7:
            self.chance.choice(others)(str(self.chance.choice(done)))

    def snapshot(self, _: str) -> None:
        self.site.api.post("/tasks/snapshot", {"protectedEntities": [self.machine]})

    def prove(self, backup: str) -> None:
        body = {"backup": backup, "text": "never", "timeout": 1000}
        self.site.api.post("/tasks/prove", body)

    def bring_back(self, backup: str) -> None:
        hypervisor = {"guid": self.site.hypervisor["guid"]}
        body = {"backup": backup, "hypervisor": hypervisor, "restoredPeName": "back"}
        self.site.api.post("/tasks/restore-and-import", body)

    def mount(self, backup: str) -> None:
        """Mount a backup, or unmount a mounted one."""
        if mounted := self.mounted():
            self.site.api.post("/tasks/unmount", {"mountedBackup": mounted[0]})
        else:
            self.site.api.post("/tasks/restore-and-mount", {"mode": "AUTO", "backup": backup})

    def run(self, backup: str) -> None:
        """Run a machine from a backup; migrate or end a machine that runs from one."""
        running = [row for row in self.mounts() if row.get("machine")]
        if not running:
            body = {"mode": "INSTANT_RESTORE", "backup": backup, "restoredPeName": "now"}
            body["hypervisor"] = self.site.hypervisor["guid"]
            self.site.api.post("/tasks/instant-restore", body)
            return
        domain = self.host.connection.lookupByUUIDString(running[0]["machine"])
        ours = {"mountedBackup": running[0]["guid"]}
        if domain.isActive() and self.chance.random() < 0.6:
            self.site.api.post("/tasks/live-migration", ours)
        else:
            if domain.isActive():
                domain.destroy()
            self.site.api.post("/tasks/unmount", ours)

    def mounts(self) -> list[dict[str, Any]]:
        rows = self.site.api.get("/mounted-backups", {"finished-mount": "false"})
        return [row for row in rows if row["state"]["name"] == "MOUNTED"]

    def mounted(self) -> list[str]:
        return [row["guid"] for row in self.mounts()]

    def revert(self) -> None:
        """Revert to a snapshot; the machine then has the old or the new content, and runs."""
        row = self.chance.choice(
            self.site.api.get("/snapshots", {"protected-entity": self.machine})
        )
        head = self.site.api.post("/tasks/revert", {"snapshot": {"guid": row["guid"]}})
        now = bytes(self.content)
        self.kill_soon("node", "server", "libvirtd")
        self.site.wait_for(lambda: bool(self.domain().isActive()))
        self.held = {name: data for name, data in self.held.items() if name in self.names()}
        for name in self.names() - self.held.keys():
            self.held[name] = now  # the content before the revert
        done = self.site.final(head["guid"])["state"]["name"] == "FINISHED"
        self.content[:] = self.held[row["uuid"]] if done else now
        with self.hypervisor.snapshot(UUID, "look") as snapshot:
            [view] = snapshot.views()
            data = bytearray(view.disk.size)
            view.source.read_into(0, memoryview(data))
        self.hypervisor.drop_checkpoints(UUID, set())
        assert data == self.content, f"the revert {'was done' if done else 'failed'}"

    def names(self) -> set[str]:
        """The names of the recorded snapshots."""
        return {row["uuid"] for row in self.site.api.get("/snapshots")}

    def kill(self, victim: str) -> None:
        print(victim)
        if victim == "share":
            for guid in self.mounted():
                # An unmount may be running, in which case no process is left to kill.
                with suppress(FileNotFoundError, ProcessLookupError):
                    pid = (self.shares.run_folder(guid) / "pid").read_text()
                    os.kill(int(pid), signal.SIGKILL)
        elif victim == "node":
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
            self.cure()

    def cure(self) -> None:
        """Repair a libvirtd that died at the beginning of a backup: it keeps the job for ever
        (libvirt 9.0).

        Only an administrator can repair it: stop the machine and restart libvirtd.
        """
        if Host(self.host.uri).domain(UUID).is_stuck():
            print("a job that nobody does")
            os.kill(self.host.pid("db"), signal.SIGKILL)
            self.host.until(lambda: not self.domain().isActive())
            self.host.kill()
            self.host.start()
            self.domain().create()

    def backups(self) -> list[dict[str, object]]:
        return [dict(one) for one in self.site.api.get("/backups", {"status": "SUCCESS"})]

    def nothing_left(self) -> bool:
        """Whether no unneeded job, machine, folder, checkpoint, snapshot or mount is left."""
        found = [domain.name() for domain in self.host.connection.listAllDomains()]
        found = [name for name in found if name.startswith("haulback-")]
        found += ["a backup job"] if Host(self.host.uri).domain(UUID).backup() else []
        return self._left(found)

    def _left(self, leftovers: list[str]) -> bool:
        site, work = self.site, self.hypervisor.work
        leftovers += [str(path) for path in (*site.home.glob("staging/*"), *work.glob("*"))]
        leftovers += [str(path) for path in self.host.storage.glob(".haulback*")]
        used = {Path(v).parent for v in self._images()}
        rooms = self.host.storage.glob("*.haulback-*")
        leftovers += [str(room) for room in rooms if room not in used]
        held = {snapshot.name for snapshot in self.hypervisor.machine(UUID).snapshots or ()}
        leftovers += sorted(held - self.names())
        shared, wanted = set(self.shares.all()), set(self.mounted())
        leftovers += [f"the share {item}" for item in shared ^ wanted]
        leftovers += [f"a dead share {item}" for item in wanted if not self.shares.lives(item)]
        leftovers += self._orphans(wanted)
        marks = [c.getName() for c in self.domain().listAllCheckpoints()]
        leftovers += marks[1:]
        if leftovers:
            raise HaulbackError(f"leftovers: {leftovers}")
        return True

    def _orphans(self, shares: set[str]) -> list[str]:
        """Machines that run from a mount that has ended."""
        host, hypervisor = Host(self.host.uri), self.hypervisor
        living = {one.uuid for one in host.domains() if lies_on(located(host, one.definition()))}
        for guid in shares:
            living -= {one.uuid for one in hypervisor.on_share(self.shares.socket(guid))}
        return [f"the machine {uuid} lives off nothing" for uuid in living]

    def _images(self) -> list[str]:
        texts = [domain.XMLDesc(0) for domain in self.host.connection.listAllDomains()]
        return [part.split("'")[0] for text in texts for part in text.split("<source file='")[1:]]

    def check_all(self) -> None:
        """Check every present backup, and every restored machine."""
        assert self.backups(), "some rounds should have made backups all the same"
        for backup in self.backups():
            self.check(str(backup["guid"]))
        digests = set(self.expected.values())
        for domain in self.host.connection.listAllDomains():
            if domain.name() == "db":
                continue
            if not domain.isActive() and domain.name().startswith("now"):
                domain.create()  # a machine on a mount is read while it runs
            # After the kill of a mount, QEMU's first read fails and makes it reconnect.
            self.site.wait_for(partial(self._is_known, domain.UUIDString(), digests))

    def _is_known(self, machine: str, digests: set[str]) -> bool:
        hypervisor = self.hypervisor
        hypervisor.drop_checkpoints(machine, set())
        with hypervisor.snapshot(machine, "look") as snapshot:
            [view] = snapshot.views()
            data = bytearray(view.disk.size)
            view.source.read_into(0, memoryview(data))
        assert hashlib.sha256(data).hexdigest() in digests
        return True

    def check(self, backup: str) -> None:
        key = key_of(self.site.folder / "server", "", "bd")
        secret = Secret("keyfile", bytes.fromhex(key))
        repository = Repository.open(Folder(self.site.repository), secret)
        [disk] = repository.manifest(backup).disks
        sink = Sink(disk.map.size)
        with ThreadPoolExecutor(2) as pool:
            restore_disk(disk.map, repository.reader(), sink, pool)
        assert hashlib.sha256(sink.data).hexdigest() == self.expected[backup], backup
