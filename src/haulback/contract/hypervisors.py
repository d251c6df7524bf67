"""Requests and answers of /hypervisors."""

from __future__ import annotations

import msgspec

from haulback.contract.node_resources import NewNodeResource
from haulback.contract.tasks import TaskDetails
from haulback.wire import Label, Named, Ref, Word


class HypervisorRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A hypervisor.

    The hypervisor is reached by `node`, by several `nodes`, or by every node (`allNodes`).
    `notBelievedSince` (epoch ms) is set while scans miss so many machines that Haulback waits for a
    confirmation.
    """

    guid: str
    name: str
    host: str
    type: Label
    driver: str
    path: str
    licenseCovered: bool
    vmCount: int
    user: str
    url: str | None = None
    node: Named | None = None
    nodes: list[Named] = []
    allNodes: bool = False
    cluster: Named | None = None
    hypervisorManager: Named | None = None
    storageId: str | None = None
    notBelievedSince: int | None = None
    task: TaskDetails | None = None


class NewHypervisor(NewNodeResource, kw_only=True):
    """Request to add a hypervisor: a folder of machines, or, with `url`, a libvirt host.

    The URL of the node's own libvirt is qemu:///system, that of another host
    qemu+ssh://user@host/system; `path` is then the storage folder for new disk images.
    """

    type: Word | None = None
    url: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class ChangedHypervisor(msgspec.Struct, kw_only=True):
    """Changes of a hypervisor; absent members stay.

    `node`, `nodes` or `allNodes` replace the nodes that reach the hypervisor.
    """

    name: str | None = None
    node: Ref | None = None
    nodes: list[Ref] | None = None
    allNodes: bool | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None
