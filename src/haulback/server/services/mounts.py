"""Mounted backups, as callers read and use them."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.mounts import MountMode
from haulback.errors import Conflict, NotFound
from haulback.inventory.records import Mount, ShownFileSystem
from haulback.server.caller import Caller
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.services.app import App
from haulback.server.services.read_transaction import Reading
from haulback.server.store import destinations, lists, mounts
from haulback.server.store.catalogue import SqlCatalogue


class MountReading(Reading):
    """Read access to mounted backups within one transaction."""

    def page(self, wanted: ListQuery, over: bool | None) -> tuple[list[Mount], int]:
        """A page of mounted backups, the newest first, and the number of all.

        `over`: only ended mounts, or only mounts that have not ended.
        """
        return lists.mounts(self._sql, wanted, over=over)

    def volume_counts(self, guids: Sequence[str]) -> dict[str, int]:
        """The number of file systems of each mount."""
        return mounts.counts(self._sql, guids)

    def volumes(self, mount: str) -> list[ShownFileSystem]:
        """The file systems of a mount."""
        return mounts.volumes(self._sql, mount)


def open_volume(app: App, scope: Scope, guid: str) -> tuple[Mount, ShownFileSystem]:
    """A mounted file system and its mount.

    Raises NotFound, and Conflict once the mount has ended.
    """
    with app.store.read() as sql:
        shown = mounts.volume(sql, guid)
        mount = shown and SqlCatalogue(sql).mounts.get(shown.mount)
    if shown is None or mount is None or not scope.allows(mount.project):
        raise NotFound(f"there is no mounted file system {guid}", guid=guid)
    if mount.state != "MOUNTED":
        raise Conflict(f"the backup of {mount.entity_name} is no longer mounted; mount it again")
    return mount, shown


def iscsi_key(app: App, who: Caller, guid: str) -> tuple[Mount, bytes]:
    """A backup mounted by iSCSI, and the repository key from which its secret derives.

    The audit log records the caller.  Raises NotFound; raises Conflict for a mount of another
    mode.
    """
    with app.change(who, "iscsi secret", guid) as change:
        known = SqlCatalogue(change.sql, who.scope)
        mount = known.mounts.get(guid)
        if mount.mode != MountMode.ISCSI.value or mount.state != "MOUNTED":
            raise Conflict(f"the backup of {mount.entity_name} is not mounted by iSCSI now")
        destination = known.backups.get(mount.backup).destination
        sealed = destinations.sealed_key(change.sql, destination)
    return mount, app.vault.unseal(destination, sealed)


def record_download(app: App, who: Caller, mount: Mount, volume: str, paths: Sequence[str]) -> None:
    """Record the download of files in the audit log; the entry names at most 20 paths."""
    with app.change(who, "download", mount.guid) as change:
        change.after = {"volume": volume, "paths": list(paths[:20])}
