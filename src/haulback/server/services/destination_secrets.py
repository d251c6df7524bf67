"""Secret settings of destinations: sealed in the database, opened for a node that uses it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback.contract.destination_types import SEALED
from haulback.inventory.records import BackupDestination
from haulback.server.key_vault import KeyVault


def sealed(
    vault: KeyVault, record: BackupDestination, secrets: Mapping[str, str]
) -> BackupDestination:
    """The record for the database, with its secret settings as sealed text."""
    if not secrets:
        return record
    text = vault.seal(_owner(record), msgspec.json.encode(secrets))
    return msgspec.structs.replace(record, config={**record.config, SEALED: text})


def opened(vault: KeyVault, record: BackupDestination) -> dict[str, str]:
    """The secret settings of a stored destination. Raises WrongKey."""
    if SEALED not in record.config:
        return {}
    text = vault.unseal(_owner(record), record.config[SEALED])
    return msgspec.json.decode(text, type=dict[str, str])


def shown(record: BackupDestination) -> BackupDestination:
    """The record without its secrets, for answers and the audit trail."""
    plain = {name: value for name, value in record.config.items() if name != SEALED}
    return msgspec.structs.replace(record, config=plain)


def _owner(record: BackupDestination) -> str:
    """The owner name of the sealed text, so that no sealed key can replace the settings."""
    return f"{record.guid} settings"
