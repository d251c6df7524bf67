"""Pause, resumption and run of schedules, and their fires."""

from __future__ import annotations

from haulback.contract.fires import FireRecord, Fires, RefusedSchedule, ResumedSchedules
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, OPERATORS, PEOPLE
from haulback.inventory.records import Record
from haulback.server.http import fire_views
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import schedules
from haulback.wire import Named

router = Router()


@router(
    "POST",
    "/schedules/{guid}/pause",
    "Pause a schedule: no due time fires.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.CHANGE,
    command="schedule pause SCHEDULE",
)
def pause(call: ApiRequest) -> None:
    """Let no due time fire until the schedule is resumed."""
    schedules.pause(call.app, call.who, call.guid)


@router(
    "POST",
    "/schedules/{guid}/resume",
    "Resume a paused schedule.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.CHANGE,
    command="schedule resume SCHEDULE",
)
def resume(call: ApiRequest) -> None:
    """Let the schedule fire at its next due times."""
    schedules.resume(call.app, call.who, call.guid)


@router(
    "POST",
    "/schedules/resume",
    "Resume all paused schedules.",
    answer=ResumedSchedules,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    command="schedule resume --all",
)
def resume_all(call: ApiRequest) -> ResumedSchedules:
    """Resume the paused schedules that the caller may change; name those that cannot fire."""
    resumed, refused = schedules.resume_all(call.app, call.who)
    return ResumedSchedules(
        resumed=[_named(record) for record in resumed],
        refused=[
            RefusedSchedule(schedule=_named(record), message=error.message)
            for record, error in refused
        ],
    )


@router(
    "POST",
    "/schedules/{guid}/run",
    "Fire a schedule at once.",
    status=201,
    answer=FireRecord,
    roles=OPERATORS,
    projects=ProjectAccess.CHANGE,
    command="schedule run SCHEDULE",
)
def run(call: ApiRequest) -> FireRecord:
    """Fire the rules of a schedule now; its due times stay unchanged."""
    shown = schedules.run(call.app, call.who, call.guid)
    return fire_views.fire(call, shown, schedules.SCHEDULE)


@router(
    "GET",
    "/schedules/{guid}/fires",
    "Past fires and next due times of a schedule.",
    answer=Fires,
    query=fire_views.PARAMS,
    roles=PEOPLE,
    projects=ProjectAccess.USE,
    command="schedule fires SCHEDULE",
)
def fires(call: ApiRequest) -> Fires:
    """The past fires, newest first, and the next due times."""
    return fire_views.fires(call, schedules.SCHEDULE)


def _named(record: Record) -> Named:
    return Named(record.guid, record.name)
