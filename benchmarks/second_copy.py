"""A second copy of a full backup and of an increment, compared with reading the source again and
with a plain copy of the packs.

`python -m benchmarks.second_copy --mib 1024 --json FILE`; each figure is the median of three runs
on new targets, in one process, with a warm page cache.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.destinations.folder import Folder
from haulback.drivers.source import Extent, RawImage
from haulback.durable_files import DurableFiles
from haulback.ids import new_guid
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.garbage_collection import clean_up
from haulback.repository.keys import Keys, Secret
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.mapping import MapReader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.transfer.copy import CopyResult, CopyWish, copy_backup
from haulback.transfer.copy_groups import CopyServices
from haulback.units import KIB, MIB

_SECRET = Secret("keyfile", bytes(32))
_RUNS = 3


class Bench:
    """A source repository with one full backup of an image."""

    def __init__(self, root: Path, mib: int, pool: ThreadPoolExecutor) -> None:
        self.root, self.pool, self.number = root, pool, 0
        self.dice, self.image = random.Random(5), root / "image.raw"
        self._make_image(mib)
        self.source = self.new()

    def _make_image(self, mib: int) -> None:
        """Half of the image is random, half compresses like text."""
        words = [self.dice.randbytes(self.dice.randint(3, 11)).hex() for _ in range(4000)]
        with open(self.image, "wb") as file:
            for number in range(mib):
                if number % 2:
                    file.write(self.dice.randbytes(MIB))
                else:
                    text = " ".join(self.dice.choices(words, k=MIB // 12)).encode()
                    file.write(text[:MIB].ljust(MIB, b" "))

    def new(self, family: Keys | None = None) -> Repository:
        """An empty repository."""
        self.number += 1
        folder = self.root / f"repository{self.number}"
        folder.mkdir()
        return Repository.init(Folder(folder), _SECRET, family=family)

    def staging(self) -> Path:
        folder = self.root / "staging"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def back_up(
        self, to: Repository, base: Manifest | None = None, changed: list[Extent] | None = None
    ) -> Manifest:
        """Read the image, and store a backup."""
        folder, disk = self.staging(), DurableFiles()
        writer, image = to.writer(folder, self.pool, disk), RawImage(self.image)
        old = MapReader(base.disks[0].map, to.reader().chunk) if base else None
        known = DiskBase(old, changed) if old else None
        stored = back_up_disk(image, writer, to.keys, Resources(self.pool, disk), known)
        staged = writer.finish()
        manifest = Manifest(
            new_guid(), "e", "m", "INCREMENTAL" if base else "FULL", 1,
            (ManifestDisk("vda", stored),), base.backup if base else None, stored=staged.stored,
        )  # fmt: skip
        to.publish(folder, to.draft(folder, staged, manifest, disk), disk)
        return manifest

    def copy(self, backup: Manifest, to: Repository, older: Manifest | None = None) -> CopyResult:
        services = CopyServices(self.staging(), Resources(self.pool))
        wish = CopyWish(backup.backup, new_guid(), older.backup if older else None)
        return copy_backup(self.source, to, wish, services)

    def change(self, share: float) -> list[Extent]:
        """Write 64 KiB at random places."""
        size = self.image.stat().st_size
        places = self.dice.sample(range(size // (64 * KIB)), int(size / (64 * KIB) * share))
        with open(self.image, "r+b") as file:
            for place in sorted(places):
                file.seek(place * 64 * KIB)
                file.write(self.dice.randbytes(64 * KIB))
        return [Extent(place * 64 * KIB, 64 * KIB) for place in sorted(places)]

    def clean(self, repository: Repository) -> None:
        clean_up(repository, self.staging(), frozenset, Resources(self.pool))


def seconds(make: Callable[[], Callable[[], object]]) -> float:
    """The median time of an act; `make` prepares it and is not timed."""
    took = []
    for _ in range(_RUNS):
        act = make()
        subprocess.run(["sync"], check=True)
        started = time.monotonic()
        act()
        took.append(time.monotonic() - started)
    return statistics.median(took)


def rclone_program() -> str | None:
    """The path of a program in this environment or on the PATH, None if there is none."""
    own = Path(sys.executable).with_name("rclone")
    return str(own) if own.exists() else shutil.which("rclone")


def plain_copy(source: Path, target: Path) -> None:
    """Copy the packs by rclone, or by cp if rclone is missing, and make them durable."""
    rclone = rclone_program()
    command = [rclone, "copy", "-q"] if rclone else ["cp", "-r"]
    subprocess.run([*command, str(source), str(target)], check=True)
    subprocess.run(["sync"], check=True)


def of_full(bench: Bench, full: Manifest) -> dict[str, object]:
    packs, family = bench.root / "repository1" / "packs", bench.source.keys

    def to(repository: Repository) -> Callable[[], object]:
        return lambda: bench.copy(full, repository)

    def again() -> Callable[[], object]:
        target = bench.new()
        return lambda: bench.back_up(target)

    def plain() -> Callable[[], object]:
        target = bench.root / f"plain{random.randrange(1 << 30)}"
        return lambda: plain_copy(packs, target)

    read, copied = seconds(again), seconds(lambda: to(bench.new(family)))
    anew, plainly = seconds(lambda: to(bench.new())), seconds(plain)
    return {
        "read_again_seconds": read,
        "copy_in_family_seconds": copied,
        "copy_between_keys_seconds": anew,
        "plain_copy_seconds": plainly,
        "plain_copy_by": "rclone" if rclone_program() else "cp",
        "in_family_to_read_again": copied / read,
        "in_family_to_plain_copy": copied / plainly,
        "between_keys_to_read_again": anew / read,
    }


def of_increments(bench: Bench, full: Manifest) -> dict[str, object]:
    """The ratio of the bytes of copies to those of increments, before and after clean-ups of both
    repositories.
    """
    target = bench.new(bench.source.keys)
    older = bench.copy(full, target).manifest
    ratios, parent = [], full
    for number in range(4):
        increment = bench.back_up(bench.source, parent, bench.change(0.03))
        before = sum(item.size for item in target.destination.list("packs"))
        copied = bench.copy(increment, target, older).manifest
        after = sum(item.size for item in target.destination.list("packs"))
        ratios.append((after - before) / increment.stored)
        if number:
            bench.source.forget(parent.backup)
            bench.clean(bench.source)
            target.forget(older.backup)
            bench.clean(target)
        parent, older = increment, copied
    return {"increment_bytes_ratios": ratios}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mib", type=int, default=1024)
    asked.add_argument("--json", type=Path)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        bench = Bench(Path(folder), options.mib, pool)
        full = bench.back_up(bench.source)
        figures: dict[str, object] = {"mib": options.mib, "stored": full.stored}
        figures |= of_full(bench, full) | of_increments(bench, full)
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
