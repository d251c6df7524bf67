"""A new server attaches a repository of a lost server, by key and store alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.repository import open_repository
from haulback.cli.repository_location import StoreOptions
from haulback.cli.repository_restore import NewMachineOptions, restore_command
from haulback.destinations.pass_through import innermost
from haulback.destinations.protocol import Preparable
from haulback.destinations.registry import open_destination
from haulback.errors import Conflict, Malformed
from haulback.repository.repository import Repository
from haulback.testing.s3_server import ADMIN, s3_server
from tests import databases
from tests.images import raw_machine
from tests.programs import Site
from tests.vaults import DISK, SECRET, fill, vault


def key_of(site: Site, to: Path) -> Path:
    """The key file of the site's destination."""
    command = [sys.executable, "-m", "haulback", "destination", "key", "bd"]
    command += ["--data", str(site.folder / "server"), "--output", str(to)]
    subprocess.run(command, check=True, capture_output=True)
    return to


class Shop:
    """A server that stored backups of two machines, and a second server besides it.

    The first server keeps its tables in SQLite, the second in the PostgreSQL `database`.
    """

    def __init__(self, root: Path, database: str) -> None:
        self.old = Site(root / "old", lease=5.0)
        self.new = Site(root / "new", lease=5.0, database=database)
        self.old.open()
        for name in ("db", "web"):
            raw_machine(self.old.machines, name, str(uuid.uuid4()))
        machines = self.old.sync()
        self.backups = {name: self.old.backed_up(machine) for name, machine in machines.items()}
        self.key = key_of(self.old, root / "key")
        self.new.open()

    def close(self) -> None:
        self.old.close()
        self.new.close()

    def repository(self) -> Repository:
        return open_repository(self.old.repository, self.key, None)

    def attach(self, name: str, **more: Any) -> dict[str, Any]:
        body = {"name": name, "path": str(self.old.repository), **more}
        if not {"kit", "passphrase", "keyFile"} & body.keys():
            body["keyFile"] = self.key.read_text()
        made: dict[str, Any] = self.new.api.post("/backup-destinations/attach", body)
        return made

    def clean(self, site: Site, destination: str) -> dict[str, Any]:
        body = {"backupDestinations": [destination]}
        [task] = site.api.post("/tasks/remove-old-backups", body)
        return site.final(task["guid"])

    def known(self) -> dict[str, dict[str, Any]]:
        """The backups of the new server by the names of their machines."""
        return {found["protectedEntity"]["name"]: found for found in self.new.api.get("/backups")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Iterator[Shop]:
    database = databases.new_database(cluster, f"attach-{uuid.uuid4().hex}")
    made = Shop(tmp_path_factory.mktemp("attach"), database)
    yield made
    made.close()


def test_a_destination_comes_to_another_server_and_back_under_its_ownership(shop: Shop):
    old, new, repository = shop.old, shop.new, shop.repository()
    where = [{"guid": shop.backups["web"]["backupLocations"][0]["guid"]}]
    marks = {"backupLocations": where, "retentionHint": "ARCHIVE"}
    old.api.post("/retention/mark-backups", marks)
    assert shop.clean(old, old.destination["guid"])["state"]["name"] == "FINISHED"
    written = repository.extracts.read()
    assert written.facts("backup", shop.backups["web"]["guid"])["hint"] == "ARCHIVE"
    assert repository.owners.newest().number == 1

    attached = shop.attach("old")  # reading is anyone's
    new.finished(attached["task"]["guid"])
    known = shop.known()
    assert {name: item["guid"] for name, item in known.items()} == {
        name: item["guid"] for name, item in shop.backups.items()
    }
    assert known["web"]["backupLocations"][0]["retentionHint"]["name"] == "ARCHIVE"
    machine = new.api.get(f"/virtual-machines/{known['web']['protectedEntity']['guid']}")
    assert (machine["present"], machine["restorable"]) == (False, True)
    shown = new.api.get(f"/backup-destinations/{attached['guid']}")
    assert shown["extractTime"] == written.time
    assert shown["owner"]["number"] == 1

    with pytest.raises(Conflict, match="belongs to the server"):
        shop.clean(new, attached["guid"])
    body = {"backup": known["web"]["guid"], "hypervisor": new.hypervisor["guid"]}
    new.finished(new.api.post("/tasks/restore-and-import", body)["guid"])
    new.all_final()
    assert (new.machines / "web" / "root.raw").read_bytes() == b"r" * (1 << 20)

    path = f"/backup-destinations/{attached['guid']}/take-over"
    new.finished(new.api.post(path, {})["task"]["guid"])
    assert repository.owners.newest().number == 2
    refused = shop.clean(new, attached["guid"])
    assert "for another 24 hours of the store's clock" in refused["statusInfo"]

    machines = {item["name"]: item["guid"] for item in old.api.get("/virtual-machines")}
    export = old.export(machines["db"])
    old.all_final()
    failed = old.api.get(f"/backups/{export['backup']['guid']}")
    assert failed["status"]["name"] == "FAILED"
    assert len(repository.objects.leaves("manifests")) == 2
    [alarm] = old.api.get("/alarms", {"kind": "DESTINATION_TAKEN_OVER"})
    assert alarm["subject"]["guid"] == old.destination["guid"]
    with pytest.raises(Conflict, match="haulback destination take-over"):
        old.export(machines["db"])

    new.finished(new.api.post(path, {"oldCredentialRevoked": True})["task"]["guid"])
    assert shop.clean(new, attached["guid"])["state"]["name"] == "FINISHED"
    back = new.sync()["web"]
    new.export(back, backupDestination=attached["guid"])
    new.all_final()
    assert len(repository.objects.leaves("manifests")) == 3


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ({"keyFile": "0" * 64}, "this keyfile does not open the repository"),
        ({"passphrase": "wrong"}, "this passphrase does not open the repository"),
        ({"kit": "key\n  AAAA"}, "mistyped letter"),
    ],
)
def test_a_wrong_secret_attaches_nothing_and_says_so(
    shop: Shop, tmp_path: Path, secret: dict[str, str], message: str
):
    copy = shutil.copytree(shop.old.repository, tmp_path / "copy")
    attached = shop.attach(f"wrong {next(iter(secret))}", path=str(copy), **secret)
    failed = shop.new.final(attached["task"]["guid"])
    assert failed["state"]["name"] == "FAILED"
    assert message in failed["statusInfo"]
    assert not shop.new.api.get(f"/backup-destinations/{attached['guid']}")["initialized"]
    shop.new.api.delete(f"/backup-destinations/{attached['guid']}")


