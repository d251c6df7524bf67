"""Locations of repositories on a command line: a folder, or a file with settings."""

from __future__ import annotations

import json
from pathlib import Path

from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import open_destination
from haulback.errors import Malformed
from haulback.inventory.destination_types import checked, chosen
from haulback.wire import JsonObject

_OWNER = "by-hand"


def open_location(location: Path) -> ObjectStore:
    """Open the destination at a location.

    A folder needs no settings. A file is JSON with the member `type` and the settings of the type
    by name, secrets included. Raises Malformed, Unavailable.
    """
    if not location.is_file():
        return open_destination("folder", {"path": str(location.absolute())}, _OWNER)
    body = _read(location)
    kind = chosen(str(body.pop("type", "")) or None)
    settings = checked(kind, body)
    return open_destination(kind.driver, settings.plain | settings.secrets, _OWNER)


def _read(file: Path) -> JsonObject:
    try:
        body = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise Malformed(f"{file} is no file with the settings of a destination: {error}") from None
    if not isinstance(body, dict):
        raise Malformed(f"{file} holds no JSON object with `type` and settings")
    return body
