"""Order of SCOPED_INVENTORY_SYNC."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor


class ScopedInventorySyncOrder(msgspec.Struct):
    """Machines to scan, by their uuids on the platform, and their known locations."""

    hypervisor: Hypervisor
    uuids: list[str]
    places: dict[str, str] = {}