def test_the_recovery_kit_attaches_and_reads(shop: Shop, tmp_path: Path):
    kept = vault(tmp_path / "v", 3, seed=2)
    attached = shop.attach("by kit", path=str(tmp_path / "v"), kit=kept.keys.kit(kept.guid))
    shop.new.finished(attached["task"]["guid"])
    [task] = shop.new.api.post("/tasks/verify", {"backupDestinations": [attached["guid"]]})
    shop.new.finished(task["guid"])


def attached_vault(shop: Shop, path: Path, **more: Any) -> dict[str, Any]:
    """The destination of a vault after its catalogue was read, with the final task."""
    body = {"path": str(path), "keyFile": SECRET.value.hex(), **more}
    made = shop.attach(f"vault {uuid.uuid4()}", **body)
    task = shop.new.final(made["task"]["guid"])
    shown = shop.new.api.get(f"/backup-destinations/{made['guid']}")
    log = shop.new.api.get(f"/tasks/{task['guid']}/log")
    return {**shown, "task": task, "log": " ".join(str(line) for line in log)}


def test_what_an_extract_names_and_the_store_lacks_is_missing_and_stays_so(
    shop: Shop, tmp_path: Path
):
    kept = vault(tmp_path / "v", 5, seed=3)
    lost, damaged, *_ = sorted(kept.objects.leaves("manifests"))
    kept.destination.delete(f"manifests/{lost}")
    file = tmp_path / "v" / "manifests" / damaged
    file.chmod(0o600)
    file.write_bytes(b"rot" * 100)
    to = attached_vault(shop, tmp_path / "v")
    assert to["task"]["state"]["name"] == "FINISHED"
    states = ["PRESENT", "DAMAGED", "MISSING"]
    query = {"backup-destination": to["guid"], "location-status": states}
    places = {
        place["backup"]["guid"]: place["status"]["name"]
        for place in shop.new.api.get("/backup-locations", query)
    }
    assert (places.pop(lost), places.pop(damaged)) == ("MISSING", "DAMAGED")
    assert set(places.values()) == {"PRESENT"}
    kinds = {"kind": ["BACKUP_MISSING"]}
    assert lost in {alarm["subject"]["guid"] for alarm in shop.new.api.get("/alarms", kinds)}


