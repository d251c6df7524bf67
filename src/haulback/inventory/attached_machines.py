"""The record above machines without a hypervisor: their backups came with an attached destination,
or their hypervisor was given up.
"""

from __future__ import annotations

import uuid

from haulback.contract.order_records import Hypervisor
from haulback.hypervisor_types import ATTACHED

NAME = "Without a hypervisor"
# These guids are equal on all servers, because several servers of one database record the same row.
ATTACHED_SOURCE = str(uuid.uuid5(uuid.UUID("9a7d4f3c-21d5-4f0e-8d0a-2f6c1f5f8e11"), "source"))


def source() -> Hypervisor:
    """The record above machines without a hypervisor; no list of hypervisors shows it."""
    return Hypervisor(guid=ATTACHED_SOURCE, name=NAME, driver=ATTACHED.driver, config={})
