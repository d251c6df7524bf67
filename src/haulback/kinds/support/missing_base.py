"""The reason why an increment has no backup on its destination to build on."""

from __future__ import annotations

from haulback.contract.order_records import BackupDestination
from haulback.errors import NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup, Entity


def why_no_base(entity: Entity, to: BackupDestination, catalogue: Catalogue) -> str:
    """The reason in words, for a machine without a base on a destination."""
    if why := catalogue.bases.why_lost(entity.guid, to.guid):
        return why
    stored = catalogue.backups.of_entity(entity.guid, "SUCCESS")
    here = [backup for backup in stored if backup.destination == to.guid]
    if not here:
        return _elsewhere(stored, catalogue)
    newest = here[0]
    if not newest.is_whole:
        state = newest.location_status.replace("_", " ").lower()
        return f"its newest backup there, {newest.guid}, is {state}"
    if newest.copy_of:
        return "its backups there are copies, after which its changes are not tracked"
    return "its backups there were read from the store: no hypervisor tracks the changes since then"


def _elsewhere(stored: list[Backup], catalogue: Catalogue) -> str:
    """The reason for a machine that has no backup on the destination."""
    if not stored:
        return "it is the first backup of the machine"
    try:
        name = catalogue.places.destination(stored[0].destination).name
    except NotFound:
        name = "another destination"
    return f"it is the first backup there; the newest backup of the machine is on {name}"
