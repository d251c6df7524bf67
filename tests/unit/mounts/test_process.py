"""The process of a mount serves the disks of one backup, once, from the right repository."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from haulback.destinations.folder import Folder
from haulback.drivers.nbd import connect
from haulback.errors import Conflict, NotFound
from haulback.ids import new_guid
from haulback.mounts import process
from haulback.mounts.spec import MountSpec
from haulback.repository.repository import Repository
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk, back_up, noise


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(noise(MIB, 5))


@pytest.fixture
def spec(
    folder: Folder, repository: Repository, disk: MemoryDisk, tmp_path: Path,
    pool: ThreadPoolExecutor,
) -> MountSpec:  # fmt: skip
    (tmp_path / "run").mkdir()
    backup = back_up(repository, disk, tmp_path / "s", pool).backup
    config = {"path": str(folder.root)}
    return MountSpec(
        guid=new_guid(), driver="folder", config=config, repository=repository.guid,
        key=bytes(range(32)), backup=backup,
    )  # fmt: skip


def test_each_disk_is_served_to_its_last_byte(spec: MountSpec, disk: MemoryDisk, tmp_path: Path):
    with ExitStack() as held:
        ready = process._open(spec, tmp_path / "run", held, [])
        [(name, size)] = ready.disks.items()
        assert size == len(disk.data)
        export = connect(str(tmp_path / "run" / process.NBD), name)
        buffer = bytearray(size)
        export.read_into(0, memoryview(buffer))
        export.close()
        assert buffer == disk.data


def test_a_mount_is_served_by_one_process(spec: MountSpec, tmp_path: Path):
    with ExitStack() as held:
        process._open(spec, tmp_path / "run", held, [])
        with ExitStack() as second, pytest.raises(Conflict, match="is served already"):
            process._open(spec, tmp_path / "run", second, [])


def test_another_repository_in_the_same_place_is_refused(spec: MountSpec, tmp_path: Path):
    spec.repository = new_guid()
    with ExitStack() as held, pytest.raises(Conflict, match="another repository"):
        process._open(spec, tmp_path / "run", held, [])


def test_only_the_type_of_an_unexpected_error_is_told():
    assert process._told(NotFound("no backup")) == "no backup"
    assert process._told(OSError("no space")) == "no space"
    assert process._told(ValueError("a secret")) == "ValueError"
