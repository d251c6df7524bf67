"""The backup that a request names."""

from __future__ import annotations

from collections.abc import Callable

from haulback.contract.order_records import BackupDestination, BackupPlace, Hypervisor
from haulback.contract.restore import LocationRef
from haulback.errors import Conflict, Malformed, NotFound
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.kinds.support import planning
from haulback.wire import Named, Ref

Reaches = Callable[[BackupDestination], bool]


def anywhere(_: BackupDestination) -> bool:
    """Whether a destination can be read: every destination can, unless the request names a node."""
    return True


def chosen(
    backup: Ref | None,
    location: LocationRef | None,
    catalogue: Catalogue,
    reaches: Reaches = anywhere,
) -> Backup:
    """The best location of the backup that a request names.

    Locations are preferred in this order: reachable, sound, with a destination that answers,
    requested, first location. Raises Malformed, NotFound or Conflict.
    """
    if backup is None and location is None:
        raise Malformed("backup: name a backup or a backupLocation", field="backup")
    named = _found(backup or (location.backup if location else None), location, catalogue)
    locations = catalogue.backups.locations(named.guid)
    stored = [item for item in locations if item.status == "SUCCESS"]
    if not stored:
        first = locations[0]
        raise Conflict(
            f"backup {first.guid} is {first.status}; name a backup with the status SUCCESS"
        )
    readable = [item for item in stored if _is_readable(item)]
    if not readable:
        raise Conflict(
            f"backup {stored[0].guid} is missing from its destination: bring its files back, then "
            "verify the destination",
            backup=stored[0].guid,
        )

    away = catalogue.places.away()  # a restore would wait until the destination answers

    def worse(item: Backup) -> tuple[bool, ...]:
        is_reached = reaches(catalogue.places.destination(item.destination))
        is_away, is_other = item.destination in away, item.guid != named.guid
        return (not is_reached, not item.is_whole, is_away, is_other, bool(item.copy_of))

    return catalogue.backups.held(min(readable, key=worse).guid)


def _is_readable(backup: Backup) -> bool:
    return backup.status == "SUCCESS" and backup.location_status in ("PRESENT", "DAMAGED")


def reached_with(hypervisor: Hypervisor) -> Reaches:
    """Whether some node reaches both a hypervisor and a destination."""

    return lambda destination: reach.common((hypervisor, destination)) != frozenset()


def reached_by(node: str) -> Reaches:
    """Whether a node reaches a destination."""
    return lambda destination: reach.reaches(node, destination)


def other_places(backup: Backup, node: str | None, catalogue: Catalogue) -> list[BackupPlace]:
    """The other readable locations of a backup that a node reaches: sound locations first, then
    locations whose destination answers.
    """
    others = [
        item
        for item in catalogue.backups.locations(backup.guid)
        if item.guid != backup.guid and _is_readable(item)
    ]
    away = catalogue.places.away() if others else frozenset()
    others.sort(key=lambda item: (not item.is_whole, item.destination in away, bool(item.copy_of)))
    places = [
        BackupPlace(item.guid, catalogue.places.destination(item.destination)) for item in others
    ]
    return [place for place in places if node is None or reached_by(node)(place.destination)]


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
    if backup is not None and backup.guid not in (stored.guid, stored.first):
        raise Malformed(
            "backupLocation: belongs to another backup; name a location of the backup",
            field="backupLocation",
        )
    return stored


def references(backup: Backup, catalogue: Catalogue) -> dict[str, Named | None]:
    """References of a task that uses a backup."""
    return {
        "backup": Named(backup.guid, backup.entity_name),
        "backupDestination": planning.named(catalogue.places.destination(backup.destination)),
        "protectedEntity": catalogue.machines.get(backup.entity).named(),
    }
