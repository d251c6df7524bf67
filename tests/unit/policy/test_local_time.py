"""Local times across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from haulback.policy.local_time import first_instant, instants

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def utc(text: str) -> datetime:
    return at(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ("2026-03-10T02:30", ["2026-03-10T01:30"]),
        ("2026-03-29T01:59:59", ["2026-03-29T00:59:59"]),
        ("2026-03-29T02:00", []),
        ("2026-03-29T02:30", []),
        ("2026-03-29T03:00", ["2026-03-29T01:00"]),
        ("2026-10-25T02:30", ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("2026-10-25T03:00", ["2026-10-25T02:00"]),
    ],
)
def test_clocks_show_a_time_once_twice_or_never(shown: str, wanted: list[str]):
    told = instants(at(shown), BERLIN)
    assert told == [utc(text) for text in wanted]
    assert all(instant.tzinfo is UTC for instant in told)


@pytest.mark.parametrize(
    ("shown", "zone", "wanted"),
    [
        ("2026-03-10T02:30", "Europe/Berlin", "2026-03-10T01:30"),
        ("2026-03-29T02:00", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-03-29T02:30:30.5", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-03-29T02:59:59", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30"),
        ("2026-10-25T02:30:00.5", "Europe/Berlin", "2026-10-25T00:30:00.5"),
        ("2026-03-08T02:30", "America/New_York", "2026-03-08T07:00"),
        ("2026-10-04T02:10", "Australia/Lord_Howe", "2026-10-03T15:30"),  # half an hour
        ("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T10:00"),  # a day that the zone skipped
        ("2026-03-10T02:30", "UTC", "2026-03-10T02:30"),
    ],
)
def test_a_time_is_its_first_instant_or_the_end_of_the_gap(shown: str, zone: str, wanted: str):
    instant = first_instant(at(shown), ZoneInfo(zone))
    assert instant == utc(wanted)
    assert instant.tzinfo is UTC


@pytest.mark.parametrize("minute", range(60))
def test_all_times_of_a_gap_end_at_one_instant(minute: int):
    skipped = at(f"2026-03-29T02:{minute:02}:{minute:02}.{minute:02}")
    assert first_instant(skipped, BERLIN) == utc("2026-03-29T01:00")
