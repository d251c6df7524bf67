"""Secret settings of destinations: sealed in the database, opened for nodes that use them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback.contract.destination_types import SEALED, by_driver, settings_of
from haulback.contract.order_records import BackupDestination, BackupPlace
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


def for_node(vault: KeyVault, record: BackupDestination, *, may_delete: bool) -> dict[str, str]:
    """The secret settings for a node; secrets that delete are included only with `may_delete`."""
    kind = by_driver(record.driver)
    settings = settings_of(kind) if kind else {}
    return {
        name: value
        for name, value in opened(vault, record).items()
        if may_delete or name not in settings or not settings[name].is_deleting
    }


def shown(record: BackupDestination) -> BackupDestination:
    """The record without its secrets, for answers and the audit log."""
    plain = {name: value for name, value in record.config.items() if name != SEALED}
    return msgspec.structs.replace(record, config=plain)


def changed(
    vault: KeyVault, record: BackupDestination, secrets: Mapping[str, str]
) -> BackupDestination:
    """The stored record with some secret settings replaced.  Raises WrongKey."""
    if not secrets:
        return record
    return sealed(vault, record, {**opened(vault, record), **secrets})


def without_secrets(order: msgspec.Struct) -> msgspec.Struct:
    """The order without the sealed settings of its destinations.

    A node that works on a destination requests its secrets separately
    (`node_tasks.destination_keys`).
    """
    names = order.__struct_fields__
    return msgspec.structs.replace(order, **{name: _plain(getattr(order, name)) for name in names})


def _plain(value: object) -> object:
    if isinstance(value, BackupDestination):
        return shown(value)
    if isinstance(value, BackupPlace):
        return BackupPlace(value.backup, shown(value.destination))
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _owner(record: BackupDestination) -> str:
    """The name that binds a sealed text to its destination, so that no sealed key can replace the
    settings.
    """
    return f"{record.guid} settings"
