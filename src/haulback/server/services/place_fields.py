"""Fields that hypervisors and destinations share: the name, and the node that reaches the place."""

from __future__ import annotations

from haulback.contract.places import NewPlace
from haulback.errors import Malformed
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection


def checked_name(name: str) -> str:
    """A name of 1 to 200 printable characters.  Raises Malformed."""
    if not 0 < len(name.strip()) <= 200 or not name.isprintable():
        raise Malformed("name: 1 to 200 printable characters", field="name")
    return name


def node_of(sql: Connection, wanted: NewPlace) -> str:
    """The guid of the node that reaches a new place.

    A folder lies on one machine, so that a request without a node is Malformed where there are
    several nodes.  Raises NotFound for an unknown node.
    """
    places = SqlCatalogue(sql).places
    return places.node(wanted.node.guid).guid if wanted.node else places.only_node("node")
