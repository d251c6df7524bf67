"""Server, node and store are killed while a repository is attached, taken over and read again.

A repetition converges: each backup is there once with its facts, one server is the owner, and the
extracts on the destination are readable.  Even seeds attach folders and kill at random moments; odd
seeds attach buckets and kill right before or right after the record of the new owner is stored.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from haulback.destinations.registry import open_destination
from haulback.errors import HaulbackError
from haulback.repository.repository import Repository
from tests import s3, shares
from tests.programs import FINAL, Site
from tests.vaults import SECRET, fill, vault

BACKUPS, IN_BUCKET = 700, 150
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


@pytest.mark.parametrize("seed", [seed for seed in CASES.seeds if seed % 2 == 0])
def test_an_attach_that_is_killed_and_repeated_converges(vaults: Vaults, seed: int):
    dice, folder = random.Random(seed), vaults.folder / f"store-{seed}"
    repository = vault(folder, BACKUPS, seed)
    made = attach(vaults, f"vault {seed}", {"path": str(folder)})
    for _ in range(dice.randrange(1, 4)):
        time.sleep(dice.random() * LONGEST)  # a random moment is the subject of the test
        vaults.kill(dice)
    taken_over(vaults, made)
    _check(vaults, made["guid"], repository, BACKUPS)


@pytest.mark.parametrize("seed", [seed for seed in CASES.seeds if seed % 2])
def test_a_take_over_in_a_bucket_is_whole_whatever_dies_around_its_record(
    vaults: Vaults, seed: int
):
    dice = random.Random(seed)
    settings = s3.config_of(s3.new_bucket())
    bucket = open_destination("s3", settings, "test")
    repository = fill(bucket, IN_BUCKET, seed)
    made = attach(vaults, f"bucket {seed}", {"type": "S3", **settings})
    _until_record(vaults, made, repository, is_before=dice.random() < 0.4)
    if dice.random() < 0.3:
        s3.server().kill()
        s3.server().start()
    else:
        vaults.kill(dice)
    taken_over(vaults, made)
    _check(vaults, made["guid"], repository, IN_BUCKET)


def _until_record(
    vaults: Vaults, made: dict[str, Any], repository: Repository, *, is_before: bool
) -> None:
    """Wait until the task runs, or until its owner record is stored."""

    def has_come() -> bool:
        state = vaults.site.api.get(f"/tasks/{made['task']['guid']}")["state"]["name"]
        is_begun = state == "RUNNING" and is_before
        return is_begun or state in FINAL or repository.owners.is_taken(1)

    vaults.site.wait_for(has_come)


def attach(vaults: Vaults, name: str, place: dict[str, Any]) -> dict[str, Any]:
    """Attach a repository and become its owner; the answer has the task."""
    body = {"name": name, "keyFile": SECRET.value.hex(), **place}
    body |= {"takeOver": True, "oldCredentialRevoked": True}
    return dict(vaults.site.api.post("/backup-destinations/attach", body))


def taken_over(vaults: Vaults, made: dict[str, Any]) -> None:
    """Repeat an attach that did not finish."""
    path = f"/backup-destinations/{made['guid']}"
    done = vaults.ended(made["task"])
    for _ in range(3):
        if not done:
            with suppress(HaulbackError):  # a breaker that is closed
                vaults.site.api.post(f"{path}/close-breaker", {})
            again = vaults.site.api.post(f"{path}/take-over", {"oldCredentialRevoked": True})
            done = vaults.ended(again["task"])
    assert done, vaults.site.log.read_text()[-3000:]


def _check(vaults: Vaults, guid: str, repository: Repository, count: int) -> None:
    rows = vaults.backups(guid)
    assert len(rows) == count
    assert {row["backupLocations"][0]["retentionHint"]["name"] for row in rows} == {"ARCHIVE"}
    assert {row["backupLocations"][0]["status"]["name"] for row in rows} == {"PRESENT"}
    shown = vaults.site.api.get(f"/backup-destinations/{guid}")
    assert shown["owner"]["number"] == repository.owners.newest().number
    stored = repository.extracts.read()
    assert stored.problems == {}
    assert sum(1 for _ in stored.items("backup")) == count
    body = {"backupDestinations": [guid]}
    [task] = vaults.site.api.post("/tasks/remove-old-backups", body)
    vaults.site.finished(task["guid"])
