"""Every destination driver keeps the contract of an object store."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from haulback.contract.destination_types import TYPES, Capabilities, by_driver
from haulback.destinations.add_only import AddOnly
from haulback.destinations.azure import Azure
from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.destinations.folder import Folder
from haulback.destinations.probe import require_exclusive_create
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.s3 import S3
from haulback.destinations.s3_versions import Uploads
from haulback.destinations.settled_lists import SettledLists
from haulback.destinations.sftp import Sftp
from haulback.destinations.store_retries import Retrying
from haulback.errors import Forbidden, Unsupported
from haulback.testing.destinations import (
    CHECKS,
    StoreBench,
    an_existing_name_is_refused_and_keeps_its_bytes,
    one_of_many_creates_at_once_succeeds,
)
from haulback.testing.faulty_store import Fault, FaultyStore, seeded
from haulback.testing.memory_store import ManualClock, MemoryBucket, MemoryStore
from tests import azure, s3, sftp
from tests.hosts import needs_azurite, needs_sshd


class FolderBench:
    """A folder in a temporary directory."""

    def __init__(self, root: Path) -> None:
        kind = by_driver("folder")
        assert kind
        self.root, self.capabilities = root, kind.capabilities

    def open(self, owner: str) -> ObjectStore:
        return Folder(self.root, owner=owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        (self.root / ".tmp").mkdir(exist_ok=True)
        (self.root / ".tmp" / f"{owner}.{name.rpartition('/')[2]}").write_bytes(b"half")
        return True

    def put_foreign(self, name: str) -> None:
        (self.root / name).write_bytes(b"x")

    def settle(self) -> None:
        pass


class MemoryBench:
    """A fake store without local paths; its listings lag by `delay` seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        self.clock = ManualClock()
        self.bucket = MemoryBucket(listing_delay=delay, clock=self.clock)
        self.capabilities = Capabilities(listing_delay=delay)

    def open(self, owner: str) -> ObjectStore:
        return MemoryStore(self.bucket, owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        self.bucket.half_written.append((owner, name, b"half"))
        return True

    def put_foreign(self, name: str) -> None:
        self.bucket.foreign[name] = 1

    def settle(self) -> None:
        self.clock.wait(self.capabilities.listing_delay)


class WrappedBench(MemoryBench):
    """The fake behind the wrappers of remote stores."""

    def open(self, owner: str) -> ObjectStore:
        retrying = Retrying(MemoryStore(self.bucket, owner), wait=self.clock.wait)
        return SettledLists(retrying)


class S3Bench:
    """A prefix of a new bucket of a real server."""

    def __init__(self, root: Path) -> None:
        kind = by_driver("s3")
        assert kind
        self.capabilities, self.prefix = kind.capabilities, "site/1"
        self.settings = s3.settings_of(s3.new_bucket(), prefix=self.prefix)

    def open(self, owner: str) -> ObjectStore:
        return S3(self.settings, owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        uploads, key = Uploads(self.settings, owner), f"{self.prefix}/{name}"
        uploads.mark(key, uploads.begin(key))
        return True

    def put_foreign(self, name: str) -> None:
        bucket, key = self.settings.bucket, f"{self.prefix}/{name}"
        s3.administrator().put_object(Bucket=bucket, Key=key, Body=b"x")

    def settle(self) -> None:
        pass


class S3InWrappersBench(S3Bench):
    """The bucket behind the wrappers of remote stores, with faults below these."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.chance = random.Random(7)

    def open(self, owner: str) -> ObjectStore:
        seeds = seeded(self.chance, 0.2, without={Fault.LACKING_LIST, Fault.FOREIGN_LIST})

        def plan(operation: str) -> Fault:
            return Fault.NONE if operation == "sweep" else seeds(operation)

        faulty = FaultyStore(S3(self.settings, owner), plan)
        return ConfirmedLists(Retrying(faulty, wait=lambda _: None))


class AzureBench:
    """A prefix of a new container of a real server."""

    def __init__(self, root: Path) -> None:
        kind = by_driver("azure")
        assert kind
        self.capabilities = kind.capabilities
        self.settings = azure.settings_of(azure.new_container(), prefix="site/1")

    def open(self, owner: str) -> ObjectStore:
        return Azure(self.settings, owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        return False

    def put_foreign(self, name: str) -> None:
        obstore.put(Azure(self.settings).client, name, b"x")

    def settle(self) -> None:
        pass


class AzureInWrappersBench(AzureBench):
    """The container behind the wrappers of remote stores, with faults below these."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.chance = random.Random(7)

    def open(self, owner: str) -> ObjectStore:
        plan = seeded(self.chance, 0.2, without={Fault.LACKING_LIST, Fault.FOREIGN_LIST})
        faulty = FaultyStore(Azure(self.settings, owner), plan)
        return ConfirmedLists(Retrying(faulty, wait=lambda _: None))


class SftpBench:
    """A new folder of a real server."""

    def __init__(self, root: Path) -> None:
        kind = by_driver("sftp")
        assert kind
        self.capabilities, self.settings = kind.capabilities, sftp.new_settings()

    def open(self, owner: str) -> ObjectStore:
        return Sftp(self.settings, owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        folder = Path(self.settings.path) / ".tmp"
        folder.mkdir(exist_ok=True)
        (folder / f"{owner}.{name.rpartition('/')[2]}").write_bytes(b"half")
        return True

    def put_foreign(self, name: str) -> None:
        (Path(self.settings.path) / name).write_bytes(b"x")

    def settle(self) -> None:
        pass


class SftpInWrappersBench(SftpBench):
    """The folder behind the wrappers of remote stores, with faults below these."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.chance = random.Random(11)

    def open(self, owner: str) -> ObjectStore:
        plan = seeded(self.chance, 0.2, without={Fault.LACKING_LIST, Fault.FOREIGN_LIST})
        faulty = FaultyStore(Sftp(self.settings, owner), plan)
        return ConfirmedLists(Retrying(faulty, wait=lambda _: None))


BENCHES: dict[str, Callable[[Path], StoreBench]] = {
    "folder": FolderBench,
    "memory": lambda _: MemoryBench(),
    "memory that lags": lambda _: MemoryBench(delay=5.0),
    "memory in wrappers": lambda _: WrappedBench(delay=5.0),
    "s3": S3Bench,
    "s3 with faults": S3InWrappersBench,
    "azure": AzureBench,
    "azure with faults": AzureInWrappersBench,
    "sftp": SftpBench,
    "sftp with faults": SftpInWrappersBench,
}


NEEDS = {
    **dict.fromkeys(("azure", "azure with faults"), needs_azurite),
    **dict.fromkeys(("sftp", "sftp with faults"), needs_sshd),
}
# The driver handles the pages of a long listing, which is also checked without faults.
LONG = {("azure with faults", "a_list_of_many_objects_is_complete")}
LONG |= {("sftp with faults", "a_list_of_many_objects_is_complete")}


@pytest.mark.parametrize(
    ("bench", "check"),
    [
        pytest.param(bench, check, marks=NEEDS.get(bench, ()), id=f"{check.__name__}-{bench}")
        for bench in BENCHES
        for check in CHECKS
        if (bench, check.__name__) not in LONG
    ],
)
def test_a_destination_keeps_the_contract(check, bench, tmp_path):
    check(BENCHES[bench](tmp_path))


def test_every_type_of_destination_is_checked():
    assert {kind.driver for kind in TYPES} <= BENCHES.keys()


def test_a_store_that_replaces_objects_fails_the_suite_and_the_probe():
    bench = MemoryBench()
    bench.bucket.exclusive_create = False
    for check in (
        an_existing_name_is_refused_and_keeps_its_bytes,
        one_of_many_creates_at_once_succeeds,
    ):
        with pytest.raises(AssertionError):
            check(bench)
    store = bench.open("a1")
    store.store("haulback.json", b"identity")
    with pytest.raises(Unsupported, match="replaces existing objects"):
        require_exclusive_create(store, "haulback.json")
    assert store.load("haulback.json") == b"identity"


def test_an_append_only_view_passes_all_but_deletions(tmp_path):
    store = AddOnly(Folder(tmp_path))
    store.store("manifests/a", b"x")
    with pytest.raises(Forbidden):
        store.delete("manifests/a")
    assert store.load("manifests/a") == b"x"
