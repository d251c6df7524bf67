"""Keys of repositories, read from a server's database on its own machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.errors import NotFound
from haulback.server.key_vault import KeyVault
from haulback.server.services import destination_secrets
from haulback.server.store import destinations, lists
from haulback.server.store.engine import peek, sqlite_url


def unsealed_key(data: Path, database: str, name: str) -> tuple[BackupDestination, bytes]:
    """The destination with a name, its secret settings, and the key (32 bytes) of its repository.

    Raises NotFound.
    """
    vault = KeyVault.open(data / "server.key", make=False)
    store = peek(database or sqlite_url(data))
    try:
        with store.read() as sql:
            for record in lists.places(sql, BackupDestination):
                if record.name == name:
                    sealed = destinations.sealed_key(sql, record.guid)
                    secrets = destination_secrets.opened(vault, record)
                    config = destination_secrets.shown(record).config | secrets
                    whole = msgspec.structs.replace(record, config=config)
                    return whole, vault.unseal(record.guid, sealed)
    finally:
        store.close()
    raise NotFound(f"there is no backup destination {name!r}")
