"""Changes of the nodes that reach a hypervisor or a destination."""

from __future__ import annotations

from haulback.inventory.reach import Place, nodes_of
from haulback.server.store import node_groups, pins
from haulback.server.store.engine import Connection


def reach_changed(sql: Connection, before: Place, after: Place, now: int) -> None:
    """Assign the waiting tasks of a hypervisor or destination to nodes again, after its record was
    written.

    Raises Conflict while a node works on the hypervisor or destination and would no longer reach
    it.
    """
    if nodes_of(before) == nodes_of(after):
        return
    pins.check_held(sql, after)
    node_groups.keep(sql)
    pins.renew(sql, after, now)
