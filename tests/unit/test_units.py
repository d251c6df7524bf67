"""Sizes are read at a glance, and counts have their noun in the right number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (999 * 1024, "999 KiB"),
        (1000 * 1024, "1000 KiB"),
        (1023.9 * 1024, "1024 KiB"),
        (1020 * 1024**3, "1020 GiB"),
        (5000 * 1024**5, "5000 PiB"),
        (-1010 * 1024, "-1010 KiB"),
    ],
)
def test_a_size_has_at_most_four_digits_and_no_exponent(count: float, text: str):
    assert units.size(count) == text


@given(st.integers(-(2**62), 2**62))
def test_no_size_has_an_exponent(count: int):
    assert "e" not in units.rate(count).partition(" ")[0]


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "backup", "0 backups"),
        (1, "backup", "1 backup"),
        (2, "copy", "2 copies"),
        (1, "copy", "1 copy"),
        (10, "day", "10 days"),
        (21, "unknown backup", "21 unknown backups"),
    ],
)
def test_a_count_has_its_noun_in_the_singular_or_the_plural(count: int, noun: str, text: str):
    assert units.counted(count, noun) == text
