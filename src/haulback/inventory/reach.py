"""Reach: the nodes that reach hypervisors and destinations, and the links that are missing.

A place (a hypervisor or a destination) is reached by one node (`node`), by several nodes (`nodes`),
or by every node if both are absent. A task runs on a node that reaches all its places: the task's
pin names that node, a group of nodes, or every node (the empty pin).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from haulback.contract.order_records import BackupDestination, Hypervisor

NOWHERE = "-"  # the pin of a task that no node can run
_GROUP = "g:"
_NAMED = 5  # links that one message names
Place = Hypervisor | BackupDestination
Nodes = frozenset[str]


def nodes_of(place: Place) -> Nodes | None:
    """The nodes that reach a hypervisor or destination, None for every node."""
    if place.nodes:
        return frozenset(place.nodes)
    return frozenset((place.node,)) if place.node else None


def common(places: Iterable[Place | None]) -> Nodes | None:
    """The nodes that reach all of these hypervisors and destinations, None for every node."""
    result: Nodes | None = None
    for place in places:
        mine = nodes_of(place) if place else None
        if mine is not None:
            result = mine if result is None else result & mine
    return result


def reaches(node: str, *places: Place | None) -> bool:
    """Whether a node reaches all of these hypervisors and destinations."""
    nodes = common(places)
    return nodes is None or node in nodes


def pin(*places: Place | None) -> str:
    """The pin of a task that uses these hypervisors and destinations; NOWHERE if no node reaches
    all.
    """
    return pin_of(common(places))


def pin_of(nodes: Nodes | None) -> str:
    """The pin of a task that these nodes can run, "" for every node."""
    if nodes is None:
        return ""
    if len(nodes) < 2:
        return next(iter(nodes), NOWHERE)
    return _GROUP + hashlib.sha256(" ".join(sorted(nodes)).encode()).hexdigest()[:32]


def is_group(pin: str) -> bool:
    """Whether a pin names a group of nodes."""
    return pin.startswith(_GROUP)


def only_node(pin: str) -> str | None:
    """The node that a pin names; None for a group, for every node and for no node."""
    return None if pin in ("", NOWHERE) or is_group(pin) else pin


def missing_link(places: Iterable[Place | None], names: Mapping[str, str]) -> str:
    """A sentence about the hypervisors and destinations that each node cannot reach; "" if a node
    reaches all of them. `names` are the names of nodes by guid.
    """
    bound = [place for place in places if place and nodes_of(place) is not None]
    nodes = sorted(
        {node for place in bound for node in nodes_of(place) or ()},
        key=lambda node: (names.get(node, ""), node),
    )
    if not bound or any(reaches(node, *bound) for node in nodes):
        return ""
    links = [_link(node, bound, names.get(node, node)) for node in nodes]
    more = f"; and {len(links) - _NAMED} more" if len(links) > _NAMED else ""
    return "no node reaches all of them: " + "; ".join(links[:_NAMED]) + more


def _link(node: str, places: list[Place], name: str) -> str:
    yes = " and ".join(_words(place) for place in places if reaches(node, place))
    no = " nor ".join(_words(place) for place in places if not reaches(node, place))
    return f"node {name} reaches {yes} but not {no}"


def _words(place: Place) -> str:
    what = "destination" if isinstance(place, BackupDestination) else "hypervisor"
    return f"{what} {place.name}"
