"""Benchmark of file systems in a stored backup: the first listing, and a download compared with
`cp`.

`python -m benchmarks.browse [--size MIB] [--rounds N]`; as root, with e2fsprogs and a loop device.
Each round is a new process on a freshly opened repository.  The download is measured twice: from
the closed repository, and from a mounted backup, as a node reads it: another process serves its
disks, and the reader of file systems runs already.  `cp` reads a mounted file system, too.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from benchmarks.measured import Figures, publish, repository, resident, staged_writer
from haulback.drivers.nbd import connect
from haulback.drivers.nbd_server import NbdServer
from haulback.drivers.source import RawImage
from haulback.filesystems.browser import Browser
from haulback.mounts.reopening_disk import Readers, ReopeningDisk
from haulback.repository.backup import back_up_disk
from haulback.repository.resources import Resources
from haulback.repository.stored_disk import StoredDisk
from haulback.units import GIB, MIB

_FILES, _FOLDERS, _CROWD = 50_000, 450, 5_000
_DISK = 2 * GIB


def image(folder: Path, size: int) -> Path:
    """An ext4 of 2 GiB: 5,000 files in one directory, 45,000 in others, one file of `size`."""
    path, mount, chance = folder / "disk.raw", folder / "mount", random.Random(1)
    with open(path, "wb") as file:
        file.truncate(_DISK)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    with mounted(path, mount):
        for number in range(_FOLDERS + 1):
            below = mount / f"folder{number}" if number else mount / "crowd"
            below.mkdir()
            for number_ in range((_FILES - _CROWD) // _FOLDERS if number else _CROWD):
                (below / f"file{number_}").write_bytes(chance.randbytes(500))
        with open(mount / "large", "wb") as file:
            for _ in range(size // MIB):
                file.write(chance.randbytes(MIB))
    return path


@contextmanager
def mounted(path: Path, mount: Path, *options: str) -> Iterator[None]:
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", ",".join(["loop", *options]), path, mount], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", mount], check=True)


def store(folder: Path, path: Path) -> None:
    """Back up the image with the repository's writer."""
    kept, source = repository(folder), RawImage(path)
    with staged_writer(kept, folder) as (writer, pool):
        found = back_up_disk(source, writer, kept.keys, Resources(pool))
        publish(kept, folder, found, writer.finish())
    source.close()


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    kept = repository(folder)
    disk = next(kept.backups()).disks[0]
    with Browser({"vda": StoredDisk(disk.map, kept.reader())}) as found:
        yield found


def first_listing(folder: Path) -> Figures:
    """Seconds from a closed repository to the entries of `/`, then of a crowded directory."""
    begun = time.perf_counter()
    with browser(folder) as found:
        found.volumes()
        assert len(found.listing("vda", "/", most=10_000)) == _FOLDERS + 3
        root = time.perf_counter() - begun
        assert len(found.listing("vda", "/crowd", most=10_000)) == _CROWD
    return {"listing s": root, "both listings s": time.perf_counter() - begun}


def download(folder: Path) -> Figures:
    """Seconds for the large file, and the additional memory during the read."""
    begun, most = time.perf_counter(), 0
    with browser(folder) as found, open(folder / "ours", "wb") as file:
        found.volumes()
        before = resident()
        for chunk in found.stream("vda", "/large"):
            file.write(chunk)
            most = max(most, resident())
    return {"s": time.perf_counter() - begun, "bytes": most - before}


def serve(folder: Path) -> Figures:
    """Serve the disk of the backup until standard input ends, as the process of a mount does."""
    kept = repository(folder)
    disk = ReopeningDisk(next(kept.backups()).disks[0].map, Readers(kept))
    with NbdServer(folder / "nbd", {"vda": disk}):
        print("ready", flush=True)
        sys.stdin.read()
    return {}


def mounted_download(folder: Path) -> Figures:
    """Seconds for the large file of a mounted backup, and the additional memory."""
    command = [sys.executable, "-m", "benchmarks.browse", "--part", "serve", str(folder)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        with Browser({"vda": connect(str(folder / "nbd"), "vda")}) as mount:
            mount.volumes()
            before = resident()
            cold()
            begun, most = time.perf_counter(), 0
            with open(folder / "ours", "wb") as file:
                for chunk in mount.stream("vda", "/large"):
                    file.write(chunk)
                    most = max(most, resident())
            seconds = time.perf_counter() - begun
        server.communicate()
    return {"s": seconds, "bytes": most - before}


def copy(folder: Path) -> float:
    """Seconds that `cp` takes for the original."""
    with mounted(folder / "disk.raw", folder / "mount", "ro"):
        cold()
        begun = time.perf_counter()
        subprocess.run(["cp", folder / "mount" / "large", folder / "theirs"], check=True)
        return time.perf_counter() - begun


def cold() -> None:
    """Empty the page cache and write all pending data."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def apart(part: str, folder: Path) -> Figures:
    """Run one part in a separate process."""
    command = [sys.executable, "-m", "benchmarks.browse", "--part", part, str(folder)]
    found: Figures = json.loads(subprocess.run(command, check=True, stdout=PIPE).stdout)
    return found


def measure(folder: Path, size: int, rounds: int) -> Figures:
    store(folder, image(folder, size))
    result: dict[str, list[float]] = {}
    for _ in range(rounds):
        cold()
        figures = apart("first_listing", folder)
        cold()
        ours = apart("download", folder)
        (folder / "ours").unlink()
        mount = apart("mounted_download", folder)
        theirs = copy(folder)
        same = filecmp.cmp(folder / "ours", folder / "theirs", shallow=False)
        assert same, "a download differs from the original"
        for name in ("ours", "theirs"):
            (folder / name).unlink()
        figures |= {"download s": ours["s"], "cp s": theirs, "memory bytes": ours["bytes"]}
        figures |= {"cp / download": theirs / ours["s"], "download bytes/s": size / ours["s"]}
        figures |= {"mounted download s": mount["s"], "mounted memory bytes": mount["bytes"]}
        figures |= {"cp / mounted download": theirs / mount["s"]}
        for name, figure in figures.items():
            result.setdefault(name, []).append(figure)
    return {name: statistics.median(values) for name, values in result.items()}


_PARTS = {
    "first_listing": first_listing,
    "download": download,
    "serve": serve,
    "mounted_download": mounted_download,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="MiB of the large file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.part:
        print(json.dumps(_PARTS[wanted.part[0]](Path(wanted.part[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), wanted.size * MIB, wanted.rounds), indent=2))


if __name__ == "__main__":
    main()
