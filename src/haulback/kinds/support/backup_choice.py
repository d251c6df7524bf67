"""The backup that a request names."""

from __future__ import annotations

from haulback.contract.restore import LocationRef
from haulback.errors import Conflict, Malformed, NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.kinds.support import planning
from haulback.wire import Named, Ref


def chosen(backup: Ref | None, location: LocationRef | None, catalogue: Catalogue) -> Backup:
    """The stored backup that a request names.  Raises Malformed, NotFound or Conflict."""
    if backup is None and location is None:
        raise Malformed("backup: name a backup or a backupLocation", field="backup")
    named = _found(backup or (location.backup if location else None), location, catalogue)
    stored = catalogue.backups.held(named.guid)
    if stored.status != "SUCCESS":
        raise Conflict(f"backup {stored.guid} is {stored.status}; only a SUCCESS can be restored")
    if stored.location_status in ("MISSING", "GIVEN_UP"):
        raise Conflict(
            f"backup {stored.guid} is missing from its destination: bring its files back, then "
            "verify the destination",
            backup=stored.guid,
        )
    return stored


def _found(backup: Ref | None, location: LocationRef | None, catalogue: Catalogue) -> Backup:
    if location is None or not location.guid:
        if backup is None:
            raise Malformed("backupLocation: name the guid of the location", field="backupLocation")
        return catalogue.backups.get(backup.guid)
    try:
        stored = catalogue.backups.at_location(location.guid)
    except NotFound:
        if backup is None:
            raise
        return catalogue.backups.get(backup.guid)
    if backup is not None and backup.guid != stored.guid:
        raise Malformed("backupLocation: belongs to another backup", field="backupLocation")
    return stored


def references(backup: Backup, catalogue: Catalogue) -> dict[str, Named | None]:
    """References of a task that uses a backup."""
    return {
        "backup": Named(backup.guid, backup.entity_name),
        "backupDestination": planning.named(catalogue.places.destination(backup.destination)),
        "protectedEntity": catalogue.machines.get(backup.entity).named(),
    }
