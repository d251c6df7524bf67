"""Options of commands about the nodes that reach a hypervisor or a destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haulback.client.client import Client
from haulback.errors import Malformed
from haulback.wire import Ref


def reach_members(client: Client, nodes: Sequence[str], *, all_nodes: bool) -> dict[str, Any]:
    """The members of a request for --node NODE and --all-nodes; empty if neither is given.

    Raises NotFound for an unknown node, Malformed for both options.
    """
    if nodes and all_nodes:
        raise Malformed("--all-nodes: leave out --node, every node is meant")
    if all_nodes:
        return {"allNodes": True}
    refs = [Ref(client.nodes.find(node).guid) for node in nodes]
    if len(refs) == 1:
        return {"node": refs[0]}
    return {"nodes": refs} if refs else {}
