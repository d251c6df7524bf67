"""System schedules: Haulback's own work, with its times."""

from __future__ import annotations

from haulback.contract.fires import FireRecord, Fires
from haulback.contract.records import ShownRecord
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.contract.system_schedules import SystemSchedule
from haulback.server.http import fire_views, paging
from haulback.server.http.configuration import shown_record
from haulback.server.http.operation import ApiRequest, Reply, Router
from haulback.server.http.policy_views import PolicyReferences
from haulback.server.services import schedules, system_schedules
from haulback.server.services.configuration import ConfigurationReading
from haulback.wire import JsonObject

_PATH, _KIND = "/system-schedules", schedules.SYSTEM
router = Router()


@router(
    "GET",
    _PATH,
    "All system schedules.",
    roles=PEOPLE,
    answer=ShownRecord,
    many=True,
    query=paging.COMMON,
    command="schedule ls --system",
)
def list_all(call: ApiRequest) -> Reply:
    """A page of system schedules by name."""
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        found, total = reading.page(_KIND, paging.wanted(call))
        around = PolicyReferences(reading)
        return paging.page(found, total, lambda record: shown_record(record, around))


@router(
    "GET",
    f"{_PATH}/{{guid}}",
    "A system schedule.",
    roles=PEOPLE,
    answer=ShownRecord,
    command="schedule show SCHEDULE --system",
)
def show(call: ApiRequest) -> JsonObject:
    """A system schedule with its last and next run."""
    return _shown(call)


def _shown(call: ApiRequest) -> JsonObject:
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        record = reading.catalogue.records.get(_KIND, call.guid)
        return shown_record(record, PolicyReferences(reading))


@router(
    "PUT",
    f"{_PATH}/{{guid}}",
    "Change a system schedule.",
    roles=ADMINS,
    request=SystemSchedule,
    answer=ShownRecord,
    examples=[{"name": "verify", "hour": 7_200_000, "timeZone": "Europe/Berlin"}],
    command="schedule set SCHEDULE --system",
)
def change(call: ApiRequest) -> JsonObject:
    """Change times and settings; members that the request leaves out get their defaults."""
    system_schedules.change(call.app, call.who, call.guid, call.read(SystemSchedule))
    return _shown(call)


@router(
    "POST",
    f"{_PATH}/{{guid}}/pause",
    "Pause a system schedule.",
    status=204,
    roles=ADMINS,
    command="schedule pause SCHEDULE --system",
)
def pause(call: ApiRequest) -> None:
    """Let no due time fire until the schedule is resumed."""
    schedules.pause(call.app, call.who, call.guid, _KIND)


@router(
    "POST",
    f"{_PATH}/{{guid}}/resume",
    "Resume a paused system schedule.",
    status=204,
    roles=ADMINS,
    command="schedule resume SCHEDULE --system",
)
def resume(call: ApiRequest) -> None:
    """Let the schedule fire at its next due times."""
    schedules.resume(call.app, call.who, call.guid, _KIND)


@router(
    "POST",
    f"{_PATH}/{{guid}}/run",
    "Run the task of a system schedule now.",
    status=201,
    answer=FireRecord,
    roles=ADMINS,
    command="schedule run SCHEDULE --system",
)
def run(call: ApiRequest) -> FireRecord:
    """Fire a system schedule now; its due times stay."""
    shown = schedules.run(call.app, call.who, call.guid, _KIND)
    return fire_views.fire(call, shown, _KIND)


@router(
    "GET",
    f"{_PATH}/{{guid}}/fires",
    "Past fires and next due times of a system schedule.",
    answer=Fires,
    query=fire_views.PARAMS,
    roles=PEOPLE,
    command="schedule fires SCHEDULE --system",
)
def fires(call: ApiRequest) -> Fires:
    """The past fires, newest first, and the next due times."""
    return fire_views.fires(call, _KIND)
