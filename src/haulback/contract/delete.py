"""Request and order of DELETE."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, Hypervisor


class DeleteRequest(msgspec.Struct):
    """StringDTO: the guid of an entity."""

    value: str


class DeleteOrder(msgspec.Struct):
    """Backups and snapshots to remove; without a destination only objects on the platform."""

    uuid: str
    hypervisor: Hypervisor
    destination: BackupDestination | None
    backups: list[str]
    snapshots: list[str] = []
    given_up: list[str] = []
