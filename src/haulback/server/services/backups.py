"""Backups and restore jobs, as callers read and change them."""

from __future__ import annotations

from typing import NamedTuple

from haulback.errors import Conflict, NotFound
from haulback.inventory.catalogue import BackupRecords
from haulback.inventory.records import Backup, RestoreJob
from haulback.server.caller import Caller
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.services.app import App
from haulback.server.services.read_transaction import Reading
from haulback.server.store import backup_locations, backups, lists
from haulback.server.store.backups import StoredProof
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger

_BY_STATUS = {
    "SUCCESS": "PRESENT",
    "PARTIAL_SUCCESS": "FAILED",
    "FAILED": "FAILED",
    "SUCCESS_REMOVED": "REMOVED",
    "QUEUED": "IN_PROGRESS",
    "INPROGRESS": "IN_PROGRESS",
}


class BackupLocations(NamedTuple):
    """A backup: its first location, and its copies."""

    first: Backup
    copies: list[Backup]

    @property
    def all(self) -> list[Backup]:
        """The locations to show; a removed first location is shown only if the backup has no
        copy.
        """
        stands = any(copy.status == "SUCCESS" for copy in self.copies)
        return [*([] if stands and self.first.gone else [self.first]), *self.copies]

    @property
    def best(self) -> Backup:
        """The location that a restore takes: sound before damaged, the first location before
        copies.
        """
        return min((self.first, *self.copies), key=_worse)

    @property
    def level(self) -> str:
        """The highest proof of any sound location."""
        levels = [item.level for item in (self.first, *self.copies) if item.is_whole]
        return max(levels, key=_LEVELS.index, default=self.first.level)


_LEVELS = ("STORED", "VERIFIED", "MOUNTED", "BOOTED")
_STATES = ("PRESENT", "DAMAGED")


def _worse(one: Backup) -> int:
    """The rank of a location, the best first."""
    if one.status != "SUCCESS":
        return len(_STATES) + 1 + (one.copy_of is not None)
    state = one.location_status
    return _STATES.index(state) if state in _STATES else len(_STATES)


class BackupReading(Reading):
    """Read access to backups within one transaction."""

    def whole(self, guid: str) -> BackupLocations:
        """A backup with its locations; `guid` may name any of them.  Raises NotFound."""
        first, *copies = self.catalogue.backups.locations(guid)
        return BackupLocations(first, copies)

    def wholes(self, wanted: ListQuery) -> tuple[list[BackupLocations], int]:
        """A page of backups with their locations, the newest first, and the number of all."""
        found, total = lists.backups(self._sql, wanted)
        copies = backup_locations.copies_of(self._sql, [item.guid for item in found])
        return [BackupLocations(item, copies.get(item.guid, [])) for item in found], total

    def page(self, wanted: ListQuery) -> tuple[list[Backup], int]:
        """A page of backups, the newest first, and the number of all."""
        return lists.backups(self._sql, wanted)


def backup(app: App, guid: str, scope: Scope) -> Backup:
    """A backup by its guid.  Raises NotFound."""
    with app.store.read() as sql:
        return SqlCatalogue(sql, scope).backups.get(guid)


def location_status(one: Backup) -> str:
    """The state of a backup on its destination, as clients read it."""
    if one.status == "SUCCESS":
        return "MISSING" if one.location_status == "GIVEN_UP" else one.location_status
    return _BY_STATUS[one.status]


def set_members(app: App, who: Caller, operation: str, guid: str, **values: object) -> None:
    """Write the members of a backup that users may set.  Raises NotFound."""
    with app.change(who, operation, guid) as change:
        before = SqlCatalogue(change.sql, who.scope).backups.get(guid)
        backups.write(change.sql, guid, values)
        change.before = {name: getattr(before, name) for name in values}
        change.after = values


def confirm_missing(app: App, who: Caller, guid: str) -> None:
    """Give up a missing location of a backup, so that clean-ups no longer wait for it.

    `guid` names a backup, a copy or a backup location; if the backup is sound elsewhere, its only
    missing location is given up.  Raises NotFound; raises Conflict if no location, or more than
    one, is missing or has an unreadable manifest.
    """
    with app.change(who, "confirm missing backup", guid) as change:
        known = SqlCatalogue(change.sql, who.scope).backups
        result = _named(known, guid)
        if result.location_status == "GIVEN_UP":
            change.silent = True
            return
        result = _missing(result, known)
        change.before = {"locationStatus": result.location_status}
        change.after = {"locationStatus": "GIVEN_UP"}
        SqlLedger(change.sql, change.now).damage.give_up(result, who.name)


def _named(known: BackupRecords, guid: str) -> Backup:
    """A backup by its own guid or by the guid of a location.  Raises NotFound."""
    try:
        return known.get(guid)
    except NotFound:
        return known.at_location(guid)


def _missing(named: Backup, known: BackupRecords) -> Backup:
    """The location that can be given up: the requested location, or the only one.  Raises
    Conflict.
    """
    if _can_be_given_up(named):
        return named
    missing = [item for item in known.locations(named.guid) if _can_be_given_up(item)]
    if len(missing) > 1:
        several = ", ".join(item.location for item in missing)
        raise Conflict(
            f"several locations of backup {named.guid} are missing; name one of {several}"
        )
    for item in missing:
        return item
    raise Conflict(
        f"backup {named.guid} is {location_status(named)}; only a backup that is missing, "
        "or whose manifest cannot be read, can be given up; to remove the "
        "backup, mark it TO_REMOVE (haulback backup mark remove)"
    )


def _can_be_given_up(item: Backup) -> bool:
    lacks_manifest = item.damage.get("objects") == [f"manifests/{item.guid}"]
    is_lost = item.location_status == "MISSING" or lacks_manifest
    return item.status == "SUCCESS" and item.location_status != "GIVEN_UP" and is_lost


def proof(app: App, guid: str, scope: Scope) -> tuple[Backup, StoredProof]:
    """A location of a backup with the newest signed evidence of a boot.

    `guid` may name any location.  Raises NotFound without evidence.
    """
    with app.store.read() as sql:
        locations = SqlCatalogue(sql, scope).backups.locations(guid)
        proofs = [(item, backups.proof(sql, item.guid)) for item in locations]
    proven = [(item, evidence) for item, evidence in proofs if evidence]
    if not proven:
        raise NotFound(
            "this backup has no proof yet; make one: haulback backup prove (POST /tasks/prove)"
        )
    return max(proven, key=lambda pair: pair[1].time)


def restore_jobs(app: App, wanted: ListQuery) -> tuple[list[RestoreJob], int]:
    """A page of restore jobs, the newest first, and the number of all."""
    with app.store.read() as sql:
        return lists.restore_jobs(sql, wanted)


def restore_job(app: App, guid: str, scope: Scope) -> RestoreJob:
    """A restore job by its guid.  Raises NotFound."""
    with app.store.read() as sql:
        found = lists.restore_job(sql, guid, scope)
    if found is None:
        raise NotFound(f"there is no restore job {guid}", guid=guid)
    return found