def test_an_extract_that_rots_leaves_the_backups_and_is_named(shop: Shop, tmp_path: Path):
    vault(tmp_path / "v", 4, seed=4)
    [file] = (tmp_path / "v" / "extracts").iterdir()
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    to = attached_vault(shop, tmp_path / "v")
    assert to["task"]["state"]["name"] == "FINISHED"
    assert "extracts/00000001 is damaged" in to["log"]
    assert "locks, marks, proof levels and projects are unknown" in to["log"]
    listed = shop.new.api.get("/backups", {"backup-destination": to["guid"]})
    assert len(listed) == 4


def test_a_repository_of_a_newer_revision_is_read_and_not_taken_over(shop: Shop, tmp_path: Path):
    kept = vault(tmp_path / "v", 2, seed=5)
    kept.destination.store("graves/needs-haulback-revision-99", b"x")
    to = attached_vault(shop, tmp_path / "v", takeOver=True)
    assert "a newer Haulback writes to this repository" in to["task"]["statusInfo"]
    assert kept.owners.newest().number == 0
    shop.new.api.delete(f"/backup-destinations/{to['guid']}")
    assert attached_vault(shop, tmp_path / "v")["task"]["state"]["name"] == "FINISHED"


def test_a_bucket_is_attached_and_restored_from_like_a_folder(shop: Shop, tmp_path: Path):
    with s3_server(tmp_path) as server:
        settings = {"bucket": "vault", "endpoint": server.endpoint, "createBucket": True}
        settings["listingDelay"] = 0
        secrets = {"accessKeyId": ADMIN.key_id, "secretAccessKey": ADMIN.secret}
        store = open_destination("s3", {**settings, **secrets}, "test")
        bucket = innermost(store)
        assert isinstance(bucket, Preparable)
        bucket.prepare()
        fill(store, 12, seed=6)
        body = {"name": "bucket", "type": "S3", "keyFile": SECRET.value.hex()}
        made = shop.new.api.post("/backup-destinations/attach", {**body, **settings, **secrets})
        shop.new.finished(made["task"]["guid"])
        listed = shop.new.api.get("/backups", {"backup-destination": made["guid"]})
        assert len(listed) == 12
        options = StoreOptions(
            kind="S3",
            setting=[f"{name}={value}" for name, value in settings.items()],
            secret=[f"{name}={_file(tmp_path, name, value)}" for name, value in secrets.items()],
        )
        to = NewMachineOptions(to=tmp_path / "out", format="raw", without=["vdb"])
        key = _file(tmp_path, "key", SECRET.value.hex())
        restore_command("machine-0000", key_file=key, store=options, target=to)
        assert (tmp_path / "out" / "machine-0000" / "vda.raw").stat().st_size == DISK


def _file(folder: Path, name: str, value: str) -> Path:
    (folder / name).write_text(value)
    return folder / name


def test_a_folder_of_other_people_is_refused_and_stays(shop: Shop, tmp_path: Path):
    (tmp_path / "letters.txt").write_text("dear")
    attached = shop.attach("not ours", path=str(tmp_path))
    failed = shop.new.final(attached["task"]["guid"])
    assert "there is no repository on this destination" in failed["statusInfo"]
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"keyFile": "0"}, "keyFile"),
        ({"keyFile": "0" * 64, "kit": "key"}, "keyFile"),
        ({"keyFile": ""}, "keyFile"),
        ({"passphrase": "x" * 5000}, "passphrase"),
    ],
)
def test_a_secret_in_another_form_is_refused_by_name(shop: Shop, body: dict[str, str], field: str):
    with pytest.raises(Malformed) as caught:
        shop.attach("never", **body)
    assert caught.value.details["field"] == field
