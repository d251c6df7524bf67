"""Probe of a store's promises before a repository relies on them."""

from __future__ import annotations

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Conflict, Unsupported


def require_exclusive_create(destination: ObjectStore, name: str) -> None:
    """Check that the store refuses a create under the name of an existing object.

    The object `name` is stored again with one more byte. A store that accepts this replaces the
    object, so the probe puts the first bytes back, and leaves nothing behind. Raises Unsupported
    for such a store: there a second writer would replace a manifest or the key of the repository.
    """
    data = destination.load(name)
    try:
        destination.store(name, data + b"\n")
    except Conflict:
        return
    destination.store(name, data)
    raise Unsupported(
        f"the destination replaces existing objects: it accepted {name} twice. Use a store with "
        "conditional writes (If-None-Match), or switch them on in the store"
    )
