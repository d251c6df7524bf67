"""Runs of policies: only the failed work of a run is repeated."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress

from haulback.contract.backups import BackupType
from haulback.contract.export import ExportRequest
from haulback.contract.snapshot import SnapshotRequest
from haulback.errors import Conflict, HaulbackError, NotFound
from haulback.kinds import export, snapshot
from haulback.kinds.api import Context
from haulback.kinds.support import export_report
from haulback.server.caller import Caller
from haulback.server.services import tasks as task_service
from haulback.server.services.app import App
from haulback.server.store import runs, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import Plan, Task
from haulback.wire import Ref

_PIECE = 100  # machines in a transaction


def retry(app: App, who: Caller, run: str) -> list[Task]:
    """Queue the failed work of a run again; returns the first task of each workflow.

    A machine whose repetition waits, runs or has succeeded is left out: a second call, also after a
    crash of the server in the first call, queues the rest.  Raises NotFound for an unknown run;
    raises Conflict if nothing is left to repeat, with the reasons if machines cannot be planned.
    """
    with app.store.read() as sql:
        if not runs.exists(sql, run, who.scope):
            raise NotFound(f"there is no run {run}", guid=run)
    made: list[Task] = []
    refused: list[str] = []
    after = ""
    while piece := _piece(app, who, run, after):
        after = piece[-1].guid
        heads, errors = _queue(app, who, run, piece)
        made += heads
        refused += errors
    if not made:
        why = f": {refused[0]}" if refused else "; they are already being repeated"
        raise Conflict(f"the run {run} has no failed tasks to repeat{why}", run=run)
    return made


def _piece(app: App, who: Caller, run: str, after: str) -> list[Task]:
    with app.store.read() as sql:
        return runs.failed(sql, run, who.scope, after, _PIECE)


def _queue(app: App, who: Caller, run: str, piece: Sequence[Task]) -> tuple[list[Task], list[str]]:
    """Queue a piece in one transaction; machines without a plan do not stop the others."""
    again, refused = _repetition(run), []

    def make(sql: Connection, context: Context) -> Plan:
        whole = Plan()
        tasks.get_many(sql, [task.guid for task in piece])  # a lock for which another call waits
        entities = [runs.pair_of(task)[1] for task in piece]
        done = runs.settled(sql, again, entities)
        for pair, task in {runs.pair_of(task): task for task in piece}.items():
            if pair in done:
                continue
            try:
                whole.add(_plan(task, SqlCatalogue(sql, who.scope), context))
            except HaulbackError as error:
                refused.append(error.message)
        for task in whole.tasks:
            task.run = again
        return whole

    plan = task_service.queue_plan(app, who, "retry run", make)
    return plan.heads, refused


def _repetition(run: str) -> str:
    """The name of the run that contains all repetitions of a run."""
    return str(uuid.uuid5(uuid.UUID(run), "retry"))


def _plan(task: Task, known: SqlCatalogue, context: Context) -> Plan:
    """The plan of a failed task's rule and machine."""
    rule, entity = runs.pair_of(task)
    if task.type == "SNAPSHOT":
        snapshots = SnapshotRequest(
            protectedEntities=[Ref(entity)], rule=Ref(rule) if rule else None
        )
        return snapshot.plan(snapshots, known, context)
    request = ExportRequest(
        protectedEntities=[Ref(entity)],
        backupType=_type(task, known),
        rules=[Ref(rule)] if rule else [],
        backupDestination=None if rule else Ref(task.ref("backupDestination") or ""),
    )
    return export.plan(request, known, context)


def _type(task: Task, known: SqlCatalogue) -> BackupType:
    """The type of backup that the schedule of a task requests; a node may have made another
    type.
    """
    if guid := task.ref("schedule"):
        with suppress(NotFound):
            body = known.records.get("schedule", guid).body
            return BackupType(body.get("backupType", BackupType.FULL.value))
    return BackupType(export_report.asked_type(task))
