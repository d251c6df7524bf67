"""Keys of repositories, read from a server's database on its own machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.errors import Malformed, NotFound
from haulback.ids import is_beginning
from haulback.server.key_vault import KeyVault
from haulback.server.services import destination_secrets
from haulback.server.store import destinations, lists
from haulback.server.store.engine import peek, sqlite_url


def unsealed_key(data: Path, database: str, name: str) -> tuple[BackupDestination, bytes]:
    """A destination with its secret settings, and its repository's key (32 bytes).

    The destination is named by its name, its guid, or six or more characters of its beginning.
    Raises NotFound, and Malformed with the candidates when several destinations fit.
    """
    vault = KeyVault.open(data / "server.key", make=False)
    store = peek(database or sqlite_url(data))
    try:
        with store.read() as sql:
            record = _named(lists.places(sql, BackupDestination), name)
            sealed = destinations.sealed_key(sql, record.guid)
            secrets = destination_secrets.opened(vault, record)
            config = destination_secrets.shown(record).config | secrets
            whole = msgspec.structs.replace(record, config=config)
            return whole, vault.unseal(record.guid, sealed)
    finally:
        store.close()


def _named(records: Iterable[BackupDestination], word: str) -> BackupDestination:
    begins = is_beginning(word)
    fitting = [
        record
        for record in records
        if record.name == word or (begins and record.guid.startswith(word.lower()))
    ]
    if len(fitting) > 1:
        named = ", ".join(f"{record.guid} ({record.name})" for record in fitting)
        raise Malformed(f"{word!r} names several destinations; use more of a guid: {named}")
    if not fitting:
        raise NotFound(f"there is no destination {word!r}: `haulback destination ls` lists them")
    return fitting[0]
