"""Alarms: states that an administrator must know, the newest first."""

from __future__ import annotations

from haulback.contract.alarms import AlarmKind, AlarmRecord
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE
from haulback.inventory.alarms import Alarm
from haulback.server.http import paging, query_params
from haulback.server.http.operation import GUID, ApiRequest, Param, Reply, Router
from haulback.server.services import alarms
from haulback.wire import Named, label

_KINDS = {"enum": sorted(AlarmKind.__members__)}
router = Router()


@router(
    "GET",
    "/alarms",
    "Alarms.",
    answer=AlarmRecord,
    many=True,
    query=(
        *paging.COMMON,
        *paging.SPAN,
        Param("kind", "Of these kinds.", _KINDS, many=True),
        Param("subject", "About this machine, backup, hypervisor or destination.", GUID),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="alarm ls",
)
def list_alarms(call: ApiRequest) -> Reply:
    """A page of alarms, the newest first; `from` and `to` bound `since`."""
    kinds = query_params.names(call, "kind", set(AlarmKind.__members__))
    wanted = paging.wanted(call, types=kinds, subject=query_params.guid(call, "subject"))
    return paging.page(*alarms.page(call.app, wanted), _shown)


@router(
    "GET",
    "/alarms/{guid}",
    "An alarm.",
    answer=AlarmRecord,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="alarm show ALARM",
)
def one_alarm(call: ApiRequest) -> AlarmRecord:
    """An alarm; 404 once the alarm is cleared."""
    return _shown(alarms.alarm(call.app, call.guid, call.who.scope))


def _shown(alarm: Alarm) -> AlarmRecord:
    return AlarmRecord(
        guid=alarm.guid,
        kind=label(alarm.kind),
        subject=Named(alarm.subject, alarm.subject_name, label(alarm.subject_type)),
        since=alarm.since,
        seen=alarm.seen,
        text=alarm.text,
        details=alarm.details,
        project=alarm.project,
    )
