"""A repository of format version 1, written in November 2026, is readable for ever.

If a test here fails, the code is wrong, not the files: `v1` and its digests must never change.  A
new format version adds a folder and a line to `VERSIONS`.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from haulback.destinations.folder import Folder
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.restore import restore_disk
from haulback.repository.verify import Depth, verify
from tests.unit.repository.scene import MemoryDisk, back_up, restored

HERE = Path(__file__).parent
KEYFILE = Secret(
    "keyfile",
    bytes.fromhex("6861756c6261636b20676f6c64656e206861756c6261636b20676f6c64656e20"),
)
PASSPHRASE = Secret.passphrase("kept for ever")
FULL = "00000000-0000-4000-8000-00000000f011"
INCREMENT = "00000000-0000-4000-8000-000000001ac1"
# The folder of each version, and the SHA-256 over its files, names and bytes.
VERSIONS = {"v1": "1be0963749c6d69ae6f43a60979f9b93cd549d70d13eea5076c2af3eee5f4453"}

pytestmark = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def golden(version):
    return Repository.open(Folder(HERE / version), KEYFILE)


def test_nobody_changed_the_files(version):
    hasher = hashlib.sha256()
    for path in sorted(path for path in (HERE / version).rglob("*") if path.is_file()):
        hasher.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    hasher.update((HERE / f"{version}.json").read_bytes())
    assert hasher.hexdigest() == VERSIONS[version]


def test_an_old_repository_lists_its_backups(golden):
    full, increment = sorted(golden.backups(), key=lambda manifest: manifest.snapshot_time)
    assert (full.backup, full.type, full.parent) == (FULL, "FULL", None)
    assert (increment.backup, increment.type, increment.parent) == (INCREMENT, "INCREMENTAL", FULL)
    for manifest in (full, increment):
        assert (manifest.entity_name, manifest.labels) == ("golden", {"kept": "for ever"})
        assert [(d.name, d.map.size) for d in manifest.disks] == [("root", 20972297), ("data", 513)]


def test_an_old_repository_verifies_to_the_last_byte(golden, pool):
    report = verify(golden, Depth.DATA, Resources(pool))
    assert report.ok, report.findings
    assert (report.backups, report.groups > 0) == (2, True)
    assert len(golden.index().segments) == 1, "the merged segment replaces the other two"


def test_every_disk_of_an_old_backup_restores_to_its_digest(golden, version, pool):
    held = json.loads((HERE / f"{version}.json").read_text())
    assert set(held) == {FULL, INCREMENT}
    for backup, digests in held.items():
        found = {}
        for stored in golden.manifest(backup).disks:
            sink = MemoryDisk(bytes(stored.map.size))
            restore_disk(stored.map, golden.reader(), sink, pool)
            found[stored.name] = hashlib.sha256(sink.data).hexdigest()
        assert found == digests


def test_an_old_passphrase_opens_an_old_repository(golden, version):
    opened = Repository.open(Folder(HERE / version), PASSPHRASE)
    assert opened.keys.master == golden.keys.master


def test_an_old_repository_takes_a_new_increment(version, tmp_path, pool):
    shutil.copytree(HERE / version, tmp_path / "copy")
    repository = Repository.open(Folder(tmp_path / "copy"), KEYFILE)
    old = repository.manifest(INCREMENT)
    disk = MemoryDisk(restored(repository, old, pool))
    disk.write_at(9 << 20, b"new")
    new = back_up(repository, disk, tmp_path / "s", pool, old.disks[0].map, disk.changed())
    assert new.stored < 16 << 10, "all but what changed is taken from the old backup"
    assert restored(repository, new, pool) == disk.data
