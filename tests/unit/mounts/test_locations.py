"""A mount continues from another location of its backup when an object is damaged or missing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from haulback.drivers.nbd import connect
from haulback.ids import new_guid
from haulback.mounts import process
from haulback.mounts.spec import MountPlace, MountSpec
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import OTHER, CopySite

SIZE = 256 * 1024


class Mounted:
    """A backup with a copy, and the order that mounts it."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor, *, family: bool) -> None:
        self.site = CopySite(root, pool, family=family)
        backup = self.site.back_up(MemoryDisk(noise(SIZE)))
        copy = self.site.copy(backup).manifest
        self.run_folder = root / "run"
        self.run_folder.mkdir()
        other = MountPlace(
            driver="folder",
            config={"path": str(root / "second")},
            repository=self.site.second.guid,
            key=OTHER.value,
            backup=copy.backup,
        )
        self.spec = MountSpec(
            guid=new_guid(),
            driver="folder",
            config={"path": str(root / "first")},
            repository=self.site.first.guid,
            key=SECRET.value,
            backup=backup.backup,
            others=[other],
        )

    def read(self) -> bytes:
        with ExitStack() as held:
            [name] = process._open(self.spec, self.run_folder, held, []).disks
            export, buffer = connect(str(self.run_folder / "nbd"), name), bytearray(SIZE)
            try:
                export.read_into(0, memoryview(buffer))
            finally:
                export.close()
            return bytes(buffer)

    def rot(self) -> None:
        for path in (self.site.root / "first" / "packs").glob("*/*"):
            data = bytearray(path.read_bytes())
            data[100] ^= 1
            path.chmod(0o600)
            path.write_bytes(data)

    def lose_manifest(self) -> None:
        self.site.first.destination.delete(f"manifests/{self.spec.backup}")

    def unmount(self) -> None:
        (self.site.root / "first").rename(self.site.root / "away")


@pytest.mark.parametrize("family", [True, False])
@pytest.mark.parametrize("harm", [Mounted.rot, Mounted.lose_manifest, Mounted.unmount])
def test_a_mount_is_read_from_the_copy(
    tmp_path: Path, pool: ThreadPoolExecutor, harm: Callable[[Mounted], None], family: bool
):
    mounted = Mounted(tmp_path, pool, family=family)
    assert mounted.read() == noise(SIZE)
    harm(mounted)
    assert mounted.read() == noise(SIZE)
