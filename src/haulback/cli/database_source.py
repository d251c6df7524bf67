"""Sealed copies of a server's database: in a repository, or in a file that a RESTORE wrote."""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.cli.repository import open_repository, read_kit, restore_to
from haulback.errors import Damaged, Malformed, NotFound
from haulback.hypervisor_types import OWN_SERVER
from haulback.repository.keys import Keys, Secret
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.server.sealed_copy import CopyHead, is_copy
from haulback.wire import JsonObject


class DatabaseSource:
    """The copies at a location, opened with a recovery kit, a key file or the passphrase.

    Raises NotFound, WrongKey, Damaged, Malformed.
    """

    def __init__(self, location: Path, kit: Path | None, key_file: Path | None) -> None:
        self._repository: Repository | None = None
        self._keys: Keys | None = None
        self._secret: bytes | None = None
        self._file = location if is_copy(location) else None
        if self._file is None:
            self._repository = open_repository(location, key_file, kit)
            self._keys = self._repository.keys
        elif kit:
            self._keys = read_kit(kit)
        elif key_file:
            self._secret = Secret.keyfile(key_file).value
        else:
            raise Malformed("name the recovery kit by --kit, or the key file by --key-file")

    def rows(self) -> list[JsonObject]:
        """The backups of a database, newest first."""
        if self._repository is None:
            raise Malformed("--data: name the new folder of the restored server")
        return [
            {
                "backup": manifest.backup,
                "snapshot_time": manifest.snapshot_time,
                "size": sum(disk.map.size for disk in manifest.disks),
            }
            for manifest in _newest_first(self._repository)
        ]

    def writer(self, backup: str) -> Callable[[Path], None]:
        """A function that writes the copy of a backup, or of the newest, to a new file."""
        if self._file is not None:
            return lambda path: _copy(self._file, path)
        repository = self._repository
        assert repository
        manifest = _chosen(repository, backup)
        return lambda path: _read(repository, manifest, path)

    def secret(self, head: CopyHead) -> bytes:
        """The secret that opens a copy.  Raises WrongKey, Damaged."""
        if self._secret is not None:
            return self._secret
        assert self._keys
        try:
            enclosed = base64.b64decode(head.slot, validate=True)
        except binascii.Error:
            raise Damaged("the head of the sealed copy is damaged") from None
        return self._keys.disclose(enclosed)


def _copy(source: Path | None, target: Path) -> None:
    assert source
    shutil.copyfile(source, target)


def _newest_first(repository: Repository) -> list[Manifest]:
    found = (
        one for one in _readable(repository) if one.definition.get("type") == OWN_SERVER.driver
    )
    return sorted(found, key=lambda manifest: manifest.snapshot_time, reverse=True)


def _readable(repository: Repository) -> Iterator[Manifest]:
    """The readable manifests; a damaged manifest must not hide the others."""
    for backup in sorted(repository.objects.leaves("manifests")):
        try:
            yield repository.manifest(backup)
        except Damaged as error:
            print(f"haulback: {error.message}", file=sys.stderr)


def _chosen(repository: Repository, backup: str) -> Manifest:
    found = _newest_first(repository)
    if not found:
        raise NotFound("the location holds no backup of a Haulback database")
    for manifest in found:
        if manifest.backup == (backup or manifest.backup):
            return manifest
    raise NotFound(f"--backup: {backup} is no backup of a Haulback database here")


def _read(repository: Repository, manifest: Manifest, path: Path) -> None:
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            restore_to(repository, manifest.disks[0], path, pool)
    except Damaged as error:
        why = f"{error.message}; backup {manifest.backup} cannot be restored"
        raise Damaged(f"{why}: name an earlier one by --backup") from None
