"""The calendar of future fires."""

from __future__ import annotations

from haulback.contract.forecast import ForecastRecord
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE
from haulback.server.http import query_params
from haulback.server.http.operation import ApiRequest, Param, Reply, Router
from haulback.server.services import schedules
from haulback.server.services.forecast import Forecast, forecast
from haulback.wire import Named, label

_DAYS, _MOST_DAYS = 7, 31
_ROWS, _MOST_ROWS = 1000, 10_000
router = Router()


@router(
    "GET",
    "/forecast",
    "The fires of the next days, and the fires that will not fit their windows.",
    answer=ForecastRecord,
    many=True,
    query=(
        Param(
            "days",
            "Number of days, by default 7.",
            {"type": "integer", "minimum": 0, "maximum": _MOST_DAYS},
        ),
        Param(
            "size",
            "Largest number of fires, by default 1000.",
            {"type": "integer", "minimum": 0, "maximum": _MOST_ROWS},
        ),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.USE,
    command="schedule forecast",
)
def show(call: ApiRequest) -> Reply:
    """Fires in the order of their due times; X-Incomplete means that there are more fires."""
    days, most = (
        query_params.number(call, "days", _MOST_DAYS),
        query_params.number(call, "size", _MOST_ROWS),
    )
    coming, is_cut = forecast(
        call.app,
        call.who.scope,
        _DAYS if days is None else days,
        _ROWS if most is None else most,
    )
    headers = {"X-Incomplete": f"the first {len(coming)} fires are shown"} if is_cut else {}
    return Reply([_shown(entry) for entry in coming], headers=headers)


def _shown(entry: Forecast) -> ForecastRecord:
    record, fire = entry.schedule, entry.fire
    is_own = record.kind == schedules.SYSTEM
    return ForecastRecord(
        schedule=Named(record.guid, record.name),
        type=label("SYSTEM" if is_own else str(record.body.get("type", "VM_BACKUP"))),
        due=fire.due.at,
        nominal=fire.due.nominal,
        windowEnd=fire.window_end,
        expectedDuration=fire.duration,
        fitsWindow=fire.fits,
        overlapsNext=fire.overlaps,
    )
