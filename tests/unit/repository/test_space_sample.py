"""A clean-up counts the bytes of one machine alone and those of several machines."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from haulback.contract.space import SpaceUsage
from haulback.destinations.folder import Folder
from haulback.durable_files import DurableFiles
from haulback.repository import space_sample
from haulback.repository.garbage_collection import clean_up
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, export, noise

COMMON = noise(2 * MIB, seed=99)
NEAR = 64 * KIB  # share of maps, directories and encryption


class Shop:
    """A repository with backups of several machines."""

    def __init__(self, folder: Path, pool: Any) -> None:
        (folder / "d").mkdir()
        self.folder, self.pool = folder, pool
        self.repository = Repository.init(Folder(folder / "d"), SECRET)

    def back_up(self, machine: str, data: bytes, base: Manifest | None = None) -> Manifest:
        disk = MemoryDisk(data)
        first = base.disks[0].map if base else None
        staging = self.folder / "s"
        draft = export(self.repository, disk, staging, self.pool, first, disk.changed())
        named = msgspec.structs.replace(draft.manifest, entity=machine, entity_name=machine.upper())
        draft = msgspec.structs.replace(draft, manifest=named)
        return self.repository.publish(staging, draft)

    def usage(self) -> SpaceUsage:
        folder = self.folder / "clean"
        folder.mkdir(exist_ok=True)
        opened = Repository.open(Folder(self.folder / "d"), SECRET)
        found = clean_up(opened, folder, frozenset, Resources(self.pool, DurableFiles())).usage
        assert found
        return found


@pytest.fixture
def shop(tmp_path: Path, pool: Any) -> Shop:
    return Shop(tmp_path, pool)


def about(usage: SpaceUsage) -> dict[str, tuple[int, int]]:
    return {machine.entity: (machine.unique, machine.shared) for machine in usage.machines}


def is_near(one: int, other: int, by: int = NEAR) -> bool:
    return abs(one - other) < by


def test_bytes_of_one_machine_are_told_from_those_of_two(shop: Shop):
    shop.back_up("a", noise(3 * MIB, seed=1) + COMMON)
    shop.back_up("b", noise(MIB, seed=2) + COMMON)
    usage = shop.usage()
    told = about(usage)
    # chunks at the border of both parts belong to only one machine
    assert is_near(told["a"][0], 3 * MIB, MIB // 2)
    assert is_near(told["b"][0], MIB, MIB // 2)
    assert told["a"][1] == told["b"][1]
    assert is_near(told["a"][1], 2 * MIB, MIB // 2)
    assert [machine.name for machine in usage.machines] == ["A", "B"]
    assert is_near(usage.living, told["a"][0] + told["b"][0] + told["a"][1], 8)
    assert is_near(usage.held, usage.living)


def test_a_clone_shares_everything_and_older_backups_count_once(shop: Shop):
    data = noise(3 * MIB, seed=1)
    first = shop.back_up("a", data)
    shop.back_up("a", data, first)
    alone = about(shop.usage())["a"]
    assert alone[1] == 0
    shop.back_up("b", data)
    told = about(shop.usage())
    assert told["a"][1] == told["b"][1]
    assert is_near(told["a"][1], alone[0])
    assert told["a"][0] < NEAR


def test_a_deleted_backup_frees_what_only_it_used(shop: Shop):
    kept = shop.back_up("a", COMMON)
    gone = shop.back_up("b", noise(MIB, seed=3))
    shop.repository.forget(gone.backup)
    usage = shop.usage()
    assert set(about(usage)) == {"a"}
    assert is_near(usage.held - usage.living, MIB)
    assert kept.entity == "a"


def test_a_sample_is_near_the_whole_count(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.back_up("a", noise(4 * MIB, seed=1) + COMMON)
    shop.back_up("b", noise(4 * MIB, seed=2) + COMMON)
    whole = shop.usage()
    monkeypatch.setattr(space_sample, "_MOST", 128)
    sample = shop.usage()
    assert is_near(sample.living, whole.living, whole.living // 2)
    assert sample.held == whole.held
