"""Settings of a destination in the form that its driver takes."""

from __future__ import annotations

from haulback.contract.destination_types import SEALED, by_driver
from haulback.contract.destination_types import settings_of as declared
from haulback.contract.order_records import BackupDestination
from haulback.node.server_client import ServerClient
from haulback.wire import JsonObject


def settings_of(record: BackupDestination, link: ServerClient, task: str = "") -> JsonObject:
    """The settings of a destination, with the secrets that the server opens for this node.

    `task` is the running task that uses the settings: they include the secrets that delete if its
    order may delete, and a move gets the secrets of the new location. Raises Unavailable while the
    server does not answer.
    """
    plain = {name: value for name, value in record.config.items() if name != SEALED}
    asks = _has_secrets(record.driver)
    return plain | (link.secrets(record.guid, task) if asks else {})


def _has_secrets(driver: str) -> bool:
    kind = by_driver(driver)
    return kind is not None and any(setting.is_secret for setting in declared(kind).values())
