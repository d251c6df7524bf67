"""Locations of repositories on a command line: a folder, a file with settings, or options."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from haulback.cli.destination_settings import read_settings
from haulback.contract.destination_types import DestinationType
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import open_destination
from haulback.errors import Malformed
from haulback.inventory.destination_types import checked, chosen
from haulback.wire import JsonMapping, JsonObject

_OWNER = "by-hand"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """A store of another type than a folder, by its declared settings."""

    kind: Annotated[str, Parameter(name="--type", help="A type of `destination types`.")] = ""
    setting: Annotated[list[str] | None, Parameter(name="--set", help="NAME=VALUE.")] = None
    secret: Annotated[list[str] | None, Parameter(help="NAME=FILE of a secret setting.")] = None

    def __str__(self) -> str:
        return " ".join([self.kind, *(self.setting or ())])

    def opened(self) -> ObjectStore:
        """The store of the options.  Raises Malformed, Unavailable."""
        kind = chosen(self.kind)
        return _opened(kind, read_settings(kind, None, self.setting or (), self.secret or ()))


FOLDER = StoreOptions()


def open_location(location: Path) -> ObjectStore:
    """Open the destination at a location.

    A folder needs no settings. A file is JSON with the member `type` and the settings of the type
    by name, secrets included. Raises Malformed, Unavailable.
    """
    if not location.is_file():
        return open_destination("folder", {"path": str(location.absolute())}, _OWNER)
    body = _read(location)
    return _opened(chosen(str(body.pop("type", "")) or None), body)


def open_store(location: Path | None, options: StoreOptions) -> ObjectStore:
    """Open the store that a location or the options name.  Raises Malformed, Unavailable."""
    if options.kind and location is None:
        return options.opened()
    if location is None or options.kind or options.setting or options.secret:
        raise Malformed("name the FOLDER, or another store by --type and its settings by --set")
    return open_location(location)


def _opened(kind: DestinationType, given: JsonMapping) -> ObjectStore:
    settings = checked(kind, given)
    return open_destination(kind.driver, settings.plain | settings.secrets, _OWNER, _tell)


def _tell(text: str) -> None:
    """Print the reason of a repeated request, because a store may be silent for minutes."""
    print(text, file=sys.stderr)


def _read(file: Path) -> JsonObject:
    try:
        body = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise Malformed(
            f"{file} does not hold the settings of a destination in JSON: {error}"
        ) from None
    if not isinstance(body, dict):
        raise Malformed(f"{file} must hold a JSON object with `type` and the settings of the type")
    return body
