"""Tests of `haulback repository` in a separate process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.destinations.folder import Folder
from haulback.repository.keys import Secret, make_keyfile
from haulback.repository.repository import Repository
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored

RUN = "from haulback.cli.main import main; import sys; sys.argv[0] = 'haulback'; main()"


def test_sweep_deletes_what_a_merge_replaced_and_nothing_that_is_needed(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    make_keyfile(tmp_path / "key")
    for name in ("d", "m"):
        (tmp_path / name).mkdir()
    repository = Repository.init(Folder(tmp_path / "d"), Secret.keyfile(tmp_path / "key"))
    disk = MemoryDisk(noise(MIB))
    for number in range(8):
        disk.write_at(number * 65536, noise(65536, number))
        last = back_up(repository, disk, tmp_path / "s", pool)
    assert repository.merge_index(tmp_path / "m") == 1

    command = [sys.executable, "-c", RUN, "repository", "sweep", str(tmp_path / "d")]
    command += ["--key-file", str(tmp_path / "key")]
    for expected in ("8 replaced", "0 replaced"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(expected)
    assert len(list(repository.destination.list("index"))) == 1
    result = Repository.open(Folder(tmp_path / "d"), Secret.keyfile(tmp_path / "key"))
    assert restored(result, last, pool) == disk.data


def test_clean_gives_space_back_and_keeps_what_is_needed(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    make_keyfile(tmp_path / "key")
    (tmp_path / "d").mkdir()
    repository = Repository.init(Folder(tmp_path / "d"), Secret.keyfile(tmp_path / "key"))
    gone = back_up(repository, MemoryDisk(noise(2 * MIB, 1)), tmp_path / "s", pool)
    disk = MemoryDisk(noise(MIB, 2))
    kept = back_up(repository, disk, tmp_path / "s", pool)
    repository.forget(gone.backup)

    command = [sys.executable, "-c", RUN, "repository", "clean", "-y", str(tmp_path / "d")]
    command += ["--key-file", str(tmp_path / "key")]
    for expected in ("1 backup kept, 2 packs deleted, 2", "1 backup kept, 0 packs deleted, 0 B"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(expected)
    assert restored(repository, kept, pool) == disk.data
