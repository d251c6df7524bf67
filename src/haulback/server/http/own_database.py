"""The server's own database: its backups, and the copy that a node stores."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.own_database import (
    DatabaseBackupRequest,
    DatabaseCopyRequest,
    ServerHold,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, NODES, OPERATORS, PEOPLE
from haulback.contract.tasks import TaskDetails
from haulback.server.http import task_views
from haulback.server.http.operation import ApiRequest, Reply, Router
from haulback.server.services import database_stream, hold, tasks

router = Router()


@router(
    "POST",
    "/server/database-backups",
    "Back up the server's own database.",
    request=DatabaseBackupRequest,
    answer=TaskDetails,
    many=True,
    status=201,
    roles=OPERATORS,
    examples=[{"backupDestination": example.REF}],
    command="server backup-database --to DESTINATION",
)
def back_up(call: ApiRequest) -> list[TaskDetails]:
    """Create the tasks that store a sealed copy of the database and of the server's key file."""
    wanted: DatabaseBackupRequest = call.read(DatabaseBackupRequest)
    to = wanted.backupDestination.guid if wanted.backupDestination else None
    plan = tasks.back_up_database(call.app, to, call.who)
    waits = tasks.waits(call.app, plan.heads)
    return [task_views.details(task, waits.get(task.guid)) for task in plan.heads]


@router(
    "GET",
    "/server/hold",
    "State of the hold after a restore of the database.",
    answer=ServerHold,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="server hold",
)
def show_hold(call: ApiRequest) -> ServerHold:
    """Whether the server is held after the restore of its database, and the destinations that keep
    it held.
    """
    return hold.shown(call.app)


@router(
    "POST",
    "/server/hold/lift",
    "Lift the hold.",
    answer=ServerHold,
    roles=ADMINS,
    command="server hold --lift",
)
def lift_hold(call: ApiRequest) -> ServerHold:
    """End the hold, even if a VERIFY has not yet compared every destination; schedules and
    clean-ups run again.
    """
    return hold.lift(call.app, call.who)


@router(
    "POST",
    "/nodes/self/database-copy/{guid}",
    "The copy of the database for an EXPORT.",
    request=DatabaseCopyRequest,
    slow=True,
    roles=NODES,
    examples=[{"slot": "c2VhbGVk"}],
)
def copy(call: ApiRequest) -> Reply:
    """The sealed copy of the server's database, for the node that runs its EXPORT.

    The answer begins with line feeds while the copy is made; then come a line of JSON, with the
    `size` of the copy in bytes, or `code` and `message` of an error; and the bytes of the copy.
    """
    wanted: DatabaseCopyRequest = call.read(DatabaseCopyRequest)
    parts = database_stream.stream(call.app, call.node, call.guid, wanted.slot)
    return Reply(headers={"Content-Type": "application/octet-stream"}, stream=parts)
