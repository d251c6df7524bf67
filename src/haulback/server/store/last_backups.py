"""The last good backups of a machine, stored with the machine because portals list them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
import sqlalchemy as sa

from haulback.inventory.records import Backup
from haulback.server.store import rows, tables
from haulback.wire import JsonObject


def recall_without(sql: sa.Connection, entities: Iterable[str], backups: Collection[str]) -> None:
    """Find the last good backups of machines (at most 500) whose last backups were removed."""
    table = tables.entity.c
    query = sa.select(table.guid, table.facts).where(table.guid.in_(list(entities)))
    for guid, facts in sql.execute(query).all():
        if not _named(facts).isdisjoint(backups):
            recall(sql, guid)


def _named(facts: str) -> set[str]:
    """The backups that the stored facts of a machine name."""
    decoded = msgspec.json.decode(facts).values()
    return {value["guid"] for value in decoded if isinstance(value, dict)}


def recall(sql: sa.Connection, entity: str) -> None:
    """Store the newest full backup and the newest increment that have all data."""
    facts: JsonObject = {}
    table = tables.backup.c
    whole = sa.select(tables.backup).where(
        table.entity == entity, table.status == "SUCCESS", table.location_status == "PRESENT"
    )
    first = table.copy_of.is_not(None)  # a good copy replaces its damaged backup
    order = (table.snapshot_time.desc(), first, table.created.desc())
    newest = whole.order_by(*order).limit(1)
    for sort, where in (("Full", table.type == "FULL"), ("Inc", table.type != "FULL")):
        for record in rows.records(sql, newest.where(where), Backup):
            named = {"guid": record.first, "time": record.snapshot_time}
            facts[f"lastSuccessful{sort}Backup"] = named
            facts[f"lastSuccessful{sort}BackupSize"] = record.held
    for backup in rows.records(sql, newest, Backup):
        facts |= {"lastBackup": backup.snapshot_time, "lastSuccessfulBackupSize": backup.held}
    text = msgspec.json.encode(facts).decode()
    here = sa.update(tables.entity).where(tables.entity.c.guid == entity)
    sql.execute(here.values(facts=text, protection_due=0))
