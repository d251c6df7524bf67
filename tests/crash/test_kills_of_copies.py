"""Node and server are killed while copies are made: every recorded copy restores, and no partial
copy stays.

HAULBACK_CASES=SEED:COUNT gives the first seed and the number of cases; by default tests/shares.py
selects them.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.repository_keys import key_of
from haulback.destinations.folder import Folder
from haulback.errors import HaulbackError
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from tests import shares
from tests.images import raw_machine
from tests.programs import Site
from tests.unit.repository.scene import restored

SIZE = 12 << 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.open()
    yield made
    made.close()


def test_whatever_is_killed_every_copy_that_counts_restores(site: Site):
    cases = shares.cases("copy-kills")
    story = Copying(site, random.Random(cases.first))
    for _ in range(cases.count):
        story.round()
    story.check_all(cases.count)


class Copying:
    """A machine that changes, a rule that copies its backups, and their expected contents."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site, self.chance, self.expected = site, chance, dict[str, bytes]()
        self.far = site.folder / "far"
        self.far.mkdir()
        first = {"guid": site.destination["guid"]}
        body = {"name": "far", "path": str(self.far), "copyOf": first}
        added = site.api.post("/backup-destinations", body)
        site.finished(added["task"]["guid"])
        raw_machine(site.machines, "web", str(uuid.uuid4()))
        self.image = site.machines / "web" / "root.raw"
        self.content = bytearray(chance.randbytes(SIZE))
        self.write(0)
        targets = [
            {"roleType": role, "backupDestination": to}
            for role, to in (("PRIMARY", first), ("SECONDARY", {"guid": added["guid"]}))
        ]
        rules = [{"name": "both", "ruleBackupDestinations": targets}]
        self.machine = site.sync()["web"]
        vms = [{"guid": self.machine}]
        policy = {"name": "p", "backupRetryCount": 3, "vms": vms, "rules": rules}
        site.api.post("/policies/vm-backup", policy)

    def write(self, count: int) -> None:
        at = self.chance.randrange(SIZE - count)
        self.content[at : at + count] = self.chance.randbytes(count)
        self.image.write_bytes(self.content)

    def round(self) -> None:
        """Change, back up, kill at a random moment of the copy, restart, check."""
        self.write(self.chance.choice((4096, 300_000, 5 << 20)))
        export = self.site.export(self.machine)
        self.expected[export["backup"]["guid"]] = bytes(self.content)
        self.site.wait_for(lambda: self.copies("RUNNING", "FINISHED", "FAILED"))
        time.sleep(self.chance.random() * 0.15)  # the random moment is the subject of the test
        self.kill(self.chance.choice(("node", "node", "server")))
        self.site.wait_for(lambda: not self.copies("QUEUED", "RUNNING", "PLANNED"))
        # Even of an export that is repeated, because its machine changes next.
        self.site.all_final()
        self.site.wait_for(self.nothing_left)

    def copies(self, *states: str) -> list[dict[str, Any]]:
        query = {"type": "BACKUP_DESTINATION_SYNC"}
        newest = self.site.api.get("/tasks", query)[:1]
        return [task for task in newest if task["state"]["name"] in states]

    def kill(self, victim: str) -> None:
        if victim == "server":
            self.site.server.end()
            self.site.api.close()
            self.site.start_server()
        else:
            self.site.node.end()
            self.site.node.start()

    def nothing_left(self) -> bool:
        site = self.site
        left = [*site.home.glob("staging/*"), *site.home.glob("journal/*")]
        left += [*self.far.glob(".tmp/*"), *site.repository.glob(".tmp/*")]
        if left:
            raise HaulbackError(f"leftovers: {left}")
        return True

    def check_all(self, rounds: int) -> None:
        """Check that every copy which is present in the catalogue restores from the second
        repository.
        """
        opened = Repository.open(Folder(self.far), self.secret())
        sound = 0
        with ThreadPoolExecutor(2) as pool:
            for backup in self.site.api.get("/backups"):
                for place in self.site.api.get("/backup-locations", {"backup": backup["guid"]}):
                    is_copy = place["roleType"]["name"] == "SECONDARY"
                    if is_copy and place["status"]["name"] == "PRESENT":
                        sound += 1
                        self.check(opened, backup["guid"], pool)
        assert sound >= rounds // 2, "most rounds should have made copies all the same"

    def check(self, opened: Repository, backup: str, pool: ThreadPoolExecutor) -> None:
        [manifest] = [m for m in opened.backups() if m.labels["copyOf"] == backup]
        assert restored(opened, manifest, pool) == self.expected[backup]

    def secret(self) -> Secret:
        data = self.site.folder / "server"
        return Secret("keyfile", bytes.fromhex(key_of(data, "", "far", unchecked=True)))
