"""Registry of the destination drivers: each type declared in `contract.destination_types`.

The module of a driver is imported at its first use, so that client libraries of unused types are
never loaded.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import msgspec

from haulback.contract.destination_types import DestinationType, by_driver
from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.read_ahead import ReadAhead
from haulback.destinations.settled_lists import SettledLists
from haulback.destinations.store_retries import Retrying, Tell, silent
from haulback.errors import Malformed
from haulback.wire import JsonMapping


class Usage(NamedTuple):
    """Space of a destination in bytes."""

    total: int
    free: int


def open_destination(
    driver: str, config: JsonMapping, owner: str, tell: Tell = silent
) -> ObjectStore:
    """Open a destination; the names of its half-written objects contain the attempt `owner`.

    `tell` gets the reason when a request to a remote store is repeated.

    Raises Malformed for an unknown driver or a wrong setting, Unavailable for a store that does
    not answer.
    """
    kind, settings = _declared(driver, config)
    store: ObjectStore = _module(kind).open_store(settings, owner)
    if not kind.capabilities.local_path:
        store = ReadAhead(ConfirmedLists(Retrying(store, tell=tell)))
    if listing_delay(driver, config) != 0:
        store = SettledLists(store)
    return store


def check_place(driver: str, config: JsonMapping) -> None:
    """Check the location of a new repository, if the driver has a check.

    Raises Malformed, and Conflict if the location lies inside another repository.
    """
    kind, settings = _declared(driver, config)
    if check := getattr(_module(kind), "check_place", None):
        check(settings)


def listing_delay(driver: str, config: JsonMapping) -> float | None:
    """Seconds until a listing of a destination shows a write or a deletion, None if unknown.

    Raises Malformed.
    """
    kind, settings = _declared(driver, config)
    own: float | None = getattr(settings, "listing_delay", None)
    return kind.capabilities.listing_delay if own is None else own


def usage(driver: str, config: JsonMapping) -> Usage | None:
    """Space of a destination, None for a type that does not report it.

    Raises Malformed, OSError.
    """
    kind, settings = _declared(driver, config)
    if not kind.capabilities.usage:
        return None
    return Usage(*_module(kind).usage(settings))


def _module(kind: DestinationType) -> ModuleType:
    return import_module(f"haulback.destinations.{kind.driver}")


def _declared(driver: str, config: JsonMapping) -> tuple[DestinationType, msgspec.Struct]:
    kind = by_driver(driver)
    if kind is None:
        raise Malformed(f"this node has no destination driver {driver[:40]!r}")
    try:
        return kind, msgspec.convert(dict(config), kind.settings)
    except msgspec.ValidationError as error:
        # The text of the error names the setting and its form, never its value.
        raise Malformed(f"the settings of the {kind.name} destination: {error}") from None
