"""Order of SCOPED_INVENTORY_SYNC."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor


class ScopedInventorySyncOrder(msgspec.Struct):
    """Which machines to look at, by their uuids there, and where they lie as far as is known."""

    hypervisor: Hypervisor
    uuids: list[str]
    places: dict[str, str] = {}
