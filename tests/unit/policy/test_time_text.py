"""Times, days and durations are read as people write them, and other texts are refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Malformed
from haulback.policy.time_text import is_duration, read_days, read_duration, read_time

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("text", "length"),
    [("36h", 36 * HOUR), ("7d", 168 * HOUR), ("1h30m", 5_400_000), ("90 s", 90_000),
     ("2w", 336 * HOUR), ("1Y", 365 * 24 * HOUR), (" 1d 12h ", 36 * HOUR), ("36 hours", 36 * HOUR),
     ("90 minutes", 5_400_000), ("1 Day 12 hrs", 36 * HOUR), ("1week", 168 * HOUR),
     ("45min", 2_700_000), ("1 year", 365 * 24 * HOUR), ("30sec", 30_000)],
)  # fmt: skip
def test_a_duration_is_read(text: str, length: int):
    assert read_duration(text, "rpo") == length
    assert is_duration(text)


@pytest.mark.parametrize("text", ["", "0h", "h", "36", "1 month", "2 hous", "-1h", "1h-", "11y"])
def test_a_text_that_is_no_duration_is_refused_with_its_field(text: str):
    with pytest.raises(Malformed) as caught:
        read_duration(text, "rpo")
    assert caught.value.details["field"] == "rpo"


@pytest.mark.parametrize(
    ("text", "hour", "zone"),
    [("22:00", 22 * HOUR, ""), ("0:05", 300_000, ""), ("06:30 Europe/Berlin", 6.5 * HOUR,
     "Europe/Berlin"), (" 23:59   UTC ", 24 * HOUR - 60_000, "UTC"), ("10pm", 22 * HOUR, ""),
     ("12:30 AM UTC", 1_800_000, "UTC"), ("12 pm", 12 * HOUR, "")],
)  # fmt: skip
def test_a_time_is_read_with_its_zone(text: str, hour: int, zone: str):
    assert read_time(text, "nightly") == (hour, zone)


@pytest.mark.parametrize(
    "text",
    ["", "24:00", "22", "22:60", "22:00 Mars/Olympus", "22:00 ../etc", "13pm", "0am", "22:00:00"],
)
def test_a_text_that_is_no_time_is_refused_with_its_field(text: str):
    with pytest.raises(Malformed) as caught:
        read_time(text, "nightly")
    assert caught.value.details["field"] == "nightly"


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon-fri", "MO TU WE TH FR"), ("sat,sun", "SA SU"), ("Sunday", "SU"), ("fri-mon",
     "MO FR SA SU"), ("weekdays", "MO TU WE TH FR"), ("weekends mo", "MO SA SU"), ("daily",
     "MO TU WE TH FR SA SU"), ("wed-wed", "WE"), ("mon-sun", "MO TU WE TH FR SA SU")],
)  # fmt: skip
def test_days_are_read(text: str, days: str):
    assert " ".join(day.value[:2] for day in read_days(text, "days")) == days


@pytest.mark.parametrize("text", ["", "m", "monk", "mon-", "mon--fri", "8", "mon-fri-sun"])
def test_a_text_that_names_no_day_is_refused_with_its_field(text: str):
    with pytest.raises(Malformed) as caught:
        read_days(text, "days")
    assert caught.value.details["field"] == "days"


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str):
    for reader in (read_days, read_duration, read_time):
        with suppress(Malformed):
            reader(text, "field")
