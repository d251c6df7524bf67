"""A store asks for a pause as a number or as a time; nonsense in a header is no demand."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.destinations.answer_headers import date_ms, pause_of

_NOON = "Sun, 29 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        ("1.5", 1.5),
        ("0", 0),
        ("1000000000", 1e9),
        ("Sun, 29 Nov 2026 12:00:30 GMT", 30),
        ("Sunday, 29-Nov-26 12:01:00 GMT", 60),
        ("Sun, 29 Nov 2026 11:59:00 GMT", 0),
    ],
)
def test_a_pause_is_a_number_of_seconds_or_a_time_by_the_clock_of_the_store(
    asked: str, seconds: float
):
    assert pause_of(asked, _NOON) == seconds


@pytest.mark.parametrize(
    "asked",
    [None, "", "-5", "soon", "²", "1e9", "0x10", "nan", "inf", "9" * 5000, "Sun, 99 Foo 2026"],
)
def test_a_pause_that_cannot_be_read_is_no_demand(asked: str | None):
    assert pause_of(asked, _NOON) == 0


def test_a_time_without_the_date_of_the_store_is_compared_with_the_own_clock():
    assert 30 < pause_of(formatdate(time.time() + 60, usegmt=True), "no date") <= 60


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_gives_a_pause_and_never_an_error(asked: str, date: str):
    assert pause_of(asked, date) >= 0
    assert date_ms(date) is None or isinstance(date_ms(date), int)
