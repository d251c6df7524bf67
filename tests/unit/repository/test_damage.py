"""Damage is found and named, and damaged data is never restored."""

import os
from contextlib import suppress

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Damaged, HaulbackError, Malformed, NotFound, Unavailable, WrongKey
from haulback.repository.config import CONFIG
from haulback.repository.keys import Keys, Secret
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.units import MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored


@pytest.fixture
def stored(repository, folder, tmp_path, pool):
    disk = MemoryDisk(noise(3 * MIB))
    manifest = back_up(repository, disk, tmp_path / "s", pool)
    return Repository.open(Folder(folder.root), SECRET), manifest, bytes(disk.data)


def objects(folder, kind):
    return sorted(folder.root / item.name for item in folder.list(kind))


@pytest.mark.parametrize("kind", ["packs", "index", "manifests"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 0.999])
def test_one_flipped_byte_anywhere_is_found(stored, folder, pool, kind, where):
    repository, manifest, data = stored
    path = objects(folder, kind)[0]
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(int(path.stat().st_size * where))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x40]))
    report = verify(Repository.open(Folder(folder.root), SECRET), Depth.DATA, Resources(pool))
    assert not report.ok or (kind == "packs" and where == 0.0)
    with suppress(Damaged):
        assert restored(repository, manifest, pool) == data


def test_an_index_that_is_missing_is_named_and_its_packs_tell_what_it_said(stored, folder, pool):
    _, manifest, data = stored
    for path in objects(folder, "index"):
        path.unlink()
    repository = Repository.open(Folder(folder.root), SECRET)
    assert restored(repository, manifest, pool) == data
    assert not verify(repository, Depth.MAPS, Resources(pool)).ok


@pytest.mark.parametrize("kind", ["packs", "manifests"])
def test_a_missing_object_is_named_and_not_restored_around(stored, folder, pool, kind):
    _, manifest, _ = stored
    for path in objects(folder, kind):
        path.unlink()
    repository = Repository.open(Folder(folder.root), SECRET)
    with pytest.raises(HaulbackError):
        restored(repository, repository.manifest(manifest.backup), pool)
    if kind != "manifests":  # a backup without a manifest does not exist
        assert not verify(repository, Depth.MAPS, Resources(pool)).ok


def test_swapped_packs_are_found(stored, folder, tmp_path, pool):
    repository, _, _ = stored
    back_up(repository, MemoryDisk(noise(3 * MIB, 5)), tmp_path / "s2", pool)
    one, two = objects(folder, "packs")[:2]
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    assert not verify(repository, Depth.OBJECTS, Resources(pool)).ok


def test_another_key_opens_nothing(folder, repository):
    with pytest.raises(WrongKey):
        Repository.open(folder, Secret("keyfile", bytes(32)))
    with pytest.raises(WrongKey):
        Repository.open(folder, Secret.passphrase("guess"))
    with pytest.raises(Damaged):
        Repository.open(folder, Keys.generate())


@pytest.mark.parametrize(
    ("text", "letters"),
    [("", "0 letters"), ("ab" * 32, "64 letters"), ("key\n  AAAA", "4 letters")],
)
def test_a_file_that_is_no_recovery_kit_is_told_by_the_number_of_its_letters(text, letters):
    with pytest.raises(Malformed, match=f"{letters} instead of 56"):
        Keys.from_kit(text)


def test_the_recovery_kit_opens_the_repository_and_notices_a_mistyped_letter(folder, repository):
    kit = repository.keys.kit(repository.guid)
    assert Repository.open(folder, Keys.from_kit(kit)).guid == repository.guid
    last = kit.rstrip()[-1]
    with pytest.raises(HaulbackError, match="mistyped"):
        Keys.from_kit(kit.rstrip()[:-1] + ("A" if last != "A" else "B"))


def test_a_passphrase_wraps_the_same_key(tmp_path):
    (tmp_path / "p").mkdir()
    made = Repository.init(Folder(tmp_path / "p"), Secret.passphrase("ö" * 9), SECRET)
    for secret in (Secret.passphrase("ö" * 9), SECRET):
        assert Repository.open(Folder(tmp_path / "p"), secret).keys.master == made.keys.master


def test_a_destination_that_is_gone_is_not_an_empty_one(folder, repository):
    folder.root.rename(folder.root.with_name("away"))
    with pytest.raises(Unavailable):
        list(repository.backups())
    with pytest.raises(Unavailable):
        Folder(folder.root)


def test_a_folder_without_repository_says_so(folder):
    with pytest.raises(NotFound, match="init"):
        Repository.open(folder, SECRET)
    (folder.root / CONFIG).write_text("{}")
    with pytest.raises(Damaged):
        Repository.open(folder, SECRET)
