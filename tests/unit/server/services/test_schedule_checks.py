"""A schedule that could never act as defined is refused, with the member and the remedy."""

import pytest

from haulback.contract.schedules import Schedule
from haulback.errors import Malformed
from haulback.server.services.schedule_checks import check_schedule
from haulback.wire import read

HOUR, DAY = 3_600_000, 86_400_000
EVERY = {"startHour": 0, "endHour": DAY, "frequency": HOUR}
REFUSED = [
    ({}, "hour"),
    ({"hour": DAY}, "hour"),
    ({"hour": -1}, "hour"),
    ({"hour": 0, "interval": EVERY}, "interval"),
    ({"hour": 0, "cron": "0 3 * * *"}, "hour"),
    ({"cron": "0 3 * * *", "interval": EVERY}, "interval"),
    ({"executionType": "INTERVAL"}, "interval"),
    ({"executionType": "INTERVAL", "hour": 0, "interval": EVERY}, "hour"),
    ({"executionType": "INTERVAL", "interval": {**EVERY, "frequency": 59_999}},
     "interval.frequency"),
    ({"executionType": "INTERVAL", "interval": {**EVERY, "frequency": 0}}, "interval.frequency"),
    ({"executionType": "INTERVAL", "interval": {**EVERY, "frequency": -HOUR}},
     "interval.frequency"),
    ({"executionType": "INTERVAL", "interval": {**EVERY, "startHour": DAY}}, "interval.startHour"),
    ({"executionType": "INTERVAL", "interval": {**EVERY, "endHour": DAY + 1}}, "interval.endHour"),
    ({"cron": "0 0 30 2 *"}, "cron"),
    ({"cron": "* * * * * *"}, "cron"),
    ({"cron": "@daily"}, "cron"),
    ({"cron": ""}, "cron"),
    ({"cron": "61 * * * *"}, "cron"),
    ({"cron": "* " * 5000}, "cron"),
    ({"cron": "1/0 * * * *"}, "cron"),
    ({"cron": "0 0 29 2 *", "daysOfWeek": ["MONDAY"]}, "cron"),
    ({"cron": "* * * 1 *", "months": ["FEBRUARY"]}, "cron"),
    ({"hour": 0, "timeZone": "Mars/Olympus"}, "timeZone"),
    ({"hour": 0, "timeZone": "../../etc/passwd"}, "timeZone"),
    ({"hour": 0, "timeZone": ""}, "timeZone"),
    ({"hour": 0, "startWindowLength": 999}, "startWindowLength"),
    ({"hour": 0, "startWindowLength": 32 * DAY}, "startWindowLength"),
    ({"hour": 0, "backupType": "SYNTHETIC"}, "backupType"),
    *(({"hour": 0, "type": sort}, "type") for sort in (
        "APP_BACKUP", "CLOUD_BACKUP", "OS_BACKUP", "STORAGE_BACKUP", "STORAGE_SNAPSHOT",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("members", "field"), REFUSED)
def test_what_cannot_act_is_refused_by_name(members, field):
    with pytest.raises(Malformed) as caught:
        check_schedule(read({"name": "s", **members}, Schedule, ""), None)  # type: ignore[arg-type]
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f"{field}:")


@pytest.mark.parametrize(
    "members",
    [
        {"hour": "79200000", "timeZone": "Europe/Berlin"},
        {"cron": "*/15 8-18 * * MON-FRI"},
        {"cron": "0 0 29 2 *"},
        {"cron": "0 3 * * SUN#1", "months": ["JUNE"]},
        {"executionType": "INTERVAL", "interval": {"frequency": "60000"}},
        {"executionType": "INTERVAL", "hour": None,
         "interval": {"startHour": 22 * HOUR, "endHour": 4 * HOUR, "frequency": HOUR}},
        {"hour": 0, "dayOfWeekOccurrences": ["LAST_IN_MONTH"], "daysOfWeek": ["SUNDAY"]},
    ],
)  # fmt: skip
def test_what_can_act_is_taken(members):
    check_schedule(read({"name": "s", **members}, Schedule, ""), None)  # type: ignore[arg-type]
