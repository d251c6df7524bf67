"""Reports of backups: as JSON, text, HTML page and PDF document, and by mail."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from haulback.contract.project_access import ProjectAccess
from haulback.contract.reports import MailedReport, Report, ReportRequest, SizeFilter
from haulback.contract.roles import OPERATORS, PEOPLE
from haulback.server.http import paging, query_params
from haulback.server.http.content_disposition import attachment
from haulback.server.http.operation import ApiRequest, Param, Reply, Router
from haulback.server.services import (
    daily_reports,
    report_document,
    report_pages,
    report_pdf,
    reports,
)
from haulback.server.services.report_document import ReportDocument
from haulback.server.services.reports import WantedReport
from haulback.wire import JsonObject

router = Router()
_TYPES = ("APP", "CLOUD", "OS", "STORAGE", "VM")
_TYPE = Param("protectedEntityType", "Type of the machines; absent: VM.", {"enum": list(_TYPES)})
_QUERY = (*paging.SPAN, _TYPE)
_EXAMPLES: list[JsonObject] = [{"backupSize": {"groupBy": "backup-destination"}, "value": ""}, {}]


@router(
    "GET",
    "/dashboard/report",
    "Report of backups.",
    answer=Report,
    query=_QUERY,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="report -o json",
)
def report(call: ApiRequest) -> Report:
    """Backups of the period from `from` to `to`, by default of the last day, and the present
    protection of machines.
    """
    return reports.report(call.app, call.who.scope, _wanted(call, ReportRequest()))


@router(
    "POST",
    "/dashboard/report-pdf",
    "Report as a PDF document.",
    request=ReportRequest,
    query=_QUERY,
    slow=True,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    examples=_EXAMPLES,
    command="report --format pdf --to-file FILE",
)
def pdf(call: ApiRequest) -> Reply:
    """The report of the same period as a PDF file of A4 pages."""
    made = _document(call)
    return _file(call, report_pdf.pdf_page(made), report_pdf.MEDIA_TYPE, "pdf")


@router(
    "POST",
    "/dashboard/report-html",
    "Report as a page.",
    request=ReportRequest,
    query=_QUERY,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    examples=_EXAMPLES,
    command="report --format html --to-file FILE",
)
def html(call: ApiRequest) -> Reply:
    """The report of the same period as an HTML file without scripts and other files."""
    page = report_pages.html_page(_document(call)).encode()
    return _file(call, page, "text/html; charset=utf-8", "html")


@router(
    "POST",
    "/dashboard/report-text",
    "Report as text.",
    request=ReportRequest,
    query=_QUERY,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    examples=_EXAMPLES,
    command="report",
)
def text(call: ApiRequest) -> Reply:
    """The report of the same period as lines of text, as sent in a mail."""
    page = report_pages.text_page(_document(call)).encode()
    return _file(call, page, "text/plain; charset=utf-8", "txt")


@router(
    "POST",
    "/dashboard/report-email",
    "Report by mail.",
    request=ReportRequest,
    answer=MailedReport,
    query=_QUERY,
    roles=OPERATORS,
    projects=ProjectAccess.COMMON,
    examples=_EXAMPLES,
    command="report mail",
)
def email(call: ApiRequest) -> MailedReport:
    """Queue the report of the same period for `value`: mail addresses, or a mailing list."""
    request: ReportRequest = call.read(ReportRequest)
    return daily_reports.mail(call.app, call.who, _wanted(call, request), request.value)


def _document(call: ApiRequest) -> ReportDocument:
    wanted: ReportRequest = call.read(ReportRequest)
    made = reports.report(call.app, call.who.scope, _wanted(call, wanted))
    return report_document.document(made)


def _wanted(call: ApiRequest, request: ReportRequest) -> WantedReport:
    """The report of a request.  Raises Malformed."""
    start = query_params.number(call, "from", 1 << 53)
    end = query_params.number(call, "to", 1 << 53)
    types = query_params.names(call, "protectedEntityType", set(_TYPES))
    span = reports.span(call.app, start, end, types[-1] if types else "VM")
    usual = SizeFilter()
    return WantedReport(span, request.backupSize or usual, request.transferSize or usual)


def _file(call: ApiRequest, content: bytes, media_type: str, suffix: str) -> Reply:
    """A download with the two headers without which some proxies drop the answer."""
    now = datetime.fromtimestamp(call.app.clock.now_ms() / 1000, ZoneInfo(call.app.time_zone))
    name = f"backup-report-{now:%Y-%m-%d}.{suffix}"
    return Reply(raw=(content, media_type), headers={"Content-Disposition": attachment(name)})
