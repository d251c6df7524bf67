"""A mount continues from another location of its backup when an object is damaged or missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import msgspec
import pytest

from haulback.contract.damage import DamageReport
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import open_destination
from haulback.drivers.nbd import connect
from haulback.errors import HaulbackError, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.mounts import damage_watch, locations, process
from haulback.mounts.damage_watch import DAMAGE, DamageWatch
from haulback.mounts.locations import Locations
from haulback.mounts.spec import MountPlace, MountSpec
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import OTHER, CopySite

SIZE = 256 * 1024
FIRST, SECOND = new_guid(), new_guid()
EPOCH = 1_700_000_000_000


class Mounted:
    """A backup with a copy, and the order that mounts it."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor, *, family: bool) -> None:
        self.site = CopySite(root, pool, family=family)
        backup = self.site.back_up(MemoryDisk(noise(SIZE)))
        copy = self.site.copy(backup).manifest
        self.run_folder = root / "run"
        self.run_folder.mkdir()
        self.seconds = 0
        self.watch = DamageWatch(
            "mount",
            self.run_folder / DAMAGE,
            lambda: self.seconds,
            lambda: EPOCH + self.seconds * 1000,
        )
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


def test_damage_that_a_store_does_not_take_is_told_at_once_and_recorded_later(
    tmp_path: Path, pool: ThreadPoolExecutor
):
    mounted = Mounted(tmp_path, pool, family=True)
    mounted.rot()
    mounted.read()
    folder = tmp_path / "first"
    (folder / "damage").write_bytes(b"a file where records of damage are stored")
    mounted.watch.look()
    [report] = reports(mounted)
    assert [loss.backup for loss in report.losses] == [mounted.spec.backup]
    assert "cannot be recorded" in report.findings[0]
    (folder / "damage").unlink()
    mounted.watch.look()
    assert not mounted.site.opened("first").damage()  # the store is not asked at each look
    mounted.seconds += 60
    mounted.watch.look()
    assert mounted.site.opened("first").damage()


def test_the_reports_of_a_location_replace_each_other(tmp_path: Path, pool: ThreadPoolExecutor):
    mounted = Mounted(tmp_path, pool, family=True)
    mounted.rot()
    for _ in range(2):
        mounted.read()
        mounted.watch.look()
    [first] = reports(mounted)
    mounted.seconds += 61
    mounted.lose_manifest()
    with pytest.raises(NotFound):
        Locations(mounted.spec, mounted.watch)._locations[0].manifest()
    mounted.watch.look()
    [second] = reports(mounted)
    assert (first.missing, second.missing) == ([], [mounted.spec.backup])
    assert (first.found, second.found) == (EPOCH, EPOCH + 61_000)


@pytest.mark.parametrize("family", [True, False])
def test_a_location_that_cannot_be_read_is_opened_once(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, family: bool
):
    mounted = Mounted(tmp_path, pool, family=family)
    mounted.site.second.destination.delete(f"manifests/{mounted.spec.others[0].backup}")
    opened: list[str] = []

    def open_counted(driver: str, config: dict[str, str], attempt: str) -> ObjectStore:
        opened.append(config["path"])
        return open_destination(driver, config, attempt)

    monkeypatch.setattr(locations, "open_destination", open_counted)
    disks = Locations(mounted.spec, mounted.watch).disks()
    mounted.rot()
    for disk in disks.values():
        for _ in range(20):
            with contextlib.suppress(HaulbackError):
                disk.read_into(0, memoryview(bytearray(4096)))
    assert sorted(opened) == [str(tmp_path / "first"), str(tmp_path / "second")]
    mounted.watch.look()
    missed = [] if family else [True]  # a family supplies chunks without its other manifest
    assert [bool(report.missing) for report in reports(mounted)] == [False, *missed]


def test_a_report_that_cannot_be_written_is_written_later(tmp_path: Path, pool: ThreadPoolExecutor):
    mounted = Mounted(tmp_path, pool, family=True)
    mounted.rot()
    mounted.read()
    mounted.run_folder.rename(tmp_path / "away")
    mounted.watch.look()
    (tmp_path / "away").rename(mounted.run_folder)
    mounted.watch.look()
    assert len(reports(mounted)) == 1


@pytest.mark.parametrize("error", [OSError(28, "no space"), Unavailable("away"), ValueError()])
def test_a_store_that_records_no_damage_is_asked_at_growing_intervals(
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
):
    mounted, asked = Mounted(tmp_path, pool, family=True), list[float]()
    mounted.rot()
    mounted.read()

    def fail(*_: object) -> None:
        asked.append(mounted.seconds)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(damage_watch, "report_damage", fail)
        for mounted.seconds in range(0, 7200, 2):
            mounted.watch.look()
    assert asked[:5] == [0, 2, 6, 14, 30]
    assert len(asked) < 25
    mounted.seconds += 600
    mounted.watch.look()
    assert len(reports(mounted)) == 1


def test_the_end_of_a_mount_looks_at_once_and_waits_for_no_store(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    mounted, answers = Mounted(tmp_path, pool, family=True), Event()
    mounted.rot()
    mounted.read()
    mounted.watch.start().stop()
    assert len(reports(mounted)) == 1
    monkeypatch.setattr(damage_watch, "_LAST_LOOK", 0.01)
    monkeypatch.setattr(damage_watch, "report_damage", lambda *_: answers.wait(60))
    mounted.read()
    thread = mounted.watch.start()
    thread.stop()
    assert thread.is_alive()
    answers.set()


def reports(mounted: Mounted) -> list[DamageReport]:
    """The reports that the node reads from the run folder of the mount."""
    path = mounted.run_folder / DAMAGE
    text = path.read_bytes() if path.exists() else b"[]"
    return msgspec.json.decode(text, type=list[DamageReport])
