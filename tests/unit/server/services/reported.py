"""Stored backups for tests of reports: rows as tasks write them, of any age and size."""

from __future__ import annotations

from haulback.ids import new_guid
from haulback.inventory.records import Backup, Entity, Record
from haulback.server.store import configuration, machines, rows, tables
from haulback.units import DAY_MS
from tests.unit.server.conftest import START, House

DAY = DAY_MS


def backup(house: House, entity: Entity, *, ago: int = 1000, **more: object) -> Backup:
    """A backup that was made `ago` ms before the house's time."""
    members: dict[str, object] = {
        "guid": new_guid(),
        "entity": entity.guid,
        "entity_name": entity.name,
        "destination": house.destination.guid,
        "location": new_guid(),
        "type": "FULL",
        "status": "SUCCESS",
        "created": START - ago,
        "size": 100,
        "read": 60,
        "stored": 30,
        **more,
    }
    made = Backup(**members)  # type: ignore[arg-type]
    with house.app.store.write() as sql:
        rows.add(sql, tables.backup, made)
    return made


def policy(house: House, name: str, *members: Entity, **body: object) -> tuple[Record, Record]:
    """A policy of these machines, with a rule."""
    record = Record(guid=new_guid(), kind="vm-backup", name=name, body=dict(body))
    rule = Record(guid=new_guid(), kind="rule", name=f"rule of {name}", parent=record.guid)
    with house.app.store.write() as sql:
        for made in (record, rule):
            made.created = made.modified = START - 10 * DAY
            configuration.add(sql, made)
        for member in members:
            settings = {**member.settings, "backupPolicy": record.guid}
            machines.set_settings(sql, member.guid, settings)
    return record, rule
