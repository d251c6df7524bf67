"""A manager and a cluster for every platform whose hosts are known."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from haulback.clock import SystemClock
from haulback.inventory.managers import USUAL_TYPE, own_cluster, own_manager

revision = "0011"
down_revision = "0010"
_RECORD = sa.table(
    "record",
    *(
        sa.column(name)
        for name in ("guid", "kind", "name", "parent", "body", "created", "modified")
    ),
)


def upgrade() -> None:
    """Add the manager and the cluster of each stored host."""
    sql = op.get_bind()
    for row in sql.execute(sa.text("SELECT driver, settings FROM hypervisor")).all():
        manager = own_manager(row.driver)
        given = json.loads(row.settings).get("hypervisorManager")
        if not given:
            body = {"url": "", "type": USUAL_TYPE, "derived": True}
            _add(sql, "hypervisor-manager", manager, "", body)
        above = str(given or manager.guid)
        cluster = own_cluster(above, row.driver)
        body = {"uuid": cluster.guid, "derived": True}
        _add(sql, "hypervisor-cluster", cluster, above, body)


def _add(sql: sa.Connection, kind: str, one: Any, parent: str, body: dict[str, Any]) -> None:
    record = _RECORD.c
    if sql.scalar(sa.select(record.guid).where(record.guid == one.guid)):
        return
    here = (record.kind == kind, record.parent == parent)
    taken = set(sql.scalars(sa.select(record.name).where(*here)))
    name, number = one.name, 1
    while name in taken:
        number += 1
        name = f"{one.name} ({number})"
    now = SystemClock().now_ms()
    row = {"guid": one.guid, "kind": kind, "name": name, "parent": parent, "body": json.dumps(body)}
    sql.execute(sa.insert(_RECORD).values(**row, created=now, modified=now))
