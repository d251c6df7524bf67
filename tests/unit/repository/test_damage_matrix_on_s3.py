"""The damage matrix on a real S3 server: every class of object with every fault.

The administrator of the bucket does the damage; `scripts/soak damage-s3` runs all cases.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import open_destination
from tests import s3, shares
from tests.unit.repository.damaged_site import Site, make
from tests.unit.repository.test_damage_matrix import play

pytestmark = pytest.mark.slow
CASES = shares.cases("damage-s3")
SEEDS = CASES.seeds if CASES.whole else CASES.seeds[:2]  # a case takes seconds


class StoredObject:
    """An object of a bucket, changed from outside like a file; the members are those of Path."""

    def __init__(self, bucket: str, name: str) -> None:
        self._at = {"Bucket": bucket, "Key": name}

    def read_bytes(self) -> bytes:
        data: bytes = s3.administrator().get_object(**self._at)["Body"].read()
        return data

    def write_bytes(self, data: bytes | bytearray) -> None:
        s3.administrator().put_object(**self._at, Body=bytes(data))

    def unlink(self) -> None:
        s3.administrator().delete_object(**self._at)

    def exists(self) -> bool:
        bucket, name = self._at.values()
        listed = s3.administrator().list_objects_v2(Bucket=bucket, Prefix=name)
        return any(item["Key"] == name for item in listed.get("Contents", ()))

    def stat(self) -> Any:
        return SimpleNamespace(st_size=s3.administrator().head_object(**self._at)["ContentLength"])

    def mkdir(self, *, exist_ok: bool) -> None: ...


class BucketSite(Site):
    """A site whose repository is in a bucket; local folders hold temporary files."""

    bucket = ""

    def destination(self) -> ObjectStore:
        return open_destination("s3", s3.config_of(self.bucket), "a1")

    def path(self, name: str) -> Any:
        return StoredObject(self.bucket, name)


class Original(Site):
    """A site in a folder, whose copies are in buckets."""

    def copy(self, root: Path) -> Site:
        root.mkdir()
        made = BucketSite(root, self.pool)
        made.bucket = s3.new_bucket()
        for file in sorted((self.root / "d").rglob("*")):
            if file.is_file():
                made.path(str(file.relative_to(self.root / "d"))).write_bytes(file.read_bytes())
        self.given_to(made)
        return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pool_of_two: ThreadPoolExecutor) -> Site:
    return make(tmp_path_factory.mktemp("whole") / "r", pool_of_two, Original)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_damage_in_a_bucket_all_that_is_whole_restores(
    whole: Site, tmp_path: Path, seed: int
):
    play(whole, tmp_path / "r", seed)
