"""Node, server and store are killed while backups are stored in buckets, copied, cleaned and
restored.

The buckets are on a separate S3 server of the test, whose processes end by SIGKILL.
HAULBACK_CASES=SEED:COUNT gives the first seed and the number of cases; by default tests/shares.py
selects them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from haulback.cli.repository_keys import key_of
from haulback.destinations.registry import open_destination
from haulback.errors import Conflict
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.testing.s3_server import ADMIN, S3Server, s3_server
from tests import shares
from tests.crash.test_kills import Story
from tests.images import needs_qemu
from tests.programs import Site

_DOWN = 1.5  # longest time in seconds for which a killed store is down


class BucketSite(Site):
    """A server and a node; the destination `bd` and its copy `far` are buckets."""

    def __init__(self, folder: Path, store: S3Server) -> None:
        super().__init__(folder)
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

    def repository_at(self, name: str) -> Repository:
        """A repository, opened with its key alone."""
        key = key_of(self.folder / "server", "", name, unchecked=True)
        store = open_destination("s3", self.settings_of(name), "check")
        return Repository.open(store, Secret("keyfile", bytes.fromhex(key)))

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
        buckets = ("bucket-bd", "bucket-far")
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
    story = BucketStory(site, tmp_path, random.Random(cases.first))
    for number in range(cases.count):
        story.round(number)
    story.check_all(cases.count)
    story.check_copies()
