"""Reports of backups, and chargeback. Times are in epoch ms."""

from __future__ import annotations

from typing import Literal

from haulback.client.api import HttpCall
from haulback.client.calls import Calls, spelled
from haulback.contract.reports import (
    GroupSize,
    MailedReport,
    Measure,
    Report,
    ReportRequest,
    SizeFilter,
)

Form = Literal["text", "html", "pdf"]
_CHARGED = {Measure.BACKUP_SIZE: "backup-size", Measure.TRANSFER_SIZE: "transfer-size"}


class Reports:
    """Reports on the backups that were made between two times, by default in the last day."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self, since: int | None = None, until: int | None = None) -> Report:
        """The figures of a report."""
        query = {"from": since, "to": until}
        return self._calls.one(Report, "GET", "/dashboard/report", query=query)

    def file(
        self,
        form: Form,
        since: int | None = None,
        until: int | None = None,
        wanted: ReportRequest | None = None,
    ) -> bytes:
        """A report as text (UTF-8), as a page of HTML, or as a PDF document."""
        query = spelled({"from": since, "to": until})
        body = wanted or ReportRequest()
        call = HttpCall("POST", f"/dashboard/report-{form}", body, query)
        return self._calls.api.ask(call).content

    def mail(
        self,
        wanted: ReportRequest,
        since: int | None = None,
        until: int | None = None,
    ) -> MailedReport:
        """Send a report to the recipients in `value`.

        Raises Conflict without a mail channel, Malformed for unknown recipients.
        """
        query = {"from": since, "to": until}
        return self._calls.one(MailedReport, "POST", "/dashboard/report-email", wanted, query)

    def chargeback(
        self,
        wanted: SizeFilter,
        measure: Measure = Measure.BACKUP_SIZE,
        since: int | None = None,
        until: int | None = None,
    ) -> list[GroupSize]:
        """Bytes by group, the largest group first. Raises Malformed for an unknown group."""
        path = f"/chargeback-reporting/{_CHARGED[measure]}/vm"
        query = {"from": since, "to": until}
        return self._calls.one(list[GroupSize], "POST", path, wanted, query)
