"""A copy restores like its source, takes no more bytes than needed, and spreads no damage."""

from __future__ import annotations

import pytest

from haulback.errors import Damaged, Fenced, NotFound
from haulback.ids import new_guid
from haulback.repository.backup_loss import assess
from haulback.repository.pack import GroupLocation, name_of
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, verify
from haulback.transfer import portions, resealed_copy
from haulback.transfer.copy import COPY_OF, lacks_data
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import OTHER, CopySite, bytes_in

BACK = ("second", "first")
SIZE = 40 * MIB  # three leaves below an inner page


@pytest.fixture
def site(tmp_path, pool) -> CopySite:
    return CopySite(tmp_path, pool)


@pytest.fixture
def apart(tmp_path, pool) -> CopySite:
    """Two repositories with different keys."""
    return CopySite(tmp_path, pool, family=False)


def a_disk(seed: int = 1, size: int = SIZE) -> MemoryDisk:
    disk = MemoryDisk(bytes(size))
    disk.write_at(0, noise(3 * MIB, seed))
    disk.write_at(20 * MIB, noise(2 * MIB, seed + 1))
    return disk


def test_a_repository_of_a_family_has_its_own_guid_and_opens_with_its_own_key(site):
    opened = Repository.open(site.place("second"), OTHER)
    assert opened.guid != site.first.guid
    assert opened.is_of_family(site.first)


