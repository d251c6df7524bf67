"""The probe reports the behaviour of a store, refuses a store that replaces objects, and leaves
nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from haulback.contract.destination_probe import EnforcedBy
from haulback.destinations.folder import Folder
from haulback.destinations.probe import CREATES, probe, probe_again
from haulback.destinations.protocol import IDENTITY
from haulback.destinations.registry import open_destination
from haulback.destinations.s3 import S3
from haulback.durable_files import DurableFiles
from haulback.errors import Conflict, Misconfigured, Unsupported
from haulback.testing.memory_store import MemoryStore
from tests import s3
from tests.rclone import rclone_server

pytestmark = pytest.mark.slow


class Later:
    """A clock that is an hour ahead."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead

    def monotonic(self) -> float:
        return 0.0


def keys(bucket: str) -> list[str]:
    listed = s3.administrator().list_objects_v2(Bucket=bucket)
    return [item["Key"] for item in listed.get("Contents", [])]


def test_a_bucket_is_probed_and_empty_afterwards():
    bucket = s3.new_bucket()
    seen = probe(open_destination("s3", s3.config_of(bucket, prefix="a/b"), "a1"))
    assert seen
    assert (seen.exclusiveCreate, seen.creates, seen.winners) == (True, CREATES, 1)
    assert (seen.ranges, seen.listsWrites, seen.multipart) == (True, True, True)
    assert (seen.mayReplace, seen.mayDelete, seen.links) == (True, True, None)
    assert seen.appendOnly is EnforcedBy.HAULBACK
    assert abs(seen.clockOffset or 0) < 5000
    assert keys(bucket) == []


def test_a_folder_is_probed_and_empty_afterwards(tmp_path: Path):
    seen = probe(Folder(tmp_path))
    assert seen
    assert (seen.exclusiveCreate, seen.winners, seen.links) == (True, 1, True)
    assert seen.multipart is None
    assert abs(seen.clockOffset or 0) < 5000
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / ".probe").exists()


def test_a_store_without_a_corner_is_not_probed():
    assert probe(MemoryStore()) is None
    assert probe_again(MemoryStore()) is None


@pytest.mark.parametrize("open_store", [Folder, lambda path: s3_in(path.name)])
def test_a_clock_that_is_an_hour_off_is_refused(tmp_path: Path, open_store):
    with pytest.raises(Misconfigured, match="is 60 minutes behind this node's clock"):
        probe(open_store(tmp_path), Later(3_600_000))
    with pytest.raises(Misconfigured, match="is 60 minutes ahead of this node's clock"):
        probe(open_store(tmp_path), Later(-3_600_000))


def s3_in(prefix: str) -> S3:
    return S3(s3.settings_of(s3.new_bucket(), prefix=prefix.replace("[", "-").strip("]")))


def test_the_cheap_probe_writes_nothing_and_reads_the_identity_object():
    store = S3(s3.settings_of(s3.new_bucket()))
    store.store(IDENTITY, b'{"repository": "x"}')
    seen = probe_again(store)
    assert seen
    assert (seen.ranges, seen.listsWrites, seen.multipart) == (True, True, None)
    assert keys(store.settings.bucket) == [IDENTITY]


def test_a_prefix_inside_of_a_repository_or_above_one_is_refused():
    bucket = s3.new_bucket()
    S3(s3.settings_of(bucket, prefix="site")).store(IDENTITY, b"{}")
    for prefix, relation in (("site/deep/er", "lies inside the repository"), ("", "holds the rep")):
        with pytest.raises(Conflict, match=relation):
            probe(S3(s3.settings_of(bucket, prefix=prefix)))
    assert keys(bucket) == ["site/haulback.json"]


def test_objects_of_other_programs_are_refused_by_name():
    bucket = s3.new_bucket()
    s3.administrator().put_object(Bucket=bucket, Key="photos/1.jpg", Body=b"x")
    with pytest.raises(Conflict, match="other programs, such as photos"):
        probe(S3(s3.settings_of(bucket)))
    assert keys(bucket) == ["photos/1.jpg"]


def test_a_folder_inside_of_a_repository_is_refused(tmp_path: Path):
    (tmp_path / IDENTITY).write_text("{}")
    (tmp_path / "deep").mkdir()
    with pytest.raises(Conflict, match="lies inside the repository"):
        probe(Folder(tmp_path / "deep"))


def test_a_folder_with_a_repository_in_it_is_refused(tmp_path: Path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / IDENTITY).write_text("{}")
    with pytest.raises(Conflict, match="holds the repository in"):
        probe(Folder(tmp_path))


class LostReply(DurableFiles):
    """A share that makes a link, loses the reply, and repeats the request."""

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        raise Conflict(f"{target} exists")


def test_a_folder_takes_its_own_link_for_success_when_the_reply_was_lost(tmp_path: Path):
    store = Folder(tmp_path, LostReply())
    store.store("manifests/a", b"mine")
    assert store.load("manifests/a") == b"mine"
    assert os.listdir(tmp_path / ".tmp") == []
    with pytest.raises(Conflict):
        Folder(tmp_path).store("manifests/a", b"another")


def test_a_store_that_replaces_objects_is_refused_for_that_reason(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    with rclone_server(tmp_path) as url:
        settings = s3.settings_of("bucket", endpoint=url)
        with pytest.raises(Unsupported, match=r"accepted a name twice.*singleWriter"):
            probe(S3(settings))
        with pytest.raises(Unsupported, match="does not read parts"):
            probe(S3(msgspec.structs.replace(settings, singleWriter=True)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_replaces_objects_is_taken_as_a_single_writer_by_name(
    monkeypatch: pytest.MonkeyPatch,
):
    put = S3.put
    monkeypatch.setattr(S3, "put", lambda self, name, data, _: put(self, name, data, "overwrite"))
    bucket = s3.new_bucket()
    with pytest.raises(Unsupported, match="accepted a name twice"):
        probe(S3(s3.settings_of(bucket)))
    seen = probe(S3(s3.settings_of(bucket, singleWriter=True)))
    assert seen
    assert (seen.exclusiveCreate, seen.singleWriter, seen.winners) == (True, True, 1)
    assert keys(bucket) == []
