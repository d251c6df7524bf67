"""Changes of restore jobs."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from haulback.inventory.records import NOT_DECIDED
from haulback.server.store import tables
from haulback.server.store.backup_times import with_times
from haulback.server.store.rows import row_of
from haulback.tasks.record import NewRestoreJob, Task


class RestoreLedger:
    """`inventory.ledger.RestoreChanges` on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now

    def moved(self, job: str, status: str, info: str | None, task: Task) -> None:
        table = tables.restore_job
        found = self._sql.execute(sa.select(table).where(table.c.guid == job)).one_or_none()
        if found is None or found.status not in NOT_DECIDED:
            return
        over = status not in NOT_DECIDED
        values = {"status": status, "status_info": info, "finished": self._now if over else None}
        times = with_times(found.times, task)
        where = table.c.guid == job
        self._sql.execute(sa.update(table).where(where).values(**values, times=times))

    def begun(self, new: Iterable[NewRestoreJob]) -> None:
        """Add the restore jobs of a plan."""
        for job in new:
            row = {**row_of(job, tables.restore_job), "status": "QUEUED", "times": "{}"}
            row["created"] = self._now
            self._sql.execute(sa.insert(tables.restore_job).values(row))
