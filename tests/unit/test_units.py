"""Sizes are printed in digits that people read."""

from __future__ import annotations

import pytest

from haulback import units


@pytest.mark.parametrize(
    ("count", "printed"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (999 * units.MIB, "999 MiB"),
        (1010 * units.MIB, "1010 MiB"),
        (units.GIB - 1, "1024 MiB"),
        (-1000 * units.KIB, "-1000 KiB"),
        (2000 * 1024 * units.TIB, "2000 PiB"),
    ],
)
def test_a_size_has_no_exponent(count: int, printed: str):
    assert units.size(count) == printed
