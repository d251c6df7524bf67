"""Reports by mail: daily for the policies that request it, and on demand."""

from __future__ import annotations

import logging
import re
from zoneinfo import ZoneInfo

from haulback.contract.notifications import Message
from haulback.contract.reports import MailedReport
from haulback.errors import Conflict, Malformed
from haulback.inventory.records import Record
from haulback.policy.daily_report import DueReport, due_report, first_moment
from haulback.server.caller import Caller
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import (
    delivery,
    mailing_lists,
    notifications,
    report_document,
    report_pages,
    reports,
)
from haulback.server.services.app import App
from haulback.server.services.report_sizes import ReportSpan
from haulback.server.services.reports import WantedReport
from haulback.server.store import daily_reports
from haulback.server.store.catalogue import SqlCatalogue
from haulback.texts import check_address, printable
from haulback.units import DAY_MS

log = logging.getLogger(__name__)
POLICY = "vm-backup"  # the kind of the policies that have daily reports
_SKEW_MS = 300_000  # the clocks of several servers differ by less than this
_KEPT_DAYS = 60  # days for which the record of a sent report stays
_DEFAULT = ("", "recipient")  # the values that portals send without an address


def send_due(app: App) -> int:
    """Queue the daily reports that are due; returns their number.

    Nothing is read until a new date is due.  A report that fails is tried again at the next tick.
    """
    due = due_report(app.clock.now_ms(), app.report_at, ZoneInfo(app.time_zone))
    if app.reported_date == due.date:
        return 0
    with app.store.write() as sql:
        daily_reports.void(sql, app.clock.now_ms() + _SKEW_MS)
    results = [_send_alone(app, policy, due) for policy in _policies(app, due)]
    with app.store.write() as sql:
        oldest = due_report(due.time - _KEPT_DAYS * DAY_MS, app.report_at, ZoneInfo(app.time_zone))
        daily_reports.forget(sql, oldest.date)
    if None not in results:
        app.reported_date = due.date
    if sent := sum(map(bool, results)):
        app.event_hub.next_step()
    return sent


def _policies(app: App, due: DueReport) -> list[tuple[Record, int]]:
    """The policies without a report of the date, with the start of the reported period."""
    with app.store.read() as sql:
        ends, done = daily_reports.last_ends(sql), daily_reports.made(sql, due.date)
        wanted = [
            (policy, first_moment(due, policy.modified, ends.get(policy.guid)))
            for policy in SqlCatalogue(sql).records.of_kind(POLICY)
            if _is_enabled(policy) and policy.guid not in done
        ]
    return [(policy, start) for policy, start in wanted if start is not None]


def _is_enabled(policy: Record) -> bool:
    return bool(policy.body.get("dailyReportEnabled") and policy.body.get("active", True))


def _send_alone(app: App, wanted: tuple[Record, int], due: DueReport) -> bool | None:
    """Queue the report of a policy; None if the report fails, so that it stops no other report."""
    try:
        return _send(app, wanted, due)
    except Exception:
        log.exception("the daily report of the policy %s failed", wanted[0].name)
        return None


def _send(app: App, wanted: tuple[Record, int], due: DueReport) -> bool:
    """Queue the report of a policy, unless another server has queued it."""
    policy, start = wanted
    span = ReportSpan(start, app.clock.now_ms())
    message = _message(app, reports.of_policy(policy, span), EVERYTHING, due.date)
    with app.store.write() as sql:
        now = app.clock.now_ms()
        if not daily_reports.claim(sql, policy.guid, due.date, span.end):
            return False
        channel = notifications.mail_channel(sql, policy.project)
        if channel is None:
            log.warning(
                "policy %s: there is no active mail channel for its daily report", policy.name
            )
            return False
        message.recipients = _listed(SqlCatalogue(sql), policy)
        delivery.post(sql, channel, message, now)
    return True


def _listed(known: SqlCatalogue, policy: Record) -> list[str]:
    """The recipients on the policy's mailing list; without one, those of the channel or the default
    lists.
    """
    guid = mailing_lists.named(policy)
    lists = known.records.of_kind(mailing_lists.KIND) if guid else []
    return [
        address for record in lists if record.guid == guid for address in record.body["recipients"]
    ]


def _message(app: App, wanted: WantedReport, scope: Scope, date: str) -> Message:
    made = report_document.document(reports.report(app, scope, wanted))
    subject = f"{wanted.policy.name}: " if wanted.policy else "Backup report: "
    return Message(
        title=f"{subject}{made.verdict} ({date})",
        text=report_pages.text_page(made),
        html=report_pages.html_page(made),
    )


def mail(app: App, who: Caller, wanted: WantedReport, value: str) -> MailedReport:
    """Queue a report for the recipients that `value` names.

    Raises Malformed for unknown recipients, and if no address would get the report. Raises Conflict
    without a mail channel.
    """
    with app.store.read() as sql:
        recipients = _recipients(SqlCatalogue(sql), who.scope, value)
    date = report_document.day(wanted.span.end, ZoneInfo(app.time_zone))
    message = _message(app, wanted, who.scope, date)
    message.recipients = recipients
    with app.change(who, "mail report") as change:
        channel = notifications.mail_channel(change.sql, who.scope.project)
        if channel is None:
            raise Conflict(
                "there is no active mail channel; add a notification channel of type MAIL"
            )
        usual = delivery.usual_recipients(SqlCatalogue(change.sql), channel)
        if not recipients and not usual:
            raise Malformed(
                "value: name mail addresses or a mailing list: the mail channel "
                f"{channel.name} has no recipients, and no mailing list is default",
                field="value",
            )
        posted = delivery.post(change.sql, channel, message, change.now)
        change.after = {"title": message.title, "recipients": recipients}
    app.event_hub.next_step()
    return MailedReport(guid=posted.guid, title=message.title, recipients=recipients)


def _recipients(known: SqlCatalogue, scope: Scope, value: str) -> list[str]:
    """The mail addresses of a request, or those of its mailing list; empty for the default
    lists.
    """
    text = value.strip()
    if text in _DEFAULT:
        return []
    for record in known.records.of_kind(mailing_lists.KIND):
        if text in (record.guid, record.name) and scope.shares(record.project):
            return list(record.body["recipients"])
    words = [word for word in re.split(r"[,; ]+", text) if word]
    if unknown := [word for word in words if "@" not in word]:
        raise Malformed(
            f"value: {printable(unknown[0])[:80]!r} is neither a mail address nor a mailing list; "
            "`haulback mailing-list ls` shows the lists",
            field="value",
        )
    return [check_address(word, "value") for word in words]
