"""Request and order of DELETE."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, Hypervisor


class DeleteRequest(msgspec.Struct):
    """StringDTO: the guid of an entity."""

    value: str


class DeleteOrder(msgspec.Struct):
    """Backups and snapshots to remove.

    Without a destination the order is about objects on the platform only, without a hypervisor
    about backups only. `stored` is the number of bytes that the backups stored.
    """

    uuid: str
    hypervisor: Hypervisor | None
    destination: BackupDestination | None
    backups: list[str]
    snapshots: list[str] = []
    given_up: list[str] = []
    stored: int = 0
