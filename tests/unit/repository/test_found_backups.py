"""The backups on a destination: no listing alone decides that a backup is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.contract.catalogue import CatalogueItem
from haulback.destinations.pass_through import PassThrough
from haulback.ids import new_guid
from haulback.repository.catalogue_check import agree
from haulback.repository.extracts import ExtractOrigin
from haulback.repository.found_backups import Survey, missing, pages
from haulback.repository.pack import name_of
from haulback.repository.repository import Repository
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk, back_up, noise


class Late(PassThrough):
    """A store whose listings show no manifest yet."""

    def list(self, prefix: str):
        return (item for item in super().list(prefix) if not item.name.startswith("manifests/"))

    def entries(self, folder: str):
        return iter(()) if folder == "manifests" else super().entries(folder)


def test_a_backup_that_no_list_shows_yet_is_neither_lost_nor_missing(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    made = back_up(repository, MemoryDisk(noise(MIB)), tmp_path / "s", pool).backup
    unknown = back_up(repository, MemoryDisk(noise(MIB)), tmp_path / "t", pool).backup
    gone, entity = new_guid(), new_guid()
    items = [CatalogueItem("backup", guid, {"entity": entity}) for guid in (made, gone)]
    origin = ExtractOrigin("attempt", 1, "server", "name")
    repository.extracts.write(origin, items, {made, gone}.__contains__)
    late = Repository(Late(repository.destination), repository.guid, repository.keys)
    assert late.objects.leaves("manifests") == set()
    survey = Survey()
    told = [item for page in pages(late, late.extracts.read(), survey) for item in page]
    assert {item.guid: item.isHere for item in told} == {made: True, gone: False}
    assert (survey.listed, survey.lost) == ({made}, [gone])
    never = new_guid()
    assert missing(late, [made, unknown, gone, never], survey) == [never]


def test_a_given_up_backup_whose_manifest_no_list_shows_yet_is_not_lost(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    made = back_up(repository, MemoryDisk(noise(MIB)), tmp_path / "s", pool).backup
    late = Repository(Late(repository.destination), repository.guid, repository.keys)
    gone = new_guid()
    assert agree(late, None, [made, gone]).lost == {gone}


def test_a_backup_that_a_store_gave_up_without_its_data_is_found_damaged(
    repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor
):
    whole = back_up(repository, MemoryDisk(noise(MIB, 1)), tmp_path / "s", pool).backup
    before = repository.objects.packs().keys()
    short = back_up(repository, MemoryDisk(noise(MIB, 2)), tmp_path / "t", pool).backup
    for guid in (whole, short):
        repository.rolls.write_tombstone(guid)
    for pack in repository.objects.packs().keys() - before:
        repository.destination.delete(name_of(pack))
    opened = Repository(repository.destination, repository.guid, repository.keys)
    told = [item for page in pages(opened, opened.extracts.read(), Survey()) for item in page]
    assert {item.guid: item.damaged for item in told} == {whole: False, short: True}
