"""Sealed copies of a server's database: in a repository, or in a file that a RESTORE wrote."""

from __future__ import annotations

import base64
import binascii
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from haulback.cli.repository import open_repository, read_kit, restore_to
from haulback.cli.stored_backups import readable
from haulback.client.record_names import latest_of
from haulback.errors import Damaged, Malformed, NotFound
from haulback.hypervisor_types import OWN_SERVER
from haulback.ids import is_beginning
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
        one for one in readable(repository, []) if one.definition.get("type") == OWN_SERVER.driver
    )
    return sorted(found, key=lambda manifest: manifest.snapshot_time, reverse=True)


def _chosen(repository: Repository, backup: str) -> Manifest:
    copies = _newest_first(repository)
    if not copies:
        raise NotFound("the location holds no backup of a Haulback database")
    if latest_of(backup or "latest") == "":
        return copies[0]
    fitting = [manifest for manifest in copies if _is_named(manifest, backup)]
    if len(fitting) > 1:
        guids = ", ".join(manifest.backup for manifest in fitting)
        raise Malformed(f"--backup: {backup!r} begins several backups; use more of a guid: {guids}")
    if fitting:
        return fitting[0]
    raise NotFound(
        f"--backup: {backup} is no backup of a Haulback database here; the command "
        "without --data lists these backups"
    )


def _is_named(manifest: Manifest, word: str) -> bool:
    return is_beginning(word) and manifest.backup.startswith(word.lower())


def _read(repository: Repository, manifest: Manifest, path: Path) -> None:
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            restore_to(repository, manifest.disks[0], path, pool)
    except Damaged as error:
        why = f"{error.message}; backup {manifest.backup} cannot be restored"
        raise Damaged(f"{why}: name an earlier backup by --backup") from None