def test_a_copy_restores_and_names_its_origin(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    assert site.restores("second", copy)
    assert copy.labels[COPY_OF] == backup.backup
    assert (copy.entity, copy.snapshot_time) == (backup.entity, backup.snapshot_time)


def test_groups_and_map_pages_of_a_family_are_copied_to_the_byte(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    assert copy.disks == backup.disks  # the same root page, and the same hint
    first, second = site.opened("first"), site.opened("second")
    for segment in first.index().segments:
        for group, place in segment.groups():
            assert record(first, place) == record(second, second.index().place(group))


def record(repository: Repository, place: GroupLocation) -> bytes:
    return repository.destination.load(name_of(place.pack), place.offset, place.length)


def test_the_copy_of_an_increment_takes_the_bytes_of_the_increment(site):
    disk = a_disk()
    full = site.back_up(disk)
    first = site.copy(full).manifest
    disk.write_at(21 * MIB, noise(600 * KIB, 9))
    increment = site.back_up(disk, full)
    before = bytes_in(site.second.destination)
    made = site.copy(increment, first)
    assert bytes_in(site.second.destination) - before <= 1.1 * increment.stored
    assert made.manifest.parent == first.backup
    assert site.restores("second", made.manifest)


@pytest.mark.parametrize("cleaned", ["first", "second"])
def test_clean_ups_do_not_make_the_copy_of_an_increment_larger(site, cleaned):
    disk = a_disk()
    full = site.back_up(disk)
    first = site.copy(full).manifest
    disk.write_at(0, noise(2 * MIB, 7))
    older = site.back_up(disk, full)
    second = site.copy(older, first).manifest
    gone, copy_gone = (full, first)
    site.forget(
        "first" if cleaned == "first" else "second", gone if cleaned == "first" else copy_gone
    )
    site.clean(cleaned)
    disk.write_at(21 * MIB, noise(700 * KIB, 9))
    increment = site.back_up(disk, older)
    if cleaned == "first":  # live chunks of several backups are in one group now
        site.clean("first")
    before = bytes_in(site.second.destination)
    made = site.copy(increment, second).manifest
    assert bytes_in(site.second.destination) - before <= 1.1 * increment.stored
    assert site.restores("second", made)


def test_a_copy_without_an_older_copy_takes_only_what_the_target_lacks(site):
    disk = a_disk()
    full = site.back_up(disk)
    site.copy(full)
    disk.write_at(21 * MIB, noise(600 * KIB, 9))
    increment = site.back_up(disk, full)
    before = bytes_in(site.second.destination)
    made = site.copy(increment)
    assert bytes_in(site.second.destination) - before <= 1.1 * increment.stored
    assert site.restores("second", made.manifest)


def test_a_copy_of_a_copy_restores_after_the_origin_is_gone(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    site.forget("first", backup)
    site.clean("first")
    back = site.copy(copy, route=BACK)
    assert site.restores("first", back.manifest)
    assert back.manifest.labels[COPY_OF] == backup.backup


def test_a_copy_that_exists_is_completed_and_not_made_twice(site):
    backup, guid = site.back_up(a_disk()), new_guid()
    first = site.copy(backup, guid=guid)
    before = bytes_in(site.second.destination)
    again = site.copy(backup, guid=guid)
    assert again.manifest == first.manifest
    assert (again.stored, bytes_in(site.second.destination)) == (0, before)


def test_an_attempt_that_is_over_publishes_no_manifest(site):
    backup = site.back_up(a_disk())

    def fence() -> None:
        raise Fenced("over")

    with pytest.raises(Fenced):
        site.copy(backup, confirm=fence)
    assert list(site.opened("second").backups()) == []


def test_a_later_attempt_uses_what_a_dead_attempt_published(site):
    backup, calls = site.back_up(a_disk()), 0

    def die_before_the_manifest() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Fenced("over")

    with pytest.raises(Fenced):
        site.copy(backup, confirm=die_before_the_manifest)
    published = bytes_in(site.second.destination)
    assert published > 4 * MIB
    made = site.copy(backup)
    assert (made.stored, bytes_in(site.second.destination)) == (0, published)
    assert site.restores("second", made.manifest)


def test_a_portion_that_a_clean_up_dropped_is_put_back_into_the_index(site):
    backup = site.back_up(a_disk())
    made = site.copy(backup, confirm=lambda: site.clean("second", frozenset({"copy"})))
    assert bytes_in(site.second.destination) == made.stored  # the portion was stored once
    assert site.restores("second", made.manifest)


def test_a_portion_that_a_clean_up_deleted_is_copied_again(site):
    backup, calls = site.back_up(a_disk()), 0

    def clean_once() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the portion is published, the manifest is not
            site.clean("second")
            assert bytes_in(site.second.destination) == 0

    made = site.copy(backup, confirm=clean_once)
    assert site.restores("second", made.manifest)


def test_a_backup_that_was_deleted_is_not_copied(site):
    backup = site.back_up(a_disk())
    site.forget("first", backup)
    with pytest.raises(NotFound):
        site.copy(backup)


def test_damage_of_the_source_does_not_spread(site):
    backup = site.back_up(a_disk())
    rot(site, "first", backup)
    with pytest.raises(Damaged):
        site.copy(backup)
    assert list(site.opened("second").backups()) == []


def test_a_copy_heals_its_origin(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    rot(site, "first", backup)
    noticed(site, "first")
    assert lacks_data(site.opened("first"), backup.backup)
    site.copy(copy, guid=backup.backup, route=BACK, heals=True)
    assert not lacks_data(site.opened("first"), backup.backup)
    assert site.restores("first", backup)


def test_two_damaged_locations_heal_each_other(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    for number, name in enumerate(("first", "second")):
        rot(site, name, backup, number)
        noticed(site, name)
    site.copy(copy, guid=backup.backup, route=BACK, heals=True)
    site.copy(backup, guid=copy.backup, heals=True)
    for name, manifest in (("first", backup), ("second", copy)):
        assert not lacks_data(site.opened(name), manifest.backup)
        assert site.restores(name, manifest)


def test_data_that_both_locations_lack_leaves_the_rest_healed(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    for name, number in (("first", 0), ("first", 1), ("second", 0)):
        rot(site, name, backup, number)
        noticed(site, name)
    before = assess(site.opened("first"), backup)
    site.copy(copy, guid=backup.backup, route=BACK, heals=True)
    after = assess(site.opened("first"), backup)
    assert before
    assert after
    assert 0 < after.bytes < before.bytes


def test_a_missing_manifest_is_stored_again_from_the_copy(site):
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    site.first.destination.delete(f"manifests/{backup.backup}")
    site.copy(copy, guid=backup.backup, route=BACK, heals=True)
    assert site.opened("first").manifest(backup.backup).disks == backup.disks
    assert site.restores("first", backup)


def test_repositories_of_different_keys_copy_by_sealing_anew(apart):
    disk = a_disk()
    full = apart.back_up(disk)
    first = apart.copy(full).manifest
    disk.write_at(21 * MIB, noise(600 * KIB, 9))
    increment = apart.back_up(disk, full)
    before = bytes_in(apart.second.destination)
    made = apart.copy(increment, first).manifest
    assert made.disks[0].map.page != increment.disks[0].map.page
    assert bytes_in(apart.second.destination) - before <= 1.1 * increment.stored
    assert apart.restores("second", first)
    assert apart.restores("second", made)


def test_a_copy_heals_its_origin_across_keys(apart):
    backup = apart.back_up(a_disk())
    copy = apart.copy(backup).manifest
    rot(apart, "first", backup)
    noticed(apart, "first")
    apart.copy(copy, guid=backup.backup, route=BACK, heals=True)
    assert not lacks_data(apart.opened("first"), backup.backup)
    assert apart.restores("first", backup)


@pytest.mark.parametrize("size", [10 * MIB, SIZE - 5000])
def test_two_damaged_locations_of_different_keys_heal_each_other(apart, size):
    disk = MemoryDisk(bytes(size))
    disk.write_at(0, noise(3 * MIB, 1))
    disk.write_at(size - 2 * MIB, noise(2 * MIB, 2))
    backup = apart.back_up(disk)
    copy = apart.copy(backup).manifest
    for number, name in enumerate(("first", "second")):
        rot(apart, name, backup, number)
        noticed(apart, name)
        assert lacks_data(apart.opened(name), (backup, copy)[number].backup)
    apart.copy(copy, guid=backup.backup, route=BACK, heals=True)
    apart.copy(backup, guid=copy.backup, heals=True)
    for name, manifest in (("first", backup), ("second", copy)):
        assert not lacks_data(apart.opened(name), manifest.backup)
        assert apart.restores(name, manifest)


def test_lost_map_pages_are_made_again_from_a_location_with_another_key(apart):
    backup = apart.back_up(a_disk())
    copy = apart.copy(backup).manifest
    rot_group(apart, "second", apart.opened("second").index().find([copy.disks[0].map.page])[0])
    rot(apart, "second", copy)
    noticed(apart, "second")
    assert assess(apart.opened("second"), copy).bytes >= SIZE
    apart.copy(backup, guid=copy.backup, heals=True)
    assert not lacks_data(apart.opened("second"), copy.backup)
    assert apart.restores("second", copy)


def test_lost_map_pages_are_made_again_from_a_copy_that_came_by_way_of_another_key(apart):
    backup = apart.back_up(a_disk())
    there = apart.copy(backup).manifest
    Repository.init(apart.place("third"), SECRET, family=apart.first.keys)
    back = apart.copy(there, route=("second", "third")).manifest
    assert back.disks[0].map.page != backup.disks[0].map.page
    rot_group(apart, "first", apart.opened("first").index().find([backup.disks[0].map.page])[0])
    rot(apart, "first", backup)
    noticed(apart, "first")
    apart.copy(back, guid=backup.backup, route=("third", "first"), heals=True)
    assert not lacks_data(apart.opened("first"), backup.backup)
    assert apart.restores("first", backup)


def test_a_healing_across_keys_reads_only_what_is_lacking(apart):
    backup = apart.back_up(a_disk())
    copy = apart.copy(backup).manifest
    rot(apart, "first", backup)
    noticed(apart, "first")
    made = apart.copy(copy, guid=backup.backup, route=BACK, heals=True)
    assert 0 < made.stored < 1.3 * MIB  # one group of five


def test_a_block_that_moves_within_a_segment_is_copied_by_sealing_anew(apart):
    disk, block = MemoryDisk(bytes(SIZE)), noise(64 * KIB, 3)
    disk.write_at(5 * MIB + 256 * KIB, block)
    full = apart.back_up(disk)
    first = apart.copy(full).manifest
    disk.write_at(5 * MIB + 256 * KIB, bytes(len(block)))
    disk.write_at(5 * MIB + 512 * KIB, block)
    moved = apart.back_up(disk, full)
    assert apart.restores("first", moved)
    assert apart.restores("second", apart.copy(moved, first).manifest)


def rot(site: CopySite, name: str, backup, number: int = 0) -> None:
    """Flip a byte inside a data group of a backup: 0 is the largest group."""
    opened = site.opened(name)
    found = (place for segment in opened.index().segments for _, place in segment.groups())
    rot_place(site, name, sorted(found, key=lambda place: -place.length)[number])


def rot_group(site: CopySite, name: str, group: bytes) -> None:
    """Flip a byte inside a group."""
    rot_place(site, name, site.opened(name).index().place(group))


def rot_place(site: CopySite, name: str, entry: GroupLocation) -> None:
    path = site.root / name / f"packs/{entry.pack.hex()[:2]}/{entry.pack.hex()}"
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.length // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def noticed(site: CopySite, name: str) -> None:
    """Record the damage of a repository as VERIFY does."""
    folder = site.root / f"verify-{name}"
    folder.mkdir(exist_ok=True)
    opened = site.opened(name)
    verify(
        opened, Depth.DATA, Resources(site.pool), CheckOrder(folder=folder, record=lambda: ("v", 1))
    )


def test_a_later_attempt_across_keys_uses_what_a_dead_attempt_published(apart, monkeypatch):
    monkeypatch.setattr(portions, "PORTION", MIB)
    monkeypatch.setattr(resealed_copy, "_SEGMENTS_AT_ONCE", 4)
    backup, calls = apart.back_up(MemoryDisk(noise(20 * MIB, 4))), 0

    def die_after_a_portion() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first portion is published
            raise Fenced("over")

    with pytest.raises(Fenced):
        apart.copy(backup, confirm=die_after_a_portion)
    published = bytes_in(apart.second.destination)
    made = apart.copy(backup)
    assert published > MIB
    assert bytes_in(apart.second.destination) - published == made.stored
    assert published + made.stored <= 1.1 * backup.stored
    assert apart.restores("second", made.manifest)


def test_a_copy_across_keys_keeps_the_compressed_data(apart):
    backup = apart.back_up(a_disk())
    made = apart.copy(backup)
    assert abs(made.stored - backup.stored) < 0.01 * backup.stored
