"""Daily reports: one mail for each policy and local date, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from haulback.contract.space import SpaceUsage
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.delivery import Delivery
from haulback.inventory.records import Record
from haulback.server.queries import ListQuery
from haulback.server.scope import EVERYTHING
from haulback.server.services import daily_reports, delivery, reports
from haulback.server.services.app import App
from haulback.server.store import configuration
from haulback.server.store.ledger import SqlLedger
from haulback.units import DAY_MS, GIB, TIB
from tests.receivers import mail_server
from tests.unit.server.conftest import House
from tests.unit.server.services.reported import backup, policy

HOUR = 3_600_000


@pytest.fixture
def mailed(house: House, tmp_path: Path) -> Any:
    """A house with a mail channel, at half past six in the morning (UTC)."""
    morning = datetime(2027, 1, 16, 6, 30, tzinfo=UTC)
    house.clock.now = int(morning.timestamp() * 1000)
    with mail_server(tmp_path) as receiver:
        body = {
            "type": "MAIL",
            "host": "127.0.0.1",
            "port": receiver.port,
            "security": "NONE",
            "sender": "haulback@example.org",
            "recipients": ["admin@example.org"],
        }
        add(house, "notification-channel", "mail", **body)
        yield house, receiver


def add(house: House, kind: str, name: str, **body: Any) -> Record:
    record = Record(guid=new_guid(), kind=kind, name=name, body=body)
    with house.app.store.write() as sql:
        configuration.add(sql, record)
    return record


def body(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part
    return str(part.get_content())


def subject(mail: EmailMessage) -> str:
    return str(mail["subject"]).strip()  # a folded header begins with a space


def second_server(house: House) -> App:
    """Another server process on the same database and clock."""
    app = house.app
    return App(app.store, app.kinds, app.vault, clock=app.clock)


def posted(house: House) -> list[Delivery]:
    with house.app.store.read():
        wanted = ListQuery(scope=EVERYTHING, now=house.clock.now, size=100)
    return delivery.page(house.app, wanted)[0]


def test_a_policy_that_asks_for_reports_gets_one_each_morning(mailed: Any):
    house, receiver = mailed
    db, mail, _ = house.entities
    team = add(house, "mailing-list", "team", recipients=["a@example.org", "b@example.org"])
    _, rule = policy(
        house, "gold", db, mail, dailyReportEnabled=True, mailingList={"guid": team.guid}
    )
    policy(house, "silver", house.entities[2])
    now = house.clock.now
    backup(house, db, rule=rule.guid, created=now - HOUR)
    reason = "the disk is <full>"
    backup(
        house, mail, rule=rule.guid, created=now - 1, status="FAILED", status_info=reason, size=0
    )
    assert daily_reports.send_due(house.app) == 1, "yesterday's report was not made"
    assert daily_reports.send_due(house.app) == 0
    house.clock.now += HOUR // 2
    assert daily_reports.send_due(house.app) == 1
    delivery.run_due(house.app)
    first, second = receiver.mails
    assert receiver.recipients[0] == ["a@example.org", "b@example.org"]
    assert subject(first) == (
        "gold: 1 backup failed, 2 machines never backed up, 1 backup good (2027-01-15)"
    )
    assert reason in body(first)
    assert "the disk is &lt;full&gt;" in body(first, "html")
    assert subject(second) == "gold: 2 machines never backed up (2027-01-16)", "told once"


def test_a_report_tells_the_space_of_the_destinations_of_its_policy(mailed: Any):
    house, receiver = mailed
    place = house.destination
    _, rule = policy(house, "gold", house.entities[0], dailyReportEnabled=True)
    policy(house, "silver", house.entities[1], dailyReportEnabled=True)
    targets = [{"roleType": "PRIMARY", "backupDestination": {"guid": place.guid}}]
    rule.body = {"ruleBackupDestinations": targets}
    with house.app.store.write() as sql:
        configuration.change(sql, rule)
        changes = SqlLedger(sql, house.clock.now - DAY_MS).destinations
        changes.space(place.guid, TIB, 5 * GIB)
        changes = SqlLedger(sql, house.clock.now).destinations
        changes.space(place.guid, TIB, 3 * GIB)
        changes.measured(place.guid, SpaceUsage(7 * GIB, 6 * GIB))
    daily_reports.send_due(house.app)
    delivery.run_due(house.app)
    texts = {subject(mail).partition(":")[0]: body(mail) for mail in receiver.mails}
    assert "bd           7 GiB  3 GiB           2 GiB  2027-01-17" in texts["gold"]
    assert "Destination" not in texts["silver"]
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).destinations.space(place.guid, TIB, 0)
    house.clock.now += DAY_MS
    daily_reports.send_due(house.app)
    delivery.run_due(house.app)
    [late] = [mail for mail in receiver.mails[2:] if subject(mail).startswith("gold")]
    assert "1 destination full" in subject(late)
    assert "bd has 0 B free and 1 GiB must stay free: new backups wait" in body(late)


def test_of_two_servers_and_a_restart_one_sends(mailed: Any):
    house, receiver = mailed
    policy(house, "gold", house.entities[0], dailyReportEnabled=True)
    house.clock.now += HOUR
    servers = [house.app, second_server(house), second_server(house)]
    assert [daily_reports.send_due(server) for server in servers] == [1, 0, 0]
    delivery.run_due(house.app)
    assert receiver.recipients == [["admin@example.org"]]


def test_a_report_that_a_server_was_away_for_is_sent_when_it_is_back(mailed: Any):
    house, receiver = mailed
    db = house.entities[0]
    _, rule = policy(house, "gold", db, dailyReportEnabled=True)
    daily_reports.send_due(house.app)
    backup(house, db, rule=rule.guid, created=house.clock.now + HOUR)
    house.clock.now += 3 * DAY_MS
    assert daily_reports.send_due(second_server(house)) == 1
    delivery.run_due(house.app)
    assert "1 backup good" in subject(receiver.mails[-1]), "from before the absence"


def test_a_clock_that_was_set_back_takes_no_report_away(mailed: Any):
    house, _ = mailed
    policy(house, "gold", house.entities[0], dailyReportEnabled=True)
    house.clock.now += HOUR
    daily_reports.send_due(house.app)
    house.clock.now += DAY_MS
    assert daily_reports.send_due(house.app) == 1
    house.clock.now -= DAY_MS  # the previous day was right
    assert daily_reports.send_due(house.app) == 0
    house.clock.now += DAY_MS
    assert daily_reports.send_due(house.app) == 1, "its time came again"


def test_a_policy_without_machines_says_so(mailed: Any):
    house, receiver = mailed
    policy(house, "empty", dailyReportEnabled=True)
    policy(house, "off", dailyReportEnabled=True, active=False)
    daily_reports.send_due(house.app)
    delivery.run_due(house.app)
    assert [subject(mail) for mail in receiver.mails] == [
        "empty: the policy has no machines (2027-01-15)"
    ]


def test_nothing_is_read_while_no_report_is_due(mailed: Any, monkeypatch: pytest.MonkeyPatch):
    house, _ = mailed
    daily_reports.send_due(house.app)
    monkeypatch.setattr(house.app, "store", None)
    assert daily_reports.send_due(house.app) == 0


def test_a_report_is_mailed_to_whom_the_request_names(mailed: Any):
    house, receiver = mailed
    team = add(house, "mailing-list", "team", recipients=["a@example.org"])
    wanted = reports.WantedReport(reports.span(house.app, None, None), *[reports.SizeFilter()] * 2)
    for value in ("", "recipient", "x@example.org; y@example.org", "team", team.guid):
        daily_reports.mail(house.app, house.user, wanted, value)
    delivery.run_due(house.app)
    assert sorted(receiver.recipients) == [
        ["a@example.org"],
        ["a@example.org"],
        ["admin@example.org"],
        ["admin@example.org"],
        ["x@example.org", "y@example.org"],
    ]
    for wrong in ("nobody", "a@example.org\nBcc: b@example.org"):
        with pytest.raises(Malformed):
            daily_reports.mail(house.app, house.user, wanted, wrong)


def test_a_report_that_no_address_would_get_is_refused(house: House):
    body = {"type": "MAIL", "host": "127.0.0.1", "port": 25, "sender": "haulback@example.org"}
    add(house, "notification-channel", "mail", **body)
    wanted = reports.WantedReport(reports.span(house.app, None, None), *[reports.SizeFilter()] * 2)
    assert "value" in house.refuses(
        Malformed, daily_reports.mail, house.app, house.user, wanted, ""
    )
    assert posted(house) == []
    add(house, "mailing-list", "all", recipients=["a@example.org"], isDefault=True)
    daily_reports.mail(house.app, house.user, wanted, "")
    assert len(posted(house)) == 1


def test_without_a_mail_channel_a_request_says_so(house: House):
    wanted = reports.WantedReport(reports.span(house.app, None, None), *[reports.SizeFilter()] * 2)
    assert "MAIL" in house.refuses(Conflict, daily_reports.mail, house.app, house.user, wanted, "")


def test_a_report_that_fails_stops_no_other_report_and_is_tried_again(mailed: Any):
    house, _ = mailed
    policy(house, "broken", house.entities[0], dailyReportEnabled=True, mailingList=5)
    policy(house, "gold", house.entities[1], dailyReportEnabled=True)
    house.clock.now += HOUR
    assert daily_reports.send_due(house.app) == 1
    assert house.app.reported_date == "", "the date is not over"
    assert daily_reports.send_due(house.app) == 0


def test_a_mailing_list_that_does_not_exist_is_named(house: House):
    body = {"type": "MAIL", "host": "127.0.0.1", "port": 25, "sender": "haulback@example.org"}
    add(house, "notification-channel", "mail", **body)
    wanted = reports.WantedReport(reports.span(house.app, None, None), *[reports.SizeFilter()] * 2)
    with pytest.raises(Malformed, match="'teams' is neither a mail address nor a mailing list"):
        daily_reports.mail(house.app, house.user, wanted, "teams")
