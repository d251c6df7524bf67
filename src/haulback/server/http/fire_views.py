"""Fires and due times in the form of the API."""

from __future__ import annotations

from haulback.contract.fires import DueTime, FireRecord, Fires, FireSkip
from haulback.inventory.records import Record
from haulback.server.http import query_params
from haulback.server.http.operation import ApiRequest, Param
from haulback.server.http.policy_views import PolicyReferences
from haulback.server.services import schedules
from haulback.server.services.configuration import ConfigurationReading
from haulback.server.services.schedule_checks import rule_kind
from haulback.server.services.schedules import ShownFire
from haulback.wire import Named, label

_MOST, _USUAL = 1000, 20
_COUNT = {"type": "integer", "minimum": 0, "maximum": _MOST}
PARAMS = (
    Param("past", "Number of the newest fires, by default 20.", _COUNT),
    Param("next", "Number of the next due times, by default 20.", _COUNT),
)


def fires(call: ApiRequest, kind: str) -> Fires:
    """The newest fires of a schedule of a kind, and its next due times."""
    past, coming = (_count(call, name) for name in ("past", "next"))
    scope = call.who.scope
    record, history = schedules.history(call.app, call.guid, scope, past, kind)
    ahead = schedules.ahead(call.app, call.guid, scope, coming, kind)
    with ConfigurationReading.of(call.app, scope) as reading:
        around = PolicyReferences(reading)
        return Fires(
            past=[_shown(fire, record, around) for fire in history],
            next=[DueTime(due=due.at, nominal=due.nominal, windowEnd=end) for due, end in ahead],
        )


def fire(call: ApiRequest, shown: ShownFire, kind: str) -> FireRecord:
    """A fire of the schedule that a request names."""
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        record = reading.catalogue.records.get(kind, call.guid)
        return _shown(shown, record, PolicyReferences(reading))


def _count(call: ApiRequest, name: str) -> int:
    given = query_params.number(call, name, _MOST)
    return _USUAL if given is None else given


def _shown(shown: ShownFire, record: Record, around: PolicyReferences) -> FireRecord:
    fire, kind = shown.fire, rule_kind(record)
    return FireRecord(
        guid=fire.guid,
        schedule=Named(record.guid, record.name),
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
