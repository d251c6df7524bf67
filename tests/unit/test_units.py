"""Sizes are read at a glance: three or four digits and a unit."""

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
