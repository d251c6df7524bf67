"""The parts of a maintenance tick that have due work, by two statements of index look-ups."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from haulback.server.store.raw_sql import Statement

_DUE = Statement(
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

_MAINTENANCE = Statement(
    "SELECT EXISTS (SELECT 1 FROM alarm WHERE kind = 'REPOSITORY_DAMAGED'), "
    "EXISTS (SELECT 1 FROM copy_link WHERE due <= :now) "
    "OR EXISTS (SELECT 1 FROM copy_due WHERE due <= :now) "
    "OR EXISTS (SELECT 1 FROM backup WHERE status = 'SUCCESS' "
    "AND location_status IN ('DAMAGED', 'MISSING') AND heal_after <= :now), "
    "EXISTS (SELECT 1 FROM retention_due) "
    "OR EXISTS (SELECT 1 FROM retention_state WHERE reclaim_at IS NOT NULL), "
    "EXISTS (SELECT 1 FROM given_up WHERE ended IS NULL)"
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


class DueMaintenance(NamedTuple):
    """Parts of the maintenance of repositories that have something to do."""

    verifies: bool
    copies: bool
    judges: bool
    gives_up: bool


class Ages(NamedTuple):
    """Times (epoch ms) before which ended tasks are hidden from lists, and rows are deleted."""

    listed: int
    kept: int
    keys: int


def check(sql: sa.Connection, now: int, ages: Ages) -> DueWork:
    """The parts of a tick at `now` (epoch ms) that have due work."""
    row = _DUE.row(sql, now=now, **ages._asdict())
    assert row
    return DueWork(*map(bool, row))


def maintenance(sql: sa.Connection, now: int) -> DueMaintenance:
    """The due parts of the maintenance of repositories at `now` (epoch ms)."""
    row = _MAINTENANCE.row(sql, now=now)
    assert row
    return DueMaintenance(*map(bool, row))
