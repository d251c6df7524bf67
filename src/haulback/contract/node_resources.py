"""Members that requests of hypervisors and backup destinations share."""

from __future__ import annotations

import msgspec

from haulback.wire import Ref


class NewNodeResource(msgspec.Struct, kw_only=True):
    """Members common to hypervisors and destinations; `path` is a folder on the node.

    The hypervisor or destination is reached by `node`, by several `nodes`, or by every node
    (`allNodes`).  A request with none of these means the only node.
    """

    name: str
    path: str | None = None
    driver: str | None = None
    node: Ref | None = None
    nodes: list[Ref] | None = None
    allNodes: bool | None = None
