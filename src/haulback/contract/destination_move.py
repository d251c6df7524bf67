"""Request, order and result of BACKUP_DESTINATION_MOVE."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.wire import JsonObject, Ref


class MovedDestination(msgspec.Struct, kw_only=True):
    """The new location of a destination whose repository was moved there.

    `settings` are the settings that change by name; a request may give each beside the others, like
    `path`.  `node`, `nodes` or `allNodes` name the nodes that reach the new location.
    """

    settings: JsonObject | None = None
    node: Ref | None = None
    nodes: list[Ref] | None = None
    allNodes: bool | None = None


class DestinationMoveOrder(msgspec.Struct):
    """The destination at its new location, which a node probes before the record changes."""

    destination: BackupDestination


class MoveResult(msgspec.Struct):
    """The node's report: the guid of the repository at the new location, and the store's total and
    free bytes.
    """

    repository: str
    totalSpace: int | None = None
    freeSpace: int | None = None
