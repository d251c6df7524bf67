"""`haulback repository`: work with a repository using only its destination and its key."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from haulback import credentials, units
from haulback.cli.arguments import RepositoryFolder, StoredBackup, StoredFolder
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.repository_location import FOLDER, StoreOptions, open_location, open_store
from haulback.cli.stored_backups import backup_named, whole_guid
from haulback.errors import Conflict, Malformed, NotFound
from haulback.repository.config import is_repository
from haulback.repository.keys import Keys, Secret, make_keyfile
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.owners import Ownership
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk
from haulback.texts import reason

app = App(name="repository")

KeyFile = Annotated[Path | None, Parameter(name="--key-file", help="File with the repository key.")]
Kit = Annotated[
    Path | None, Parameter(name="--kit", help="File with the text of the recovery kit.")
]


@app.command
def init(folder: RepositoryFolder, *, key_file: KeyFile = None) -> None:
    """Create a repository in FOLDER and print its recovery kit.

    FOLDER is a folder, or a JSON file with `type` and settings of a destination of another type.

    The key is wrapped by --key-file (created if missing) or by the passphrase in
    HAULBACK_PASSPHRASE.
    """
    made = key_file if key_file and not key_file.exists() else None
    if not folder.is_file():
        folder.mkdir(parents=True, exist_ok=True)
    if is_repository(open_location(folder)):
        raise Conflict(f"{folder} holds a repository already; its key is unchanged")
    if made:
        make_keyfile(made)
    try:
        repository = Repository.init(open_location(folder), _secret(key_file))
    except BaseException:
        if made:
            made.unlink()  # a key file that opens no repository must not remain
        raise
    print(repository.keys.kit(repository.guid))


@app.command
def cat(
    folder: RepositoryFolder,
    backup: StoredBackup,
    disk: Annotated[
        str | None, Parameter(help="Disk of the backup, if the machine has several.")
    ] = None,
    *,
    output: Annotated[
        Path | None,
        Parameter(help="File for the disk; - is standard output.", name=["-o", "--output"]),
    ] = None,
    key_file: KeyFile = None,
    kit: Kit = None,
) -> None:
    """Write one disk of BACKUP as a raw image, to --output (sparse) or to standard output.

    BACKUP is a guid or its beginning, or `latest:web` for the newest backup of the machine web.
    """
    repository = open_repository(folder, key_file, kit)
    stored = _disk(backup_named(repository, backup), disk)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if output:
            restore_to(repository, stored, output, pool)
        else:
            sink = _Stream()
            restore_disk(stored.map, repository.reader(), sink, pool)
            sink.zeros_to(stored.map.size)


@app.command(name="kit")
def print_kit(
    folder: StoredFolder = None, *, key_file: KeyFile = None, store: StoreOptions = FOLDER
) -> None:
    """Print the recovery kit of the repository in FOLDER: the kit opens the repository without any
    other secret.

    Omit FOLDER if --type names another store. Print the kit on paper and lock it away: it is needed
    if haulback.json and its copy are both lost.
    """
    repository = open_repository(folder, key_file, None, store)
    print(repository.keys.kit(repository.guid))


@app.command
def forget(
    folder: RepositoryFolder,
    *backup: Annotated[str, Parameter(help="A backup: guid, or its first six characters or more.")],
    key_file: KeyFile = None,
    kit: Kit = None,
    consent: Consent = ASK,
) -> None:
    """Delete backups in FOLDER permanently, or confirm the loss of missing backups.

    The next `repository clean` frees the space of a deleted backup.
    """
    if not backup:
        raise Malformed("name at least one backup by its guid")
    repository = open_repository(folder, key_file, kit)
    listed = repository.objects.leaves("manifests")
    backups = list(dict.fromkeys(whole_guid(repository, word) for word in backup))
    for guid in backups:
        print(f"{guid} {'is deleted' if guid in listed else 'is missing and is given up'}")
    act_for_owner(repository)
    if not consent.agree():
        return
    repository.check_deletion()
    repository.begin_writing()
    for guid in backups:
        repository.forget(guid)


def restore_to(
    repository: Repository, stored: ManifestDisk, output: Path, pool: ThreadPoolExecutor
) -> None:
    """Write a disk to a new file; a failed restore leaves no file."""
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
    """Standard output as a sink: restored runs arrive in order, holes are written as zeros."""

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


def open_repository(
    folder: Path | None, key_file: Path | None, kit: Path | None, store: StoreOptions = FOLDER
) -> Repository:
    """Open the repository at a location by its recovery kit, a key file or the passphrase."""
    secret = key_of_options(key_file, kit)
    source = open_store(folder, store)
    try:
        return Repository.open(source, secret)
    except NotFound as error:
        raise NotFound(f"{folder or store}: {error.message}", **error.details) from None


def act_for_owner(repository: Repository) -> None:
    """Print the owner of a repository, and let this command act for the owner.

    Only the owner may change a repository.  A server that takes the repository over meanwhile stops
    the command, and nothing is deleted in the first 24 hours of a new owner.  Raises Damaged for an
    owner record that does not open.
    """
    owner = repository.owners.newest()
    if not owner.number:
        return
    print(
        f"the server {owner.name or owner.server} owns the repository (owner record "
        f"{owner.number}): this command acts for it"
    )
    repository.ownership = Ownership(repository.owners, owner, time.time_ns() // 1_000_000)


def key_of_options(key_file: Path | None, kit: Path | None) -> Secret | Keys:
    """The recovery kit, or the key file, or the passphrase.  Raises Malformed."""
    return read_kit(kit) if kit else _secret(key_file)


def read_kit(path: Path) -> Keys:
    """The keys of a recovery kit in a file.  Raises Malformed."""
    try:
        return Keys.from_kit(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"--kit {path} cannot be read: {reason(error)}") from None


def secret_of(key_file: Path | None) -> Secret | None:
    """The key file or the passphrase, if one is named."""
    return _secret(key_file) if key_file or credentials.get("HAULBACK_PASSPHRASE") else None


def _secret(key_file: Path | None) -> Secret:
    if key_file:
        return Secret.keyfile(key_file)
    passphrase = credentials.get("HAULBACK_PASSPHRASE")
    if passphrase is None:
        raise Malformed(
            "name --key-file or --kit, or put the passphrase into HAULBACK_PASSPHRASE, or "
            "into a file that HAULBACK_PASSPHRASE_FILE names"
        )
    return Secret.passphrase(passphrase)


def _disk(manifest: Manifest, name: str | None) -> ManifestDisk:
    names = [disk.name for disk in manifest.disks]
    if name is None and len(names) == 1:
        return manifest.disks[0]
    for disk in manifest.disks:
        if disk.name == name:
            return disk
    raise NotFound(f"name one of the backup's disks: {', '.join(names)}")
