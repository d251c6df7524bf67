"""Pause, resumption and run of schedules, and their fires."""

from __future__ import annotations

from haulback.contract.fires import (
    DueTime,
    FireRecord,
    Fires,
    FireSkip,
    RefusedSchedule,
    ResumedSchedules,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, OPERATORS, PEOPLE
from haulback.inventory.records import Record
from haulback.server.http import query_params
from haulback.server.http.operation import ApiRequest, Param, Router
from haulback.server.http.policy_views import Surroundings
from haulback.server.services import schedules
from haulback.server.services.configuration import ConfigurationReading
from haulback.server.services.schedule_checks import rule_kind
from haulback.server.services.schedules import ShownFire
from haulback.wire import Named, label

_MOST, _USUAL = 1000, 20
_COUNT = {"type": "integer", "minimum": 0, "maximum": _MOST}
room = Router()


@room(
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


@room(
    "POST",
    "/schedules/{guid}/resume",
    "Resume a paused schedule.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.CHANGE,
    command="schedule resume SCHEDULE",
)
def resume(call: ApiRequest) -> None:
    """Let the schedule fire for the due times that lie ahead."""
    schedules.resume(call.app, call.who, call.guid)


@room(
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


@room(
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
    """Fire the rules of a schedule now; its due times stay."""
    shown = schedules.run(call.app, call.who, call.guid)
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        record = reading.catalogue.records.get("schedule", call.guid)
        return _shown(shown, record, Surroundings(reading))


@room(
    "GET",
    "/schedules/{guid}/fires",
    "Past fires and next due times of a schedule.",
    answer=Fires,
    query=(
        Param("past", "How many of the newest fires, by default 20.", _COUNT),
        Param("next", "How many of the next due times, by default 20.", _COUNT),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.USE,
    command="schedule fires SCHEDULE",
)
def fires(call: ApiRequest) -> Fires:
    """The newest fires first, and the due times that lie ahead."""
    past, coming = (_count(call, name) for name in ("past", "next"))
    scope = call.who.scope
    record, history = schedules.history(call.app, call.guid, scope, past)
    ahead = schedules.ahead(call.app, call.guid, scope, coming)
    with ConfigurationReading.of(call.app, scope) as reading:
        around = Surroundings(reading)
        return Fires(
            past=[_shown(fire, record, around) for fire in history],
            next=[DueTime(due=due.at, nominal=due.nominal, windowEnd=end) for due, end in ahead],
        )


def _count(call: ApiRequest, name: str) -> int:
    given = query_params.number(call, name, _MOST)
    return _USUAL if given is None else given


def _named(record: Record) -> Named:
    return Named(record.guid, record.name)


def _shown(shown: ShownFire, record: Record, around: Surroundings) -> FireRecord:
    fire, kind = shown.fire, rule_kind(record)
    return FireRecord(
        guid=fire.guid,
        schedule=_named(record),
        state=label(fire.state),
        nominal=fire.nominal,
        due=fire.due_at,
        windowEnd=fire.window_end,
        created=fire.created,
        finished=fire.ended,
        manual=fire.manual,
        workflows=fire.planned,
        skippedCount=fire.skipped,
        skipped=[
            FireSkip(
                rule=Named(skip.rule, around.name(kind, skip.rule)),
                protectedEntity=Named(skip.entity, skip.name) if skip.entity else None,
                reason=skip.reason,
            )
            for skip in shown.skips
        ],
        reason=fire.reason,
    )
