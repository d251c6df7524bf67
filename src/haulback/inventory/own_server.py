"""Records of the server itself: the hypervisor record and the entity for backups of its own
database.
"""

from __future__ import annotations

import uuid

from haulback.contract.machines import VirtualDisk
from haulback.contract.order_records import Hypervisor
from haulback.hypervisor_types import OWN_SERVER
from haulback.inventory.records import Entity

# These guids are equal on all servers, because several servers of one database record the same
# rows.
_SPACE = uuid.UUID("3d1c7a0e-51f1-4a58-8a3b-7a0fd3f0c0de")
OWN_SOURCE = str(uuid.uuid5(_SPACE, "source"))
OWN_ENTITY = str(uuid.uuid5(_SPACE, "database"))
NAME = "Haulback database"
FILE = "haulback-database.sealed"  # name of the only disk: the sealed copy
FORMAT = "sealed"


def type_of(entity: str) -> str:
    """The type of an entity, derived from its guid."""
    return "APP" if entity == OWN_ENTITY else "VM"


def source() -> Hypervisor:
    """The hypervisor record for the server's own database; no list of hypervisors shows it."""
    return Hypervisor(guid=OWN_SOURCE, name=NAME, driver=OWN_SERVER.driver, config={})


def entity(now: int) -> Entity:
    """The entity of the server's own database, seen at `now` (epoch ms)."""
    return Entity(
        guid=OWN_ENTITY,
        uuid=OWN_ENTITY,
        name=NAME,
        type="APP",
        hypervisor=OWN_SOURCE,
        disks=[VirtualDisk(name=FILE, size=0, format=FORMAT)],
        seen=now,
    )
