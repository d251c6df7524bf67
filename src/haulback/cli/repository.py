"""`haulback repository`: look into a repository with nothing but its destination and its key."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from haulback import units
from haulback.destinations.folder import Folder
from haulback.errors import Malformed, NotFound
from haulback.repository.clean_up import clean_up
from haulback.repository.keys import Keys, Secret, make_keyfile
from haulback.repository.manifest import Manifest, StoredDisk
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk
from haulback.repository.verify import Depth, verify

app = App(name="repository")

KeyFile = Annotated[Path | None, Parameter(name="--key-file", help="File with the repository key.")]
Kit = Annotated[Path | None, Parameter(name="--kit", help="Recovery kit, typed into a file.")]


@app.command
def init(folder: Path, *, key_file: KeyFile = None) -> None:
    """Make a repository in FOLDER and print its recovery kit.

    The key is wrapped by --key-file (made if it is not there) or by the passphrase in
    HAULBACK_PASSPHRASE.
    """
    if key_file and not key_file.exists():
        make_keyfile(key_file)
    folder.mkdir(parents=True, exist_ok=True)
    repository = Repository.init(Folder(folder), _secret(key_file))
    print(repository.keys.kit(repository.guid))


@app.command
def ls(folder: Path, *, key_file: KeyFile = None, kit: Kit = None, json: bool = False) -> None:
    """List the backups in FOLDER, oldest first."""
    found = sorted(_open(folder, key_file, kit).backups(), key=lambda m: m.snapshot_time)
    for manifest in found:
        if json:
            print(msgspec.json.encode(manifest).decode())
        else:
            print(_row(manifest))


@app.command
def cat(
    folder: Path,
    backup: str,
    disk: str | None = None,
    *,
    output: Annotated[Path | None, Parameter(name=["-o", "--output"])] = None,
    key_file: KeyFile = None,
    kit: Kit = None,
) -> None:
    """Write one disk of BACKUP as a raw image, to --output (sparse) or to standard output."""
    repository = _open(folder, key_file, kit)
    stored = _disk(repository.manifest(backup), disk)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if output:
            restore_to(repository, stored, output, pool)
        else:
            sink = _Stream()
            restore_disk(stored.map, repository.reader(), sink, pool)
            sink.zeros_to(stored.map.size)


@app.command(name="verify")
def verify_command(
    folder: Path, *, depth: int = 3, key_file: KeyFile = None, kit: Kit = None
) -> None:
    """Check everything stored in FOLDER; exits with 1 when anything is damaged.

    Depth 1: every object is there.  2: maps lead to stored chunks.  3: every byte is right.
    """
    if depth not in tuple(Depth):
        raise Malformed("--depth is 1, 2 or 3")
    repository = _open(folder, key_file, kit)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        report = verify(repository, Depth(depth), pool)
    for finding in report.findings:
        print(f"DAMAGED  {finding}")
    print(
        f"{report.backups} backups, {report.packs} packs, {report.groups} groups, "
        f"{units.size(report.bytes)} read: {'ok' if report.ok else 'DAMAGED'}"
    )
    if not report.ok:
        sys.exit(1)


@app.command
def sweep(folder: Path, *, key_file: KeyFile = None, kit: Kit = None) -> None:
    """Delete the index segments in FOLDER that a merged one replaces.

    Safe at any time, also while others read and write.
    """
    print(f"{_open(folder, key_file, kit).sweep_index()} replaced index segments deleted")


@app.command
def clean(
    folder: Path,
    *,
    work: Annotated[Path | None, Parameter(help="Where to put new files for a while.")] = None,
    key_file: KeyFile = None,
    kit: Kit = None,
) -> None:
    """Delete from FOLDER what no backup needs any more.

    NOTHING ELSE MAY BE USING THE REPOSITORY: no server with tasks on it, no node, no other command.
    Nobody is asked who else is at work, and nothing waits for them.
    """
    repository = _open(folder, key_file, kit)
    with TemporaryDirectory(dir=work) as temp, ThreadPoolExecutor(os.cpu_count()) as pool:
        cleaned = clean_up(repository, Path(temp), frozenset, pool)
    for backup in cleaned.damaged:
        print(f"DAMAGED  backup {backup} refers to data that is not stored")
    print(
        f"{cleaned.backups} backups kept, {cleaned.packs_deleted} packs deleted, "
        f"{units.size(cleaned.bytes_freed)} freed, {cleaned.groups_rewritten} groups rewritten"
    )
    if cleaned.damaged:
        sys.exit(1)


def restore_to(
    repository: Repository, stored: StoredDisk, output: Path, pool: ThreadPoolExecutor
) -> None:
    """Write a disk to a new file; a failed restore leaves no file behind."""
    from haulback.drivers.sink import RawFile

    try:
        sink = RawFile(output, stored.map.size)
    except FileExistsError:
        raise Malformed(f"{output} exists already; name a new file") from None
    try:
        restore_disk(stored.map, repository.reader(), sink, pool)
        sink.close()
    except BaseException:
        output.unlink()
        raise


class _Stream:
    """Standard output as a sink: restored runs come in order, the holes between are written."""

    def __init__(self) -> None:
        self._at = 0

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self.zeros_to(offset)
        sys.stdout.buffer.write(data)
        self._at = offset + len(data)

    def zeros_to(self, offset: int) -> None:
        while self._at < offset:
            count = min(offset - self._at, units.MIB)
            sys.stdout.buffer.write(bytes(count))
            self._at += count


def _open(folder: Path, key_file: Path | None, kit: Path | None) -> Repository:
    if kit:
        return Repository.open(Folder(folder), Keys.from_kit(kit.read_text()))
    return Repository.open(Folder(folder), _secret(key_file))


def _secret(key_file: Path | None) -> Secret:
    if key_file:
        return Secret.keyfile(key_file)
    if "HAULBACK_PASSPHRASE" not in os.environ:
        raise Malformed("name --key-file, or put the passphrase into HAULBACK_PASSPHRASE")
    return Secret.passphrase(os.environ["HAULBACK_PASSPHRASE"])


def _disk(manifest: Manifest, name: str | None) -> StoredDisk:
    names = [disk.name for disk in manifest.disks]
    if name is None and len(names) == 1:
        return manifest.disks[0]
    for disk in manifest.disks:
        if disk.name == name:
            return disk
    raise NotFound(f"name one of the backup's disks: {', '.join(names)}")


def _row(manifest: Manifest) -> str:
    size = units.size(sum(disk.map.size for disk in manifest.disks))
    stored = units.size(manifest.stored)
    return "\t".join(
        (
            manifest.backup,
            manifest.entity_name,
            manifest.type,
            str(manifest.snapshot_time),
            size,
            stored,
        )
    )
