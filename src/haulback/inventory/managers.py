"""The manager and the cluster of a hypervisor: assigned by users, or else derived from its
platform.

The guids of derived records are computed from the platform, so that they are equal on all servers.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from haulback.contract.order_records import Hypervisor
from haulback.hypervisor_types import declared

# Portals derive a machine's features from the type of its manager, and know only these types.
MANAGER_TYPES = frozenset(
    {"AWS", "KUBERNETES", "NUTANIX", "OPENSHIFT", "OPENSTACK", "ORACLE", "RHEV", "RHV", "VCENTER"}
)
USUAL_TYPE = "RHV"  # portals offer increments and snapshots for this type of manager
SEEN_AS = "seenAs"  # the member with the name under which scans know a record
# The member with the hypervisors whose scans found a record; records of users lack it.
SEEN_ON = "seenOn"
SEEN = (SEEN_ON, SEEN_AS, "pool")  # members that scans write and users cannot remove
_SPACE = uuid.UUID("6d1b5d2e-6f0e-4c58-9d39-6e2f5a1f7c44")


class Derived(NamedTuple):
    """A derived manager or cluster: its guid, and its first name."""

    guid: str
    name: str


def own_manager(driver: str) -> Derived:
    """The derived manager for hosts of one platform without an assigned manager."""
    return Derived(str(uuid.uuid5(_SPACE, f"manager/{driver}")), declared(driver).words)


def own_cluster(manager: str, driver: str) -> Derived:
    """The derived cluster for hosts of one platform and manager without an assigned cluster."""
    return Derived(str(uuid.uuid5(_SPACE, f"{manager}/{driver}")), declared(driver).words)


def manager_of(host: Hypervisor) -> str:
    """The guid of the manager of a host."""
    return str(host.settings.get("hypervisorManager") or own_manager(host.driver).guid)


def cluster_of(host: Hypervisor) -> str:
    """The guid of the cluster of a host."""
    given = host.settings.get("cluster")
    return str(given or own_cluster(manager_of(host), host.driver).guid)


def portal_type(kind: str) -> str:
    """The type of a manager in a word that portals know."""
    return kind if kind in MANAGER_TYPES else USUAL_TYPE
