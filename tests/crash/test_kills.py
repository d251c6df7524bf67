"""Node and server are killed at seeded moments: acknowledged work survives, and no leftovers stay.

HAULBACK_CASES=SEED:COUNT gives the first seed and the number of cases; by default tests/shares.py
selects them.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.cli.repository_keys import key_of
from haulback.destinations.folder import Folder
from haulback.drivers.images import qemu
from haulback.errors import HaulbackError
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.restore import restore_disk
from haulback.repository.verify import Depth, verify
from tests import shares
from tests.images import needs_qemu, qcow2_machine, qemu_io_when_free
from tests.programs import Site

MACHINES = ("db", "web")
SIZE = 24 << 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.open()
    yield made
    made.close()


@needs_qemu
def test_whatever_is_killed_every_backup_that_counts_comes_back(site: Site, tmp_path: Path):
    cases = shares.cases("kills")
    story = Story(site, tmp_path, random.Random(cases.first))
    for number in range(cases.count):
        story.round(number)
    story.check_all(cases.count)


class Sink:
    """A restored disk in memory."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data


class Story:
    """Machines that change, their backups, and the expected content of each backup."""

    def __init__(self, site: Site, folder: Path, chance: random.Random) -> None:
        self.site, self.chance, self.folder = site, chance, folder
        self.content = {name: bytearray(SIZE) for name in MACHINES}
        self.expected: dict[str, str] = {}
        for number, name in enumerate(MACHINES):
            qcow2_machine(
                site.machines, name, f"{number}" * 8 + "-2222-4333-8444-555555555555", "24M"
            )
            self.write(name, 6 << 20)
        self.entities = site.sync()
        keep = {"retention": {"keepLastNFull": 3, "keepLastNIncremental": 5}}
        site.api.put(f"/backup-destinations/{site.destination['guid']}", keep)

    def round(self, number: int) -> None:
        """Change, submit, kill at a random moment, restart, wait, check."""
        for name in MACHINES:
            self.write(name, self.chance.choice((4096, 300_000, 3 << 20)))
        for name in MACHINES:
            kind = "FULL" if self.chance.random() < 0.2 else "INCREMENTAL"
            export = self.site.export(self.entities[name], kind)
            digest = hashlib.sha256(self.content[name]).hexdigest()
            self.expected[export["backup"]["guid"]] = digest
        restored = self.import_some() if self.includes("RESTORE", 0.3) else None
        if self.includes("BACKUP_CLEANUP", 0.4):
            self.clean_up()
        self.wait_for_the_moment()
        self.kill(self.chance.choice(("node", "node", "server", "both")))
        self.site.all_final()
        self.note_repeated()
        self.check_tidy(restored)
        self.check_newest()

    def includes(self, kind: str, chance: float) -> bool:
        """Whether a round has tasks of a kind that is not in each round."""
        return self.chance.random() < chance

    def wait_for_the_moment(self) -> None:
        """Wait for a random moment, which is the subject of the test."""
        time.sleep(self.chance.random() * 1.2)

    def write(self, name: str, count: int) -> None:
        """Write through QEMU as a guest would, and into the test's own copy."""
        offset = self.chance.randrange(SIZE - count)
        data = self.chance.randbytes(count)
        patch = self.folder / "patch"
        patch.write_bytes(data)
        image = self.site.machines / name / "root.qcow2"
        qemu_io_when_free(image, f"write -q -s {patch} {offset} {count}")
        self.content[name][offset : offset + count] = data

    def note_repeated(self) -> None:
        """Expect the present content of a backup that was made again, under a guid of its own."""
        for guid in {str(backup["guid"]) for backup in self.backups()} - self.expected.keys():
            name = self.site.api.get(f"/backups/{guid}")["protectedEntity"]["name"]
            self.expected[guid] = hashlib.sha256(self.content[name]).hexdigest()

    def import_some(self) -> str | None:
        done = [b["guid"] for b in self.backups() if b["guid"] in self.expected]
        if not done:
            return None
        guid = self.chance.choice(done)
        hypervisor = {"guid": self.site.hypervisor["guid"]}
        body = {"backup": guid, "hypervisor": hypervisor, "restoredPeName": "back"}
        self.site.api.post("/tasks/restore-and-import", body)
        return guid

    def clean_up(self) -> None:
        body = {"backupDestinations": [self.site.destination["guid"]]}
        self.site.api.post("/tasks/remove-old-backups", body)

    def kill(self, victim: str) -> None:
        if victim in ("server", "both"):
            self.site.server.end()
        if victim in ("node", "both"):
            self.site.node.end()
        if victim in ("server", "both"):
            self.site.api.close()
            self.site.start_server()
        if victim in ("node", "both"):
            self.site.node.start()

    def backups(self) -> list[dict[str, object]]:
        found = self.site.api.get("/backups", {"status": "SUCCESS"})
        return [dict(one) for one in found]

    def check_tidy(self, restored: str | None) -> None:
        """Check that no unneeded folder, temporary object, limit or bitmap is left."""
        self.site.wait_for(self.nothing_left)
        for path in sorted(self.site.machines.iterdir()):
            if path.name in MACHINES:
                continue
            assert restored, f"{path} came from nowhere"
            self.check_image(path, self.expected[restored])
            shutil.rmtree(path)
        self.site.sync()

    def nothing_left(self) -> bool:
        if found := self.leftovers():
            raise HaulbackError(f"leftovers: {found}")
        return True

    def leftovers(self) -> list[str]:
        site = self.site
        found = [*site.home.glob("staging/*"), *site.home.glob("journal/*")]
        found += [*site.machines.glob(".haulback-?*-?*"), *site.repository.glob(".tmp/*")]
        return [str(path) for path in found] + self.spare_bitmaps() + self.full_slots()

    def spare_bitmaps(self) -> list[str]:
        """Surplus bitmaps: a machine keeps only the bitmap of its base."""
        spare = []
        for name in MACHINES:
            found = qemu.bitmaps(self.site.machines / name / "root.qcow2")
            spare += [f"{name}: {bitmap.name}" for bitmap in found[1:]]
        return spare

    def full_slots(self) -> list[str]:
        with sqlite3.connect(
            f"file:{self.site.folder}/server/haulback.db?mode=ro", uri=True
        ) as sql:
            return [str(row) for row in sql.execute("SELECT key, used FROM slot")]

    def check_image(self, folder: Path, digest: str) -> None:
        [image] = [path for path in folder.iterdir() if path.suffix != ".json"]
        raw = self.folder / "back.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
        assert hashlib.sha256(raw.read_bytes()).hexdigest() == digest

    def check_newest(self) -> None:
        for backup in self.backups()[:2]:
            self.check(str(backup["guid"]))

    def check_all(self, rounds: int) -> None:
        """Check every stored backup, and the repository as a whole."""
        removed = self.site.api.get("/backups", {"status": "SUCCESS_REMOVED"})
        made = len(self.backups()) + len(removed)
        assert made > rounds // 2, "most rounds should have made backups all the same"
        # The second clean-up removes what the first kept for tasks that might still run.
        for _ in range(2):
            self.clean_up()
            self.site.all_final()
        backups = self.backups()
        for backup in backups:
            self.check(str(backup["guid"]))
        self.check_repository({str(backup["guid"]) for backup in backups})

    def check_repository(self, backups: set[str]) -> None:
        """The repository has exactly these backups, sound, and no pending deletes."""
        repository = self.repository()
        assert repository.objects.leaves("manifests") == backups, "removed, and nothing else"
        # the revision object stays
        graves = repository.objects.leaves("graves")
        assert {leaf for leaf in graves if not leaf.startswith("needs-")} == set()
        with ThreadPoolExecutor(2) as pool:
            report = verify(repository, Depth(3), Resources(pool))
        assert report.findings == []

    def check(self, backup: str) -> None:
        self.check_in(self.repository(), backup, backup)

    def check_in(self, repository: Repository, stored: str, backup: str) -> None:
        """Check that a stored backup, or a copy of it, restores with the content of the backup."""
        assert backup in self.expected, self.site.api.get(f"/backups/{backup}")
        [disk] = repository.manifest(stored).disks
        sink = Sink(disk.map.size)
        with ThreadPoolExecutor(2) as pool:
            restore_disk(disk.map, repository.reader(), sink, pool)
        assert hashlib.sha256(sink.data).hexdigest() == self.expected[backup], backup

    def repository(self) -> Repository:
        key = key_of(self.site.folder / "server", "", "bd")
        return Repository.open(Folder(self.site.repository), Secret("keyfile", bytes.fromhex(key)))
