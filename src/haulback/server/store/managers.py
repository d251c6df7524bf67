"""Managers and clusters that are derived from platforms."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.contract.order_records import Hypervisor
from haulback.inventory.managers import USUAL_TYPE, manager_of, own_cluster, own_manager
from haulback.inventory.records import Record
from haulback.server.store import tables
from haulback.server.store.rows import row_of


def surround(sql: sa.Connection, host: Hypervisor, now: int) -> None:
    """Record the derived manager and cluster of a host, unless they have records."""
    manager, kind = own_manager(host.driver), "hypervisor-manager"
    if manager_of(host) == manager.guid:
        body = {"url": "", "type": USUAL_TYPE, "derived": True}
        _add(sql, Record(guid=manager.guid, kind=kind, name=manager.name, body=body), now)
    above = manager_of(host)
    cluster = own_cluster(above, host.driver)
    whole = Record(guid=cluster.guid, kind="hypervisor-cluster", name=cluster.name, parent=above)
    whole.body = {"uuid": cluster.guid, "derived": True}
    _add(sql, whole, now)


def _add(sql: sa.Connection, wanted: Record, now: int) -> None:
    table = tables.record.c
    if sql.scalar(sa.select(table.guid).where(table.guid == wanted.guid)):
        return
    here = (table.kind == wanted.kind, table.parent == wanted.parent)
    taken = set(sql.scalars(sa.select(table.name).where(*here)))
    name, number = wanted.name, 1
    while wanted.name in taken:  # a user's record may have the name already
        number += 1
        wanted.name = f"{name} ({number})"
    wanted.created = wanted.modified = now
    try:
        with sql.begin_nested():
            sql.execute(sa.insert(tables.record).values(row_of(wanted, tables.record)))
    except sa.exc.IntegrityError:
        pass  # another host of the platform has just added the record
