"""A full backup in place of an increment says why there is no base."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.contract.backups import BackupType
from haulback.ids import new_guid
from haulback.server.caller import Node
from haulback.server.services import node_tasks
from haulback.server.store import rows, tables
from haulback.tasks.record import Task
from tests.unit.server.conftest import House


def exported(house: House, node: Node, kind: BackupType) -> tuple[Task, str]:
    """An EXPORT that the node has taken, and the reason in its order."""
    to = {"guid": house.destination.guid}
    [export] = house.export(backupType=kind.value, backupDestination=to)
    house.take(node, export)
    order = node_tasks.order(house.app, node, export.guid).order
    return export, str(getattr(order, "no_base"))  # noqa: B009


def test_an_increment_without_a_base_says_which_backups_there_are(house: House):
    node = house.node()
    export, why = exported(house, node, BackupType.INCREMENTAL)
    assert why == "it is the first backup of the machine"
    taken = {"type": "FULL", "snapshotTime": house.clock.now, "size": 10, "read": 10, "stored": 5}
    house.finish(node, export, **taken)
    store = house.follower(export)
    house.take(node, store)
    house.finish(node, store, stored=5)
    backup = store.ref("backup") or ""

    def reason(**state: object) -> str:
        """The reason of the next increment, after the backup is changed so."""
        with house.app.store.write() as sql:
            sql.execute(sa.delete(tables.base))
            chosen = sa.update(tables.backup).where(tables.backup.c.guid == backup)
            sql.execute(chosen.values(**state))
        export, why = exported(house, node, BackupType.INCREMENTAL)
        house.fail(node, export)
        return why

    assert "were read from the store" in reason(location_status="PRESENT")
    assert f"its newest backup there, {backup}, is damaged" in reason(location_status="DAMAGED")
    assert "its backups there are copies" in reason(location_status="PRESENT", copy_of="b")
    other = msgspec.structs.replace(house.destination, guid=new_guid(), name="far")
    with house.app.store.write() as sql:
        rows.add(sql, tables.destination, other, sealed_key="")
    assert reason(destination=other.guid).endswith("the newest backup of the machine is on far")
    assert exported(house, node, BackupType.FULL)[1] == ""
