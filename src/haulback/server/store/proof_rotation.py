"""The order in which machines are proven: the machine whose last proof or attempt is the oldest
comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.inventory.records import Entity
from haulback.server.store import tables
from haulback.server.store.rows import records
from haulback.server.store.schedule_tables import proof_turn

_ENTITY, _BACKUP, _PROOF = tables.entity, tables.backup, tables.proof


def next_machine(sql: sa.Connection, hypervisors: Sequence[str], before: int) -> Entity | None:
    """The next machine with a sound backup, whose last attempt was before `before` (epoch ms)."""
    backup = _BACKUP.c
    whole = (backup.status == "SUCCESS", backup.location_status == "PRESENT", ~backup.gone)
    stored = sa.select(backup.guid).where(backup.entity == _ENTITY.c.guid, *whole).exists()
    of_machine = sa.and_(_PROOF.c.backup == backup.guid, backup.entity == _ENTITY.c.guid)
    proven = sa.select(sa.func.max(_PROOF.c.time)).where(of_machine).scalar_subquery()
    last = sa.func.coalesce(proof_turn.c.time, proven, -1)
    joined = _ENTITY.outerjoin(proof_turn, proof_turn.c.entity == _ENTITY.c.guid)
    query = (
        sa.select(_ENTITY)
        .select_from(joined)
        .where(_ENTITY.c.hypervisor.in_(hypervisors), _ENTITY.c.present, stored, last < before)
        .order_by(last, _ENTITY.c.guid)
        .limit(1)
    )
    return next(iter(records(sql, query, Entity)), None)


def take(sql: sa.Connection, entity: str, now: int) -> None:
    """Record an attempt to prove a machine, whatever its result."""
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    new = insert(proof_turn).values(entity=entity, time=now)
    sql.execute(new.on_conflict_do_update(index_elements=["entity"], set_={"time": now}))


def running(sql: sa.Connection, run: str) -> int:
    """The number of waiting and running tasks of a run."""
    table = tables.task.c
    live = sa.text("run <> '' AND state IN ('QUEUED', 'RUNNING', 'PLANNED')")
    query = sa.select(sa.func.count()).select_from(tables.task).where(table.run == run, live)
    return int(sql.scalar(query) or 0)
