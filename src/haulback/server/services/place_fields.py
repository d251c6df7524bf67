"""The node that reaches a hypervisor or a destination."""

from __future__ import annotations

from haulback.contract.node_resources import NewPlace
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection


def node_of(sql: Connection, wanted: NewPlace) -> str:
    """The guid of the node that reaches a new hypervisor or destination.

    A folder lies on one host, so a request without a node is Malformed where there are several
    nodes.  Raises NotFound for an unknown node.
    """
    places = SqlCatalogue(sql).places
    return places.node(wanted.node.guid).guid if wanted.node else places.only_node("node")
