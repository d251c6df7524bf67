"""Make the golden repository of the current format: `python -m tests.golden.make FOLDER`.

This script made `v1` in November 2026; `v1` is never made again, because a new format version gets
its own folder and every version stays readable for ever.
"""

import hashlib
import json
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from haulback.disk import Disk

from haulback.destinations.folder import Folder
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.keys import Secret
from haulback.repository.manifest import Manifest, StoredDisk
from haulback.repository.mapping import MapReader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.units import KIB, MIB
from tests.unit.repository.scene import MemoryDisk

KEYFILE = Secret("keyfile", bytes.fromhex("6861756c6261636b20676f6c64656e20" * 2))
PASSPHRASE = Secret.passphrase("kept for ever")
FULL = "00000000-0000-4000-8000-00000000f011"
INCREMENT = "00000000-0000-4000-8000-000000001ac1"


def machine() -> dict[str, MemoryDisk]:
    """Two disks: one with text, random data and holes over two map leaves, and one of 513 bytes."""
    text = b"".join(b"line %d of a file that compresses\n" % i for i in range(8000))
    root = MemoryDisk(bytes(20 * MIB + 777))
    root.write_at(3, text)
    root.write_at(5 * MIB + 4096, random.Random(1).randbytes(48 * KIB))
    root.write_at(20 * MIB, text[:777])
    return {"root": root, "data": MemoryDisk(text[:513])}


def change(disks: dict[str, MemoryDisk]) -> None:
    """Apply the changes between the two backups of the machine."""
    for disk in disks.values():
        disk.changed()
    disks["root"].write_at(64 * KIB, bytes(70 * KIB))
    disks["root"].write_at(17 * MIB + 1, random.Random(2).randbytes(16 * KIB))
    disks["data"].write_at(500, b"changed")


def back_up(
    repository: Repository,
    disks: dict[str, MemoryDisk],
    staging: Path,
    backup: str,
    parent: Manifest | None = None,
) -> Manifest:
    """Make a full backup; with `parent` an increment from the disks' recorded changes."""
    maps = {stored.name: stored.map for stored in parent.disks} if parent else {}
    load = repository.reader().chunk
    staging.mkdir()
    with ThreadPoolExecutor(1) as pool:
        writer = repository.writer(staging, pool)
        stored = []
        for name, disk in disks.items():
            base = MapReader(maps[name], load) if parent else None
            changed = disk.changed() if parent else None
            old = DiskBase(base, changed) if base else None
            result = back_up_disk(disk, writer, repository.keys, Resources(pool), old)
            stored.append(StoredDisk(name, result, "raw", {"bus": "virtio"}))
        staged = writer.finish()
    manifest = Manifest(
        backup=backup,
        entity="11111111-2222-4333-8444-555555555555",
        entity_name="golden",
        type="INCREMENTAL" if parent else "FULL",
        snapshot_time=1_764_000_000_000 + bool(parent),
        disks=tuple(stored),
        parent=parent.backup if parent else None,
        definition={"memory": 1 << 30},
        labels={"kept": "for ever"},
        stored=staged.stored,
    )
    return repository.publish(staging, repository.draft(staging, staged, manifest, Disk()))


def digests(disks: dict[str, MemoryDisk]) -> dict[str, str]:
    return {name: hashlib.sha256(disk.data).hexdigest() for name, disk in disks.items()}


def make(folder: Path) -> None:
    """Make a full backup, an increment, and an index merged from both; return the content of
    each.
    """
    folder.mkdir()
    repository = Repository.init(Folder(folder), KEYFILE, PASSPHRASE)
    disks = machine()
    with TemporaryDirectory() as temp, patch("haulback.repository.index_tiers.FAN_IN", 2):
        full = back_up(repository, disks, Path(temp) / "full", FULL)
        held = {FULL: digests(disks)}
        change(disks)
        back_up(repository, disks, Path(temp) / "increment", INCREMENT, full)
        held[INCREMENT] = digests(disks)
        repository.merge_index(Path(temp))
    shutil.rmtree(folder / ".tmp")
    folder.with_suffix(".json").write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
