"""Node, server and store are killed while backups go to buckets, are copied, cleaned, restored and
attached; the rounds aim at a STORE, a SYNC, a clean-up, a restore and an attach in turn.

The buckets are on a separate S3 server of the test, whose processes end by SIGKILL.
HAULBACK_CASES=SEED:COUNT gives the first seed and the number of cases; by default tests/shares.py
selects them.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from haulback.cli.repository_keys import key_of
from haulback.destinations.pass_through import innermost
from haulback.destinations.protocol import ObjectStore, Preparable
from haulback.destinations.registry import open_destination
from haulback.errors import Conflict
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.testing.s3_server import ADMIN, S3Server, s3_server
from tests import shares
from tests.crash.test_kills import Story
from tests.images import needs_qemu
from tests.programs import Site
from tests.vaults import SECRET, fill

_DOWN = 1.5  # seconds for which a killed store is away at most
_SYNC = "BACKUP_DESTINATION_SYNC"
_ATTACH = "attach"
_AIMS = ("STORE", _SYNC, "BACKUP_CLEANUP", "RESTORE", _ATTACH)
_LONGEST = 0.5  # seconds that a task of these kinds runs, at most of them
_ATTACHED = 80  # backups of a repository that is attached


class BucketSite(Site):
    """A server and a node; the destination `bd` and its copy `far` are buckets."""

    def __init__(self, folder: Path, store: S3Server) -> None:
        super().__init__(folder, lease=3.0)  # the S3 server takes much of the CPU
        self.store = store

    def settings_of(self, name: str) -> dict[str, Any]:
        keys = {"accessKeyId": ADMIN.key_id, "secretAccessKey": ADMIN.secret}
        place = {"endpoint": self.store.endpoint, "bucket": f"bucket-{name}", "createBucket": True}
        return {**place, **keys, "listingDelay": 0, "connectTimeout": 2}

    def add(self, collection: str, name: str, path: Path) -> dict[str, Any]:
        if collection != "/backup-destinations":
            return super().add(collection, name, path)
        made = self.bucket(name)
        self.far = self.bucket("far", copyOf={"guid": made["guid"]})
        link = [{"backupDestination": {"guid": self.far["guid"]}, "roleType": "SECONDARY"}]
        self.api.put(f"/backup-destinations/{made['guid']}/copies", link)
        return made

    def bucket(self, name: str, **more: Any) -> dict[str, Any]:
        body = {"name": name, "type": "S3", **self.settings_of(name), **more}
        made: dict[str, Any] = self.api.post("/backup-destinations", body)
        self.finished(made["task"]["guid"])
        return made

    def export(self, machine: str, kind: str = "FULL", **more: Any) -> dict[str, Any]:
        to = {"backupDestination": self.destination["guid"]}
        return super().export(machine, kind, **to, **more)

    def all_final(self) -> None:
        """Wait for all tasks; breakers that the killed store has opened are closed by hand."""
        self.wait_for(self._none_left, 150)

    def _none_left(self) -> bool:
        for place in self.api.get("/backup-destinations"):
            if place["breaker"]["state"]["name"] != "CLOSED":
                self.api.post(f"/backup-destinations/{place['guid']}/close-breaker", {})
        return not self.api.get("/tasks", {"states": ["QUEUED", "RUNNING"]})

    def store_at(self, name: str) -> ObjectStore:
        return open_destination("s3", self.settings_of(name), "check")

    def repository_at(self, name: str) -> Repository:
        """A repository, opened with its key alone."""
        key = key_of(self.folder / "server", "", name, unchecked=True)
        return Repository.open(self.store_at(name), Secret("keyfile", bytes.fromhex(key)))

    def half_uploads(self) -> list[Any]:
        """The multipart uploads that neither ended nor were swept."""
        client = boto3.client(
            "s3",
            endpoint_url=self.store.endpoint,
            aws_access_key_id=ADMIN.key_id,
            aws_secret_access_key=ADMIN.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        buckets = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
        return [
            upload["Key"]
            for bucket in buckets
            for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        ]


class BucketStory(Story):
    """The histories of `test_kills` with a store that is killed too, and with copies in a second
    bucket.
    """

    site: BucketSite

    def __init__(self, site: BucketSite, folder: Path, seed: int) -> None:
        super().__init__(site, folder, random.Random(seed))
        self.seed, self.aim, self.hits = seed, _AIMS[0], Counter[str]()
        self.attached: dict[str, Any] = {}

    def round(self, number: int) -> None:
        self.aim = _AIMS[(self.seed + number) % len(_AIMS)]
        if self.aim == _ATTACH:
            self.attached = self.attach(f"vault-{number}", self.seed + number)
        super().round(number)
        if self.aim == _ATTACH:
            self.check_attached(f"vault-{number}")

    def includes(self, kind: str, chance: float) -> bool:
        return super().includes(kind, chance) or kind == self.aim

    def wait_for_the_moment(self) -> None:
        """Wait for a random moment of a task of the kind at which the round aims."""
        kind = _SYNC if self.aim == _ATTACH else self.aim
        while self.running("QUEUED", "RUNNING"):
            if kind in self.running("RUNNING"):
                self.hits[self.aim] += 1
                break
            time.sleep(0.01)
        time.sleep(self.chance.random() * _LONGEST)

    def running(self, *states: str) -> set[str]:
        """The kinds of the tasks in these states."""
        tasks = self.site.api.get("/tasks", {"states": [*states]})
        return {task["type"]["name"] for task in tasks}

    def attach(self, name: str, seed: int) -> dict[str, Any]:
        """Begin to attach a bucket with the repository of a server that is gone.

        The seed chooses the guids of the backups, which no two repositories share.
        """
        store = self.site.store_at(name)
        place = innermost(store)
        assert isinstance(place, Preparable)
        place.prepare()
        fill(store, _ATTACHED, seed)
        body = {"name": name, "type": "S3", **self.site.settings_of(name)}
        body |= {"keyFile": SECRET.value.hex(), "takeOver": True, "oldCredentialRevoked": True}
        return dict(self.site.api.post("/backup-destinations/attach", body))

    def check_attached(self, name: str) -> None:
        """An attach that was killed is repeated, and brings each backup back once."""
        api, guid = self.site.api, self.attached["guid"]
        path = f"/backup-destinations/{guid}/take-over"
        task = self.attached["task"]
        for _ in range(3):
            if self.site.final(task["guid"])["state"]["name"] == "FINISHED":
                break
            task = api.post(path, {"oldCredentialRevoked": True})["task"]
        self.site.finished(task["guid"])
        assert len(self.present_in({"guid": guid})) == _ATTACHED
        opened = Repository.open(self.site.store_at(name), SECRET)
        number = api.get(f"/backup-destinations/{guid}")["owner"]["number"]
        newest = opened.owners.newest()
        assert newest is not None
        assert newest.number == number
        assert opened.extracts.read().problems == {}

    def clean_up(self) -> None:
        super().clean_up()
        if self.chance.random() < 0.5:
            far = f"/backup-destinations/{self.site.far['guid']}"
            with suppress(Conflict):  # while copies are being made
                self.site.api.post(f"{far}/read-catalogue", {})

    def kill(self, victim: str) -> None:
        if self.chance.random() < 0.6:
            self.site.store.kill()
            time.sleep(self.chance.random() * _DOWN)
            self.site.store.start()
        else:
            super().kill(victim)

    def leftovers(self) -> list[str]:
        return super().leftovers() + self.site.half_uploads()

    def repository(self) -> Repository:
        return self.site.repository_at("bd")

    def backups(self) -> list[dict[str, object]]:
        """The backups in the first bucket, the newest first; a copy may outlive them."""
        return self.present_in(self.site.destination)

    def present_in(self, place: dict[str, Any]) -> list[dict[str, object]]:
        """The references of the backups that are present in a bucket according to the catalogue."""
        query = {"backup-destination": place["guid"], "location-status": "PRESENT", "size": 1000}
        return [dict(row["backup"]) for row in self.site.api.get("/backup-locations", query)]

    def check_copies(self) -> None:
        """Check that each copy which is present in the catalogue restores from the second
        bucket.
        """
        far, sound = self.site.repository_at("far"), self.present_in(self.site.far)
        copies = {manifest.labels["copyOf"]: manifest.backup for manifest in far.backups()}
        for backup in sound:
            self.check_in(far, copies[str(backup["guid"])], str(backup["guid"]))
        assert sound, "some rounds should have made copies all the same"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BucketSite]:
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as store:
        made = BucketSite(tmp_path / "site", store)
        made.open()
        yield made
        made.close()


@needs_qemu
def test_whatever_is_killed_every_backup_in_a_bucket_comes_back(site: BucketSite, tmp_path: Path):
    cases = shares.cases("s3-kills")
    story = BucketStory(site, tmp_path, cases.first)
    for number in range(cases.count):
        story.round(number)
    hits = ", ".join(f"{kind} {count}" for kind, count in sorted(story.hits.items()))
    print(f"KILLED=running when something was killed: {hits}")
    story.check_all(cases.count)
    story.check_copies()
