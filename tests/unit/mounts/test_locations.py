"""A mount continues from another location of its backup when an object is damaged or missing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from haulback.contract.damage import DamageReport
from haulback.drivers.nbd import connect
from haulback.ids import new_guid
from haulback.mounts import process
from haulback.mounts.damage_watch import DAMAGE, DamageWatch
from haulback.mounts.spec import MountPlace, MountSpec
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import OTHER, CopySite

SIZE = 256 * 1024
FIRST, SECOND = new_guid(), new_guid()


class Mounted:
    """A backup with a copy, and the order that mounts it."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor, *, family: bool) -> None:
        self.site = CopySite(root, pool, family=family)
        backup = self.site.back_up(MemoryDisk(noise(SIZE)))
        copy = self.site.copy(backup).manifest
        self.run_folder = root / "run"
        self.run_folder.mkdir()
        self.watch = DamageWatch("mount", self.run_folder / DAMAGE)
        other = MountPlace(
            destination=SECOND,
            driver="folder",
            config={"path": str(root / "second")},
            repository=self.site.second.guid,
            key=OTHER.value,
            backup=copy.backup,
        )
        self.spec = MountSpec(
            guid=new_guid(),
            destination=FIRST,
            driver="folder",
            config={"path": str(root / "first")},
            repository=self.site.first.guid,
            key=SECRET.value,
            backup=backup.backup,
            others=[other],
        )

    def read(self) -> bytes:
        with ExitStack() as held:
            [name] = process._open(self.spec, self.run_folder, held, [], self.watch).disks
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
    mounted.watch.look()
    met = reports(mounted)
    assert [report.destination for report in met] == ([] if harm is Mounted.unmount else [FIRST])
    for report in met:
        backup = mounted.spec.backup
        lost = [loss.backup for loss in report.losses]
        is_missing = harm is Mounted.lose_manifest
        assert (lost, report.missing) == (([], [backup]) if is_missing else ([backup], []))


def test_damage_that_a_mount_meets_is_recorded_in_the_repository(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    mounted = Mounted(tmp_path, pool, family=True)
    mounted.rot()
    mounted.read()
    assert not mounted.site.opened("first").damage()
    mounted.watch.look()
    assert mounted.site.opened("first").damage()
    mounted.watch.look()
    assert len(reports(mounted)) == 1


def test_damage_that_a_store_does_not_take_is_not_recorded_at_each_look(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    mounted = Mounted(tmp_path, pool, family=True)
    mounted.rot()
    mounted.read()
    folder = tmp_path / "first"
    (folder / "damage").write_bytes(b"a file where records of damage are stored")
    mounted.watch.look()
    (folder / "damage").unlink()
    mounted.watch.look()
    assert reports(mounted) == []
    mounted.watch._later = 0.0
    mounted.watch.look()
    assert len(reports(mounted)) == 1


def reports(mounted: Mounted) -> list[DamageReport]:
    """The reports that the node reads from the run folder of the mount."""
    path = mounted.run_folder / DAMAGE
    text = path.read_bytes() if path.exists() else b"[]"
    return msgspec.json.decode(text, type=list[DamageReport])
