"""Chargeback: bytes of backups by tenant, machine or destination."""

from __future__ import annotations

from haulback.contract.project_access import ProjectAccess
from haulback.contract.reports import GroupSize, Measure, SizeFilter
from haulback.contract.roles import PEOPLE
from haulback.server.http import paging, query_params
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import reports
from haulback.server.services.report_sizes import ReportSpan

router = Router()


def _declare(path: str, measure: Measure, words: str, command: str) -> None:
    @router(
        "POST",
        f"/chargeback-reporting/{path}/vm",
        f"{words} by group.",
        request=SizeFilter,
        answer=GroupSize,
        many=True,
        query=paging.SPAN,
        roles=PEOPLE,
        projects=ProjectAccess.COMMON,
        examples=[{"groupBy": "project"}],
        command=command,
    )
    def sizes(call: ApiRequest) -> list[GroupSize]:
        wanted: SizeFilter = call.read(SizeFilter)
        return reports.chargeback(call.app, call.who.scope, span(call), wanted, measure)


def span(call: ApiRequest, entity_type: str = "VM") -> ReportSpan:
    """The period of a request: `to` is by default now, `from` a day before `to`.

    Raises Malformed.
    """
    start = query_params.number(call, "from", 1 << 53)
    end = query_params.number(call, "to", 1 << 53)
    return reports.span(call.app, start, end, entity_type)


_declare("backup-size", Measure.BACKUP_SIZE, "Sizes of backups", "report chargeback")
_declare(
    "transfer-size",
    Measure.TRANSFER_SIZE,
    "Bytes read from machines",
    "report chargeback --transfer",
)
