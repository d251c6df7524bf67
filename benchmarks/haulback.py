"""A step of Haulback as a separate process: `python -m benchmarks.haulback STEP …`."""

from __future__ import annotations

import json
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.destinations.folder import Folder
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources

SECRET = Secret("keyfile", bytes(32))


def backup(folder: Path, image: Path, changes: Path | None) -> None:
    """Back up: a full backup if there is none, otherwise a scan, or with `changes` an increment by
    extents.
    """
    from haulback.drivers.source import Extent, RawImage
    from haulback.durable_files import DurableFiles
    from haulback.repository.backup import DiskBase, back_up_disk
    from haulback.repository.manifest import Manifest, ManifestDisk
    from haulback.repository.mapping import MapReader

    repository = Repository.open(Folder(folder), SECRET)
    parent = max(repository.backups(), key=lambda m: m.snapshot_time, default=None)
    base = MapReader(parent.disks[0].map, repository.reader().chunk) if parent else None
    changed = [Extent(*pair) for pair in json.loads(changes.read_text())] if changes else None
    staging = folder.parent / f"staging-{uuid.uuid4()}"
    staging.mkdir()
    source = RawImage(image)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        writer = repository.writer(staging, pool)
        old = DiskBase(base, changed) if base else None
        stored_map = back_up_disk(source, writer, repository.keys, Resources(pool), old)
        staged = writer.finish()
    source.close()
    when = parent.snapshot_time + 1 if parent else 1
    disks = (ManifestDisk("disk0", stored_map),)
    record = Manifest(str(uuid.uuid4()), "e", "bench", "FULL", when, disks, stored=staged.stored)
    repository.publish(staging, repository.draft(staging, staged, record, DurableFiles()))


def restore(folder: Path, target: Path) -> None:
    from haulback.drivers.sink import RawFile
    from haulback.repository.restore import restore_disk

    repository = Repository.open(Folder(folder), SECRET)
    last = max(repository.backups(), key=lambda m: m.snapshot_time).disks[0].map
    sink = RawFile(target, last.size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        restore_disk(last, repository.reader(), sink, pool)
    sink.close()


def check(folder: Path) -> None:
    from haulback.repository.verify import Depth, verify

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        report = verify(Repository.open(Folder(folder), SECRET), Depth.DATA, Resources(pool))
    if not report.ok:
        sys.exit(report.findings[0])


def main() -> None:
    step, folder, *rest = sys.argv[1], Path(sys.argv[2]), *map(Path, sys.argv[3:])
    if step == "init":
        folder.mkdir()
        Repository.init(Folder(folder), SECRET)
    elif step == "backup":
        backup(folder, rest[0], rest[1] if rest[1:] else None)
    elif step == "restore":
        restore(folder, rest[0])
    else:
        check(folder)


if __name__ == "__main__":
    main()
