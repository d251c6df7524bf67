"""The nodes that reach a hypervisor or a destination."""

from __future__ import annotations

from typing import NamedTuple

from haulback.contract.destination_move import MovedDestination
from haulback.contract.destinations import ChangedDestination
from haulback.contract.hypervisors import ChangedHypervisor
from haulback.contract.node_resources import NewNodeResource
from haulback.errors import Malformed
from haulback.inventory.catalogue import PlaceRecords
from haulback.inventory.reach import Place
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection

Wanted = NewNodeResource | ChangedDestination | ChangedHypervisor | MovedDestination


class Reach(NamedTuple):
    """The members of a hypervisor or destination that name the nodes that reach it: one node,
    several nodes, or all nodes if both members are absent.
    """

    node: str | None
    nodes: list[str]


def reach_of(sql: Connection, wanted: NewNodeResource) -> Reach:
    """The nodes of a new hypervisor or destination.

    A folder lies on one host by default, so that a request without a node is Malformed if there are
    several nodes.  Raises NotFound for an unknown node.
    """
    places = SqlCatalogue(sql).places
    named = _named(places, wanted)
    return named or Reach(places.only_node("node"), [])


def changed_reach(sql: Connection, wanted: Wanted, before: Place) -> Reach:
    """The nodes after a change; they stay the same if the request names no nodes.

    Raises Malformed, or NotFound for an unknown node.
    """
    return _named(SqlCatalogue(sql).places, wanted) or Reach(before.node, before.nodes)


def _named(places: PlaceRecords, wanted: Wanted) -> Reach | None:
    """The nodes that a request names, or None."""
    nodes = [places.node(ref.guid).guid for ref in wanted.nodes or []]
    node = places.node(wanted.node.guid).guid if wanted.node else None
    if wanted.allNodes and (node or nodes):
        raise Malformed(
            "allNodes: means every node, so no node can be named beside it; send either "
            "allNodes or the nodes",
            field="allNodes",
        )
    if wanted.allNodes:
        return Reach(None, [])
    if node and nodes and node not in nodes:
        raise Malformed("node: is not among `nodes`; send either node or nodes", field="node")
    several = sorted(set(nodes)) or ([node] if node else [])
    if not several:
        return None
    return Reach(several[0], []) if len(several) == 1 else Reach(None, several)
