"""The kinds of destination there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from haulback.destinations.folder import Folder
from haulback.destinations.protocol import Destination
from haulback.errors import Malformed

_DRIVERS: dict[str, Callable[[Path, str], Destination]] = {
    "folder": lambda path, owner: Folder(path, owner=owner)
}


def open_destination(driver: str, config: dict[str, Any], owner: str) -> Destination:
    """A destination; what is half stored there bears the name of its `owner`.  Raises Malformed."""
    path = config.get("path")
    if driver not in _DRIVERS:
        raise Malformed(f"this node has no driver {driver[:40]!r} for destinations")
    if not isinstance(path, str) or not path.startswith("/"):
        raise Malformed("the destination's path is not an absolute one")
    return _DRIVERS[driver](Path(path), owner)
