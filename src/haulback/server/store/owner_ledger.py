"""The owners of destinations, as nodes read them from the stores."""

from __future__ import annotations

import logging

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.catalogue import OwnerReport
from haulback.contract.order_records import BackupDestination, Owner
from haulback.logs import members
from haulback.server.store import epoch, tables
from haulback.server.store.alarms import AlarmLedger
from haulback.server.store.rows import json_text, records
from haulback.tasks.record import Task
from haulback.wire import Named

log = logging.getLogger(__name__)
_LAST = 99_999_999  # the names of owner records have eight digits


def reported(sql: sa.Connection, now: int, task: Task) -> None:
    """Record the owner in the results of an ended task; a loss of ownership is an alarm."""
    if "owner" not in task.results:
        return
    about = {"task": task.guid, "attempt": task.attempt}
    try:
        report = msgspec.convert(task.results["owner"], OwnerReport)
    except msgspec.ValidationError as error:
        unread = members(**about, reason=error)
        log.warning("the report of an owner cannot be read", extra=unread)
        return
    if report.destination != task.ref("backupDestination") or report.owner.number > _LAST:
        wrong = "the report of an owner names another destination or an impossible number"
        log.warning(wrong, extra=members(**about))
        return
    table = tables.destination
    query = sa.select(table).where(table.c.guid == report.destination)
    for to in records(sql, query, BackupDestination):
        if report.owner.number >= to.owner.number:
            text = json_text(report.owner)
            sql.execute(sa.update(table).where(table.c.guid == to.guid).values(owner=text))
            _tell(sql, now, to, report.owner)


def _tell(sql: sa.Connection, now: int, to: BackupDestination, owner: Owner) -> None:
    alarms, own = AlarmLedger(sql, now), epoch.server_of(sql)
    if owner.server == own:
        alarms.clear(AlarmKind.DESTINATION_TAKEN_OVER, to.guid)
    # An attached destination never belonged to this server.
    elif to.repository and to.owner.server in ("", own):
        text = (
            f"the server {owner.name or owner.server} has taken {to.name} over: this "
            "server no longer stores or deletes there"
        )
        details = {"server": owner.server, "name": owner.name, "number": owner.number}
        alarms.report(AlarmKind.DESTINATION_TAKEN_OVER, Named(to.guid, to.name), text, details)
