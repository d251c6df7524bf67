"""Folders of destinations: no two destinations have the same folder, and none lies inside
another.
"""

from __future__ import annotations

import shlex

import msgspec

from haulback.contract.destination_types import SHARED_DELAY
from haulback.contract.order_records import BackupDestination
from haulback.errors import Conflict
from haulback.inventory import destination_types
from haulback.inventory.reach import common, nodes_of
from haulback.server.services.destination_owners import ATTACHED
from haulback.server.store import destinations, lists
from haulback.server.store.engine import Connection

_SAME = "is the folder of"


def check(sql: Connection, wanted: BackupDestination) -> None:
    """Raises Conflict if another destination, with a repository or still without one, has the
    location.

    If several servers add a destination with this location at the same moment, one of them
    succeeds.
    """
    destinations.lock_places(sql)
    _check_free(sql, wanted)
    _check_place(sql, wanted)


def _check_free(sql: Connection, wanted: BackupDestination) -> None:
    """Raises Conflict when the folder of a destination equals, holds, or lies in the folder of
    another destination.

    The same path on different nodes is a different folder, and so is the same path of another host
    or user. If two addresses lead to one folder, the node that initialises the second destination
    notices it.
    """
    if not (path := str(wanted.config.get("path", ""))):
        return
    kind = destination_types.chosen(None, wanted.driver)
    host = destination_types.host(kind, wanted.config)
    for other in lists.places(sql, BackupDestination):
        if other.guid == wanted.guid or other.driver != wanted.driver:
            continue
        if common((wanted, other)) == frozenset():
            continue
        if destination_types.host(kind, other.config) != host:
            continue
        if words := _overlap(path, str(other.config.get("path", ""))):
            remedy = "name another folder" + (_take_over(other) if words == _SAME else "")
            raise Conflict(
                f"path: {path} {words} the destination {other.name}; {remedy}",
                field="path",
                destination=other.guid,
            )


def with_delay(wanted: BackupDestination) -> BackupDestination:
    """A LOCAL folder of several nodes gets the listing delay of a share, unless it has a delay.

    The nodes may run on different hosts, on which a share's listings lag.
    """
    nodes, config = nodes_of(wanted), wanted.config
    is_folder = wanted.driver == "folder" and config.get("share", "LOCAL") == "LOCAL"
    if not is_folder or "listingDelay" in config or (nodes is not None and len(nodes) == 1):
        return wanted
    return msgspec.structs.replace(wanted, config={**config, "listingDelay": SHARED_DELAY})


def _check_place(sql: Connection, wanted: BackupDestination) -> None:
    """Raises Conflict if another destination of the type has the location in these settings."""
    kind = destination_types.chosen(None, wanted.driver)
    if not (place := destination_types.place(kind, wanted.config)):
        return
    for other in lists.places(sql, BackupDestination):
        if other.guid == wanted.guid or other.driver != wanted.driver:
            continue
        if destination_types.place(kind, other.config) == place:
            told = ", ".join(f"{name} {value}" for name, value in place.items() if value)
            remedy = "name another prefix" + _take_over(other)
            if other.repository is None:
                remedy += f", or remove {other.name}, which has no repository yet"
            raise Conflict(
                f"{told}: the destination {other.name} is there already: {remedy}",
                destination=other.guid,
            )


def _take_over(other: BackupDestination) -> str:
    """The end of a remedy: an attached destination can get this server as its owner."""
    if ATTACHED not in other.settings:
        return ""
    command = f"haulback destination take-over {shlex.quote(other.name)}"
    return f", or make this server the owner of {other.name} by `{command}`"


def _overlap(path: str, other: str) -> str:
    if not other:
        return ""
    mine, theirs = (f"{one.rstrip('/')}/" for one in (path, other))
    if mine == theirs:
        return _SAME
    if mine.startswith(theirs):
        return "lies inside the folder of"
    return "holds the folder of" if theirs.startswith(mine) else ""
