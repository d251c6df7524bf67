"""The parts of a maintenance tick that have due work, by one statement of index look-ups."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from haulback.server.store.raw_sql import Hot

_DUE = Hot(
    "SELECT "
    "EXISTS (SELECT 1 FROM task WHERE state = 'QUEUED' AND NOT ready AND window_start <= :now), "
    "EXISTS (SELECT 1 FROM task WHERE state = 'RUNNING' AND lease_until < :now), "
    "EXISTS (SELECT 1 FROM task WHERE state = 'QUEUED' AND window_end <= :now), "
    "EXISTS (SELECT 1 FROM task WHERE state = 'RUNNING' AND cancel_wanted), "
    "EXISTS (SELECT 1 FROM task WHERE NOT archived "
    "AND state IN ('FINISHED', 'FAILED', 'CANCELLED') AND finished < :listed), "
    "EXISTS (SELECT 1 FROM task WHERE archived AND finished < :kept), "
    "EXISTS (SELECT 1 FROM idempotency WHERE created < :keys), "
    "EXISTS (SELECT 1 FROM mounted_backup WHERE state = 'MOUNTED' AND unmount_at <= :now)"
)


class DueWork(NamedTuple):
    """The parts of a tick that have due work."""

    opens: bool
    lost: bool
    late: bool
    cancels: bool
    archives: bool
    forgets: bool
    keys: bool
    mounts: bool


class Ages(NamedTuple):
    """Times (epoch ms) before which ended tasks leave the lists, and rows are deleted."""

    listed: int
    kept: int
    keys: int


def look(sql: sa.Connection, now: int, ages: Ages) -> DueWork:
    """The parts of a tick at `now` (epoch ms) that have due work."""
    row = _DUE.row(sql, now=now, **ages._asdict())
    assert row
    return DueWork(*map(bool, row))
