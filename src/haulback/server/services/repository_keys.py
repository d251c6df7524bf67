"""Keys of repositories, read from a server's database on its own machine."""

from __future__ import annotations

from pathlib import Path

from haulback.contract.order_records import BackupDestination
from haulback.errors import NotFound
from haulback.server.key_vault import KeyVault
from haulback.server.store import destinations, lists
from haulback.server.store.engine import peek, sqlite_url


def unsealed_key(data: Path, database: str, name: str) -> tuple[BackupDestination, bytes]:
    """The destination of a name, and the key of its repository (32 bytes).  Raises NotFound."""
    vault = KeyVault.open(data / "server.key", make=False)
    store = peek(database or sqlite_url(data))
    try:
        with store.read() as sql:
            for record in lists.places(sql, BackupDestination):
                if record.name == name:
                    sealed = destinations.sealed_key(sql, record.guid)
                    return record, vault.unseal(record.guid, sealed)
    finally:
        store.close()
    raise NotFound(f"there is no backup destination {name!r}")
