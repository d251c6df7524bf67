"""Registry of the destination drivers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from haulback.destinations.folder import Folder
from haulback.destinations.protocol import ObjectStore
from haulback.errors import Malformed

_DRIVERS: dict[str, Callable[[Path, str], ObjectStore]] = {
    "folder": lambda path, owner: Folder(path, owner=owner)
}


def open_destination(driver: str, config: dict[str, Any], owner: str) -> ObjectStore:
    """Open a destination; its half-written objects carry the name of the attempt `owner`.

    Raises Malformed for an unknown driver or a bad path, Unavailable when the folder is missing.
    """
    path = config.get("path")
    if driver not in _DRIVERS:
        raise Malformed(f"this node has no destination driver {driver[:40]!r}")
    if not isinstance(path, str) or not path.startswith("/"):
        raise Malformed("the destination's path is not absolute")
    return _DRIVERS[driver](Path(path), owner)
