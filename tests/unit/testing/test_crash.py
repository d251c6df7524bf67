"""The simulated power failure loses exactly the bytes and names that were not durable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulback.testing.crash import CrashingDisk, PowerLost


def test_a_synced_file_in_a_synced_folder_survives(tmp_path: Path):
    disk = CrashingDisk()
    with disk.create(tmp_path / "a") as file:
        disk.write(file, b"whole")
        disk.sync(file)
    disk.sync_folder(tmp_path)
    disk.drop_unsynced()
    assert (tmp_path / "a").read_bytes() == b"whole"


@given(st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_unsynced_bytes_are_lost_from_the_end(tmp_path: Path, seed: int):
    disk, path = CrashingDisk(seed=seed), tmp_path / "a"
    path.unlink(missing_ok=True)
    with disk.create(path) as file:
        disk.write(file, b"kept ")
        disk.sync(file)
        disk.write(file, b"torn")
    disk.sync_folder(tmp_path)
    disk.drop_unsynced()
    left = path.read_bytes()
    assert left.startswith(b"kept ")
    assert b"kept torn".startswith(left)


def outcomes(tmp_path: Path, act) -> set[frozenset[str]]:
    """Names in the folder after power failures with many seeds."""
    result = set()
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        disk = CrashingDisk(seed=seed)
        act(disk, folder)
        disk.drop_unsynced()
        result.add(frozenset(path.name for path in folder.iterdir()))
    return result


def made(disk: CrashingDisk, folder: Path) -> None:
    with disk.create(folder / "a") as file:
        disk.sync(file)


def test_a_name_in_an_unsynced_folder_may_be_lost(tmp_path: Path):
    assert outcomes(tmp_path, made) == {frozenset(), frozenset({"a"})}


def test_a_renamed_file_may_have_its_old_name_again(tmp_path: Path):
    def renamed(disk: CrashingDisk, folder: Path) -> None:
        made(disk, folder)
        disk.sync_folder(folder)
        disk.replace(folder / "a", folder / "b")

    assert outcomes(tmp_path, renamed) == {frozenset({"a"}), frozenset({"b"})}


def test_a_link_may_be_lost_while_its_file_stays(tmp_path: Path):
    def linked(disk: CrashingDisk, folder: Path) -> None:
        made(disk, folder)
        disk.sync_folder(folder)
        disk.link(folder / "a", folder / "b")

    assert outcomes(tmp_path, linked) == {frozenset({"a"}), frozenset({"a", "b"})}


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_the_power_fails_at_the_chosen_operation_before_it_acts(tmp_path: Path, fail_at: int):
    disk = CrashingDisk(fail_at)
    for name in "abcde"[: fail_at - 1]:
        disk.create(tmp_path / name)
    with pytest.raises(PowerLost):
        disk.create(tmp_path / "last")
    assert disk.operations == fail_at
    assert len(list(tmp_path.iterdir())) == fail_at - 1
    disk.drop_unsynced()
