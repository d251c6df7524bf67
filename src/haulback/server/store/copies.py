"""Machines that Haulback made from backups: instant restores that still run from a mount."""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa

from haulback.inventory.records import Entity
from haulback.server.store import mount_tables, tables
from haulback.server.store.expressions import text_in

# Names of the machines that drivers boot for a proof: the attempt of the task.
_PROOF = re.compile(r"haulback-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}([._-].*)?")


def copies(sql: sa.Connection, machines: Sequence[Entity]) -> frozenset[str]:
    """The guids of those machines that run from a mounted backup, or for a proof.

    An instant restore counts from its request on, by the name of its machine, because an inventory
    may find the machine before the end of the task that starts it.
    """
    mounted, named = _mounted(sql), _restoring(sql)
    return frozenset(
        machine.guid
        for machine in machines
        if (machine.hypervisor, machine.uuid) in mounted
        or (machine.hypervisor, machine.name) in named
        or _PROOF.fullmatch(machine.name)
    )


def _mounted(sql: sa.Connection) -> set[tuple[str, str]]:
    table = mount_tables.mounted_backup.c
    query = sa.select(table.hypervisor, table.machine)
    rows = sql.execute(query.where(table.state == "MOUNTED", table.machine.is_not(None)))
    return {(row.hypervisor, row.machine) for row in rows}


def _restoring(sql: sa.Connection) -> set[tuple[str, str]]:
    job, mount = tables.restore_job.c, mount_tables.mounted_backup.c
    joined = text_in(sql, job.target, "mount") == mount.guid
    query = sa.select(mount.hypervisor, text_in(sql, job.target, "name").label("name"))
    query = query.join(tables.restore_job, sa.and_(job.entity == mount.entity, joined))
    live = (mount.state.in_(("QUEUED", "MOUNTED")), mount.machine.is_(None))
    rows = sql.execute(query.where(*live, mount.hypervisor.is_not(None)))
    return {(row.hypervisor, row.name) for row in rows}
