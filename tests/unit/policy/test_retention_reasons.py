"""Each backup that stays or is removed has the reason that decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from haulback.policy import keeps
from haulback.policy.retention import (
    AppliedTerms,
    BackupSource,
    Limits,
    RetentionReason,
    StoredBackup,
    Terms,
    decide,
)
from haulback.units import DAY_MS
from tests.unit.policy.stored_backups import NOW, location

GONE = BackupSource(False, None, 30)
HERE = BackupSource(True, None, 30)
NOTHING = Terms(others=False, keep_last=False)


def reasons(
    stored: list[StoredBackup], terms: Terms = NOTHING, source: BackupSource = GONE, **applied: Any
) -> dict[str, tuple[bool, str]]:
    verdicts = decide(stored, lambda _: AppliedTerms((terms,), **applied), source, NOW)
    return {verdict.location.guid: (verdict.goes, verdict.reason.name) for verdict in verdicts}


def aged(guid: str, days: int, **more: Any) -> StoredBackup:
    return location(guid, snapshot_time=NOW - days * DAY_MS, **more)


@pytest.mark.parametrize(
    ("members", "goes", "reason"),
    [
        ({}, True, "NOT_CHOSEN"),
        ({"hint": "TO_REMOVE"}, True, "MARKED"),
        ({"state": "MISSING", "hint": "TO_REMOVE"}, False, "MISSING"),
        ({"state": "GIVEN_UP"}, False, "MISSING"),
        ({"keep_until": NOW + 1}, False, "LOCKED"),
        ({"keep_until": NOW}, True, "NOT_CHOSEN"),
        ({"hint": "ARCHIVE"}, False, "ARCHIVED"),
        ({"hint": "ARCHIVE", "keep_until": NOW + 1}, False, "ARCHIVED"),
        ({"hint": "ARCHIVE", "keep_until": NOW}, True, "NOT_CHOSEN"),
        ({"in_use": True}, False, "IN_USE"),
        ({"in_use": True, "keep_until": NOW + 1}, False, "LOCKED"),
    ],
)
def test_what_holds_a_backup_is_its_reason(members: dict[str, Any], goes: bool, reason: str):
    assert reasons([location("a", **members)]) == {"a": (goes, reason)}


@pytest.mark.parametrize("kind", ["FULL", "INCREMENTAL"])
def test_counts_and_ages_are_reasons_and_a_count_is_named_first(kind: str):
    stored = [aged(str(days), days, type=kind) for days in range(4)]
    limits = Limits(2, 2 * DAY_MS)
    terms = Terms(full=limits, incremental=limits)
    assert reasons(stored, terms) == {
        "0": (False, "WITHIN_LIMITS"),
        "1": (False, "WITHIN_LIMITS"),
        "2": (True, "COUNT"),
        "3": (True, "COUNT"),
    }
    only_age = Terms(full=Limits(None, 2 * DAY_MS), incremental=Limits(None, 2 * DAY_MS))
    assert reasons(stored, only_age)["2"] == (False, "WITHIN_LIMITS")
    assert reasons(stored, only_age)["3"] == (True, "AGE")


def test_a_backup_that_several_keeps_choose_tells_the_shortest_period():
    stored = [aged(str(days), days) for days in (0, 1, 20, 400, 401)]
    terms = Terms(keeps=(1, 2, 1, 2), others=False, keep_last=False)
    assert {guid: reason for guid, (_, reason) in reasons(stored, terms).items()} == {
        "0": "DAILY",
        "1": "NOT_CHOSEN",
        "20": "WEEKLY",
        "400": "YEARLY",
        "401": "NOT_CHOSEN",
    }
    monthly = Terms(keeps=(0, 0, 2, 0), others=False, keep_last=False)
    assert reasons(stored, monthly)["400"][1] == "MONTHLY"


def test_a_backup_waits_while_the_retention_of_its_rule_does_unless_a_user_marked_it():
    stored = [location("a"), location("b", hint="TO_REMOVE")]
    assert reasons(stored, waits=True) == {"a": (False, "WAITS"), "b": (True, "MARKED")}


def test_a_backup_stays_when_either_of_two_terms_keeps_the_backup():
    pairs = [(Terms(), NOTHING), (NOTHING, Terms()), (NOTHING, NOTHING)]
    told = [
        decide([location("a")], lambda _, two=two: AppliedTerms(two), GONE, NOW) for two in pairs
    ]
    assert [[verdict.goes for verdict in verdicts] for verdicts in told] == [
        [False],
        [False],
        [True],
    ]
    assert AppliedTerms((Terms(), NOTHING)).keep_last
    assert AppliedTerms((NOTHING, Terms())).keep_last
    assert not AppliedTerms((NOTHING, NOTHING)).keep_last
    assert not AppliedTerms((Terms(),)).is_living
    assert not AppliedTerms((Terms(),)).waits


def test_the_last_good_backup_of_a_machine_and_of_each_of_its_rules_stays():
    stored = [
        aged("new", 0, state="DAMAGED", rule="r"),
        aged("good", 1, rule="s"),
        aged("old", 2, rule="r"),
        aged("older", 3, rule="r"),
    ]
    terms = Terms(others=False)
    kept = (False, "LAST_GOOD")
    gone = (True, "NOT_CHOSEN")
    told = reasons(stored, terms, HERE, is_living=True)
    assert told == {"new": gone, "good": kept, "old": kept, "older": gone}
    assert reasons(stored, terms, HERE)["old"] == gone
    assert set(reasons(stored, NOTHING, HERE, is_living=True).values()) == {gone}
    assert set(reasons(stored, terms, GONE, is_living=True).values()) == {gone}


def test_each_role_has_a_last_good_backup_of_its_own():
    stored = [aged("a", 0), aged("b", 1, role="SECONDARY"), aged("c", 2, role="SECONDARY")]
    told = reasons(stored, Terms(others=False), HERE)
    assert [told[guid][1] for guid in "abc"] == ["LAST_GOOD", "LAST_GOOD", "NOT_CHOSEN"]


def test_a_machine_that_is_absent_for_a_short_time_keeps_its_last_and_its_proven_backup():
    stored = [aged("a", 0), aged("b", 1, level="BOOTED"), aged("c", 2, level="BOOTED")]
    short = BackupSource(False, NOW - 30 * DAY_MS + 1, 30)
    told = reasons(stored, source=short)
    assert told == {
        "a": (False, "ABSENT_MACHINE"),
        "b": (False, "ONLY_PROVEN"),
        "c": (True, "NOT_CHOSEN"),
    }
    long = BackupSource(False, NOW - 30 * DAY_MS, 30)
    assert [goes for goes, _ in reasons(stored, source=long).values()] == [True] * 3
    here = reasons(stored, source=HERE)
    assert [here[guid][1] for guid in "abc"] == ["NOT_CHOSEN", "ONLY_PROVEN", "NOT_CHOSEN"]


def test_a_backup_that_is_damaged_or_marked_is_not_the_proven_one():
    stored = [
        aged("a", 0, level="BOOTED", state="DAMAGED"),
        aged("b", 1, level="BOOTED", hint="TO_REMOVE"),
        aged("c", 2, level="BOOTED"),
        aged("d", 3, level="BOOTED"),
    ]
    told = reasons(stored, source=HERE)
    assert [told[guid][1] for guid in "abcd"] == [
        "NOT_CHOSEN",
        "MARKED",
        "ONLY_PROVEN",
        "NOT_CHOSEN",
    ]


def test_each_reason_is_told_in_words_of_its_own():
    words = [reason.value for reason in RetentionReason]
    assert len(set(words)) == len(RetentionReason)
    assert all(" " in text for text in words if text != "marked for removal")


def ms(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def chosen(times: list[str], wanted: tuple[int, int, int, int], zone: str = "UTC") -> list[str]:
    group = [location(text, snapshot_time=ms(text, zone)) for text in times]
    return list(keeps.chosen(group, wanted, zone, ("day", "week", "month", "year")))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_days_weeks_months_and_years_begin_at_midnight_of_the_zone(zone: str):
    sunday, monday = "2026-03-01T23:59", "2026-03-02T00:00"  # a Sunday and a Monday
    assert chosen([monday, sunday], (2, 0, 0, 0), zone) == [monday, sunday]
    assert chosen([monday, sunday], (0, 2, 0, 0), zone) == [monday, sunday]
    assert chosen([monday, sunday], (0, 0, 2, 0), zone) == [monday]
    march, february = "2026-03-01T00:00", "2026-02-28T23:59"
    assert chosen([march, february], (0, 0, 2, 0), zone) == [march, february]
    assert chosen([march, february], (0, 2, 0, 0), zone) == [march]
    march, later = "2014-03-01T00:00", "2026-02-28T23:59"
    assert chosen([later, march], (0, 0, 2, 0), zone) == [later, march]
    january, december = "2026-01-01T00:00", "2025-12-31T23:59"
    assert chosen([january, december], (0, 0, 2, 0), zone) == [january, december]
    assert chosen([january, december], (0, 0, 0, 2), zone) == [january, december]
    assert chosen([january, december], (0, 0, 0, 1), zone) == [january]


def test_a_backup_of_an_impossible_time_or_zone_is_still_judged():
    group = [location("late", snapshot_time=1 << 62), location("early", snapshot_time=-5)]
    for zone in ("UTC", "Europe/Atlantis"):
        told = keeps.chosen(group, (2, 0, 0, 0), zone, ("day", "week", "month", "year"))
        assert told == {"late": "day", "early": "day"}


def test_a_zone_exists_when_its_clocks_are_known():
    assert keeps.is_zone("Europe/Berlin")
    assert not any(keeps.is_zone(name) for name in ("Europe/Atlantis", "Europe", "../x", "a\0b"))


def test_a_zone_that_no_longer_exists_reads_as_utc():
    night = "2026-03-01T23:30"
    group = [location(night, snapshot_time=ms(night, "UTC")), location("b", snapshot_time=0)]
    assert len(keeps.chosen(group, (2, 0, 0, 0), "Europe/Atlantis", ("day",) * 4)) == 2


def test_a_damaged_backup_takes_no_place_and_stands_for_a_period_without_a_good_one():
    days = [
        aged(str(day), day, state="PRESENT" if day in (0, 3) else "DAMAGED") for day in range(5)
    ]
    told = keeps.chosen(days, (2, 0, 0, 0), "UTC", ("day",) * 4)
    assert list(told) == ["0", "1", "2", "3"]
    both = [aged("bad", 0, state="DAMAGED"), aged("good", 0), aged("lost", 0, state="MISSING")]
    assert list(keeps.chosen(both, (2, 0, 0, 0), "UTC", ("day",) * 4)) == ["good"]
