"""Object lock on a real server, attacked from outside with the bucket's own administrator."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from haulback.contract.destination_probe import EnforcedBy
from haulback.destinations.probe import probe
from haulback.destinations.s3 import S3
from haulback.errors import Conflict, Damaged, Misconfigured, NotFound
from haulback.repository.names import Objects
from haulback.units import DAY_MS
from tests import s3

pytestmark = pytest.mark.slow
PACK, MANIFEST = "packs/ab/cd", "manifests/a"
DATA = b"sealed bytes"
Attack = Callable[[Any, str, str, str], None]


@pytest.fixture(scope="module")
def bucket() -> str:
    return locked_bucket()


def locked_bucket(days: int = 1) -> str:
    name = s3.new_bucket(ObjectLockEnabledForBucket=True)
    default = {"Mode": "COMPLIANCE", "Days": days}
    s3.administrator().put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": default},
        },
    )
    return name


def opened(bucket: str, prefix: str = "site") -> S3:
    return S3(s3.settings_of(bucket, prefix=prefix, objectLock=True))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def version_of(bucket: str, key: str) -> str:
    listed = s3.administrator().list_object_versions(Bucket=bucket, Prefix=key)
    return str(listed["Versions"][-1]["VersionId"])


def delete(client: Any, bucket: str, key: str, version: str) -> None:
    client.delete_object(Bucket=bucket, Key=key)


def delete_version(client: Any, bucket: str, key: str, version: str) -> None:
    client.delete_object(Bucket=bucket, Key=key, VersionId=version)


def delete_in_bulk(client: Any, bucket: str, key: str, version: str) -> None:
    objects = [{"Key": key}, {"Key": key, "VersionId": version}]
    client.delete_objects(Bucket=bucket, Delete={"Objects": objects})


def bypass(client: Any, bucket: str, key: str, version: str) -> None:
    client.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)


def shorten(client: Any, bucket: str, key: str, version: str) -> None:
    soon = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(seconds=2)}
    client.put_object_retention(
        Bucket=bucket, Key=key, VersionId=version, Retention=soon, BypassGovernanceRetention=True
    )


def downgrade(client: Any, bucket: str, key: str, version: str) -> None:
    later = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=90)}
    client.put_object_retention(
        Bucket=bucket, Key=key, VersionId=version, Retention=later, BypassGovernanceRetention=True
    )


def suspend(client: Any, bucket: str, key: str, version: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def overwrite(client: Any, bucket: str, key: str, version: str) -> None:
    client.put_object(Bucket=bucket, Key=key, Body=b"ransom")


def expire(client: Any, bucket: str, key: str, version: str) -> None:
    rule = {
        "ID": "all",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"Date": datetime(2020, 1, 1, tzinfo=UTC)},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
    )


ATTACKS: list[Attack] = [
    delete,
    delete_version,
    delete_in_bulk,
    bypass,
    shorten,
    downgrade,
    suspend,
    overwrite,
    expire,
]


@pytest.mark.parametrize("is_extended", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_administrator_destroys_no_locked_object(
    bucket: str, attack: Attack, is_extended: bool
):
    store = opened(bucket, f"{attack.__name__}-{is_extended}".lower().replace("_", "-"))
    store.store(PACK, DATA)
    end = now_ms() + 3 * DAY_MS
    if is_extended:
        store.lock([PACK], end)
    key = f"{store.settings.prefix}/{PACK}"
    version = version_of(bucket, key)
    with suppress(ClientError):
        attack(s3.administrator(), bucket, key, version)
    if PACK in store.hidden():
        with pytest.raises(Damaged, match="hidden"):
            store.lock([PACK], end)
        with suppress(Conflict):  # a version that was put over the object has the bucket's lock
            store.unhide(PACK)
    kept = s3.administrator().get_object(Bucket=bucket, Key=key, VersionId=version)
    assert kept["Body"].read() == DATA
    until = s3.administrator().get_object_retention(Bucket=bucket, Key=key, VersionId=version)
    least = end - 1000 if is_extended else now_ms() + DAY_MS - 60_000
    assert until["Retention"]["Mode"] == "COMPLIANCE"
    assert until["Retention"]["RetainUntilDate"].timestamp() * 1000 >= least
    if attack is not overwrite:
        assert store.load(PACK) == DATA


def test_a_delete_marker_is_named_and_taken_away(bucket: str):
    store = opened(bucket, "marker")
    store.store(MANIFEST, DATA)
    delete(s3.administrator(), bucket, f"marker/{MANIFEST}", "")
    with pytest.raises(NotFound):
        store.load(MANIFEST)
    assert list(store.hidden()) == [MANIFEST]
    assert "delete marker" in store.hidden()[MANIFEST]
    store.unhide(MANIFEST)
    assert store.hidden() == {}
    assert store.load(MANIFEST) == DATA


def test_a_lock_is_read_back_and_never_shortened(bucket: str):
    store = opened(bucket, "extend")
    store.store(PACK, DATA)
    bridge = store.locked_until(PACK)
    assert bridge
    assert 0 < bridge - now_ms() <= DAY_MS
    later = now_ms() + 5 * DAY_MS
    store.lock([PACK], later)
    held = store.locked_until(PACK)
    assert held
    assert abs(held - later) < 1000
    store.lock([PACK], later - DAY_MS)
    assert store.locked_until(PACK) == held


def test_a_missing_object_cannot_be_locked(bucket: str):
    with pytest.raises(NotFound):
        opened(bucket, "missing").lock([PACK], now_ms() + DAY_MS)


def test_a_locked_pack_is_not_deleted_and_a_grave_is_below_a_marker(bucket: str):
    store = opened(bucket, "deletes")
    for name in (PACK, MANIFEST, "graves/aa"):
        store.store(name, DATA)
    for name in (PACK, MANIFEST):
        with pytest.raises(Conflict, match="lock has not expired"):
            store.delete(name)
        assert store.load(name) == DATA
    store.delete("graves/aa")
    store.delete("graves/aa")
    with pytest.raises(NotFound):
        store.load("graves/aa")
    assert store.hidden() == {}
    store.store("graves/aa", b"again")
    assert store.load("graves/aa") == b"again"


def test_what_is_no_longer_locked_is_deleted_with_all_versions():
    bucket = s3.new_bucket(ObjectLockEnabledForBucket=True)  # without a default retention
    store = opened(bucket)
    store.store("graves/aa", DATA)
    s3.administrator().delete_object(Bucket=bucket, Key="site/graves/aa")
    store.store(PACK, DATA)
    store.delete(PACK)
    assert store.locks.sweep() == 1
    left = s3.administrator().list_object_versions(Bucket=bucket)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")


def test_a_sweep_touches_only_what_clean_ups_delete():
    bucket = s3.new_bucket(ObjectLockEnabledForBucket=True)
    store = opened(bucket)
    kept = {"haulback.json", "haulback.copy.json", "owners/00000001", "damage/00000001", PACK}
    for name in {*kept, "rolls/00000001", "rolls-copy/00000001"}:
        store.store(name, DATA)
        s3.administrator().delete_object(Bucket=bucket, Key=f"site/{name}")
    assert store.locks.sweep() == 2
    left = s3.administrator().list_object_versions(Bucket=bucket)["Versions"]
    assert {version["Key"].removeprefix("site/") for version in left} == kept


@pytest.mark.parametrize("is_held", [True, False])
def test_a_sweep_removes_objects_of_a_probe_after_their_lock(is_held: bool):
    bucket = locked_bucket() if is_held else s3.new_bucket(ObjectLockEnabledForBucket=True)
    store, objects = opened(bucket), Objects(opened(bucket))
    s3.administrator().put_object(Bucket=bucket, Key="site/.probe/lock-00000000000000aa", Body=DATA)
    objects.survey()
    assert not objects.strangers
    store.sweep(set())
    left = s3.administrator().list_object_versions(Bucket=bucket)
    assert len(left.get("Versions", [])) == is_held
    assert not left.get("DeleteMarkers")  # an object under lock is not hidden


def test_the_probe_tells_that_the_store_keeps_the_lock():
    seen = probe(opened(locked_bucket(), "probed"))
    assert seen
    assert seen.immutable is EnforcedBy.STORE


def suspended() -> str:
    """A bucket with suspended versioning."""
    name = s3.new_bucket()
    s3.administrator().put_bucket_versioning(
        Bucket=name, VersioningConfiguration={"Status": "Suspended"}
    )
    return name


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (s3.new_bucket, "versioning is off"),
        (suspended, "versioning is suspended"),
        (lambda: s3.new_bucket(ObjectLockEnabledForBucket=True), "default retention to 1 day"),
        (lambda: locked_bucket(30), "default retention to 1 day"),
    ],
)
def test_a_bucket_that_keeps_no_lock_or_keeps_all_is_refused(make: Callable[[], str], told: str):
    with pytest.raises(Misconfigured, match=told):
        probe(opened(make()))


def test_a_bucket_is_made_with_object_lock_where_asked_for():
    settings = s3.settings_of("made-with-lock", createBucket=True, objectLock=True)
    for _ in range(2):
        S3(settings).prepare()
    S3(settings).check_lock()
