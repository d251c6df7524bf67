"""Types of backup destination: their settings and capabilities.

Data only: the server, the commands, the node and the driver itself read these declarations.  A new
type is an entry of `TYPES` here and a module in `haulback.destinations`.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

_SECRET = "haulback-secret"
AbsolutePath = Annotated[
    str, Meta(pattern=r"^/[^\0]*$", max_length=4096, description="a folder by its absolute path")
]
Secret = Annotated[
    str, Meta(min_length=1, max_length=4096, description="the secret", extra={_SECRET: True})
]
"""A write-only setting: the server seals the value, and no answer shows it."""


class Capabilities(NamedTuple):
    """Abilities of a store.

    `local_path`: objects are files of this machine.  `exclusive_create`: of several creates of one
    name exactly one succeeds.  `listing_delay`: seconds until a list shows a write or a deletion.
    `object_lock`: the store itself keeps objects for a time.  `usage`: total and free bytes.
    """

    local_path: bool = False
    exclusive_create: bool = True
    listing_delay: float = 0.0
    object_lock: bool = False
    usage: bool = False


class FolderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a folder on a node; the folder must exist."""

    path: AbsolutePath


class DestinationType(NamedTuple):
    """A type: its name in the API, the module of its driver, its settings and capabilities."""

    name: str
    driver: str
    settings: type[Struct]
    capabilities: Capabilities


TYPES = (
    DestinationType(
        "FILESYSTEM", "folder", FolderSettings, Capabilities(local_path=True, usage=True)
    ),
)


def by_driver(driver: str) -> DestinationType | None:
    """The type of a driver, None for an unknown driver."""
    return next((kind for kind in TYPES if kind.driver == driver), None)


def by_name(name: str) -> DestinationType | None:
    """The type of that name, None for an unknown name."""
    return next((kind for kind in TYPES if kind.name == name), None)
