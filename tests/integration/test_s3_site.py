"""Server and node as processes with backups in a bucket of a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.errors import Conflict, Malformed
from haulback.testing.s3_server import ADDER, ADMIN, no_deletion
from tests import s3
from tests.images import raw_machine, restored_disk
from tests.integration.test_far_stores import run_page
from tests.programs import Site

PREFIX = "sites/north"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), lease=30.0)
    raw_machine(made.machines, "web", str(uuid.uuid4()))
    made.open()
    yield made
    made.close()


@pytest.fixture(scope="module")
def vault(site: Site) -> dict[str, Any]:
    return added(site, "north", prefix=PREFIX, parallelism="2")


def added(site: Site, name: str, **more: Any) -> dict[str, Any]:
    """A destination in a new bucket."""
    body = {"name": name, "type": "S3"} | s3.config_of(s3.new_bucket(), **more)
    made: dict[str, Any] = site.api.post("/backup-destinations", body)
    site.finished(made["task"]["guid"])
    return made


def backed_up(site: Site, destination: str) -> dict[str, Any]:
    export = site.export(site.sync()["web"], backupDestination=destination)
    site.all_final()
    backup: dict[str, Any] = site.api.get(f"/backups/{export['backup']['guid']}")
    assert backup["status"]["name"] == "SUCCESS", (backup, site.log.read_text()[-3000:])
    return backup


def keys(bucket: str) -> list[str]:
    listed = s3.administrator().list_objects_v2(Bucket=bucket)
    return [item["Key"] for item in listed.get("Contents", [])]


def test_a_machine_goes_to_a_bucket_is_verified_and_comes_back(site: Site, vault: dict[str, Any]):
    backup = backed_up(site, vault["guid"])
    [verify] = site.api.post("/tasks/verify", {"backupDestinations": [vault["guid"]]})
    site.finished(verify["guid"])
    node = site.api.get("/nodes")[0]["guid"]
    target = site.roots / "from-s3"
    body = {"backup": backup["guid"], "node": node, "restorePath": str(target)}
    site.finished(site.api.post("/tasks/restore", body)["guid"])
    assert restored_disk(target).read_bytes() == b"r" * (1 << 20)
    bucket = vault["settings"]["bucket"]
    assert all(key.startswith(f"{PREFIX}/") for key in keys(bucket))


def test_a_clean_up_deletes_an_expired_backup_from_the_bucket(site: Site, vault: dict[str, Any]):
    doomed, _ = (backed_up(site, vault["guid"]) for _ in range(2))
    few = {"retention": {"keepLastNFull": 1, "keepLastNIncremental": 1}}
    site.api.put(f"/backup-destinations/{vault['guid']}", few)
    [clean] = site.api.post("/tasks/remove-old-backups", {"backupDestinations": [vault["guid"]]})
    site.finished(clean["guid"])
    assert f"{PREFIX}/manifests/{doomed['guid']}" not in keys(vault["settings"]["bucket"])


def test_a_locked_backup_is_kept_by_the_store_itself(site: Site):
    days = {"retention": {"daysToKeepRetentionLock": 7}}
    body = {"name": "locked", "type": "S3", **days}
    body |= s3.config_of("made-for-locks", createBucket="true", objectLock="true")
    made = site.api.post("/backup-destinations", body)
    site.finished(made["task"]["guid"])
    shown = site.api.get(f"/backup-destinations/{made['guid']}")
    assert shown["probe"]["immutable"] == "STORE"
    backup = backed_up(site, made["guid"])
    held = [key for key in keys("made-for-locks") if key.startswith(("packs/", "manifests/"))]
    assert f"manifests/{backup['guid']}" in held
    for key in held:
        lock = s3.administrator().get_object_retention(Bucket="made-for-locks", Key=key)
        until = lock["Retention"]["RetainUntilDate"].timestamp()
        assert until >= time.time() + 7 * 86_400


def test_the_deleting_credentials_do_what_the_adding_ones_cannot(site: Site):
    bucket = s3.new_bucket()
    s3.administrator().put_bucket_policy(Bucket=bucket, Policy=no_deletion(bucket))
    adding = {"accessKeyId": ADDER.key_id, "secretAccessKey": ADDER.secret}
    deleting = {"deleteAccessKeyId": ADMIN.key_id, "deleteSecretAccessKey": ADMIN.secret}
    few = {"retention": {"keepLastNFull": 1, "keepLastNIncremental": 1}}
    body = {"name": "two keys", "type": "S3", **few} | s3.config_of(bucket, **adding, **deleting)
    made = site.api.post("/backup-destinations", body)
    site.finished(made["task"]["guid"])
    probe = site.api.get(f"/backup-destinations/{made['guid']}")["probe"]
    assert (probe["mayReplace"], probe["mayDelete"]) == (True, False)
    assert any(key.startswith(".probe/") for key in keys(bucket))
    doomed, _ = (backed_up(site, made["guid"]) for _ in range(2))
    [clean] = site.api.post("/tasks/remove-old-backups", {"backupDestinations": [made["guid"]]})
    site.finished(clean["guid"])
    assert f"manifests/{doomed['guid']}" not in keys(bucket)
    assert not any(key.startswith(".probe/") for key in keys(bucket))


def test_the_how_to_adds_two_buckets(site: Site, tmp_path: Path):
    words = {
        r"AKIA(ADD|DELETE)": ADMIN.key_id,
        r"SECRETTHAT(ADDS|DELETES)": ADMIN.secret,
        r"https://s3\.example\.com": s3.server().endpoint,
    }
    run_page(site, "store-on-s3", tmp_path, words)
    places = {place["name"]: place for place in site.api.get("/backup-destinations")}
    assert places["bucket"]["probe"]["immutable"] == "HAULBACK"
    assert places["vault"]["probe"]["immutable"] == "STORE"
    assert places["vault"]["retention"]["daysToKeepRetentionLock"] == 30
    assert ADMIN.secret not in json.dumps(places)


def test_no_answer_shows_a_credential_and_the_numbers_are_numbers(
    site: Site, vault: dict[str, Any]
):
    shown = site.api.get(f"/backup-destinations/{vault['guid']}")
    assert ADMIN.secret not in json.dumps(shown)
    assert ADMIN.key_id not in json.dumps(shown)
    assert shown["settings"]["parallelism"] == 2
    sent_back = site.api.put(f"/backup-destinations/{vault['guid']}", shown)
    assert sent_back["settings"] == shown["settings"]
    faster = site.api.put(f"/backup-destinations/{vault['guid']}", {"bandwidth": "1G"})
    assert faster["settings"]["bandwidth"] == "1G"


def test_a_command_adds_a_bucket_with_secrets_from_files(site: Site, tmp_path: Path):
    secrets = {"accessKeyId": ADMIN.key_id, "secretAccessKey": ADMIN.secret}
    command = [sys.executable, "-m", "haulback", "destination", "add", "by-hand", "--type", "S3"]
    for name, value in secrets.items():
        (tmp_path / name).write_text(f"{value}\n")
        command += ["--secret", f"{name}={tmp_path / name}"]
    settings = {"endpoint": s3.server().endpoint, "bucket": "made-by-hand", "createBucket": "true"}
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    token = site.api.post("/api-tokens", {"name": "by-hand", "roles": ["administrator"]})
    env = os.environ | {"HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": token["token"]}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stderr, site.log.read_text()[-3000:])
    assert "haulback.json" in keys("made-by-hand")


def test_the_probe_is_stored_shown_and_repeated_by_a_test(site: Site, vault: dict[str, Any]):
    before = site.api.get(f"/backup-destinations/{vault['guid']}")["probe"]
    assert (before["exclusiveCreate"], before["winners"]) == (True, 1)
    assert (before["appendOnly"], before["immutable"]) == ("HAULBACK", "HAULBACK")
    [test] = site.api.post("/tasks/connectivity-test", {"backupDestinations": [vault["guid"]]})
    site.finished(test["guid"])
    after = site.api.get(f"/backup-destinations/{vault['guid']}")["probe"]
    assert after["time"] > before["time"]
    assert after["winners"] == 1


def test_a_second_destination_at_one_place_is_refused(site: Site, vault: dict[str, Any]):
    body = {"name": "twice", "type": "S3"} | s3.config_of(vault["settings"]["bucket"])
    with pytest.raises(Conflict, match="destination north is there already"):
        site.api.post("/backup-destinations", body | {"prefix": PREFIX})


def test_a_place_inside_of_a_repository_fails_its_task_and_makes_nothing(
    site: Site, vault: dict[str, Any]
):
    bucket = vault["settings"]["bucket"]
    before = keys(bucket)
    body = {"name": "inside", "type": "S3"} | s3.config_of(bucket, prefix=f"{PREFIX}/deep")
    made = site.api.post("/backup-destinations", body)
    ended = site.final(made["task"]["guid"])
    assert "lies inside the repository" in ended["statusInfo"]
    assert keys(bucket) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bucket": "nowhere-at-all"}, "`createBucket`"),
        ({"endpoint": "http://127.0.0.1:1", "connectTimeout": 1}, "check `endpoint`"),
        ({"accessKeyId": "nobody-has-it"}, "`accessKeyId` is unknown"),
        ({"secretAccessKey": "wrong"}, "`secretAccessKey` does not fit"),
        ({"ca": "/nowhere.pem"}, "ca: /nowhere.pem cannot be read"),
    ],
)
def test_a_setting_that_the_store_refuses_is_named_by_the_task(site: Site, change, told):
    name = f"bad {told}"
    body = {"name": name, "type": "S3"} | s3.config_of("somewhere") | change
    made = site.api.post("/backup-destinations", body)
    ended = site.final(made["task"]["guid"])
    assert ended["state"]["name"] == "FAILED"
    assert told in ended["statusInfo"]
    site.api.delete(f"/backup-destinations/{made['guid']}")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"path": "/srv"}, "path"),
        ({"bucket": "No_Bucket"}, "bucket"),
        ({"endpoint": "s3.example.com"}, "endpoint"),
        ({"prefix": "/a//b"}, "prefix"),
        ({"partSize": 1}, "partSize"),
        ({"bandwidth": "fast"}, "bandwidth"),
        ({"bandwidth": "25:00,1M"}, "bandwidth"),
        ({"storageClass": "DEEP_ARCHIVE"}, "storageClass"),
        ({"secretAccessKey": None}, "secretAccessKey"),
    ],
)
def test_a_wrong_setting_is_a_refusal_that_names_it(site: Site, change, field):
    body = {"name": "wrong", "type": "S3"} | s3.config_of("somewhere") | change
    with pytest.raises(Malformed, match=f"^{field}: ") as caught:
        site.api.post("/backup-destinations", body)
    assert ADMIN.secret not in caught.value.message
    assert "wrong" not in [item["name"] for item in site.api.get("/backup-destinations")]
