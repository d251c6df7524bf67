"""Server and node are killed while a repository is attached, taken over and read again.

A repetition converges: each backup is in the catalogue once with its facts, one server is the
owner, and the extracts on the destination are readable.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.repository.repository import Repository
from tests import shares
from tests.programs import Site
from tests.vaults import SECRET, vault

BACKUPS = 700
CASES = shares.cases("attach")
# Seconds that an attach of this number of backups takes, including the start of a node.
LONGEST = 1.6


class Vaults:
    """A server and a node, and repositories of a lost server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(folder / "site", lease=2.0)
        self.site.open()

    def kill(self, dice: random.Random) -> None:
        if dice.random() < 0.5:
            self.site.node.end(signal.SIGKILL)
            self.site.node.start()
        else:
            self.site.server.end(signal.SIGKILL)
            self.site.start_server()

    def ended(self, task: dict[str, Any]) -> bool:
        return bool(self.site.final(task["guid"])["state"]["name"] == "FINISHED")

    def backups(self, destination: str) -> list[dict[str, Any]]:
        query = {"backup-destination": destination, "size": 10_000}
        return [dict(row) for row in self.site.api.get("/backups", query)]


@pytest.fixture(scope="module")
def vaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vaults]:
    made = Vaults(tmp_path_factory.mktemp("vaults"))
    yield made
    made.site.close()


@pytest.mark.parametrize("seed", CASES.seeds)
def test_an_attach_that_is_killed_and_repeated_converges(vaults: Vaults, seed: int):
    dice, api = random.Random(seed), vaults.site.api
    store = vaults.folder / f"store-{seed}"
    repository = vault(store, BACKUPS, seed)
    body = {"name": f"vault {seed}", "path": str(store), "keyFile": SECRET.value.hex()}
    body |= {"takeOver": True, "oldCredentialRevoked": True}
    made = api.post("/backup-destinations/attach", body)
    guid = made["guid"]
    for _ in range(dice.randrange(1, 4)):
        time.sleep(dice.random() * LONGEST)  # a random moment is the subject of the test
        vaults.kill(dice)
    path = f"/backup-destinations/{guid}/take-over"
    done = vaults.ended(made["task"])
    for _ in range(3):
        done = done or vaults.ended(
            vaults.site.api.post(path, {"oldCredentialRevoked": True})["task"]
        )
    assert done, vaults.site.log.read_text()[-3000:]
    _check(vaults, guid, repository)


def _check(vaults: Vaults, guid: str, repository: Repository) -> None:
    rows = vaults.backups(guid)
    assert len(rows) == BACKUPS
    assert {row["backupLocations"][0]["retentionHint"]["name"] for row in rows} == {"ARCHIVE"}
    assert {row["backupLocations"][0]["status"]["name"] for row in rows} == {"PRESENT"}
    shown = vaults.site.api.get(f"/backup-destinations/{guid}")
    assert shown["owner"]["number"] == repository.owners.newest().number
    stored = repository.extracts.read()
    assert stored.problems == {}
    assert sum(1 for _ in stored.items("backup")) == BACKUPS
    body = {"backupDestinations": [guid]}
    [task] = vaults.site.api.post("/tasks/remove-old-backups", body)
    vaults.site.finished(task["guid"])
