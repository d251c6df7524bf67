"""Probe of a store's promises before a repository relies on them."""

from __future__ import annotations

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Conflict, Unsupported


def require_exclusive_create(destination: ObjectStore, name: str) -> None:
    """Check that the store refuses a create under the name of an existing object.

    The object `name` is stored again with its own bytes: a store that replaces it loses nothing,
    and the probe leaves nothing behind. Raises Unsupported for such a store: there a second
    writer would replace a manifest or the key of the repository.
    """
    try:
        destination.store(name, destination.load(name))
    except Conflict:
        return
    raise Unsupported(
        f"the destination replaces existing objects: it accepted {name} twice. Use a store with "
        "conditional writes (If-None-Match), or switch them on in the store"
    )
