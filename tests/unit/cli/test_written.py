"""Times, days, durations and keeps of a command line are converted to members of a record."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from haulback.cli.references import resolved
from haulback.cli.schedules import ScheduleTimes
from haulback.cli.written import changed, check_members
from haulback.contract.credentials import Credential
from haulback.contract.policies import Rule
from haulback.contract.records import PolicyRecord
from haulback.errors import Malformed, NotFound
from haulback.units import DAY_MS

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


class Kind:
    """A kind of record with one name."""

    def __init__(self, name: str, noun: str = "") -> None:
        self.name, self.noun = name, noun

    def find(self, name: str) -> SimpleNamespace:
        if name == f"guid of {self.name}":
            return SimpleNamespace(guid=name)
        if name != self.name:
            raise NotFound(f"there is no {name}")
        return SimpleNamespace(guid=f"guid of {name}")


CLIENT: Any = SimpleNamespace(
    records=SimpleNamespace(
        backup_policies=Kind("nightly"),
        snapshot_policies=Kind("hourly"),
        schedules=Kind("noon"),
        rules=Kind("Default"),
        snapshot_rules=Kind("short"),
    ),
    destinations=Kind("local"),
    machines=Kind("web"),
)


def after(*words: str, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return changed(dict(before or {}), words, PolicyRecord, CLIENT)


@pytest.mark.parametrize(
    ("word", "members"),
    [
        ("hour=22:00", {"hour": 22 * HOUR_MS, "interval": None, "cron": None}),
        ("hour=79200000", {"hour": 79_200_000}),
        ("hour=22:00 Europe/Berlin", {"hour": 22 * HOUR_MS, "timeZone": "Europe/Berlin"}),
        ("every=4h", {"executionType": "INTERVAL", "interval": {"frequency": 4 * HOUR_MS}}),
        ("daysOfWeek=mon-wed", {"daysOfWeek": ["MONDAY", "TUESDAY", "WEDNESDAY"]}),
        ('daysOfWeek=["MONDAY"]', {"daysOfWeek": ["MONDAY"]}),
        ("policy=nightly", {"policy": {"guid": "guid of nightly"}}),
        ("policy=null", {"policy": None}),
        ('schedules=[{"name": "noon"}]', {"schedules": [{"guid": "guid of noon"}]}),
        ('rules=[{"name": "r"}]', {"rules": [{"name": "r"}]}),
        ("schedules=noon, noon,", {"schedules": [{"guid": "guid of noon"}] * 2}),
        ("rpo=36h", {"rpo": 36 * HOUR_MS}),
        ("rpo=5000", {"rpo": 5000}),
        ("priority=80", {"priority": 80}),
        ("active=false", {"active": False}),
        ("backupType=INCREMENTAL", {"backupType": "INCREMENTAL"}),
    ],
)
def test_a_word_of_a_person_is_a_member_of_the_record(word: str, members: dict[str, Any]):
    made = after(word)
    assert {name: made.get(name) for name in members} == members


def test_other_members_stay():
    assert after("priority=80", before={"rpo": 1}) == {"rpo": 1, "priority": 80}
    interval = {"startHour": 1, "endHour": 2, "frequency": 3}
    made = after("every=30m", before={"interval": interval, "hour": 5})
    assert made["interval"] == {**interval, "frequency": 30 * MINUTE_MS}
    assert "hour" not in made


def test_a_destination_and_its_keeps_stand_in_the_primary_target():
    made = after("to=local", "keep=7d,4w")
    [target] = made["ruleBackupDestinations"]
    assert target["backupDestination"] == {"guid": "guid of local"}
    assert target["roleType"] == "PRIMARY"
    assert target["backupRetentionSettings"]
    copy = {"roleType": "SECONDARY", "backupDestination": {"guid": "guid of local"}}
    before = {"ruleBackupDestinations": [copy, {"backupDestination": {"guid": "old"}}]}
    first, second = after("to=local", before=before)["ruleBackupDestinations"]
    assert first == copy
    assert second["backupDestination"] == {"guid": "guid of local"}
    assert len(after("to=local", before={"ruleBackupDestinations": [copy]})[
        "ruleBackupDestinations"]) == 2  # fmt: skip


@pytest.mark.parametrize("word", ["priority", "", "policy"])
def test_a_word_without_a_value_is_refused(word: str):
    with pytest.raises(Malformed, match="write member=value"):
        after(word)


def test_a_name_that_nothing_bears_is_not_found():
    for word in ("policy=weekly", "schedules=noon,night", "to=far"):
        with pytest.raises(NotFound):
            after(word)


def test_a_secret_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("haulback.credentials.read", lambda path, name: f"read from {path}")
    assert changed({}, ("password=-",), Credential, CLIENT) == {"password": "read from -"}


@pytest.mark.parametrize(
    ("times", "members"),
    [
        (ScheduleTimes(), {}),
        (
            ScheduleTimes(at="22:30", days="sat,sun"),
            {"hour": 22 * HOUR_MS + 30 * MINUTE_MS, "daysOfWeek": ["SATURDAY", "SUNDAY"]},
        ),
        (ScheduleTimes(at="22:00 Europe/Berlin"), {"timeZone": "Europe/Berlin"}),
        (ScheduleTimes(at="22:00", zone="UTC"), {"timeZone": "UTC"}),
        (
            ScheduleTimes(every="4h"),
            {"interval": {"startHour": 0, "endHour": DAY_MS, "frequency": 4 * HOUR_MS}},
        ),
        (
            ScheduleTimes(every="1h", between="8:00-18:00"),
            {"interval": {"startHour": 8 * HOUR_MS, "endHour": 18 * HOUR_MS, "frequency": HOUR_MS}},
        ),
        (ScheduleTimes(cron="0 3 * * *"), {"cron": "0 3 * * *", "hour": None, "interval": None}),
        (
            ScheduleTimes(days="daily", window="6h"),
            {"daysOfWeek": [], "startWindowLength": 6 * HOUR_MS},
        ),
    ],
)
def test_the_times_of_a_schedule_are_members_of_its_record(
    times: ScheduleTimes, members: dict[str, Any]
):
    made = times.members
    assert {name: made.get(name) for name in members} == members
    assert bool(made) == bool(members)


def test_references_in_a_record_are_names_at_any_depth():
    vms, target = '["web"]', '[{"backupDestination": {"guid": "local"}, "roleType": "PRIMARY"}]'
    assert after(f"vms={vms}")["vms"] == [{"guid": "guid of web"}]
    assert after("vms=web")["vms"] == [{"guid": "guid of web"}]
    assert after("rules=short,Default")["rules"] == [
        {"guid": "guid of short"},
        {"guid": "guid of Default"},
    ]
    [place] = after(f"ruleBackupDestinations={target}")["ruleBackupDestinations"]
    assert place["backupDestination"] == {"guid": "guid of local"}
    with pytest.raises(NotFound, match="there is no 123456"):
        after("vms=123456")


def test_a_name_of_records_of_two_kinds_chooses_none_of_them():
    rules, others = Kind("daily", "rule"), Kind("daily", "snapshot rule")
    records = SimpleNamespace(rules=rules, snapshot_rules=others)
    client: Any = SimpleNamespace(records=records)
    with pytest.raises(Malformed, match=r"'daily' names the rule .* and the snapshot rule .*guid"):
        resolved({"rules": ["daily"]}, client)
    others.name = "hourly"
    assert resolved({"rules": ["daily"]}, client) == {"rules": [{"guid": "guid of daily"}]}


@pytest.mark.parametrize(
    ("word", "said"),
    [("activ=false", "it has active"), ("schedule=noon", "schedules"), ("zzz=1", "keep, name")],
)
def test_a_member_that_a_record_does_not_have_is_refused_with_the_nearest(word: str, said: str):
    with pytest.raises(Malformed, match=said):
        check_members(["to=local", word], Rule)


def test_members_of_a_record_and_secrets_of_a_credential_are_members():
    check_members(["keep=7d", "to=local", "active=false", "policy=x", "a word"], Rule)
    check_members(["username=u", "password=@file"], Credential)
