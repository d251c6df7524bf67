"""The process of a mount serves the repository that the mount was made of, and only once."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import msgspec
import pytest

from haulback.drivers.nbd import connect
from haulback.errors import Conflict, HaulbackError, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.mounts import process
from haulback.mounts.damage_watch import DAMAGE, DamageWatch
from haulback.mounts.spec import MountSpec, MountState
from haulback.repository.repository import Repository
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise

SIZE = 256 * 1024


@pytest.fixture
def spec(repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor) -> MountSpec:
    """An order for the only backup of a repository."""
    made = back_up(repository, MemoryDisk(noise(SIZE)), tmp_path / "s", pool)
    return MountSpec(
        guid=new_guid(),
        driver="folder",
        config={"path": str(tmp_path / "destination")},
        repository=repository.guid,
        key=SECRET.value,
        backup=made.backup,
        visible=[],
    )


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def watch(run_folder: Path) -> DamageWatch:
    return DamageWatch("mount", run_folder / DAMAGE)


def opened(spec: MountSpec, run_folder: Path) -> dict[str, int]:
    with ExitStack() as held:
        return process._open(spec, run_folder, held, [], watch(run_folder)).disks


def test_the_disks_of_a_backup_are_served_until_the_end(spec: MountSpec, run_folder: Path):
    with ExitStack() as held:
        [name] = process._open(spec, run_folder, held, [], watch(run_folder)).disks
        export, buffer = connect(str(run_folder / "nbd"), name), bytearray(SIZE)
        export.read_into(0, memoryview(buffer))
        export.close()
    assert bytes(buffer) == noise(SIZE)
    assert opened(spec, run_folder) == {name: SIZE}


def test_a_mount_is_served_by_one_process_only(spec: MountSpec, run_folder: Path):
    with open(run_folder / process.LOCK, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="served already"):
            opened(spec, run_folder)
    assert opened(spec, run_folder)


def test_another_repository_in_the_destination_is_not_served(spec: MountSpec, run_folder: Path):
    with pytest.raises(Conflict, match="another repository"):
        opened(msgspec.structs.replace(spec, repository=new_guid()), run_folder)
    assert opened(msgspec.structs.replace(spec, repository=None), run_folder)


def test_a_missing_backup_is_named(spec: MountSpec, run_folder: Path):
    gone = new_guid()
    with pytest.raises(NotFound, match=gone):
        opened(msgspec.structs.replace(spec, backup=gone), run_folder)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("the destination is away"), "the destination is away"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("a key that must not be shown"), "ValueError"),
    ],
)
def test_the_node_is_told_the_reason_and_no_secret(error: Exception, told: str):
    assert process._failure_text(error) == told


@pytest.mark.parametrize("is_possible", [True, False])
def test_the_node_reads_the_disks_or_the_reason(
    spec: MountSpec, run_folder: Path, monkeypatch: pytest.MonkeyPatch, is_possible: bool
):
    answers: list[MountState] = []
    monkeypatch.setattr(process, "_say", answers.append)
    monkeypatch.setattr(process, "_let_go", lambda: None)
    over = Event()
    over.set()
    order = spec if is_possible else msgspec.structs.replace(spec, driver="none")
    process._serve(order, run_folder, over)
    [answer] = answers
    assert bool(answer.disks) is is_possible
    assert bool(answer.error) is not is_possible
    with pytest.raises(HaulbackError):
        connect(str(run_folder / "nbd"), "vda")
