"""The check of the server key at the start: a key of another database must not be used."""

from __future__ import annotations

import logging
from pathlib import Path

from haulback.errors import Conflict, WrongKey
from haulback.server.key_vault import KeyVault, exposure
from haulback.server.store import sealed_secrets
from haulback.server.store.engine import Store

_OWNER, _TEXT = "key-check", b"haulback server key"
_REMEDY = (
    "put the server's key file back, from a copy or from the data folder of another server of "
    "this database (docs/howto/when-the-server-key-is-lost.md)"
)
log = logging.getLogger(__name__)


def open_vault(path: Path, store: Store) -> KeyVault:
    """The vault of a key file that belongs to the database; a fresh database gets a fresh key.

    Raises Conflict for a missing file and WrongKey for a file of another database, with the remedy;
    nothing is written then.
    """
    with store.read() as sql:
        keys, check = sealed_secrets.keys(sql), sealed_secrets.check(sql)
    # An SQLite database has no other server that could hold its key.
    is_free = not keys and (check is None or store.is_sqlite)
    if not path.exists() and not is_free:
        names = ", ".join(key.name for key in keys)
        held = f"seals the keys of {names}" if names else "belongs to another server"
        raise Conflict(f"{path} is missing, and the database {held}: {_REMEDY}")
    vault = KeyVault.open(path)
    if warning := exposure(path):
        log.warning("%s", warning)
    strange = [key.name for key in keys if not vault.opens(key.destination, key.text)]
    if keys and len(strange) == len(keys):
        raise WrongKey(f"{path} opens no key in the database ({', '.join(strange)}): {_REMEDY}")
    # A sealed repository key is stronger evidence than the stored check text.  A database without
    # both is new; an SQLite database has only one server.
    renews = not strange if keys else store.is_sqlite
    with store.write() as sql:
        kept = sealed_secrets.keep_check(sql, vault.seal(_OWNER, _TEXT), replace=renews)
    if not vault.opens(_OWNER, kept):
        raise WrongKey(f"{path} is not the key of the server that created this database: {_REMEDY}")
    for name in strange:
        log.error("%s does not open the key of the destination %s: %s", path, name, _REMEDY)
    return vault


def trouble(vault: KeyVault, store: Store) -> str:
    """The reason why a running server cannot use its keys or could not start again; "" for none.

    An operator may replace the database or remove the key file while the server runs.
    """
    with store.read() as sql:
        check = sealed_secrets.check(sql)
    if check is not None and not vault.opens(_OWNER, check):
        return f"the server key does not belong to the database: {_REMEDY}"
    if not vault.is_on_disk:
        return f"{vault.path} is missing or holds another key, so no server could start: {_REMEDY}"
    return ""
